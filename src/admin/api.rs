//! `/api/v1/targets`, as Prometheus 3 answers it with a little more, and `/api/v1/status` and `/api/v1/outputs`, which are ours.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::headline::{Overview, headline};
use super::snapshot::{
    DroppedTarget, Health, MemorySnapshot, OutputSnapshot, RECENT_STEP, Readiness, TargetSnapshot, Targets,
};
use crate::model::Labels;
use crate::net::form_decoded;
use crate::net::text::prometheus_duration as duration;

/// Which targets are asked for: `?state=` and `?scrapePool=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetQuery {
    is_active_left_out: bool,
    is_dropped_left_out: bool,
    pool: Option<String>,
}

impl TargetQuery {
    /// Reads a query string; unknown parameters are ignored, as Prometheus does.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = form_decoded(value);
            match name {
                "state" => {
                    (read.is_active_left_out, read.is_dropped_left_out) = match value.as_str() {
                        "" | "any" => (false, false),
                        "active" => (false, true),
                        "dropped" => (true, false),
                        _ => return Err(format!("state is \"{value}\"; it can be active, dropped or any")),
                    }
                }
                "scrapePool" if !value.is_empty() => read.pool = Some(value),
                _ => {}
            }
        }
        Ok(read)
    }

    fn is_of(&self, job: &str) -> bool {
        self.pool.as_deref().is_none_or(|pool| pool == job)
    }
}

/// An answer that went well.
fn success(data: Value) -> String {
    json!({"status": "success", "data": data}).to_string()
}

/// An answer to a request that cannot be understood.
pub(super) fn bad_data(error: &str) -> String {
    json!({"status": "error", "errorType": "bad_data", "error": error}).to_string()
}

pub(super) fn status(overview: &Overview) -> String {
    let (worst, _) = headline(overview);
    let waiting_for = match &overview.readiness {
        Readiness::Ready => None,
        Readiness::Waiting(why) => Some(why),
    };
    let [good, off, broken] = overview.count_files();
    let scrapes = &overview.scrapes;
    success(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startTime": time(overview.started_ms),
        "ready": waiting_for.is_none(),
        "waitingFor": waiting_for,
        "headline": {"severity": worst.severity.as_str(), "text": worst.text, "href": worst.href},
        "targets": {
            "up": overview.count(Health::Up),
            "down": overview.count(Health::Down),
            "unknown": overview.count(Health::Unknown),
            "dropped": overview.targets.dropped_counts.values().sum::<usize>(),
        },
        "files": {"good": good, "off": off, "broken": broken},
        "scrapes": {
            "scrapes": scrapes.scrapes,
            "failures": scrapes.failures,
            "samples": scrapes.samples,
            "bodyBytes": scrapes.body_bytes,
            "badLines": scrapes.bad_lines,
            "duplicates": scrapes.duplicates,
            "paused": scrapes.paused,
        },
    }))
}

pub(super) fn targets(targets: &Targets, query: &TargetQuery) -> String {
    let active = targets.active.iter().filter(|target| !query.is_active_left_out && query.is_of(&target.job));
    let dropped = targets.dropped.iter().filter(|target| !query.is_dropped_left_out && query.is_of(&target.job));
    let counts = targets.dropped_counts.iter().filter(|(job, _)| !query.is_dropped_left_out && query.is_of(job));
    success(json!({
        "activeTargets": active.map(active_target).collect::<Vec<_>>(),
        "droppedTargets": dropped.map(dropped_target).collect::<Vec<_>>(),
        "droppedTargetCounts": counts.map(|(job, count)| (job.clone(), json!(count))).collect::<Map<_, _>>(),
    }))
}

fn active_target(target: &TargetSnapshot) -> Value {
    json!({
        "discoveredLabels": labels(&target.discovered),
        "labels": labels(&target.labels),
        "scrapePool": target.job,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": target.error,
        // What Go writes for no time.
        "lastScrape": target.scraped_ms.and_then(time).unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()),
        "lastScrapeDuration": target.duration.as_secs_f64(),
        "health": target.health.as_str(),
        "scrapeInterval": duration(target.interval),
        "scrapeTimeout": duration(target.timeout),
        // Ours: Prometheus has none of these.
        "certificateNotAfter": target.certificate.and_then(|validity| day(validity.not_after)),
        "id": format!("{:016x}", target.id),
        "advice": target.advice,
        "failures": target.failures,
        "samples": target.samples,
        "file": target.file.as_ref().map(|file| file.display().to_string()),
    })
}

fn dropped_target(target: &DroppedTarget) -> Value {
    json!({"discoveredLabels": labels(&target.discovered), "scrapePool": target.job})
}

fn labels(labels: &Labels<'_>) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|time| format!("{time:.3}"))
}

/// RFC 3339 in UTC, to the second.
pub(super) fn day(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

pub(super) fn outputs(outputs: &[OutputSnapshot], memory: &MemorySnapshot) -> String {
    let MemorySnapshot { used, limit } = memory;
    success(json!({
        "outputs": outputs.iter().map(output).collect::<Vec<_>>(),
        "memory": {
            "limit": limit,
            "used": used.total(),
            "samples": used.accounts.samples,
            "series": used.accounts.series,
            "tables": used.accounts.tables,
            "bodies": used.accounts.bodies,
            "rest": used.rest,
        },
    }))
}

fn output(output: &OutputSnapshot) -> Value {
    let (counts, status) = (&output.counts, &output.status);
    let mut shown = json!({
        "name": output.name,
        "kind": output.kind,
        "urls": output.urls,
        "ledger": {
            "offered": counts.offered,
            "restored": counts.restored,
            "delivered": counts.settled.delivered,
            "duplicate": counts.settled.duplicate,
            "rejected": counts.settled.rejected,
            "dropped": counts.settled.dropped,
            "skipped": counts.settled.skipped,
            "waiting": counts.waiting,
        },
        "maybeDoubled": counts.maybe_doubled,
        "failing": status.failing,
        "lastDelivery": status.delivered_ms.and_then(time),
        "requests": status.requests,
        "requestFailures": status.failures,
        "bytes": status.bytes,
        "recent": {
            "stepSeconds": RECENT_STEP.as_secs(),
            "delivered": output.recent.iter().map(|mark| mark.delivered).collect::<Vec<_>>(),
            "lost": output.recent.iter().map(|mark| mark.lost).collect::<Vec<_>>(),
        },
        "oldestWaitingSeconds": output.waited.map(|waited| waited.as_secs_f64()),
    });
    if let Some(queue) = &output.queue {
        shown["queue"] = json!({
            "samples": queue.samples,
            "bytes": queue.bytes,
            "maxSamples": queue.limits.samples,
            "maxBytes": queue.limits.bytes,
            "maxAge": duration(queue.limits.age),
        });
    }
    if let Some(disk) = &output.disk {
        shown["disk"] = json!({
            "records": disk.records,
            "samples": disk.samples,
            "bytes": disk.bytes,
            "segments": disk.segments,
            "corruptRecords": disk.corrupt_records,
            "corruptBytes": disk.corrupt_bytes,
            "failing": disk.failing,
        });
    }
    if let Some(served) = &output.served {
        shown["served"] = json!({
            "targets": served.targets,
            "expositions": served.expositions,
            "refused": served.refused,
            "samples": served.samples,
            "duplicates": served.duplicates,
            "duplicatesLast": served.duplicates_last,
            "typeClashesLast": served.type_clashes_last,
            "quotedNamesLast": served.quoted_names_last,
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_states_and_a_pool() {
        let all = TargetQuery::default();
        assert_eq!(TargetQuery::parse("").unwrap(), all);
        assert_eq!(TargetQuery::parse("state=any&x=%zz&y").unwrap(), all);
        let read = TargetQuery::parse("state=active&scrapePool=a%20b%2B+c").unwrap();
        assert_eq!(read, TargetQuery { is_dropped_left_out: true, pool: Some("a b+ c".into()), ..all });
        assert_eq!(
            TargetQuery::parse("state=Down").unwrap_err(),
            "state is \"Down\"; it can be active, dropped or any"
        );
    }
}
