//! What is asked of the system by its C interface: the only unsafe code of the package, and a part of the binary alone. The
//! library forbids it.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

/// Lets the process open as many files as it may: each target and each listener's client takes one, and many systems start
/// with a soft limit of 1024 for the sake of programs that use `select`, which this is none of.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid structure for their whole duration, and the second reads it only. Where one fails
    // the limit stays what it was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Columns and lines of the terminal that stdout is; `None` where it is none, or does not know.
pub fn terminal_size() -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes a `winsize`, and is given a valid one for its whole duration.
    let asked = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (asked == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// How stdin was before keys were wanted as they are pressed.
static TERMINAL_BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);

/// With true, keys reach stdin as they are pressed and are not shown, but for those that send a signal; with false it is as it was.
/// Whether that worked.
pub fn set_keys(are_raw: bool) -> bool {
    let mut before = TERMINAL_BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    match (are_raw, before.take()) {
        (true, None) => {
            let mut settings = MaybeUninit::<libc::termios>::uninit();
            // SAFETY: the call writes a whole `termios` where it succeeds, and it is read only then.
            let found = unsafe {
                match libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) {
                    0 => settings.assume_init(),
                    _ => return false,
                }
            };
            let mut raw = found;
            raw.c_lflag &= !(libc::ICANON | libc::ECHO);
            *before = Some(found);
            apply(&raw)
        }
        (true, held) => {
            *before = held;
            true
        }
        (false, Some(held)) => apply(&held),
        (false, None) => true,
    }
}

fn apply(settings: &libc::termios) -> bool {
    // SAFETY: it reads the structure, which is valid for its whole duration.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) == 0 }
}

/// Stops the process, as Ctrl-Z does to one that has no say in it; returns when it goes on.
pub fn stop() {
    // SAFETY: it sends a signal to this process, and touches no memory.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGSTOP);
    }
}

/// Gives back what only the start of the process or of its targets needed: memory that the allocator keeps though it is free,
/// and pages of the executable.
///
/// A target's first scrapes take twice the memory that it needs once it is steady (with 1000 targets of 1000 series 28 of 179 MB
/// were free and still resident).
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's locks and has no requirement.
    unsafe {
        libc::malloc_trim(0);
    }
    give_back_start_pages();
}

/// Gives back the pages of the executable that only its start needed.
///
/// Reading a configuration, compiling regular expressions and the first handshakes touch nearly all of the code once; from
/// then on a third of it is in use (of 7.5 MiB of code 2.2 were referenced in a minute of scraping ten targets). Nothing but
/// memory pressure would ever unmap the rest, and an operator who looks at a sidecar's resident memory sees all of it. So it is
/// unmapped once; what is needed again is mapped again from the page cache, at a minor fault.
#[cfg(target_os = "linux")]
fn give_back_start_pages() {
    let (Ok(path), Ok(maps)) = (std::fs::read_link("/proc/self/exe"), std::fs::read_to_string("/proc/self/maps"))
    else {
        return;
    };
    let Some(path) = path.to_str() else { return };
    for (start, end) in maps.lines().filter_map(|line| code_range(line, path)) {
        // SAFETY: the range is a mapping of our own executable that is not writable and was never relocated: its pages hold
        // what the file holds, and the kernel reads them from there when they are touched again. The file cannot change
        // while it runs (ETXTBSY).
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_back_start_pages() {}

/// The range of a line of `/proc/self/maps` (`start-end perms offset dev inode path`, proc(5)) where it maps code of the file
/// at `path`, or the constants before it. What is behind the code was relocated: it differs from the file.
#[cfg(target_os = "linux")]
fn code_range(line: &str, path: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, perms, offset) = (words.next()?, words.next()?, words.next()?);
    let is_first = u64::from_str_radix(offset, 16).ok()? == 0;
    let is_ours = line.ends_with(path) && words.nth(2)? == path;
    if !is_ours || !(perms == "r-xp" || (perms == "r--p" && is_first)) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (start < end).then_some((start, end))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_the_constants_before_it_are_given_back() {
        let line = |perms, offset, path| format!("5500-9900 {perms} {offset} fe:00 77 {path}");
        let of = |perms, offset, path| code_range(&line(perms, offset, path), "/bin/promferry");
        assert_eq!(of("r-xp", "2bc000", "/bin/promferry"), Some((0x5500, 0x9900)));
        assert_eq!(of("r--p", "00000000", "/bin/promferry"), Some((0x5500, 0x9900)));
        assert_eq!(of("r--p", "ab2000", "/bin/promferry"), None, "relocated");
        assert_eq!(of("rw-p", "b12000", "/bin/promferry"), None);
        assert_eq!(of("r-xp", "2bc000", "/lib/libc.so.6"), None);
        assert_eq!(of("r-xp", "2bc000", "/other/bin/promferry"), None);
        assert_eq!(code_range("5500-9900 rw-p 00000000 00:00 0", ""), None);
    }

    #[test]
    fn as_many_files_may_be_opened_as_the_hard_limit_says() {
        raise_open_files();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(words[3], words[4], "{line}");
    }

    #[test]
    fn the_process_goes_on_without_the_pages() {
        give_back();
        assert_eq!("12".parse::<u8>().map(|n| n + 1).ok(), Some(13));
    }
}
