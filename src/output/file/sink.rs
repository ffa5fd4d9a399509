//! The file itself: opened when it is needed, rotated by size, and never left with half a line of ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file cannot be written to now.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}: {error}")]
pub(super) struct SinkError {
    action: &'static str,
    place: String,
    error: io::Error,
}

/// A file or stdout, and what is known about it.
pub(super) struct Sink {
    /// `None` is stdout.
    path: Option<PathBuf>,
    rotate_bytes: u64,
    rotate_keep: usize,
    open: Option<Open>,
    /// Half a line may stand at the end, and could not be taken back.
    is_torn: bool,
}

enum Open {
    Stdout,
    File {
        file: File,
        /// `None` for a pipe or a device, which have no size and are not rotated.
        len: Option<u64>,
    },
}

impl Sink {
    pub(super) fn new(path: Option<PathBuf>, rotate_bytes: u64, rotate_keep: usize) -> Self {
        Self { path, rotate_bytes, rotate_keep, open: None, is_torn: false }
    }

    /// Opens the file where it is not open or no longer at its path, and rotates it where it has its size. Returns how many
    /// bytes it takes before its next rotation, and whether it is another file than before.
    pub(super) fn prepare(&mut self) -> Result<(u64, bool), SinkError> {
        let Some(path) = self.path.clone() else {
            self.open.get_or_insert(Open::Stdout);
            return Ok((u64::MAX, false));
        };
        let mut is_new = false;
        if !self.is_in_place(&path) {
            self.open = Some(self.open_file(&path, false)?);
            is_new = true;
        }
        if self.rotate_bytes > 0 && self.len().is_some_and(|len| len >= self.rotate_bytes) {
            self.open = None;
            self.rotate(&path)?;
            self.open = Some(self.open_file(&path, true)?);
            is_new = true;
        }
        let room = self.len().filter(|_| self.rotate_bytes > 0).map_or(u64::MAX, |len| self.rotate_bytes - len);
        Ok((room, is_new))
    }

    /// Writes whole lines. After an error none of them is there, as far as the system lets us; the file is opened again
    /// before the next try.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        let (result, written) = match &mut self.open {
            // Not the locked, line-buffered handle: it would keep what failed, and send it once more at the end.
            Some(Open::Stdout) => write_counted(&mut StdoutRaw, self.is_torn, lines),
            Some(Open::File { file, .. }) => write_counted(file, self.is_torn, lines),
            None => (Err(io::Error::other("the file is not open")), 0),
        };
        match result {
            Ok(()) => {
                if let Some(Open::File { len: Some(len), .. }) = &mut self.open {
                    *len += written;
                }
                self.is_torn = false;
                Ok(())
            }
            Err(error) => {
                self.is_torn |= written > 0 && !self.take_back();
                self.open = None;
                Err(self.error("write to", error))
            }
        }
    }

    fn len(&self) -> Option<u64> {
        match &self.open {
            Some(Open::File { len, .. }) => *len,
            _ => None,
        }
    }

    /// Cuts the file to the length that it had before the write that failed.
    fn take_back(&self) -> bool {
        matches!(&self.open, Some(Open::File { file, len: Some(len) }) if file.set_len(*len).is_ok())
    }

    /// Whether the open file is still the one at the path: another program may have rotated it.
    fn is_in_place(&self, path: &Path) -> bool {
        let Some(Open::File { file, .. }) = &self.open else { return false };
        match (file.metadata(), std::fs::metadata(path)) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    fn open_file(&mut self, path: &Path, is_fresh: bool) -> Result<Open, SinkError> {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o640);
        if is_fresh {
            options.create_new(true)
        } else {
            options.create(true)
        };
        let file = options.open(path).map_err(|error| self.error("open", error))?;
        let metadata = file.metadata().map_err(|error| self.error("look at", error))?;
        let len = metadata.is_file().then_some(metadata.len());
        // What an earlier process left there when it was killed.
        self.is_torn |= len.is_some_and(|len| len > 0) && !ends_with_line_break(path);
        Ok(Open::File { file, len })
    }

    /// `path` becomes `path.1`, `path.1` becomes `path.2`, and the last one goes.
    fn rotate(&mut self, path: &Path) -> Result<(), SinkError> {
        let numbered = |number: usize| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.rotate_keep == 0 {
            return std::fs::remove_file(path).map_err(|error| self.error("remove", error));
        }
        for number in (1..self.rotate_keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.error("rotate", error)),
                _ => {}
            }
        }
        std::fs::rename(path, numbered(1)).map_err(|error| self.error("rotate", error))
    }

    fn error(&self, action: &'static str, error: io::Error) -> SinkError {
        let place = self.path.as_ref().map_or("stdout".to_owned(), |path| path.display().to_string());
        SinkError { action, place, error }
    }
}

/// File descriptor 1 without a buffer of ours.
struct StdoutRaw;

impl Write for StdoutRaw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        // A write that ends in a line break, and is followed by a flush, leaves nothing in the line buffer.
        let written = stdout.write(bytes)?;
        stdout.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Also says how many bytes were written, with or without an error.
fn write_counted(out: &mut impl Write, is_torn: bool, lines: &[u8]) -> (io::Result<()>, u64) {
    let mut written = 0;
    let parts: [&[u8]; 2] = [if is_torn { b"\n" } else { b"" }, lines];
    for part in parts {
        let mut rest = part;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), written),
                Ok(n) => {
                    written += n as u64;
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), written),
            }
        }
    }
    (Ok(()), written)
}

/// Whether the last line is whole. A file that may not be read is taken as whole.
fn ends_with_line_break(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        io::Result::Ok(byte[0])
    };
    last().map_or(true, |byte| byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and fails then.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1).min(3);
            self.1 -= taken;
            self.0.extend_from_slice(&bytes[..taken]);
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_that_fails_half_way_says_how_far_it_came() {
        let mut narrow = Narrow(Vec::new(), 100);
        assert!(matches!(write_counted(&mut narrow, true, b"line\n"), (Ok(()), 6)));
        assert_eq!(narrow.0, b"\nline\n");
        narrow.1 = 4;
        let (result, written) = write_counted(&mut narrow, false, b"line\n");
        assert_eq!((result.unwrap_err().kind(), written), (io::ErrorKind::StorageFull, 4));
    }

    #[test]
    fn half_a_line_is_cut_off_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples");
        let mut sink = Sink::new(Some(path.clone()), 0, 0);
        sink.prepare().unwrap();
        sink.write(b"whole\n").unwrap();
        // What a failed write leaves.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"hal").unwrap();
        assert!(sink.take_back());
        sink.write(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nnext\n");
    }
}
