//! TLS settings, and the rustls configurations that are made of them.
//!
//! One provider, aws-lc-rs, always named. A configuration is made from the files' contents in one go, and only when all
//! of it fits together: reading files, noticing that they changed, and keeping the last good one is `credentials`'
//! matter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::Certificate;
use super::credentials::CredentialError;
use super::verify::{Authorities, ServerVerifier};
use super::watched::Files;

/// TLS towards a server: `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Certificate authorities to trust; the system's where it is `None`.
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain; goes with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: Option<PathBuf>,
    /// The name to send and to verify, where it is not the host that is connected to.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Any certificate is taken. Signatures of the handshake are still checked.
    pub insecure_skip_verify: bool,
    /// SHA-256 of the server's certificate (DER); it is trusted as it is when this matches, and no other is.
    pub pin_sha256: Option<[u8; 32]>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// 1.2 and above.
    #[default]
    Tls12,
    /// 1.3 only.
    Tls13,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Certificate chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Clients must show a certificate of one of these authorities.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS towards a server, ready to use.
#[derive(Debug)]
pub struct ClientTls {
    /// What rustls needs. Connections that share it share its sessions.
    pub config: Arc<ClientConfig>,
    /// The certificate that is shown to servers that ask for one, where there is one.
    pub certificate: Option<Certificate>,
    /// What `config` judges servers with.
    pub(super) verifier: Arc<ServerVerifier>,
}

impl ClientTls {
    /// Makes it from the contents of the files that `settings` names.
    ///
    /// # Errors
    /// When a file is missing, empty or no PEM of what it should be, and when certificate and key do not fit.
    pub(super) fn build(settings: &TlsSettings, files: &Files) -> Result<Self, CredentialError> {
        let provider = provider();
        let verifier = match (settings.pin_sha256, &settings.ca_file) {
            _ if settings.insecure_skip_verify => ServerVerifier::anything(provider.clone()),
            (Some(pin), _) => ServerVerifier::pinned(pin, provider.clone()),
            (None, Some(path)) => {
                let certificates = certificates("ca_file", path, files)?;
                ServerVerifier::authorities(Authorities::of_file(path, &certificates), provider.clone())?
            }
            (None, None) => ServerVerifier::authorities(Authorities::of_system()?, provider.clone())?,
        };
        let pair = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => Some(pair(cert, key, files, &provider)?),
            (None, None) => None,
            (Some(_), None) => return Err(CredentialError::HalfAPair { set: "cert_file", missing: "key_file" }),
            (None, Some(_)) => return Err(CredentialError::HalfAPair { set: "key_file", missing: "cert_file" }),
        };
        let verifier = Arc::new(verifier);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(settings.min_version.and_above())
            .map_err(CredentialError::unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let certificate = pair.as_ref().and_then(|pair| Certificate::parse(pair.cert.first()?));
        let mut config = match pair {
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), certificate, verifier })
    }
}

/// TLS of a listener, ready to use.
#[derive(Debug)]
pub struct ListenerTls {
    /// What rustls needs, for HTTP/1.1.
    pub config: Arc<ServerConfig>,
    /// The same where HTTP/2 is spoken too, and preferred.
    pub config_http2: Arc<ServerConfig>,
    /// The certificate that is shown to clients.
    pub certificate: Option<Certificate>,
}

impl ListenerTls {
    /// Makes it from the contents of the files that `settings` names.
    ///
    /// # Errors
    /// As [`ClientTls::build`].
    pub(super) fn build(settings: &ServerTls, files: &Files) -> Result<Self, CredentialError> {
        let provider = provider();
        let pair = pair(&settings.cert_file, &settings.key_file, files, &provider)?;
        let certificate = pair.cert.first().and_then(|der| Certificate::parse(der));
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(TlsVersion::Tls12.and_above())
            .map_err(CredentialError::unusable)?;
        let builder = match &settings.client_ca_file {
            Some(path) => {
                let (roots, _) = roots(&certificates("client_ca_file", path, files)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| CredentialError::malformed("client_ca_file", path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut config_http2 = config.clone();
        config_http2.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { config: Arc::new(config), config_http2: Arc::new(config_http2), certificate })
    }
}

impl TlsVersion {
    fn and_above(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];
        match self {
            Self::Tls12 => BOTH,
            Self::Tls13 => ONLY_13,
        }
    }
}

/// A store of trust anchors, and how many of the certificates cannot be one.
pub(super) fn roots(certificates: &[CertificateDer<'static>]) -> (RootCertStore, usize) {
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(certificates.iter().cloned());
    (roots, unusable)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificates of a PEM file: at least one.
fn certificates(
    key: &'static str,
    path: &Path,
    files: &Files,
) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let pem = files.get(key, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.map_err(|error| CredentialError::malformed(key, path, pem_words(&error)))?;
    if certificates.is_empty() {
        return Err(CredentialError::Lacks { key, path: path.to_owned(), what: "certificate" });
    }
    Ok(certificates)
}

/// A certificate chain and its key, which fit together.
fn pair(
    cert_file: &Path,
    key_file: &Path,
    files: &Files,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CredentialError> {
    let chain = certificates("cert_file", cert_file, files)?;
    let pem = files.get("key_file", key_file)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(pem, b"ENCRYPTED PRIVATE KEY") => {
            CredentialError::malformed("key_file", key_file, "the key is encrypted; one without a passphrase is needed")
        }
        pem::Error::NoItemsFound => {
            CredentialError::Lacks { key: "key_file", path: key_file.to_owned(), what: "private key" }
        }
        other => CredentialError::malformed("key_file", key_file, pem_words(&other)),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CredentialError::Mismatch { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => {
            CredentialError::malformed("cert_file", cert_file, "its first certificate is not correctly encoded")
        }
        // What rustls says of a key does not quote it.
        other => CredentialError::malformed("key_file", key_file, other),
    })
}

fn pem_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM section has no end; the file is cut short",
        pem::Error::IllegalSectionStart { .. } => "a PEM section has a malformed first line",
        pem::Error::Base64Decode(_) => "a PEM section is not base64",
        _ => "it is not PEM",
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
