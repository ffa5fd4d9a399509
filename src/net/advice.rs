//! What helps against a failed request: one sentence beside that of the error, for pages and `probe`.
//!
//! An error says what happened; some say in the same breath which setting is wrong, and are not repeated here. Nothing comes from
//! outside: each advice is a constant.

use super::credentials::CredentialError;
use super::error::{Cause, NetError, Stage};
use super::verify::{Reason, Untrusted};

impl NetError {
    /// What an operator does about it; `None` where the error says it already, or where nothing general helps.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match &self.cause {
            Cause::Timeout(_) => match self.stage {
                Stage::Resolve => "Ask the machine's resolver for that name: the name server is slow or away.",
                Stage::Connect => {
                    "Packets are dropped on the way: look at firewalls, security groups, and whether the machine is up."
                }
                Stage::Handshake => {
                    "The port is open and its process does not answer: it may hang, or be starved of CPU."
                }
                Stage::Header => {
                    "The target takes longer than scrape_timeout to make its metrics: look why, or raise it."
                }
                Stage::Body => "The target or the network is too slow for a body of this size: raise scrape_timeout.",
            },
            // These name a setting, and no file that could be repaired.
            Cause::Credentials(
                CredentialError::HalfAPair { .. } | CredentialError::NoSystemAuthorities | CredentialError::Unusable(_),
            ) => return None,
            Cause::Credentials(_) => "Repair the file that is named; it is read again by itself, no restart is needed.",
            Cause::NoAddress(_) => "Correct the name, or the machine's resolver (/etc/resolv.conf).",
            Cause::BadUrl(_) => "Correct the address or the path where the target is announced.",
            Cause::Refused => "Start the process, or correct the port where the target is announced.",
            Cause::Untrusted(untrusted) => return of_certificate(untrusted),
            Cause::WantsClientCertificate { .. } => {
                "Set cert_file and key_file in tls_config, to a certificate that the target's authority signed."
            }
            Cause::RefusesClientCertificate { alert: "certificate_expired", .. } => {
                "Have our client certificate renewed; it is read again by itself. Where it is still valid, the target's clock is wrong."
            }
            Cause::RefusesClientCertificate { .. } => {
                "Have the target trust the authority of our client certificate, or use one from an authority that it trusts."
            }
            Cause::NotTls { is_http: false } => "Correct the port or the scheme where the target is announced.",
            Cause::TlsVersion => "Set min_version in tls_config to what the target speaks, or have the target updated.",
            Cause::Alert(_) => "Look into the target's own log: it ended the handshake, and knows why.",
            Cause::BadRecord => "Look for a proxy or load balancer between the two.",
            Cause::Closed | Cause::Reset | Cause::CutShort if self.stage >= Stage::Header => {
                "Look into the target's own log: it ended the connection, or was restarted."
            }
            Cause::Reset => "Something in between ends connections, or the process is just starting.",
            Cause::NotHttp => {
                "Correct the port where the target is announced: something else than an exporter answers there."
            }
            Cause::HeaderTooLarge(_) | Cause::BadFraming | Cause::BadGzip | Cause::UnknownEncoding(_) => {
                "The target, or a proxy in between, answers wrongly: ask it with curl, and have it repaired."
            }
            Cause::BodyTooLarge { .. } => "Raise body_size_limit, or have the target expose less.",
            Cause::NotTls { is_http: true } | Cause::BadServerName(_) | Cause::WantsTls => return None,
            Cause::Tls(_) | Cause::Closed | Cause::CutShort | Cause::Io(_) => return None,
        })
    }
}

/// Some reasons name the setting that would help themselves.
fn of_certificate(untrusted: &Untrusted) -> Option<&'static str> {
    let shown = untrusted.presented.as_ref();
    Some(match &untrusted.reason {
        Reason::Expired { not_after } if shown.is_some_and(|shown| shown.not_after != *not_after) => {
            "Have what the target sends beside its certificate replaced: one in its chain ended, its own did not. ca_file is not to blame."
        }
        Reason::Expired { .. } => {
            "Have the certificate renewed where the target runs, and the target restarted if it does not read it again."
        }
        Reason::NotYetValid { .. } => "Set the clocks of both machines, or wait.",
        // Nobody issued it but itself, and it need not be an authority: the pin that the error offers is what works.
        Reason::UnknownIssuer { .. } if shown.is_some_and(|shown| shown.issuer == shown.subject) => return None,
        Reason::UnknownIssuer { .. } | Reason::SameNameOtherKey { .. } => {
            "Add the authority that issued it to ca_file; while an authority is being rotated the file needs both."
        }
        Reason::NotForServers => "Have it reissued with serverAuth.",
        Reason::NotPinned => "If it was reissued on purpose, set pin_sha256 to the new one.",
        Reason::Other(_) => "Have it reissued.",
        Reason::WrongName { .. } | Reason::OnlyCommonName { .. } | Reason::IsItsOwnAuthority { .. } => return None,
    })
}
