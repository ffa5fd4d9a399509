//! What went wrong between us and a server, in an operator's words.
//!
//! A [`NetError`] says at which stage, with whom, and why. hyper's and rustls' errors are translated here and nowhere
//! else.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use super::certificate::Certificate;
use super::credentials::CredentialError;
use super::text::{self, escaped};
use super::verify::Untrusted;

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before anything was sent: credentials, the host's name.
    Resolve,
    /// Connecting.
    Connect,
    /// Agreeing on TLS.
    Handshake,
    /// Sending the request and waiting for the header of its answer.
    Header,
    /// Reading the body of the answer.
    Body,
}

/// A failed request. Its `Display` is one sentence.
#[derive(Clone, Debug)]
pub struct NetError {
    /// How far it came.
    pub stage: Stage,
    /// With whom: `host:port`.
    pub address: String,
    /// Why.
    pub cause: Cause,
    /// Bytes of the answer that came: of all of it, or at the stage [`Stage::Body`] of the body. While it is 0, the
    /// server may not have seen the request, or may have and said nothing.
    pub received: u64,
    /// The connection was kept alive from an earlier request.
    pub is_reused: bool,
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The time for all of it, from connecting on, was over.
    Timeout(Duration),
    /// A certificate, key or secret cannot be used.
    Credentials(CredentialError),
    /// The host's name has no address; the resolver's words.
    NoAddress(String),
    /// The name for TLS is neither a DNS name nor an address.
    BadServerName(String),
    /// The path or host cannot stand in a request.
    BadUrl(String),
    /// Nobody listens there.
    Refused,
    /// The server's certificate is refused.
    Untrusted(Box<Untrusted>),
    /// The server wants a client certificate and we have none; whether it said so in so many words.
    WantsClientCertificate {
        /// It sent `certificate_required`, and not some general alert.
        is_certain: bool,
    },
    /// The server refuses our client certificate.
    RefusesClientCertificate {
        /// What we showed.
        certificate: Box<Certificate>,
        /// Its alert.
        alert: &'static str,
    },
    /// The server does not speak TLS; whether what came was HTTP.
    NotTls {
        /// Its first bytes were `HTTP/`.
        is_http: bool,
    },
    /// The server speaks TLS, and we did not.
    WantsTls,
    /// No version of TLS in common.
    TlsVersion,
    /// Another alert of the server.
    Alert(&'static str),
    /// A record that was damaged on the way.
    BadRecord,
    /// Anything else that rustls says.
    Tls(String),
    /// The server closed the connection.
    Closed,
    /// The server reset the connection.
    Reset,
    /// The connection ended before the body did.
    CutShort,
    /// The answer is no HTTP/1.
    NotHttp,
    /// The header of the answer is larger than this.
    HeaderTooLarge(u64),
    /// The body is not framed as its header says.
    BadFraming,
    /// The body is larger than this, compressed or not.
    BodyTooLarge {
        /// Bytes at most.
        limit: u64,
        /// Whether it is the limit on what was inflated.
        is_inflated: bool,
    },
    /// The compressed body is damaged.
    BadGzip,
    /// `Content-Encoding` is neither gzip nor identity.
    UnknownEncoding(String),
    /// Anything else, in the system's words.
    Io(String),
}

impl NetError {
    /// A stable word for counting.
    pub fn kind(&self) -> &'static str {
        match (&self.cause, self.stage) {
            (Cause::Timeout(_), _) => "timeout",
            (Cause::Credentials(_), _) => "credentials",
            (Cause::NoAddress(_), _) => "resolve",
            (Cause::Untrusted(_), _) => "certificate",
            (Cause::WantsClientCertificate { .. } | Cause::RefusesClientCertificate { .. }, _) => "client_certificate",
            (Cause::CutShort | Cause::BadFraming | Cause::BadGzip, Stage::Body) => "body_cut_short",
            (Cause::HeaderTooLarge(_), _) => "header_too_large",
            (Cause::BodyTooLarge { .. }, _) => "body_too_large",
            (Cause::NotHttp | Cause::UnknownEncoding(_), _) => "http",
            (Cause::WantsTls, _) => "tls",
            (_, Stage::Resolve | Stage::Connect) => "connect",
            (_, Stage::Handshake) => "tls",
            (_, Stage::Header | Stage::Body) => "closed",
        }
    }

    /// Whether the connection ended without a byte of an answer: on one that was used before, the server may have
    /// closed it while it was idle.
    pub fn is_unanswered(&self) -> bool {
        self.received == 0
            && self.stage == Stage::Header
            && matches!(self.cause, Cause::Closed | Cause::Reset | Cause::CutShort | Cause::Io(_))
    }
}

impl StdError for NetError {}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        match &self.cause {
            Cause::Timeout(total) => self.fmt_timeout(f, *total),
            Cause::Credentials(error) => error.fmt(f),
            Cause::NoAddress(words) => write!(f, "the name of {address} cannot be resolved: {words}"),
            Cause::BadServerName(name) => {
                write!(f, "\"{name}\" is no name that TLS can verify; set server_name to a DNS name or an address")
            }
            Cause::BadUrl(part) => write!(f, "\"{part}\" cannot be asked of {address}"),
            Cause::Refused => write!(f, "nothing listens on {address} (connection refused)"),
            Cause::Untrusted(untrusted) => write!(f, "TLS with {address}: {untrusted}"),
            Cause::WantsClientCertificate { .. }
            | Cause::RefusesClientCertificate { .. }
            | Cause::NotTls { .. }
            | Cause::TlsVersion
            | Cause::Alert(_)
            | Cause::BadRecord
            | Cause::Tls(_) => {
                write!(f, "TLS with {address}: ")?;
                self.fmt_tls(f)
            }
            Cause::WantsTls => write!(f, "{address} speaks TLS, and the scheme is http; set scheme: https"),
            _ if self.stage < Stage::Header => {
                let doing = if self.stage == Stage::Handshake { "in the TLS handshake" } else { "while connecting" };
                match &self.cause {
                    Cause::Io(words) => write!(f, "cannot connect to {address}: {words}"),
                    Cause::Reset => write!(f, "{address} reset the connection {doing}"),
                    _ => write!(f, "{address} closed the connection {doing}; does it speak TLS?"),
                }
            }
            _ => self.fmt_answer(f),
        }
    }
}

impl NetError {
    fn fmt_timeout(&self, f: &mut fmt::Formatter<'_>, total: Duration) -> fmt::Result {
        let (address, total) = (&self.address, text::duration(total));
        match self.stage {
            Stage::Resolve => write!(f, "the name of {address} was not resolved within {total}"),
            Stage::Connect => write!(f, "{address} did not accept a connection within {total}"),
            Stage::Handshake => write!(f, "{address} did not finish the TLS handshake within {total}"),
            Stage::Header if self.received == 0 => write!(f, "{address} sent no answer within {total}"),
            Stage::Header => write!(f, "{address} sent only a part of the answer's header within {total}"),
            Stage::Body => {
                let received = text::bytes(self.received);
                write!(f, "{address} did not finish the body within {total}; {received} of it came")
            }
        }
    }

    fn fmt_tls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::WantsClientCertificate { is_certain: true } => {
                f.write_str("the server wants a client certificate, and none is configured (cert_file, key_file)")
            }
            Cause::WantsClientCertificate { is_certain: false } => f.write_str(
                "the server refuses the handshake; most likely it wants a client certificate, and none is configured \
                 (cert_file, key_file)",
            ),
            Cause::RefusesClientCertificate { certificate: ours, alert } => match *alert {
                "unknown_ca" => {
                    write!(f, "the server does not trust who issued our client certificate {ours}: \"{}\"", ours.issuer)
                }
                "certificate_expired" => {
                    let not_after = ours.not_after;
                    write!(f, "the server takes our client certificate {ours} for expired; it holds until {not_after}")
                }
                alert => write!(f, "the server refuses our client certificate {ours} ({alert})"),
            },
            Cause::NotTls { is_http: true } => f.write_str("the server answers in plain HTTP; set scheme: http"),
            Cause::NotTls { is_http: false } => f.write_str("the server does not speak TLS"),
            Cause::TlsVersion => f.write_str("the server speaks no version of TLS that is allowed here (min_version)"),
            Cause::Alert(alert) => write!(f, "the server refuses the handshake ({alert})"),
            Cause::BadRecord => f.write_str("a record was damaged on the way, or something between the two changes it"),
            Cause::Tls(words) => f.write_str(words),
            _ => Ok(()),
        }
    }

    fn fmt_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, received) = (&self.address, text::bytes(self.received));
        match &self.cause {
            Cause::Closed | Cause::Reset | Cause::CutShort if self.stage == Stage::Header => {
                let verb = if matches!(self.cause, Cause::Reset) { "reset" } else { "closed" };
                match self.received {
                    0 => write!(f, "{address} {verb} the connection without an answer"),
                    _ => write!(f, "{address} {verb} the connection in the middle of the answer's header"),
                }
            }
            Cause::Closed | Cause::Reset | Cause::CutShort => {
                write!(f, "body of {address} cut short after {received}")
            }
            Cause::NotHttp => write!(f, "{address} does not answer in HTTP/1"),
            Cause::HeaderTooLarge(limit) => {
                write!(f, "the answer of {address} has a header larger than {}", text::bytes(*limit))
            }
            Cause::BadFraming => write!(f, "the body of {address} is wrongly framed after {received}"),
            Cause::BodyTooLarge { limit, is_inflated } => {
                let what = if *is_inflated { "inflates to more than" } else { "is larger than" };
                write!(f, "the body of {address} {what} {}", text::bytes(*limit))
            }
            Cause::BadGzip => write!(f, "the gzip body of {address} is damaged or cut short after {received}"),
            Cause::UnknownEncoding(encoding) => {
                write!(f, "{address} answers with the content encoding \"{encoding}\", which was not asked for")
            }
            Cause::Io(words) => write!(f, "the connection to {address} failed: {words}"),
            _ => write!(f, "the request to {address} failed"),
        }
    }
}

/// What is known of a connection when it fails.
#[derive(Clone, Copy, Default)]
pub(super) struct Circumstances<'a> {
    /// We speak TLS.
    pub(super) is_tls: bool,
    /// Our client certificate.
    pub(super) certificate: Option<&'a Certificate>,
    /// The first bytes that came over the wire.
    pub(super) first: [u8; 5],
}

impl Circumstances<'_> {
    /// The cause in an error of hyper, whose chain holds those of the connection.
    pub(super) fn of_hyper(&self, error: &hyper::Error, header_bytes_max: u64) -> Cause {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                return self.of_io(error);
            }
            source = inner.source();
        }
        if error.is_parse_too_large() {
            Cause::HeaderTooLarge(header_bytes_max)
        } else if error.is_parse() && !self.is_tls && is_tls_record(self.first) {
            Cause::WantsTls
        } else if error.is_parse() {
            Cause::NotHttp
        } else {
            // Incomplete, canceled, closed: all say that the connection ended.
            Cause::Closed
        }
    }

    /// The cause in an error of the connection, which may hold one of rustls.
    pub(super) fn of_io(&self, error: &io::Error) -> Cause {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Cause::Reset
            }
            io::ErrorKind::UnexpectedEof => Cause::CutShort,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Cause::BadFraming,
            _ => Cause::Io(text::io_words(error)),
        }
    }

    fn of_tls(&self, error: &rustls::Error) -> Cause {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Untrusted>() {
                    Some(untrusted) => Cause::Untrusted(Box::new(untrusted.clone())),
                    None => Cause::Tls(escaped(&error.to_string())),
                }
            }
            rustls::Error::AlertReceived(alert) => self.of_alert(*alert),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) if !is_tls_record(self.first) => {
                Cause::NotTls { is_http: self.first == *b"HTTP/" }
            }
            rustls::Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) if !is_tls_record(self.first) => {
                Cause::NotTls { is_http: self.first == *b"HTTP/" }
            }
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Cause::TlsVersion,
            rustls::Error::DecryptError => Cause::BadRecord,
            other => Cause::Tls(escaped(&other.to_string())),
        }
    }

    fn of_alert(&self, alert: AlertDescription) -> Cause {
        use AlertDescription as Alert;
        let name = alert_name(alert);
        match (alert, self.certificate) {
            (Alert::CertificateRequired, _) => Cause::WantsClientCertificate { is_certain: true },
            (Alert::HandshakeFailure | Alert::BadCertificate | Alert::NoCertificate | Alert::AccessDenied, None) => {
                Cause::WantsClientCertificate { is_certain: false }
            }
            (
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError,
                Some(ours),
            ) => Cause::RefusesClientCertificate { certificate: Box::new(ours.clone()), alert: name },
            (Alert::ProtocolVersion, _) => Cause::TlsVersion,
            (Alert::BadRecordMac, _) => Cause::BadRecord,
            _ => Cause::Alert(name),
        }
    }
}

/// Whether the bytes can begin a TLS record: a type from 20 to 23, and major version 3.
fn is_tls_record(first: [u8; 5]) -> bool {
    matches!(first, [20..=23, 3, ..])
}

/// The alert as RFC 8446 spells it.
fn alert_name(alert: AlertDescription) -> &'static str {
    use AlertDescription as Alert;
    match alert {
        Alert::HandshakeFailure => "handshake_failure",
        Alert::BadCertificate => "bad_certificate",
        Alert::UnsupportedCertificate => "unsupported_certificate",
        Alert::CertificateRevoked => "certificate_revoked",
        Alert::CertificateExpired => "certificate_expired",
        Alert::CertificateUnknown => "certificate_unknown",
        Alert::UnknownCA => "unknown_ca",
        Alert::AccessDenied => "access_denied",
        Alert::DecryptError => "decrypt_error",
        Alert::ProtocolVersion => "protocol_version",
        Alert::InsufficientSecurity => "insufficient_security",
        Alert::InternalError => "internal_error",
        Alert::UnrecognisedName => "unrecognized_name: it knows no such server_name",
        Alert::NoApplicationProtocol => {
            "no_application_protocol: it does not speak the version of HTTP that is needed here"
        }
        Alert::CertificateRequired => "certificate_required",
        other => other.as_str().unwrap_or("an unknown alert"),
    }
}
