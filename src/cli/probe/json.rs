//! A probe for scripts: an object a line. Its keys are those of docs/tools.md and stay; new ones may come.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Report;
use super::advice::days_left;
use super::survey::Survey;
use crate::net::certificate::Certificate;
use crate::net::error::Stage;
use crate::net::trace::{StageTime, Traced, TracedTls};
use crate::net::verify::Trusted;
use crate::scrape::Found;
use crate::target::Target;

/// Families and labels that are listed.
const LISTED_MAX: usize = 100;
/// Bytes of a label's example value.
const EXAMPLE_BYTES_MAX: usize = 256;

/// Everything that is known, as one line.
pub(super) fn object(report: &Report<'_>) -> Value {
    let Report { target, probe, survey, advice, now } = report;
    let found = probe.outcome.as_ref().ok();
    let error = probe.outcome.as_ref().err();
    let tls = probe.trace.tls.as_ref();
    let mut object = json!({
        "url": target.origin.url,
        "up": found.is_some(),
        "error": error.map(|fault| json!({"kind": fault.kind, "message": fault.error, "advice": fault.advice})),
        "address": probe.trace.address.map(|address| address.to_string()),
        "redirected_to": found.and_then(|found| Some(found.head.redirected_to.as_ref()?.to_string())),
        "seconds": probe.duration.as_secs_f64(),
        "timeout_seconds": target.timeout.as_secs_f64(),
        "phases": phases(&probe.trace),
        "tls": tls.map(|tls| self::tls(tls, target, *now)),
        "answer": null,
        "samples": null,
        "families": [],
        "labels": [],
        "advice": advice,
    });
    if let (Some(found), Some(survey)) = (found, survey)
        && let (Value::Object(all), Value::Object(more)) = (&mut object, body(found, survey))
    {
        all.extend(more);
    }
    object
}

fn phases(trace: &Traced) -> Vec<Value> {
    let name = |stage| match stage {
        Stage::Resolve => "resolve",
        Stage::Connect => "connect",
        Stage::Handshake => "tls_handshake",
        Stage::Header => "first_byte",
        Stage::Body => "body",
    };
    let phase = |time: &StageTime| json!({"phase": name(time.stage), "seconds": time.took.as_secs_f64(), "complete": time.is_over});
    trace.stages.iter().map(phase).collect()
}

fn tls(tls: &TracedTls, target: &Target, now: Timestamp) -> Value {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let (by, authorities) = match &tls.trusted {
        Trusted::File(authorities) => ("ca_file", authorities.as_slice()),
        Trusted::System => ("system", &[][..]),
        Trusted::Pin => ("pin_sha256", &[][..]),
        Trusted::Anyone => ("anyone", &[][..]),
    };
    let authorities = authorities.iter().take(LISTED_MAX).map(|authority| {
        json!({
            "subject": authority.subject,
            "not_after": authority.not_after.to_string(),
            "days_left": days_left(authority.not_after, now),
        })
    });
    let chain = tls.chain.iter().map(|link| {
        let mut shown = certificate(&link.certificate, now);
        shown["key"] = link.algorithms.key.as_str().into();
        shown["signature"] = link.algorithms.signature.as_str().into();
        shown
    });
    let client = tls.client.as_ref().map(|client| {
        let mut shown = certificate(client, now);
        shown["file"] = path(&target.tls.cert_file).into();
        shown
    });
    json!({
        "version": tls.version,
        "cipher_suite": tls.cipher_suite,
        "server_name": tls.server_name,
        "chain": chain.collect::<Vec<_>>(),
        "trusted": {
            "by": by,
            "file": path(&target.tls.ca_file).filter(|_| by == "ca_file"),
            "authorities": authorities.collect::<Vec<_>>(),
        },
        "client_certificate_asked": tls.is_client_asked,
        "client_certificate": client,
    })
}

fn certificate(certificate: &Certificate, now: Timestamp) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": certificate.names,
        "not_before": certificate.not_before.to_string(),
        "not_after": certificate.not_after.to_string(),
        "days_left": days_left(certificate.not_after, now),
        "sha256": certificate.pin.to_string(),
    })
}

fn body(found: &Found, survey: &Survey<'_>) -> Value {
    let Found { head, counts, .. } = found;
    let families = survey.families.iter().take(LISTED_MAX);
    let families = families
        .map(|family| json!({"name": family.name, "type": family.kind.as_openmetrics(), "samples": family.samples}));
    let labels = survey.labels.iter().take(LISTED_MAX);
    let labels = labels.map(|label| {
        let end = label.example.floor_char_boundary(EXAMPLE_BYTES_MAX);
        let example = label.example.get(..end).unwrap_or_default();
        json!({"name": label.name, "values": label.values, "at_least": label.is_cut, "example": example})
    });
    json!({
        "answer": {
            "status": head.status.as_u16(),
            "content_type": head.content_type,
            "format": head.format.to_string().to_lowercase(),
            "by_fallback": head.is_fallback,
            "bytes": head.received.bytes,
            "wire_bytes": head.received.wire_bytes,
        },
        "samples": {
            "scraped": counts.samples_scraped,
            "after_relabelling": counts.samples_post_relabelling,
            "series": survey.series,
            "families": survey.families.len(),
            "native_histograms": survey.native_histograms,
            "exemplars": survey.exemplars,
            "timestamped": survey.timed,
            "duplicates": counts.duplicates,
            "bad_lines": counts.bad_lines,
            "first_bad_lines": counts.first_bad_lines.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "families": families.collect::<Vec<_>>(),
        "labels": labels.collect::<Vec<_>>(),
    })
}
