//! Whether a server's certificate is trusted, and in an operator's words why not.
//!
//! webpki decides. A refusal is told from the certificate that was presented, which rustls keeps no longer than the
//! verifier sees it: so the whole reason travels inside the error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::certificate::{Certificate, Pin};
use super::credentials::CredentialError;
use super::text::escaped;
use super::tls::roots;

/// Why a server's certificate is refused. Its `Display` is the sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// What was presented; `None` where it cannot be read.
    pub presented: Option<Certificate>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is valid for other names.
    WrongName {
        /// The name that was asked for.
        asked: String,
    },
    /// It has no subjectAltName.
    OnlyCommonName {
        /// The name that was asked for.
        asked: String,
    },
    /// It ended.
    Expired {
        /// When the certificate that ended did so.
        not_after: Timestamp,
    },
    /// It does not hold yet.
    NotYetValid {
        /// When it will.
        not_before: Timestamp,
    },
    /// Whoever signed it is not trusted.
    UnknownIssuer {
        /// Who is.
        trusted: String,
    },
    /// A trusted authority has its issuer's name, and another key.
    SameNameOtherKey {
        /// Where that authority stands.
        place: String,
    },
    /// It is what `ca_file` holds, and no authority.
    IsItsOwnAuthority {
        /// Where it stands.
        place: String,
    },
    /// It is not the pinned one.
    NotPinned,
    /// Its extended key usage lacks `serverAuth`.
    NotForServers,
    /// Anything else, in rustls' words.
    Other(String),
}

impl std::error::Error for Untrusted {}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shown) = &self.presented else {
            return write!(f, "the server's certificate cannot be read");
        };
        let pin = shown.pin;
        match &self.reason {
            Reason::WrongName { asked } => {
                write!(f, "the server's certificate is for {}, not for \"{asked}\"", listed(&shown.names))?;
                write!(f, "; set server_name to a name that it has")
            }
            Reason::OnlyCommonName { asked } => {
                let common = shown.common_name.as_ref().unwrap_or(&shown.subject);
                write!(f, "the server's certificate carries only the common name \"{common}\" and no subjectAltName")?;
                write!(f, "; have it reissued for \"{asked}\", or trust it alone with pin_sha256: {pin}")
            }
            Reason::Expired { not_after } if *not_after == shown.not_after => {
                write!(f, "the server's certificate {shown} expired at {not_after}")
            }
            Reason::Expired { not_after } => {
                // Authorities of ca_file and of the system are not asked for their time: it came from the server.
                write!(f, "an authority that the server sent with its certificate {shown} expired at {not_after}")
            }
            Reason::NotYetValid { not_before } if *not_before != shown.not_before => {
                write!(
                    f,
                    "an authority that the server sent with its certificate {shown} is not valid before {not_before}"
                )?;
                write!(f, "; is a clock wrong?")
            }
            Reason::NotYetValid { not_before } => {
                write!(f, "the server's certificate {shown} is not valid before {not_before}; is a clock wrong?")
            }
            Reason::UnknownIssuer { trusted } if shown.issuer == shown.subject => {
                write!(f, "the server's certificate {shown} is self-signed, and {trusted}")?;
                write!(f, "; to trust it alone set pin_sha256: {pin}")
            }
            Reason::UnknownIssuer { trusted } => {
                write!(f, "the server's certificate {shown} was issued by \"{}\", and {trusted}", shown.issuer)
            }
            Reason::SameNameOtherKey { place } => {
                write!(f, "the server's certificate {shown} was issued by \"{}\", and {place} holds", shown.issuer)?;
                write!(f, " an authority of that name with another key: one of the two is older than the other")
            }
            Reason::IsItsOwnAuthority { place } => {
                write!(f, "{place} holds the server's own certificate {shown}, which is no authority")?;
                write!(f, "; to trust it alone set pin_sha256: {pin}")
            }
            Reason::NotPinned => {
                write!(f, "the server's certificate {shown} is not the one of pin_sha256; its SHA-256 is {pin}")
            }
            Reason::NotForServers => {
                write!(
                    f,
                    "the server's certificate {shown} is not for servers: its extended key usage lacks serverAuth"
                )
            }
            Reason::Other(words) => write!(f, "the server's certificate {shown} is refused: {words}"),
        }
    }
}

/// Names in a sentence that are spelled out.
const LISTED_MAX: usize = 5;

/// `"a", "b" and 3 more`.
fn listed(names: &[String]) -> String {
    let mut out = names.iter().take(LISTED_MAX).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_MAX {
        out.push_str(&format!(" and {} more", names.len() - LISTED_MAX));
    }
    out
}

/// Whom to trust: the anchors, and what to say of them.
pub(super) struct Authorities {
    anchors: Vec<CertificateDer<'static>>,
    file: Option<PathBuf>,
}

impl Authorities {
    pub(super) fn of_file(path: &Path, certificates: &[CertificateDer<'static>]) -> Self {
        Self { anchors: certificates.to_vec(), file: Some(path.to_owned()) }
    }

    /// The system's. Certificates of theirs that cannot be read are left out, as everybody does.
    pub(super) fn of_system() -> Result<Self, CredentialError> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err(CredentialError::NoSystemAuthorities);
        }
        Ok(Self { anchors: found.certs, file: None })
    }
}

/// How a server's certificate is judged.
pub(super) struct ServerVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

enum Trust {
    Authorities { webpki: Arc<WebPkiServerVerifier>, known: Known },
    Pin([u8; 32]),
    Anything,
}

/// What is said of the authorities that are trusted.
enum Known {
    File { place: String, authorities: Vec<Authority>, pins: Vec<Pin> },
    System,
}

/// Whom a server's certificate must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// One of these, which `ca_file` holds.
    File(Vec<Authority>),
    /// An authority of the system.
    System,
    /// Nobody: it must be the pinned one.
    Pin,
    /// Anybody: it is not looked at.
    Anyone,
}

/// An authority that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its subject, as in RFC 4514, escaped.
    pub subject: String,
    /// It holds no longer than this.
    pub not_after: Timestamp,
}

impl ServerVerifier {
    pub(super) fn authorities(
        authorities: Authorities,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, CredentialError> {
        let (store, _) = roots(&authorities.anchors);
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build().map_err(
            |error| match &authorities.file {
                Some(path) => CredentialError::malformed("ca_file", path, error),
                None => CredentialError::NoSystemAuthorities,
            },
        )?;
        let known = match authorities.file {
            None => Known::System,
            Some(path) => {
                let read: Vec<_> = authorities.anchors.iter().filter_map(|der| Certificate::parse(der)).collect();
                Known::File {
                    place: format!("ca_file {}", escaped(&path.display().to_string())),
                    pins: read.iter().map(|authority| authority.pin).collect(),
                    authorities: read
                        .into_iter()
                        .map(|read| Authority { subject: read.subject, not_after: read.not_after })
                        .collect(),
                }
            }
        };
        Ok(Self { trust: Trust::Authorities { webpki, known }, provider })
    }

    pub(super) fn pinned(pin: [u8; 32], provider: Arc<CryptoProvider>) -> Self {
        Self { trust: Trust::Pin(pin), provider }
    }

    pub(super) fn anything(provider: Arc<CryptoProvider>) -> Self {
        Self { trust: Trust::Anything, provider }
    }

    /// Whom a server's certificate must come from.
    pub(super) fn trusted(&self) -> Trusted {
        match &self.trust {
            Trust::Authorities { known: Known::File { authorities, .. }, .. } => Trusted::File(authorities.clone()),
            Trust::Authorities { known: Known::System, .. } => Trusted::System,
            Trust::Pin(_) => Trusted::Pin,
            Trust::Anything => Trusted::Anyone,
        }
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.trust {
            Trust::Authorities { .. } => "by authorities",
            Trust::Pin(_) => "by a pin",
            Trust::Anything => "anything",
        })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let reason = match &self.trust {
            Trust::Anything => return Ok(ServerCertVerified::assertion()),
            Trust::Pin(pin) if super::certificate::sha256(end_entity) == *pin => {
                return Ok(ServerCertVerified::assertion());
            }
            Trust::Pin(_) => Reason::NotPinned,
            Trust::Authorities { webpki, known } => {
                match webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => known.reason(error, Certificate::parse(end_entity).as_ref(), server_name),
                }
            }
        };
        let untrusted = Untrusted { presented: Certificate::parse(end_entity), reason };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Known {
    fn reason(&self, error: Error, shown: Option<&Certificate>, name: &ServerName<'_>) -> Reason {
        let asked = || escaped(&name.to_str());
        let time = |time: UnixTime| {
            i64::try_from(time.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(Timestamp::MAX)
        };
        if let (Some(shown), Self::File { place, pins, .. }) = (shown, self)
            && pins.contains(&shown.pin)
            && !matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
            && !is_about_time(&error)
        {
            return Reason::IsItsOwnAuthority { place: place.clone() };
        }
        let Error::InvalidCertificate(error) = error else {
            return Reason::Other(escaped(&error.to_string()));
        };
        match error {
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
                match shown.is_some_and(|shown| shown.names.is_empty()) {
                    true => Reason::OnlyCommonName { asked: asked() },
                    false => Reason::WrongName { asked: asked() },
                }
            }
            CertificateError::ExpiredContext { not_after, .. } => Reason::Expired { not_after: time(not_after) },
            CertificateError::NotValidYetContext { not_before, .. } => {
                Reason::NotYetValid { not_before: time(not_before) }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.unknown_issuer(shown),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Reason::NotForServers,
            other => Reason::Other(escaped(&other.to_string())),
        }
    }

    fn unknown_issuer(&self, shown: Option<&Certificate>) -> Reason {
        match self {
            Self::System => {
                let is_alone = shown.is_some_and(|shown| shown.issuer == shown.subject);
                let remedy = if is_alone { "" } else { "; set ca_file" };
                Reason::UnknownIssuer { trusted: format!("no authority of the system has signed it{remedy}") }
            }
            Self::File { place, authorities, .. } => match shown {
                Some(shown) if authorities.iter().any(|authority| authority.subject == shown.issuer) => {
                    Reason::SameNameOtherKey { place: place.clone() }
                }
                _ => {
                    let subjects: Vec<_> = authorities.iter().map(|authority| authority.subject.clone()).collect();
                    Reason::UnknownIssuer { trusted: format!("{place} holds only {}", listed(&subjects)) }
                }
            },
        }
    }
}

fn is_about_time(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. }
        )
    )
}
