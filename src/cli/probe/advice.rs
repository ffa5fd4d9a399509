//! What an operator should know of a scrape, beside whether it succeeded: a sentence each.

use std::time::Duration;

use jiff::Timestamp;

use super::survey::Survey;
use crate::model::MetricType;
use crate::net::certificate::Certificate;
use crate::net::text;
use crate::net::trace::TracedTls;
use crate::net::verify::{Authority, Trusted};
use crate::scrape::{Found, Probe};
use crate::target::Target;
use crate::telemetry::Printable;

/// Certificates that end within so many days are named.
pub(super) const DAYS_LEFT_MIN: i64 = 30;
/// Labels with more values are named.
const LABEL_VALUES_MAX: usize = 1000;
/// Of them, so many.
const LABELS_NAMED_MAX: usize = 3;
/// Bodies over the network that are larger, in bytes, are better compressed.
const PLAIN_BYTES_MAX: u64 = 1 << 20;

/// What is worth a sentence, the most pressing first; `survey` where the scrape succeeded.
pub(super) fn advice(target: &Target, probe: &Probe, survey: Option<&Survey<'_>>, now: Timestamp) -> Vec<String> {
    let mut advice = Vec::new();
    if let Err(fault) = &probe.outcome {
        advice.extend(fault.advice.map(str::to_owned));
    }
    if let Some(tls) = &probe.trace.tls {
        advice.extend(of_certificates(tls, probe.outcome.is_ok(), now));
    }
    if let (Ok(found), Some(survey)) = (&probe.outcome, survey) {
        advice.extend(of_answer(target, found, probe.duration));
        advice.extend(of_body(target, found, survey));
    }
    advice
}

/// Where the scrape failed, `Fault` says what is wrong with the server's.
fn of_certificates(tls: &TracedTls, is_up: bool, now: Timestamp) -> Vec<String> {
    let ends = |not_after: Timestamp| match days_left(not_after, now) {
        days if days < 0 => Some(format!("expired at {not_after}")),
        days if days < DAYS_LEFT_MIN => Some(format!("expires in {}", in_days(days))),
        _ => None,
    };
    let mut advice = Vec::new();
    for (at, link) in tls.chain.iter().enumerate().filter(|_| is_up) {
        let what = if at == 0 { "The server's certificate" } else { "The server's intermediate certificate" };
        let certificate = &link.certificate;
        advice.extend(ends(certificate.not_after).map(|ends| format!("{what} {certificate} {ends}: have it renewed.")));
    }
    for authority in issuers(tls) {
        advice.extend(ends(authority.not_after).map(|ends| {
            format!(
                "The authority \"{}\" in ca_file {ends}: have it replaced, and add its successor.",
                authority.subject
            )
        }));
    }
    if let Some(client) = &tls.client {
        let ends = ends(client.not_after);
        advice.extend(ends.map(|ends| format!("Our client certificate {client} {ends}: have it renewed.")));
    }
    if tls.trusted == Trusted::Anyone {
        let taken = tls.chain.first().map(|link| format!("set pin_sha256: {}, or ", link.certificate.pin));
        let taken = taken.unwrap_or_default();
        advice.push(format!("Anybody can pretend to be this target (insecure_skip_verify): {taken}set ca_file."));
    }
    advice
}

/// The authorities of `ca_file` that signed something of what the server sent.
pub(super) fn issuers(tls: &TracedTls) -> impl Iterator<Item = &Authority> {
    let authorities = match &tls.trusted {
        Trusted::File(authorities) => authorities.as_slice(),
        _ => &[],
    };
    let signed = |authority: &&Authority| {
        let of = |certificate: &Certificate| certificate.issuer == authority.subject;
        tls.chain.iter().any(|link| of(&link.certificate))
    };
    authorities.iter().filter(signed)
}

fn of_answer(target: &Target, found: &Found, took: Duration) -> Vec<String> {
    let head = &found.head;
    let mut advice = Vec::new();
    if let Some(url) = &head.redirected_to {
        let url = url.to_string();
        advice.push(format!("Each scrape is redirected to {}: set the address to that.", Printable(&url)));
    }
    if took > target.timeout / 2 {
        let (took, timeout) = (text::duration(took), text::duration(target.timeout));
        advice.push(format!("It took {took}, and fails at {timeout} (scrape_timeout): raise that, or look why."));
    }
    if head.is_fallback {
        advice.push(format!(
            "The Content-Type names no format, so it was read as {} (fallback_scrape_protocol): have it set right.",
            head.format
        ));
    }
    let received = head.received;
    if received.wire_bytes == received.bytes && received.bytes > PLAIN_BYTES_MAX && !head.peer.is_local {
        advice.push(match target.config.enable_compression {
            true => "The target does not compress its body, which gzip makes a tenth: see whether it can.".to_owned(),
            false => "The body is large and comes uncompressed: leave enable_compression on.".to_owned(),
        });
    }
    advice
}

fn of_body(target: &Target, found: &Found, survey: &Survey<'_>) -> Vec<String> {
    let counts = &found.counts;
    let mut advice = Vec::new();
    if counts.bad_lines > 0 {
        advice.push("Have the target repaired: the lines that cannot be read are lost, the others are not.".to_owned());
    }
    if counts.duplicates > 0 {
        let samples = counts.duplicates;
        advice.push(format!("{samples} samples come twice: of each series the first is taken, the others are lost."));
    }
    if counts.samples_scraped == 0 {
        advice.push("There are no samples: the target has none, or the path is another.".to_owned());
    } else if counts.samples_post_relabelling == 0 {
        advice.push("metric_relabel_configs drop all samples.".to_owned());
    }
    let limit = target.config.limits.samples as u64;
    if limit > 0 && counts.samples_post_relabelling.saturating_mul(5) > limit.saturating_mul(4) {
        let samples = counts.samples_post_relabelling;
        advice.push(format!("{samples} samples are near the {limit} of sample_limit, beyond which the scrape fails."));
    }
    for label in survey.labels.iter().filter(|label| label.values > LABEL_VALUES_MAX).take(LABELS_NAMED_MAX) {
        let (name, values) = (text::excerpt(label.name.as_bytes(), 60), label.values);
        advice.push(format!(
            "The label \"{name}\" has {values} values, each a series to keep: drop it with metric_relabel_configs where nobody \
             asks for it."
        ));
    }
    let count = |is_lacking: &dyn Fn(MetricType, bool) -> bool| {
        survey.families.iter().filter(|family| is_lacking(family.kind, family.has_help)).count()
    };
    let untyped = count(&|kind, _| kind == MetricType::Unknown);
    if untyped > 0 {
        advice.push(format!(
            "Without a type (# TYPE): {untyped} of {} families. Outputs that tell counters from gauges take them for gauges.",
            survey.families.len()
        ));
    }
    advice
}

/// Whole days until then; negative when it was before.
pub(super) fn days_left(not_after: Timestamp, now: Timestamp) -> i64 {
    (not_after.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
}

/// `12 days`.
pub(super) fn in_days(days: i64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
