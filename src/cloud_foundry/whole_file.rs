//! Files for others to read, which are whole at every moment.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::net::text::{escaped, io_words};
use crate::telemetry::Edge;

/// How long until a file is looked at again: it could not be written, or somebody took it away.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// Writes a file that everybody may read (mode 0644): into a new file beside it, which then takes its name.
///
/// # Errors
/// Those of the system; the file is then what it was.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
    // Whoever may write here could have put a link under a name that can be guessed: the file must be new.
    let temporary = path.with_file_name(format!(".{name}.{}", crate::random::guid()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a targets file unless it holds this text already.
pub(super) async fn keep(path: &Path, text: String, failing: &mut Edge) {
    let file = path.to_owned();
    let written = tokio::task::spawn_blocking(move || match std::fs::read(&file) {
        Ok(held) if held == text.as_bytes() => Ok(()),
        _ => write(&file, text.as_bytes()),
    });
    let error = match written.await {
        Ok(Ok(())) => {
            if failing.fine().is_some() {
                tracing::info!(file = %path.display(), "the targets file is written again");
            }
            return;
        }
        Ok(Err(error)) => why(path, &error),
        Err(_) => "a bug of promferry's".to_owned(),
    };
    if failing.is_news(&error) {
        let file = path.display();
        tracing::error!(%file, error, "the targets file cannot be written; it is tried again every 15 s");
    }
}

/// Why a file could not be written.
fn why(path: &Path, error: &io::Error) -> String {
    match (error.kind(), path.parent()) {
        // The system says the same of a file that is missing, which this one may be.
        (io::ErrorKind::NotFound, Some(folder)) => format!("there is no folder {}", escaped(&folder.to_string_lossy())),
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, Some(folder)) => format!(
            "{}: a new file is made in {}, and takes the name of the old one",
            io_words(error),
            escaped(&folder.to_string_lossy())
        ),
        _ => io_words(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.yml");
        for content in ["first, which is longer", "second"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let blocked = folder.path().join("folder");
        fs::create_dir(&blocked).unwrap();
        assert!(write(&blocked, b"x").is_err());
        let missing = folder.path().join("no/file");
        let error = write(&missing, b"x").unwrap_err();
        assert_eq!(why(&missing, &error), format!("there is no folder {}", folder.path().join("no").display()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
