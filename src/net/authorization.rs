//! What requests are signed with, as the header `Authorization` says it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::credentials::{CredentialError, SecretHandle};

/// Credentials of requests, read anew for each of them.
#[derive(Debug)]
pub enum Authorization {
    /// None.
    None,
    /// `Basic`.
    Basic {
        /// User name, without a colon.
        username: String,
        /// Password.
        password: SecretHandle,
    },
    /// A word, and what stands behind it.
    Header {
        /// The word, such as `Bearer`.
        scheme: String,
        /// What stands behind it.
        credentials: SecretHandle,
    },
}

impl Authorization {
    /// The header's value as it is now, a secret; `None` where there is no such header.
    ///
    /// # Errors
    /// Only while a file could not be read yet.
    pub fn value(&self) -> Result<Option<String>, CredentialError> {
        Ok(match self {
            Self::None => None,
            Self::Basic { username, password } => {
                Some(format!("Basic {}", BASE64.encode(format!("{username}:{}", password.current()?))))
            }
            Self::Header { scheme, credentials } => Some(format!("{scheme} {}", credentials.current()?)),
        })
    }
}
