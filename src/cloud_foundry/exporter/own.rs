//! What the agent says of itself, on its second port: metrics-agent's own names, and then promferry's.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::not_found;
use crate::cloud_foundry::loggregator::{Collected, Counts};
use crate::exposition::merge::{Index, Pieces, Plan, Style, Timestamps};
use crate::exposition::write::{self, Format};
use crate::exposition::{AsIs, Format as Read, Settings, Table};
use crate::model::{Labels, MetricType, Origin, Scrape};
use crate::net::server::{Request, Response, full, text};

/// Scrapes that failed, by source; each source is there from the start.
pub type Failures = Arc<dyn Fn() -> Vec<(Box<str>, u64)> + Send + Sync>;

/// promferry's own metrics, as OpenMetrics.
pub type Promferry = Arc<dyn Fn() -> String + Send + Sync>;

/// What the agent says of itself.
#[derive(Clone)]
pub struct OwnMetrics {
    /// Where envelopes come in, if they do.
    pub collected: Option<Arc<Collected>>,
    /// Scrapes on request that failed.
    pub failures: Failures,
    /// What promferry says of itself anywhere.
    pub promferry: Promferry,
}

impl OwnMetrics {
    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        if request.path != "/metrics" {
            return not_found();
        }
        let exposition = self.exposition();
        let length = HeaderValue::from(exposition.len());
        let body = if request.method == Method::HEAD { Vec::new() } else { exposition };
        let mut response = text(StatusCode::OK, "").map(|_| full(body));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }

    /// All of it as text format 0.0.4.
    pub fn exposition(&self) -> Vec<u8> {
        let Counts { envelopes, dropped, origin_mappings, sources, .. } =
            self.collected.as_ref().map(|collected| collected.counts()).unwrap_or_default();
        let mut out = Vec::new();
        let dropped = [("direction", "ingress", dropped.values().sum())];
        counter(&mut out, "dropped", "Total number of dropped envelopes.", dropped);
        let failures = (self.failures)();
        let failures = failures.iter().map(|(source, count)| ("scrape_source_id", &**source, *count));
        counter(&mut out, "failed_scrapes", "Total number of failed scrapes for the target source_id.", failures);
        single(&mut out, "ingress", "Total number of envelopes ingressed by the agent.", envelopes);
        let invalid = sources.iter().map(|(source, counts)| (source, counts.invalid_labels));
        let of_sources = |(source, count)| ("originating_source_id", String::as_str(source), count);
        counter(
            &mut out,
            "invalid_metric_label",
            "Total number of tags that could not be labels.",
            invalid.filter(|(_, count)| *count > 0).map(of_sources),
        );
        let modified = sources.iter().map(|(source, counts)| (source, counts.modified_tags));
        counter(
            &mut out,
            "modified_tags",
            "Total number of names and tags in which characters were replaced.",
            modified.filter(|(_, count)| *count > 0).map(of_sources),
        );
        let help = "Total number of envelopes where the origin tag is used as the source_id.";
        single(&mut out, "origin_mappings", help, origin_mappings);
        out.extend(as_text(&(self.promferry)()));
        out
    }
}

/// A counter without labels.
fn single(out: &mut Vec<u8>, name: &str, help: &str, count: u64) {
    head(out, name, help);
    write::series(out, name, std::iter::empty());
    write::value(out, Format::Text, count as f64, None);
}

/// A counter with one label; not there at all where it has no samples.
fn counter<'r>(out: &mut Vec<u8>, name: &str, help: &str, rows: impl IntoIterator<Item = (&'r str, &'r str, u64)>) {
    let mut is_headed = false;
    for (label, value, count) in rows {
        if !std::mem::replace(&mut is_headed, true) {
            head(out, name, help);
        }
        write::series(out, name, [(label, value)].into_iter());
        write::value(out, Format::Text, count as f64, None);
    }
}

fn head(out: &mut Vec<u8>, name: &str, help: &str) {
    write::help(out, Format::Text, name, help);
    write::kind(out, Format::Text, name, MetricType::Counter);
}

/// An OpenMetrics exposition of ours in text format 0.0.4; nothing where it is none.
fn as_text(openmetrics: &str) -> Vec<u8> {
    let mut table = Table::new(Settings::default(), Box::<AsIs>::default(), Labels::new());
    table.begin(0);
    table.read_as(Read::OpenMetrics);
    if table.feed(openmetrics.as_bytes()).is_err() || table.finish_body().is_err() {
        return Vec::new();
    }
    table.accept();
    let parsed = table.take();
    let origin = Arc::new(Origin { key: 0, labels: Labels::new(), url: String::new() });
    let index = Arc::new(Index::new(Format::Text, &parsed.series));
    let scrape = Scrape {
        origin,
        at_ms: 0,
        series: parsed.series,
        points: parsed.points,
        exemplars: parsed.exemplars,
        created: parsed.created,
        is_last: false,
    };
    let plan = Plan::new(Format::Text, vec![(Arc::new(scrape), index)]);
    let style = Style { timestamps: Timestamps::None, quoted_names: true };
    Pieces::new(plan, style, false).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_metrics_agent_come_first_and_each_source_from_the_start() {
        let own = OwnMetrics {
            collected: None,
            failures: Arc::new(|| vec![("a\"b".into(), 0), ("rep".into(), 2)]),
            promferry: Arc::new(|| {
                "# HELP promferry_scrapes Scrapes.\n# TYPE promferry_scrapes counter\npromferry_scrapes_total 5\n# EOF\n".into()
            }),
        };
        let expected = "# HELP dropped Total number of dropped envelopes.\n# TYPE dropped counter\ndropped{direction=\"ingress\"} 0\n\
            # HELP failed_scrapes Total number of failed scrapes for the target source_id.\n# TYPE failed_scrapes counter\n\
            failed_scrapes{scrape_source_id=\"a\\\"b\"} 0\nfailed_scrapes{scrape_source_id=\"rep\"} 2\n\
            # HELP ingress Total number of envelopes ingressed by the agent.\n# TYPE ingress counter\ningress 0\n\
            # HELP origin_mappings Total number of envelopes where the origin tag is used as the source_id.\n\
            # TYPE origin_mappings counter\norigin_mappings 0\n\
            # HELP promferry_scrapes_total Scrapes.\n# TYPE promferry_scrapes_total counter\npromferry_scrapes_total 5\n";
        assert_eq!(String::from_utf8(own.exposition()).unwrap(), expected);
    }
}
