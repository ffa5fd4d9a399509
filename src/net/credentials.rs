//! Secrets and certificates that may change while the program runs.

use std::fmt;
use std::path::PathBuf;

/// A password, token or key: typed into the configuration, or in a file that is re-read when it changes. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Secret {
    /// Typed into the configuration.
    Inline(String),
    /// In a file; white space around it is left out.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("***"),
            Self::File(path) => write!(f, "*** (from {})", path.display()),
        }
    }
}
