//! From what was discovered to a target: labels, relabelling, and the checks after it.
//!
//! Does what Prometheus' `PopulateLabels` does, in its order: defaults where a label is not set, `relabel_configs`, then
//! the address, interval and timeout are read out of the labels, `instance` defaults to the address, and what starts with
//! `__` goes. What cannot be scraped is returned with a reason, never half made.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::checked::ScrapeConfig;
use crate::config::values;
use crate::model::{Labels, Origin};
use crate::net::text::prometheus_duration;
use crate::net::{HIDDEN, Scheme, Url, is_secret_parameter, without_secrets};
use crate::target::{Header, Target};

use super::request::{Params, host_and_port, path_and_query};
use super::{INTERVAL_MAX, INTERVAL_MIN};

/// Bytes of all names and values of a target's final labels, at most: each of its series carries them.
const LABEL_BYTES_MAX: usize = 16 << 10;

/// Final labels of a target, at most.
const LABELS_MAX: usize = 128;

/// Targets with the same labels, from one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// `host:port`, as typed.
    pub(super) targets: Vec<String>,
    /// Labels for each of them.
    pub(super) labels: Labels<'static>,
    /// The file that they come from.
    pub(super) file: Option<PathBuf>,
    /// What wins over the configuration's.
    pub(super) own: Own,
}

/// What a prom_scraper file sets beside labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Own {
    /// The file's labels, where a job that we do not trust announced it.
    pub(super) announced: Option<Labels<'static>>,
    pub(super) params: Params,
    pub(super) headers: Vec<Header>,
    pub(super) server_name: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

/// Something discovered that is not scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// `job_name` of the scrape configuration.
    pub job: String,
    /// What was discovered, before relabelling.
    pub discovered: Labels<'static>,
    /// The file that announced it.
    pub file: Option<PathBuf>,
    /// Why.
    pub reason: DropReason,
}

/// Why something discovered is not scraped. `Display` is the sentence for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// `relabel_configs` say so.
    Relabelled,
    /// The same URL with the same labels is scraped already.
    Duplicate {
        /// That URL.
        url: String,
    },
    /// It is another instance's.
    Shard,
    /// There are more targets than a `target_limit` allows, so none is scraped.
    TargetLimit {
        /// How many there are.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// It cannot be scraped: what is wrong.
    Invalid(String),
}

impl DropReason {
    /// Whether somebody should do something about it.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::TargetLimit { .. } | Self::Invalid(_))
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relabelled => f.write_str("relabel_configs drop it"),
            Self::Shard => f.write_str("it is another instance's (global.shard)"),
            Self::Duplicate { url } => write!(f, "the same labels at {url} are scraped already"),
            Self::TargetLimit { found, limit } => {
                write!(f, "there are {found} targets and target_limit allows {limit}; none of them is scraped")
            }
            Self::Invalid(reason) => f.write_str(reason),
        }
    }
}

/// The labels of one target of a group before relabelling.
pub(super) fn discovered(config: &ScrapeConfig, group: &Group, address: &str) -> Labels<'static> {
    let mut labels = group.labels.clone();
    labels.set("__address__", address.to_owned());
    let mut default = |name: String, value: &str| {
        if labels.get(&name).is_none() {
            labels.set(name, value.to_owned());
        }
    };
    default("job".into(), &config.job_name);
    default("__scrape_interval__".into(), &prometheus_duration(config.scrape_interval));
    default("__scrape_timeout__".into(), &prometheus_duration(config.scrape_timeout));
    default("__metrics_path__".into(), &config.metrics_path);
    default("__scheme__".into(), config.scheme.as_str());
    // Parameters of the target's own come first: a label that is set is not set again.
    for (name, values) in group.own.params.iter().chain(&config.params) {
        if let Some(first) = values.first() {
            default(format!("__param_{name}"), first);
        }
    }
    labels
}

/// Discovered labels as they are shown: without the values of parameters that sound secret (`__param_…`).
pub(super) fn for_people(mut labels: Labels<'static>) -> Labels<'static> {
    let is_secret = |name: &str| name.strip_prefix("__param_").is_some_and(is_secret_parameter);
    let secret: Vec<String> =
        labels.iter().filter(|(name, _)| is_secret(name)).map(|(name, _)| name.to_owned()).collect();
    secret.into_iter().for_each(|name| labels.set(name, HIDDEN));
    labels
}

/// Makes a target out of discovered labels.
pub(super) fn resolve(
    config: &Arc<ScrapeConfig>,
    own: &Own,
    file: Option<&PathBuf>,
    discovered: Labels<'static>,
) -> Result<Target, Dropped> {
    let mut labels = discovered.clone();
    let made = match config.relabel.apply(&mut labels) {
        true => make(config, own, labels).map_err(DropReason::Invalid),
        false => Err(DropReason::Relabelled),
    };
    let discovered = for_people(discovered);
    match made {
        Ok(parts) => Ok(Target {
            origin: Arc::new(parts.origin),
            config: config.clone(),
            scheme: parts.url.scheme,
            host: parts.url.host,
            port: parts.url.port,
            path_and_query: parts.url.path_and_query,
            tls: tls(config, own),
            headers: own.headers.clone(),
            interval: parts.interval,
            timeout: parts.timeout,
            discovered,
            announced: own.announced.clone(),
            file: file.cloned(),
        }),
        Err(reason) => Err(Dropped { job: config.job_name.clone(), discovered, file: file.cloned(), reason }),
    }
}

struct Parts {
    origin: Origin,
    url: Url,
    interval: Duration,
    timeout: Duration,
}

fn make(config: &ScrapeConfig, own: &Own, mut labels: Labels<'static>) -> Result<Parts, String> {
    let address = labels.get_or_empty("__address__").to_owned();
    if address.is_empty() {
        return Err("it has no address: the label __address__ is empty".into());
    }
    let (host, port) = host_and_port(&address)?;
    let scheme = match labels.get_or_empty("__scheme__") {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => {
            return Err(format!(
                "\"{}\" in __scheme__ is not a scheme; there are http and https",
                other.escape_debug()
            ));
        }
    };
    let (interval, timeout) = times(config, own, &labels)?;
    let url = Url {
        scheme,
        host: host.to_owned(),
        port: port.unwrap_or(scheme.default_port()),
        path_and_query: path_and_query(labels.get_or_empty("__metrics_path__"), &params(config, own, &labels))?,
    };
    if labels.get("instance").is_none() {
        labels.set("instance", address);
    }
    labels.retain(|name, _| !name.starts_with("__"));
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if labels.len() > LABELS_MAX || bytes > LABEL_BYTES_MAX {
        return Err(format!(
            "it has {} labels with {bytes} bytes; at most {LABELS_MAX} with {LABEL_BYTES_MAX} bytes are allowed",
            labels.len()
        ));
    }
    let url_text = url.to_string();
    let origin = Origin { key: identity(&url_text, &labels), labels, url: without_secrets(&url_text) };
    Ok(Parts { origin, url, interval, timeout })
}

/// Interval and timeout as the labels have them.
fn times(config: &ScrapeConfig, own: &Own, labels: &Labels<'_>) -> Result<(Duration, Duration), String> {
    let read = |name: &str| {
        let text = labels.get_or_empty(name);
        values::duration(text).map_err(|why| format!("{name}: \"{}\" {why}", text.escape_debug()))
    };
    let interval = read("__scrape_interval__")?;
    let timeout = read("__scrape_timeout__")?;
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Err(format!(
            "its interval of {} is out of range; it is from 1ms to 24h",
            prometheus_duration(interval)
        ));
    }
    if timeout.is_zero() {
        return Err("its timeout is 0s; it is 1ms at least".into());
    }
    // The writer of an announced file cannot know the configuration's timeout, and is not punished for it.
    let is_default = timeout.as_millis() == config.scrape_timeout.as_millis();
    if timeout > interval && is_default && (config.is_timeout_inherited || own.announced.is_some()) {
        return Ok((interval, interval));
    }
    if timeout > interval {
        let (timeout, interval) = (prometheus_duration(timeout), prometheus_duration(interval));
        return Err(format!("its timeout of {timeout} is longer than its interval of {interval}"));
    }
    Ok((interval, timeout))
}

/// The query: the configuration's parameters, then the target's own, then the labels, which hold each one's first value.
fn params(config: &ScrapeConfig, own: &Own, labels: &Labels<'_>) -> Params {
    let mut params = config.params.clone();
    params.extend(own.params.clone());
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix("__param_") else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => *first = value.to_owned(),
            None => values.push(value.to_owned()),
        }
    }
    params
}

fn tls(config: &ScrapeConfig, own: &Own) -> crate::net::tls::TlsSettings {
    let mut tls = config.tls.clone();
    if own.server_name.is_some() {
        tls.server_name.clone_from(&own.server_name);
    }
    if own.ca_file.is_some() {
        tls.ca_file.clone_from(&own.ca_file);
    }
    if own.cert_file.is_some() {
        tls.cert_file.clone_from(&own.cert_file);
        tls.key_file.clone_from(&own.key_file);
    }
    tls
}

/// The same in every run: offsets and lanes hang on it.
fn identity(url: &str, labels: &Labels<'_>) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    url.hash(&mut hasher);
    for (name, value) in labels.iter() {
        name.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
