//! What requests are signed with: the header `Authorization`, and headers whose values may be secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::credentials::{CredentialError, SecretHandle};
use super::text::escaped;

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

/// All that requests to one receiver are signed with.
#[derive(Debug)]
pub struct Signature {
    /// Credentials.
    pub authorization: Authorization,
    /// Further headers; their values may be secrets.
    pub headers: Vec<(String, SecretHandle)>,
}

/// Why a request cannot be signed. Quotes no value.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A file could not be read yet.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// A secret is no header's value.
    #[error("the value of the header {} holds a character that no header may", escaped(_0))]
    Header(String),
}

impl Signature {
    /// Adds the headers as they are now.
    ///
    /// # Errors
    /// While a file could not be read yet, and for a value that is no header's.
    pub fn apply(&self, headers: &mut HeaderMap) -> Result<(), SignError> {
        for (name, secret) in &self.headers {
            insert(headers, name, &secret.current()?)?;
        }
        match self.authorization.value()? {
            Some(value) => insert(headers, AUTHORIZATION.as_str(), &value),
            None => Ok(()),
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), SignError> {
    let made = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
    let (made_name, mut made_value) = made.ok_or_else(|| SignError::Header(name.to_owned()))?;
    made_value.set_sensitive(true);
    headers.insert(made_name, made_value);
    Ok(())
}
