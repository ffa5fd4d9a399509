//! What a certificate says about itself, for people.
//!
//! Nothing here decides about trust: that is webpki's business. This reads what an operator wants to know of a
//! certificate that was accepted or refused: its names, whose signature it carries, and until when it holds.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_cert::Certificate as Der;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader as _, SliceReader};
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

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Validity {
    /// Its first second.
    pub not_before: i64,
    /// Its last one.
    pub not_after: i64,
}

impl Validity {
    /// What is left is short, in seconds: two weeks.
    const SHORT: i64 = 14 * 86_400;

    /// Whether somebody should see to a new one: two weeks are left, and that is the last quarter of its time. One that lives for
    /// a day and is exchanged each day is no news.
    pub fn ends_soon(self, now: i64) -> bool {
        let lifetime = self.not_after.saturating_sub(self.not_before);
        self.not_after.saturating_sub(now) < Self::SHORT.min(lifetime / 4)
    }
}

impl Certificate {
    /// From when until when it is valid.
    pub fn validity(&self) -> Validity {
        Validity { not_before: self.not_before.as_second(), not_after: self.not_after.as_second() }
    }

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

/// Of a certificate's key and of the signature on it: `EC P-256`, `ECDSA with SHA-256`. What has no name here is its OID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// Of its key, with its size.
    pub key: String,
    /// Of the signature on it.
    pub signature: String,
}

impl Algorithms {
    /// Reads a DER certificate; `None` where it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let parsed = Der::from_der(der).ok()?;
        let key = parsed.tbs_certificate().subject_public_key_info();
        let oid = key.algorithm.oid.to_string();
        let size = match oid.as_str() {
            "1.2.840.113549.1.1.1" => {
                key.subject_public_key.as_bytes().and_then(rsa_bits).map(|bits| format!("{bits} bits"))
            }
            "1.2.840.10045.2.1" => {
                let curve = key.algorithm.parameters.as_ref();
                let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
                curve.map(|curve| named(curve.to_string()))
            }
            _ => None,
        };
        let signature = named(parsed.signature_algorithm().oid.to_string());
        let name = named(oid);
        Some(Self { key: size.map(|size| format!("{name} {size}")).unwrap_or(name), signature })
    }
}

/// Bits of the modulus of an RSA key (RFC 8017, A.1.1).
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    let bits = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        let _exponent = UintRef::decode(reader)?;
        let unused = modulus.as_bytes().first().map_or(0, |first| first.leading_zeros() as usize);
        Ok::<_, x509_cert::der::Error>(modulus.as_bytes().len() * 8 - unused)
    });
    bits.ok()
}

/// What people call the object of an OID (RFC 8017, 5480, 5758, 8410), or the OID.
fn named(oid: String) -> String {
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.10045.2.1" => "EC",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.112" => "Ed25519",
        _ => return oid,
    };
    name.to_owned()
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
    fn a_short_life_is_not_a_near_end() {
        const DAY: i64 = 86_400;
        let ends_soon =
            |life: i64, left: i64| Validity { not_before: 1000 - life, not_after: 1000 }.ends_soon(1000 - left);
        for (life, left, is_soon) in [
            (365 * DAY, 15 * DAY, false),
            (365 * DAY, 13 * DAY, true),
            (DAY, DAY / 2, false),
            (DAY, DAY / 5, true),
            (DAY, -DAY, true),
        ] {
            assert_eq!(ends_soon(life, left), is_soon, "{life} {left}");
        }
        assert!(!Validity { not_before: i64::MIN, not_after: i64::MAX }.ends_soon(i64::MIN));
    }

    #[test]
    fn sha256_is_sha256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Pin(sha256(b"abc")).to_string(), abc);
    }

    #[test]
    fn keys_and_signatures_have_names() {
        let of = |key: &rcgen::KeyPair| {
            let made = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(key).unwrap();
            let Algorithms { key, signature } = Algorithms::parse(made.der()).unwrap();
            (key, signature)
        };
        let generated = |algorithm| of(&rcgen::KeyPair::generate_for(algorithm).unwrap());
        let spelled = |(key, signature): (String, String)| format!("{key}, {signature}");
        assert_eq!(spelled(generated(&rcgen::PKCS_ECDSA_P256_SHA256)), "EC P-256, ECDSA with SHA-256");
        assert_eq!(spelled(generated(&rcgen::PKCS_ECDSA_P384_SHA384)), "EC P-384, ECDSA with SHA-384");
        assert_eq!(spelled(generated(&rcgen::PKCS_ED25519)), "Ed25519, Ed25519");
        assert_eq!(spelled(generated(&rcgen::PKCS_RSA_SHA256)), "RSA 2048 bits, RSA with SHA-256");
        assert_eq!(Algorithms::parse(b"garbage"), None);
        assert_eq!(rsa_bits(b"\x30\x03\x02\x01"), None);
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
