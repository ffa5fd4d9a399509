//! docs/troubleshooting.md: the sentence of every error as the code has it, with what helps, and every complaint of the log.
//!
//! Errors are made here, one of each kind; a kind that is added does not compile until it is made too.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use promferry::exposition::protobuf::{Error as Wire, Problem};
use promferry::exposition::{Format, Refusal};
use promferry::net::certificate::{Certificate, Pin};
use promferry::net::credentials::CredentialError;
use promferry::net::error::{Cause, NetError, Stage};
use promferry::net::verify::{Reason, Untrusted};
use promferry::scrape::Fault;
use promferry::scrape::client::ScrapeError;

use super::markdown::root;

/// What stands above is written by hand, what stands below by [`tables`].
const MARK: &str =
    "<!-- From here on this file is written from the errors of the code: WRITE_DOCS=1 cargo test --test it docs -->\n";

#[test]
fn every_errors_sentence_is_listed_as_the_code_has_it() {
    let path = root().join("docs/troubleshooting.md");
    let text = std::fs::read_to_string(&path).expect("docs/troubleshooting.md");
    let (by_hand, written) = text.split_once(MARK).expect("the mark in docs/troubleshooting.md");
    let tables = tables();
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{by_hand}{MARK}{tables}")).unwrap();
        return;
    }
    let difference = written.lines().zip(tables.lines()).find(|(docs, code)| docs != code);
    assert_eq!(difference, None, "docs/troubleshooting.md and the code differ");
    assert_eq!(written.lines().count(), tables.lines().count());
}

fn tables() -> String {
    let mut out = String::new();
    let addressed = "HOST:PORT is who was asked. The word in the second column is the one under which a failed scrape is told from another.";
    section(&mut out, "Targets and receivers", addressed, connecting().into_iter().map(Fault::from));
    let shown = "\"NAME\" is the first name on the certificate that was shown.";
    section(&mut out, "The server's certificate", shown, certificates().into_iter().map(Fault::from));
    let kinds =
        "Files that `tls_config`, `…_file` keys and jobs' announcements name. `KEY` is the key that names the file.";
    section(&mut out, "Files with credentials", kinds, credentials().into_iter().map(Fault::from));
    section(&mut out, "Answers of targets", "URL is what was asked.", answers().into_iter().map(Fault::from));
    let bodies = "A body that is not whole, or beyond a limit, makes the scrape fail: [formats.md](formats.md#what-a-scrape-makes-of-them).";
    section(&mut out, "Bodies of targets", bodies, refusals().into_iter().map(Fault::from));
    out
}

fn section(out: &mut String, heading: &str, about: &str, faults: impl Iterator<Item = Fault>) {
    write!(out, "\n## {heading}\n\n{about}\n\n| what is said | | what helps |\n|---|---|---|\n").unwrap();
    for Fault { kind, error, advice } in faults {
        // Where there is no advice, the sentence itself says what to change.
        writeln!(out, "| {} | `{kind}` | {} |", error.replace('|', "\\|"), advice.unwrap_or("as it says")).unwrap();
    }
}

fn net(stage: Stage, received: u64, cause: Cause) -> ScrapeError {
    ScrapeError::Net(NetError { stage, address: "HOST:PORT".into(), cause, received, is_reused: false })
}

/// Every cause, at each stage at which it has other words.
fn connecting() -> Vec<ScrapeError> {
    let timeout = || Cause::Timeout(Duration::from_secs(10));
    let words = || "WORDS".to_owned();
    let ours = || Box::new(certificate());
    let refused = |alert| Cause::RefusesClientCertificate { certificate: ours(), alert };
    let too_large = |is_inflated| Cause::BodyTooLarge { limit: 64 << 20, is_inflated };
    let all = vec![
        (Stage::Resolve, 0, timeout()),
        (Stage::Resolve, 0, Cause::NoAddress(words())),
        (Stage::Resolve, 0, Cause::BadServerName("NAME".into())),
        (Stage::Resolve, 0, Cause::BadUrl("PATH".into())),
        (Stage::Connect, 0, timeout()),
        (Stage::Connect, 0, Cause::Refused),
        (Stage::Connect, 0, Cause::Io(words())),
        (Stage::Connect, 0, Cause::Reset),
        (Stage::Handshake, 0, timeout()),
        (Stage::Handshake, 0, Cause::Reset),
        (Stage::Handshake, 0, Cause::Closed),
        (Stage::Handshake, 0, Cause::NotTls { is_http: true }),
        (Stage::Handshake, 0, Cause::NotTls { is_http: false }),
        (Stage::Handshake, 0, Cause::WantsTls),
        (Stage::Handshake, 0, Cause::TlsVersion),
        (Stage::Handshake, 0, Cause::WantsClientCertificate { is_certain: true }),
        (Stage::Handshake, 0, Cause::WantsClientCertificate { is_certain: false }),
        (Stage::Handshake, 0, refused("unknown_ca")),
        (Stage::Handshake, 0, refused("certificate_expired")),
        (Stage::Handshake, 0, refused("ALERT")),
        (Stage::Handshake, 0, Cause::Alert("ALERT")),
        (Stage::Handshake, 0, Cause::BadRecord),
        (Stage::Handshake, 0, Cause::Tls(words())),
        (Stage::Header, 0, timeout()),
        (Stage::Header, 1, timeout()),
        (Stage::Header, 0, Cause::Closed),
        (Stage::Header, 1, Cause::Closed),
        (Stage::Header, 0, Cause::Io(words())),
        (Stage::Header, 1, Cause::NotHttp),
        (Stage::Header, 1, Cause::HeaderTooLarge(64 << 10)),
        (Stage::Header, 1, Cause::UnknownEncoding("ENCODING".into())),
        (Stage::Body, 4096, timeout()),
        (Stage::Body, 4096, Cause::CutShort),
        (Stage::Body, 4096, Cause::BadFraming),
        (Stage::Body, 4096, Cause::BadGzip),
        (Stage::Body, 4096, too_large(false)),
        (Stage::Body, 4096, too_large(true)),
    ];
    let kinds = all.iter().map(|(_, _, cause)| kind(cause)).collect::<BTreeSet<_>>();
    // The two others have tables of their own.
    assert_eq!(kinds, (0..=CAUSES_MAX).filter(|number| ![1, 6].contains(number)).collect());
    all.into_iter().map(|(stage, received, cause)| net(stage, received, cause)).collect()
}

/// The highest number of [`kind`].
const CAUSES_MAX: u32 = 22;

/// A number for each kind of cause, closed and reset ones being told alike.
fn kind(cause: &Cause) -> u32 {
    match cause {
        Cause::Timeout(_) => 0,
        Cause::Credentials(_) => 1,
        Cause::NoAddress(_) => 2,
        Cause::BadServerName(_) => 3,
        Cause::BadUrl(_) => 4,
        Cause::Refused => 5,
        Cause::Untrusted(_) => 6,
        Cause::WantsClientCertificate { .. } => 7,
        Cause::RefusesClientCertificate { .. } => 8,
        Cause::NotTls { .. } => 9,
        Cause::WantsTls => 10,
        Cause::TlsVersion => 11,
        Cause::Alert(_) => 12,
        Cause::BadRecord => 13,
        Cause::Tls(_) => 14,
        Cause::Closed | Cause::Reset | Cause::CutShort => 15,
        Cause::NotHttp => 16,
        Cause::HeaderTooLarge(_) => 17,
        Cause::BadFraming => 18,
        Cause::BodyTooLarge { .. } => 19,
        Cause::BadGzip => 20,
        Cause::UnknownEncoding(_) => 21,
        Cause::Io(_) => 22,
    }
}

fn time(year: i16) -> Timestamp {
    format!("{year}-01-02T03:04:05Z").parse().unwrap()
}

fn certificate() -> Certificate {
    Certificate {
        subject: "CN=NAME".into(),
        common_name: Some("NAME".into()),
        issuer: "CN=ISSUER".into(),
        names: vec!["NAME".into()],
        not_before: time(2026),
        not_after: time(2027),
        pin: Pin([0xab; 32]),
    }
}

fn certificates() -> Vec<ScrapeError> {
    let asked = || "ASKED".to_owned();
    let place = || "ca_file FILE".to_owned();
    let self_signed = Certificate { issuer: "CN=NAME".into(), ..certificate() };
    let nameless = Certificate { names: Vec::new(), ..certificate() };
    let trusts = |trusted: &str| Reason::UnknownIssuer { trusted: trusted.to_owned() };
    let only = "ca_file FILE holds only \"CN=OTHER\"";
    let all = vec![
        (Some(certificate()), Reason::WrongName { asked: asked() }),
        (Some(nameless), Reason::OnlyCommonName { asked: asked() }),
        (Some(certificate()), Reason::Expired { not_after: time(2027) }),
        (Some(certificate()), Reason::Expired { not_after: time(2026) }),
        (Some(certificate()), Reason::NotYetValid { not_before: time(2026) }),
        (Some(certificate()), Reason::NotYetValid { not_before: time(2027) }),
        (Some(certificate()), trusts(only)),
        (Some(self_signed), trusts(only)),
        (Some(certificate()), trusts("no authority of the system has signed it; set ca_file")),
        (Some(certificate()), Reason::SameNameOtherKey { place: place() }),
        (Some(certificate()), Reason::IsItsOwnAuthority { place: place() }),
        (Some(certificate()), Reason::NotPinned),
        (Some(certificate()), Reason::NotForServers),
        (Some(certificate()), Reason::Other("WORDS".into())),
        (None, Reason::Other("WORDS".into())),
    ];
    let number = |reason: &Reason| match reason {
        Reason::WrongName { .. } => 0,
        Reason::OnlyCommonName { .. } => 1,
        Reason::Expired { .. } => 2,
        Reason::NotYetValid { .. } => 3,
        Reason::UnknownIssuer { .. } => 4,
        Reason::SameNameOtherKey { .. } => 5,
        Reason::IsItsOwnAuthority { .. } => 6,
        Reason::NotPinned => 7,
        Reason::NotForServers => 8,
        Reason::Other(_) => 9,
    };
    assert_eq!(all.iter().map(|(_, reason)| number(reason)).collect::<BTreeSet<_>>(), (0..=9).collect());
    let untrusted = |(presented, reason)| Cause::Untrusted(Box::new(Untrusted { presented, reason }));
    all.into_iter().map(|one| net(Stage::Handshake, 0, untrusted(one))).collect()
}

fn credentials() -> Vec<ScrapeError> {
    let (key, path) = ("KEY", || "FILE".into());
    let all = vec![
        CredentialError::Unreadable { key, path: path(), reason: "No such file or directory".into() },
        CredentialError::Empty { key, path: path() },
        CredentialError::Lacks { key, path: path(), what: "certificate" },
        CredentialError::Malformed { key, path: path(), reason: "WORDS".into() },
        CredentialError::Mismatch { cert_file: path(), key_file: path() },
        CredentialError::HalfAPair { set: "cert_file", missing: "key_file" },
        CredentialError::NoSystemAuthorities,
        CredentialError::Unusable("WORDS".into()),
    ];
    let number = |error: &CredentialError| match error {
        CredentialError::Unreadable { .. } => 0,
        CredentialError::Empty { .. } => 1,
        CredentialError::Lacks { .. } => 2,
        CredentialError::Malformed { .. } => 3,
        CredentialError::Mismatch { .. } => 4,
        CredentialError::HalfAPair { .. } => 5,
        CredentialError::NoSystemAuthorities => 6,
        CredentialError::Unusable(_) => 7,
    };
    assert_eq!(all.iter().map(number).collect::<BTreeSet<_>>(), (0..=7).collect());
    all.into_iter().map(|error| net(Stage::Resolve, 0, Cause::Credentials(error))).collect()
}

fn answers() -> Vec<ScrapeError> {
    let url = || "URL".to_owned();
    let status = |status| ScrapeError::Status { url: url(), status, body: "BODY".into() };
    let redirect = |reason: &str| {
        let (location, reason) = ("LOCATION".into(), reason.to_owned());
        ScrapeError::Redirect { url: url(), location, reason }
    };
    let foreign = Format::from_content_type(Some("application/vnd.google.protobuf;encoding=text")).unwrap_err();
    let all = vec![
        status(StatusCode::UNAUTHORIZED),
        status(StatusCode::NOT_FOUND),
        status(StatusCode::NOT_ACCEPTABLE),
        status(StatusCode::INTERNAL_SERVER_ERROR),
        ScrapeError::Html { url: url(), body: "BODY".into() },
        ScrapeError::Foreign { url: url(), reason: foreign },
        redirect("REASON"),
        ScrapeError::Header { name: "NAME".into(), reason: "REASON" },
        ScrapeError::Path("PATH".into()),
    ];
    let number = |error: &ScrapeError| match error {
        // It has a table of its own, and no operator sees that one.
        ScrapeError::Net(_) | ScrapeError::Stopped => 0,
        ScrapeError::Header { .. } => 1,
        ScrapeError::Path(_) => 2,
        ScrapeError::Status { .. } => 3,
        ScrapeError::Html { .. } => 4,
        ScrapeError::Foreign { .. } => 5,
        ScrapeError::Redirect { .. } => 6,
    };
    assert_eq!(all.iter().map(number).collect::<BTreeSet<_>>(), (1..=6).collect());
    all
}

fn refusals() -> Vec<Refusal> {
    let all = vec![
        Refusal::LineTooLong { line: 7, max: 1 << 20 },
        Refusal::SampleLimit { limit: 1000 },
        Refusal::Growth { line: 7, max: 64 << 20 },
        Refusal::Labels { line: 7, reason: "a series has 40 labels, more than label_limit 30 allows".into() },
        Refusal::NoEof,
        Refusal::Protobuf(Wire { at: 77, problem: Problem::Truncated }),
    ];
    let number = |refusal: &Refusal| match refusal {
        Refusal::LineTooLong { .. } => 0,
        Refusal::SampleLimit { .. } => 1,
        Refusal::Growth { .. } => 2,
        Refusal::Labels { .. } => 3,
        Refusal::NoEof => 4,
        Refusal::Protobuf(_) => 5,
    };
    assert_eq!(all.iter().map(number).collect::<BTreeSet<_>>(), (0..=5).collect());
    all
}

/// Both ways: each message that is a warning or worse has a row, and each row is a message.
#[test]
fn every_complaint_of_the_log_is_explained() {
    let text = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (_, rest) = text.split_once("\n## The log\n").expect("the heading");
    let rows =
        rest.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows = rows.skip(1).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut messages = BTreeSet::new();
    messages_below(&root().join("src"), &mut messages);
    assert!(messages.len() > 40, "{messages:?}");
    let differences = rows.symmetric_difference(&messages).collect::<Vec<_>>();
    assert_eq!(differences, [""; 0]);
}

fn messages_below(folder: &Path, messages: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            messages_below(&path, messages);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
            for call in source.split("warn!(").skip(1).chain(source.split("error!(").skip(1)) {
                messages.extend(message(call));
            }
        }
    }
}

/// The message of a call whose arguments begin here: the last text, and not that of a field. None, where it is made of pieces.
fn message(call: &str) -> Option<String> {
    let (mut depth, mut quoted, mut last, mut escaped) = (1, None, None, false);
    for (at, c) in call.char_indices() {
        match (quoted, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(from), '"') => {
                last = (depth == 1).then(|| &call[from..at]).or(last);
                quoted = None;
            }
            (Some(_), _) => {}
            (None, '"') => quoted = Some(at + 1),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    // A text that goes on in the next line is one.
    let whole = last?.split("\\\n").map(str::trim_start).collect::<String>();
    (whole != "{}").then_some(whole)
}
