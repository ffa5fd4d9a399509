//! What one request goes through, for a person who asks: how long each stage takes, and what both sides show of certificates.
//!
//! Whoever wants to know puts a [`Trace`] into the [`Endpoint`](super::connect::Endpoint), which is asked for at each new connection
//! and nowhere else: without one nothing is measured, parsed or kept.
//!
//! Also known where the handshake fails: the certificates are noted before they are judged.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::{Algorithms, Certificate};
use super::error::Stage;
use super::tls::ClientTls;
use super::verify::Trusted;

/// Certificates of a server that are kept; real chains have two to four.
const CHAIN_MAX: usize = 10;

/// Notes what a request goes through.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    traced: Traced,
    /// The stage that is under way.
    open: Option<(Stage, Instant)>,
}

/// What a request went through.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    /// In the order in which they were reached first. Where a redirect was followed, the times of both requests are added.
    pub stages: Vec<StageTime>,
    /// Who accepted the connection.
    pub address: Option<SocketAddr>,
    /// TLS, where it was begun; of the last connection.
    pub tls: Option<TracedTls>,
}

/// How long a stage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// How long, until it was over or failed.
    pub took: Duration,
    /// It was over; the request failed in it otherwise.
    pub is_over: bool,
}

/// A TLS handshake, as far as it came. All text is escaped.
#[derive(Clone, Debug)]
pub struct TracedTls {
    /// The name that was sent and verified.
    pub server_name: String,
    /// `TLS 1.2` or `TLS 1.3`; `None` where the handshake was not finished.
    pub version: Option<&'static str>,
    /// The cipher suite as IANA spells it; `None` where the handshake was not finished.
    pub cipher_suite: Option<String>,
    /// What the server sent, its own certificate first; at most 10.
    pub chain: Vec<ChainLink>,
    /// Whom we trust.
    pub trusted: Trusted,
    /// The server asked for a client certificate.
    pub is_client_asked: bool,
    /// Our client certificate, where there is one.
    pub client: Option<Certificate>,
}

/// One certificate that a server sent.
#[derive(Clone, Debug)]
pub struct ChainLink {
    /// What it says about itself.
    pub certificate: Certificate,
    /// Of its key, and of the signature on it.
    pub algorithms: Algorithms,
}

impl Trace {
    /// The stage before is over, and this one begins.
    pub fn enter(&self, stage: Stage) {
        let mut noted = self.lock();
        noted.close(true);
        noted.open = Some((stage, Instant::now()));
    }

    /// All is over, well or not.
    pub fn end(&self, is_well: bool) {
        self.lock().close(is_well);
    }

    /// What is known until now.
    pub fn traced(&self) -> Traced {
        self.lock().traced.clone()
    }

    pub(super) fn connected(&self, address: SocketAddr) {
        self.lock().traced.address = Some(address);
    }

    /// A handshake begins: what it is to be made with. It is the same as without a trace, and notes what the server shows and asks.
    pub(super) fn watch(self: &Arc<Self>, tls: &ClientTls, server_name: &str) -> Arc<ClientConfig> {
        self.lock().traced.tls = Some(TracedTls {
            server_name: server_name.to_owned(),
            version: None,
            cipher_suite: None,
            chain: Vec::new(),
            trusted: tls.verifier.trusted(),
            is_client_asked: false,
            client: tls.certificate.clone(),
        });
        let mut config = ClientConfig::clone(&tls.config);
        let verifier = Witness { inner: tls.verifier.clone(), trace: self.clone() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        let resolver = Witness { inner: config.client_auth_cert_resolver.clone(), trace: self.clone() };
        config.client_auth_cert_resolver = Arc::new(resolver);
        // A session that is resumed shows no certificates.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// The handshake is over.
    pub(super) fn secured(&self, version: &'static str, session: &ClientConnection) {
        if let Some(tls) = &mut self.lock().traced.tls {
            tls.version = Some(version);
            let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
            tls.cipher_suite = suite.and_then(|suite| suite.as_str().map(str::to_owned));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        // A panic leaves nothing half-noted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn close(&mut self, is_over: bool) {
        let Some((stage, since)) = self.open.take() else { return };
        let took = since.elapsed();
        match self.traced.stages.iter_mut().find(|known| known.stage == stage) {
            Some(known) => *known = StageTime { stage, took: known.took + took, is_over },
            None => self.traced.stages.push(StageTime { stage, took, is_over }),
        }
    }
}

/// Stands before what decides, and notes what it is asked.
struct Witness<T> {
    inner: T,
    trace: Arc<Trace>,
}

impl<T> fmt::Debug for Witness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl<T: ServerCertVerifier> ServerCertVerifier for Witness<Arc<T>> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let links = [end_entity].into_iter().chain(intermediates).take(CHAIN_MAX).filter_map(|der| {
            Some(ChainLink { certificate: Certificate::parse(der)?, algorithms: Algorithms::parse(der)? })
        });
        let chain = links.collect();
        if let Some(tls) = &mut self.trace.lock().traced.tls {
            tls.chain = chain;
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Witness<Arc<dyn ResolvesClientCert>> {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if let Some(tls) = &mut self.trace.lock().traced.tls {
            tls.is_client_asked = true;
        }
        self.inner.resolve(issuers, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.inner.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}
