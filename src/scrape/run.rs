//! One target: bytes in, scrapes out.
//!
//! Owns what a target keeps between its scrapes (connection, table, what was logged) and decides what makes a scrape fail.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admit;
use super::client::{Client, Head, ScrapeError};
use super::status::{Edges, Watched};
use crate::config::checked::OnBadLine;
use crate::exposition::{AsIs, Counts, Parsed, Refusal, Settings, Table};
use crate::model::{ChunkBuilder, Labels, PointsBuilder, STALE_NAN, Scrape, SeriesSet};
use crate::net::certificate::Certificate;
use crate::target::Target;

/// What a target keeps from scrape to scrape.
pub(super) struct Scraper {
    target: Arc<Target>,
    watched: Arc<Watched>,
    client: Client,
    table: Table,
    /// The table of the target as it was before a reload, until the first scrape shows which of its series are gone.
    before: Option<Box<Table>>,
    edges: Edges,
}

/// Why a scrape failed: a short stable word, one sentence, and perhaps another one with what helps.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Fault {
    /// Stable, for counting and for telling causes apart.
    pub kind: &'static str,
    /// What happened.
    pub error: String,
    /// What an operator does about it; `None` where `error` says it already.
    pub advice: Option<&'static str>,
}

impl From<ScrapeError> for Fault {
    fn from(error: ScrapeError) -> Self {
        Self { kind: error.kind(), advice: error.advice(), error: error.to_string() }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::LineTooLong { .. } => "line_too_long",
            Refusal::SampleLimit { .. } => "sample_limit",
            Refusal::Growth { .. } => "growth_limit",
            Refusal::Labels { .. } => "labels",
            Refusal::NoEof => "body_cut_short",
            Refusal::Protobuf(_) => "protobuf",
        };
        let advice = match refusal {
            Refusal::SampleLimit { .. } => Some("Raise sample_limit, or drop series with metric_relabel_configs."),
            Refusal::LineTooLong { .. } | Refusal::Growth { .. } => {
                Some("Raise the limit that is named, or have the target expose less.")
            }
            Refusal::NoEof | Refusal::Protobuf(_) => {
                Some("Have the target repaired, or set scrape_protocols to a text format.")
            }
            Refusal::Labels { .. } => None,
        };
        Self { kind, advice, error: refusal.to_string() }
    }
}

impl Scraper {
    pub(super) fn new(watched: Arc<Watched>, client: Client) -> Self {
        let target = watched.target.clone();
        Self { table: table(&target), client, before: None, edges: Edges::default(), target, watched }
    }

    /// Goes on with a target that has the same identity and another configuration.
    pub(super) fn retarget(self, watched: Arc<Watched>, client: Client) -> Self {
        let target = watched.target.clone();
        // Two reloads between two scrapes: the older table knows what was last delivered.
        let before = self.before.or(Some(Box::new(self.table)));
        Self { table: table(&target), client, before, edges: self.edges, target, watched }
    }

    /// Scrapes once. The scrapes that it returns are one, or two after a reload that ended series.
    pub(super) async fn scrape(&mut self, at_ms: i64) -> Vec<Arc<Scrape>> {
        let began = Instant::now();
        self.table.begin(at_ms);
        let read = read(&self.target, &mut self.client, &mut self.table, began + self.target.timeout).await;
        let duration = began.elapsed();
        let (is_up, counts) = match read {
            Ok((head, counts)) => {
                self.table.accept();
                let certificate = head.peer.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
                self.watched.note_certificate(certificate.map(Certificate::validity));
                self.edges.succeeded(&self.target, &counts);
                self.watched.note(at_ms, duration, Ok(counts.clone()));
                (true, counts)
            }
            Err(fault) => {
                let counts = self.table.counts();
                self.table.fail();
                self.edges.failed(&self.target, fault.kind, &fault.error);
                self.watched.note(at_ms, duration, Err((fault, counts)));
                (false, Counts::default())
            }
        };
        if self.target.config.scrape_metrics {
            self.report(is_up, duration, &counts);
        }
        let parsed = self.table.take();
        // Only now can the table's series be looked at.
        let ended = self.before.take().and_then(|before| self.ended_by_reload(before, at_ms));
        ended.into_iter().chain([self.hand_on(parsed, at_ms, false)]).collect()
    }

    /// The last scrape of a target that goes away: a stale marker for each of its series. Also where it has none, because
    /// whoever keeps something for a target forgets it by this one.
    pub(super) fn end(mut self, at_ms: i64) -> Arc<Scrape> {
        let parsed = match self.before.take() {
            // A reload came just before: nothing was scraped since.
            Some(mut before) => before.end(),
            None => self.table.end(),
        };
        self.hand_on(parsed, at_ms, true)
    }

    fn report(&mut self, is_up: bool, duration: Duration, counts: &Counts) {
        let table = &mut self.table;
        table.report("up", "Whether the last scrape of this target succeeded.", f64::from(u8::from(is_up)));
        table.report("scrape_duration_seconds", "How long the last scrape took.", duration.as_secs_f64());
        table.report("scrape_samples_scraped", "Samples that the target exposed.", counts.samples_scraped as f64);
        table.report(
            "scrape_samples_post_metric_relabeling",
            "Samples that were left after metric_relabel_configs.",
            counts.samples_post_relabelling as f64,
        );
        table.report("scrape_series_added", "Series that the scrape before did not have.", counts.series_added as f64);
    }

    fn hand_on(&self, parsed: Parsed, at_ms: i64, is_last: bool) -> Arc<Scrape> {
        Arc::new(Scrape {
            origin: self.target.origin.clone(),
            at_ms,
            series: parsed.series,
            points: parsed.points,
            exemplars: parsed.exemplars,
            created: parsed.created,
            is_last,
        })
    }

    /// Stale markers for the series that the target had before a reload and has no more.
    fn ended_by_reload(&self, before: Box<Table>, at_ms: i64) -> Option<Arc<Scrape>> {
        let mut known: HashSet<u64> = self.table.all_series().map(|series| series.hash()).collect();
        let mut chunk = ChunkBuilder::default();
        let mut points = PointsBuilder::default();
        for series in before.all_series().filter(|series| known.insert(series.hash())) {
            let family = chunk.family(series.family());
            points.push_float(chunk.push(family, series.name(), series.labels()), STALE_NAN, None);
        }
        if points.is_empty() {
            return None;
        }
        let parsed = Parsed {
            points: points.finish(),
            series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
            exemplars: Box::default(),
            created: Arc::default(),
        };
        Some(self.hand_on(parsed, at_ms, false))
    }
}

/// Asks once and reads the body into a table whose scrape has begun.
pub(super) async fn read(
    target: &Target,
    client: &mut Client,
    table: &mut Table,
    deadline: Instant,
) -> Result<(Head, Counts), Fault> {
    let answer = client.get(deadline).await?;
    table.read_as(answer.format());
    let mut refusal = None;
    let fetched = answer.read(|bytes| table.feed(bytes).map_err(|refused| refusal = Some(refused)).is_ok()).await;
    if let Some(refusal) = refusal {
        return Err(refusal.into());
    }
    let head = fetched?;
    let counts = table.finish_body()?;
    if counts.has_no_valid_line() || (counts.bad_lines > 0 && target.config.on_bad_line == OnBadLine::Fail) {
        let first = counts.first_bad_lines.first().map(ToString::to_string).unwrap_or_default();
        let (kind, what) = if counts.has_no_valid_line() {
            ("not_an_exposition", "the body is no exposition: none of its lines is a sample")
        } else {
            ("bad_line", "a line cannot be read (on_bad_line: fail)")
        };
        let advice = Some("Look at what is answered there: promferry probe shows it, and the lines that are wrong.");
        return Err(Fault { kind, error: format!("{what}; {first}"), advice });
    }
    Ok((head, counts))
}

/// A table for a target, which knows nothing yet.
pub(super) fn table(target: &Arc<Target>) -> Table {
    Table::new(settings(target), Box::new(admit::Rules::new(target.clone())), admit::own_labels(target))
}

/// The samples of one scrape, and what its body was made of.
pub(super) type Scraped = Result<(Arc<Scrape>, Counts), Fault>;

/// Scrapes a target once, and takes its samples as the target has them: no label is added, no rule is applied, and there is
/// no `up`.
pub(super) async fn scrape_as_is(target: &Target, client: &mut Client, at_ms: i64) -> Scraped {
    let mut table = Table::new(settings(target), Box::<AsIs>::default(), Labels::new());
    table.begin(at_ms);
    let (_, counts) = read(target, client, &mut table, Instant::now() + target.timeout).await?;
    table.accept();
    let Parsed { points, series, exemplars, created } = table.take();
    let origin = target.origin.clone();
    Ok((Arc::new(Scrape { origin, at_ms, series, points, exemplars, created, is_last: false }), counts))
}

fn settings(target: &Target) -> Settings {
    let config = &target.config;
    Settings {
        line_length_max: config.limits.line_bytes,
        sample_limit: config.limits.samples as u64,
        growth_max: config.limits.growth_bytes,
        honor_timestamps: config.honor_timestamps,
        track_timestamps_staleness: config.track_timestamps_staleness,
        native_histograms: config.negotiation.native_histograms,
        classic_histograms_too: config.negotiation.always_classic_histograms,
    }
}
