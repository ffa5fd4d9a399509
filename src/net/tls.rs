//! TLS settings, and the rustls configurations that are made of them.

use std::path::PathBuf;

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
    /// SHA-256 of the server's certificate (DER); it is trusted as it is when this matches.
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
