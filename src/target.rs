//! An endpoint to scrape, and its identity.
//!
//! A [`Target`] is immutable and complete: whoever holds one can scrape it without asking anybody. Two targets that compare
//! equal are the same target; discovery hands the same `Arc` on as long as nothing about it changed, so that its loop, its
//! connection and its table live on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::checked::ScrapeConfig;
use crate::model::{Labels, Origin};
use crate::net::Scheme;
use crate::net::tls::TlsSettings;

/// One endpoint that is scraped at an interval.
#[derive(Debug)]
pub struct Target {
    /// Its identity and final labels, as everything downstream sees them.
    pub origin: Arc<Origin>,
    /// The scrape configuration that it came through.
    pub config: Arc<ScrapeConfig>,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Host name or address to connect to, without brackets.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Path and query of the request, starting with `/`; made from parts, so that no label can change host or scheme.
    pub path_and_query: String,
    /// TLS files and names: those of the configuration, or the target's own.
    pub tls: TlsSettings,
    /// Request headers of its own, beyond the configuration's. They may hold secrets.
    pub headers: Vec<Header>,
    /// Time between scrapes.
    pub interval: Duration,
    /// Time that one scrape may take, connecting included.
    pub timeout: Duration,
    /// What was discovered, before relabelling.
    pub discovered: Labels<'static>,
    /// The labels of the file by which a job that we do not trust announced it, where it was announced so: no redirects are
    /// followed then, unless allowed.
    pub announced: Option<Labels<'static>>,
    /// The file that announced it, for people.
    pub file: Option<PathBuf>,
}

impl Target {
    /// The job's name, for people and for grouping.
    pub fn job(&self) -> &str {
        self.origin.labels.get_or_empty("job")
    }

    /// The id under which metrics-agent's exporter answers for it: its label `source_id`, where a job of this machine announced
    /// it. What came by another way is somebody else's to announce.
    pub fn announced_source(&self) -> Option<&str> {
        let source_id = self.origin.labels.get_or_empty("source_id");
        (self.announced.is_some() && !source_id.is_empty()).then_some(source_id)
    }

    /// The `instance` label.
    pub fn instance(&self) -> &str {
        self.origin.labels.get_or_empty("instance")
    }
}

impl PartialEq for Target {
    /// Whether a loop that scrapes one scrapes the other just as well. How targets are found is none of its business: a
    /// target that is added to a list must not restart the loops of all others.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            origin,
            config,
            scheme,
            host,
            port,
            path_and_query,
            tls,
            headers,
            interval,
            timeout,
            discovered,
            announced,
            file,
        } = self;
        *origin == other.origin
            && (Arc::ptr_eq(config, &other.config) || scrape_alike(config, &other.config))
            && *scheme == other.scheme
            && *host == other.host
            && *port == other.port
            && *path_and_query == other.path_and_query
            && *tls == other.tls
            && *headers == other.headers
            && *interval == other.interval
            && *timeout == other.timeout
            && *discovered == other.discovered
            && *announced == other.announced
            && *file == other.file
    }
}

/// Whether two configurations treat a target that was found alike.
fn scrape_alike(one: &ScrapeConfig, other: &ScrapeConfig) -> bool {
    // All fields are named, so that a new one has to be put on one side or the other.
    let ScrapeConfig {
        job_name,
        // How a target is found and made; what comes of it is in the target.
        discovery: _,
        relabel: _,
        scheme: _,
        metrics_path: _,
        params: _,
        scrape_interval: _,
        scrape_timeout: _,
        is_timeout_inherited: _,
        tls: _,
        scrape_jitter,
        auth,
        http_headers,
        follow_redirects,
        enable_compression,
        negotiation,
        honor_labels,
        honor_timestamps,
        track_timestamps_staleness,
        on_bad_line,
        scrape_metrics,
        limits,
        metric_relabel,
        external_labels,
        shard: _,
    } = one;
    *job_name == other.job_name
        && *scrape_jitter == other.scrape_jitter
        && *auth == other.auth
        && *http_headers == other.http_headers
        && *follow_redirects == other.follow_redirects
        && *enable_compression == other.enable_compression
        && *negotiation == other.negotiation
        && *honor_labels == other.honor_labels
        && *honor_timestamps == other.honor_timestamps
        && *track_timestamps_staleness == other.track_timestamps_staleness
        && *on_bad_line == other.on_bad_line
        && *scrape_metrics == other.scrape_metrics
        && *limits == other.limits
        && *metric_relabel == other.metric_relabel
        && *external_labels == other.external_labels
}

/// A request header. Its value may be a secret and is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The name, lowercase.
    pub name: String,
    /// The value.
    pub value: String,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}
