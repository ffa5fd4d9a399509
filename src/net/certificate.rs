//! What a certificate says about itself, for people.
//!
//! Nothing here decides about trust: that is webpki's business. This reads what an operator wants to know of a
//! certificate that was accepted or refused: its names, whose signature it carries, and until when it holds.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_cert::Certificate as Der;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::text::escaped;

/// What a certificate says about itself. All text comes from outside and is escaped already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, as in RFC 4514: `CN=gorouter,O=Cloud Foundry`.
    pub subject: String,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Who signed it, as in RFC 4514.
    pub issuer: String,
    /// DNS names and addresses that it is valid for, at most 100.
    pub names: Vec<String>,
    /// It holds from here on.
    pub not_before: Timestamp,
    /// And no longer than this.
    pub not_after: Timestamp,
    /// SHA-256 of its DER, as `pin_sha256` wants it.
    pub pin: Pin,
}

/// Names of a certificate that are kept.
const NAMES_MAX: usize = 100;

impl Certificate {
    /// Reads a DER certificate; `None` where it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let parsed = Der::from_der(der).ok()?;
        let tbs = parsed.tbs_certificate();
        let names = tbs.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
        let common_name = tbs.subject().common_name().ok().flatten();
        let time = |time: x509_cert::time::Time| {
            Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok()
        };
        Some(Self {
            subject: escaped(&tbs.subject().to_string()),
            common_name: common_name.map(|name| escaped(&name.value())),
            issuer: escaped(&tbs.issuer().to_string()),
            names: names.iter().filter_map(spelled).take(NAMES_MAX).collect(),
            not_before: time(tbs.validity().not_before)?,
            not_after: time(tbs.validity().not_after)?,
            pin: Pin(sha256(der)),
        })
    }

    /// Whole days until it ends; negative when it ended.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
    }
}

/// Names the certificate for a sentence: its first name, or its common name, or its subject.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.names.first().or(self.common_name.as_ref()).unwrap_or(&self.subject);
        write!(f, "\"{name}\"")
    }
}

/// SHA-256 of a certificate's DER; shown in lowercase hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256, by way of the one provider that the program has.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    let mut digest = [0; 32];
    if let Some(hash) = &hash {
        digest.copy_from_slice(hash.as_ref());
    }
    digest
}

fn spelled(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(escaped(name.as_str())),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_sha256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Pin(sha256(b"abc")).to_string(), abc);
    }

    #[test]
    fn a_certificate_says_its_names_and_its_end() {
        let mut params = rcgen::CertificateParams::new(vec!["cc.service.internal".into(), "10.0.16.4".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "cloud\ncontroller");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();

        let read = Certificate::parse(made.der()).unwrap();

        assert_eq!(read.names, ["cc.service.internal", "10.0.16.4"]);
        assert_eq!(read.common_name.as_deref(), Some("cloud\\ncontroller"));
        assert_eq!(read.not_after.to_string(), "2026-03-01T00:00:00Z");
        assert_eq!(read.days_left("2026-02-27T12:00:00Z".parse().unwrap()), 1);
        assert_eq!(read.days_left("2026-03-01T00:00:01Z".parse().unwrap()), -1);
        assert_eq!(Certificate::parse(b"garbage"), None);
    }
}
