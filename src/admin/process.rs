//! What Linux says about this process, cheaply: a few small files under `/proc/self`.

use std::fs;

/// Clock ticks a second in `/proc` on every Linux: the kernel converts to this fixed `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Each is `None` where it cannot be told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) open_fds: Option<f64>,
    /// Since 1970.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = |field| stat_field(&stat, field).map(|ticks| ticks / TICKS_PER_SECOND);
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident_bytes: keyed(&status, "VmRSS:").map(|kib| kib * 1024.0),
            // The listing itself has one open.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64),
            start_seconds: keyed(&boot, "btime").zip(ticks(22)).map(|(boot, since)| boot + since),
        }
    }
}

/// A field of `/proc/PID/stat`, numbered from 1 as in proc(5). The second one, in parentheses, may hold anything.
fn stat_field(stat: &str, field: usize) -> Option<f64> {
    let after = stat.rsplit_once(')')?.1;
    after.split_ascii_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// The number after `key` at the start of a line.
fn keyed(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_moves_no_field() {
        let stat = "7 (a ) (b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 12345 1000 10";
        assert_eq!(
            (stat_field(stat, 14), stat_field(stat, 15), stat_field(stat, 22)),
            (Some(250.0), Some(50.0), Some(12345.0))
        );
        assert_eq!(stat_field("", 14), None);
        assert_eq!(keyed("a 1\nVmRSS:\t  812 kB\n", "VmRSS:"), Some(812.0));
    }
}
