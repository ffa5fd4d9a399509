//! metrics-agent's environment as a configuration.
//!
//! The variables are those of metrics-discovery-release 3.2.33, job `metrics-agent`. One that is set to nothing is not set. All
//! that is wrong is told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::checked::{Config, Ingress, MetricsAgent, PromScraperSd, ScrapeConfig};
use crate::config::{Environment, check_tag, load_text, quoted, values};
use crate::model::Labels;
use crate::net::tls::{ServerTls, TlsSettings};

/// What the environment says nothing of. The exporter is asked once in a while and has 5 s; redirects are followed; what is asked
/// for is text, as the original does by asking for nothing.
const BASE: &str = "
global: {scrape_interval: 15s, scrape_timeout: 5s}
scrape_configs:
  - job_name: metrics_agent
    honor_labels: true
    follow_redirects: true
    scrape_protocols: [PrometheusText0.0.4]
    prom_scraper_sd_configs: [{}]
metrics_agent: {address: unset, instance_id: unset, tls_config: {cert_file: unset, key_file: unset, client_ca_file: unset}}
admin: null
";

/// The shortest and the longest time of `TTL` and `EXPIRATION_INTERVAL`.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentError {
    missing: Vec<&'static str>,
    wrong: Vec<String>,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = (!self.missing.is_empty()).then(|| {
            let names = self.missing.join(", ");
            format!("missing required environment variables: {names}; set them as metrics-agent's job does")
        });
        let sentences: Vec<&str> = missing.iter().chain(&self.wrong).map(String::as_str).collect();
        f.write_str(&sentences.join("\n"))
    }
}

impl std::error::Error for EnvironmentError {}

/// A configuration made of the environment.
#[derive(Debug)]
pub struct FromEnvironment {
    /// All of it.
    pub config: Config,
    /// What was left out of it, one sentence each.
    pub notes: Vec<String>,
}

/// Reads metrics-agent's environment.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_environment(environment: Environment<'_>) -> Result<FromEnvironment, EnvironmentError> {
    let mut reader = Reader { environment, error: EnvironmentError::default(), notes: Vec::new() };
    let agent = agent(&mut reader);
    let tls = TlsSettings {
        ca_file: Some(reader.path("SCRAPE_CA_CERT_PATH")),
        cert_file: Some(reader.path("SCRAPE_CERT_PATH")),
        key_file: Some(reader.path("SCRAPE_KEY_PATH")),
        ..TlsSettings::default()
    };
    let globs = reader.list("CONFIG_GLOBS");
    reader.tell_what_means_nothing();
    let base = load_text("metrics-agent's defaults", BASE);
    let mut config =
        base.map_err(|problems| EnvironmentError { wrong: vec![problems.to_string()], missing: Vec::new() })?;
    config.scrapes = config.scrapes.iter().map(|scrape| Arc::new(with_globs(scrape, &globs, &tls))).collect();
    config.metrics_agent = Some(agent);
    if reader.error == EnvironmentError::default() {
        Ok(FromEnvironment { config, notes: reader.notes })
    } else {
        Err(reader.error)
    }
}

/// Each glob is looked at by itself: entries are in the order of the globs.
fn with_globs(scrape: &ScrapeConfig, globs: &[String], tls: &TlsSettings) -> ScrapeConfig {
    let mut scrape = ScrapeConfig { tls: tls.clone(), ..scrape.clone() };
    if let (false, Some(usual)) = (globs.is_empty(), scrape.discovery.prom_scraper.first().cloned()) {
        let of = |glob: &String| PromScraperSd { files: vec![glob.clone()], ..usual.clone() };
        scrape.discovery.prom_scraper = globs.iter().map(of).collect();
    }
    scrape
}

fn agent(reader: &mut Reader<'_>) -> MetricsAgent {
    let local = Ipv4Addr::LOCALHOST;
    MetricsAgent {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, reader.port("METRICS_EXPORTER_PORT", 14726))),
        tls: reader.server_tls("METRICS_CERT_FILE_PATH", "METRICS_KEY_FILE_PATH", "METRICS_CA_FILE_PATH"),
        metrics_listen: SocketAddr::from((local, reader.port("METRICS_PORT", 14727))),
        targets_file: Some(reader.path("METRICS_TARGETS_FILE")),
        address: reader.word("ADDR"),
        instance_id: reader.word("INSTANCE_ID"),
        tags: reader.tags(),
        ttl: reader.time("TTL", Duration::from_secs(600)),
        expiration_interval: reader.time("EXPIRATION_INTERVAL", Duration::from_secs(60)),
        ingress: Some(Ingress {
            listen: SocketAddr::from((local, reader.port("AGENT_PORT", 3461))),
            tls: reader.server_tls("AGENT_CERT_FILE_PATH", "AGENT_KEY_FILE_PATH", "AGENT_CA_FILE_PATH"),
            timer_tags: reader.list("WHITELISTED_TIMER_TAGS"),
            // For outputs, of which there are none.
            scrape_interval: Duration::from_secs(15),
            external_labels: Labels::new(),
        }),
    }
}

struct Reader<'e> {
    environment: Environment<'e>,
    error: EnvironmentError,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn optional(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A value that must be there; empty where it is not.
    fn required(&mut self, name: &'static str) -> String {
        let value = self.optional(name);
        if value.is_none() {
            self.error.missing.push(name);
        }
        value.unwrap_or_default()
    }

    fn path(&mut self, name: &'static str) -> PathBuf {
        self.required(name).into()
    }

    /// Something that goes into a label or an address: printable, without blanks.
    fn word(&mut self, name: &'static str) -> String {
        let value = self.required(name);
        if !value.chars().all(|c| c.is_ascii_graphic()) {
            self.wrong(name, &value, "holds a blank, a control character or one that is not ASCII");
        }
        value
    }

    fn server_tls(&mut self, cert: &'static str, key: &'static str, ca: &'static str) -> ServerTls {
        ServerTls { cert_file: self.path(cert), key_file: self.path(key), client_ca_file: Some(self.path(ca)) }
    }

    fn port(&mut self, name: &'static str, usual: u16) -> u16 {
        let Some(value) = self.optional(name) else { return usual };
        u16::from_str(&value).unwrap_or_else(|_| {
            self.wrong(name, &value, "is not a port; write a whole number from 1 to 65535");
            usual
        })
    }

    fn time(&mut self, name: &'static str, usual: Duration) -> Duration {
        let Some(value) = self.optional(name) else { return usual };
        let read = values::duration(&value).and_then(|time| match (TIMES.0..=TIMES.1).contains(&time) {
            true => Ok(time),
            false => Err("is out of range; it is from 1s to 24h".to_owned()),
        });
        read.unwrap_or_else(|complaint| {
            self.wrong(name, &value, &complaint);
            usual
        })
    }

    /// What stands between commas.
    fn list(&self, name: &str) -> Vec<String> {
        let value = self.optional(name).unwrap_or_default();
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// `AGENT_TAGS`: names and values, with colons between. A name that no label can have costs its tag only.
    fn tags(&mut self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        for pair in self.list("AGENT_TAGS") {
            let Some((name, value)) = pair.split_once(':') else {
                self.wrong("AGENT_TAGS", &pair, "is not a name and a value with a colon between them");
                continue;
            };
            match check_tag(name) {
                Ok(()) => drop(tags.insert(name.to_owned(), value.to_owned())),
                Err(complaint) => {
                    self.notes.push(format!("AGENT_TAGS: {} {complaint}; the tag is left out", quoted(name)));
                }
            }
        }
        tags
    }

    fn wrong(&mut self, name: &str, value: &str, complaint: &str) {
        self.error.wrong.push(format!("{name}: {} {complaint}", quoted(value)));
    }

    fn tell_what_means_nothing(&mut self) {
        let is_on = |name: &&str| self.optional(name).is_some_and(|value| value != "false");
        let names: Vec<&str> = ["DEBUG_METRICS", "PPROF_PORT"].into_iter().filter(is_on).collect();
        if !names.is_empty() {
            self.notes.push(format!("{}: these are settings of Go's runtime, and mean nothing here", names.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[(&str, &str)] = &[
        ("METRICS_EXPORTER_PORT", "1"),
        ("METRICS_PORT", "2"),
        ("METRICS_CA_FILE_PATH", "/m/ca"),
        ("METRICS_CERT_FILE_PATH", "/m/cert"),
        ("METRICS_KEY_FILE_PATH", "/m/key"),
        ("CONFIG_GLOBS", "/jobs/*/b.yml, /jobs/*/a.yml,"),
        ("SCRAPE_CA_CERT_PATH", "/s/ca"),
        ("SCRAPE_CERT_PATH", "/s/cert"),
        ("SCRAPE_KEY_PATH", "/s/key"),
        ("METRICS_TARGETS_FILE", "/data/metric_targets.yml"),
        ("ADDR", "10.0.1.5"),
        ("INSTANCE_ID", "0e4c"),
        ("AGENT_TAGS", "deployment:cf,index:0e4c,url:http://a,a-b:c"),
        ("WHITELISTED_TIMER_TAGS", "peer_type,status_code"),
        ("AGENT_PORT", "3"),
        ("AGENT_CA_FILE_PATH", "/a/ca"),
        ("AGENT_CERT_FILE_PATH", "/a/cert"),
        ("AGENT_KEY_FILE_PATH", "/a/key"),
        ("TTL", "5m"),
        ("EXPIRATION_INTERVAL", "30s"),
        ("DEBUG_METRICS", "true"),
        ("PPROF_PORT", "4"),
    ];

    fn read(change: &[(&str, &str)]) -> Result<FromEnvironment, String> {
        let environment = |name: &str| {
            let set = change.iter().chain(WHOLE).find(|(held, _)| *held == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        from_environment(&environment).map_err(|error| error.to_string())
    }

    #[test]
    fn every_variable_is_read() {
        let FromEnvironment { config, notes } = read(&[]).unwrap();
        let tls = |place: &str| ServerTls {
            cert_file: format!("/{place}/cert").into(),
            key_file: format!("/{place}/key").into(),
            client_ca_file: Some(format!("/{place}/ca").into()),
        };
        let expected = MetricsAgent {
            listen: "0.0.0.0:1".parse().unwrap(),
            tls: tls("m"),
            metrics_listen: "127.0.0.1:2".parse().unwrap(),
            targets_file: Some("/data/metric_targets.yml".into()),
            address: "10.0.1.5".into(),
            instance_id: "0e4c".into(),
            tags: [("deployment", "cf"), ("index", "0e4c"), ("url", "http://a")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ttl: Duration::from_secs(300),
            expiration_interval: Duration::from_secs(30),
            ingress: Some(Ingress {
                listen: "127.0.0.1:3".parse().unwrap(),
                tls: tls("a"),
                timer_tags: vec!["peer_type".into(), "status_code".into()],
                scrape_interval: Duration::from_secs(15),
                external_labels: Labels::new(),
            }),
        };
        assert_eq!(config.metrics_agent, Some(expected));
        let [scrape] = &*config.scrapes else { panic!("{:?}", config.scrapes) };
        assert_eq!((scrape.scrape_timeout, scrape.follow_redirects), (Duration::from_secs(5), Some(true)));
        let globs: Vec<_> =
            scrape.discovery.prom_scraper.iter().map(|sd| (&*sd.files[0], sd.ignores_interval)).collect();
        assert_eq!(globs, [("/jobs/*/b.yml", true), ("/jobs/*/a.yml", true)]);
        assert_eq!(scrape.tls.key_file, Some("/s/key".into()));
        assert!(config.outputs.is_empty() && config.admin.is_none());
        assert_eq!(
            notes,
            [
                "AGENT_TAGS: \"a-b\" is not the name of a label; use letters, digits and `_`, no digit in front, and no `__`; the tag is left out",
                "DEBUG_METRICS, PPROF_PORT: these are settings of Go's runtime, and mean nothing here"
            ]
        );
    }

    #[test]
    fn what_has_a_default_may_be_absent() {
        let absent = ["METRICS_EXPORTER_PORT", "METRICS_PORT", "CONFIG_GLOBS", "AGENT_TAGS", "WHITELISTED_TIMER_TAGS"];
        let others = ["AGENT_PORT", "TTL", "EXPIRATION_INTERVAL", "DEBUG_METRICS", "PPROF_PORT"];
        let change: Vec<(&str, &str)> = absent.into_iter().chain(others).map(|name| (name, "")).collect();
        let FromEnvironment { config, notes } = read(&change).unwrap();
        let agent = config.metrics_agent.unwrap();
        let ports = [agent.listen, agent.metrics_listen, agent.ingress.unwrap().listen].map(|address| address.port());
        assert_eq!(
            (ports, agent.ttl, agent.expiration_interval.as_secs()),
            ([14726, 14727, 3461], Duration::from_secs(600), 60)
        );
        assert_eq!(config.scrapes[0].discovery.prom_scraper[0].files, crate::config::raw::PROM_SCRAPER_FILES);
        assert!(config.scrapes[0].discovery.prom_scraper[0].ignores_interval);
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told = read(&[
            ("INSTANCE_ID", ""),
            ("SCRAPE_KEY_PATH", " "),
            ("AGENT_PORT", "70000"),
            ("TTL", "600"),
            ("EXPIRATION_INTERVAL", "0s"),
            ("AGENT_TAGS", "cf"),
            ("ADDR", "a\u{1b}b"),
        ]);
        assert_eq!(
            told.unwrap_err(),
            "missing required environment variables: INSTANCE_ID, SCRAPE_KEY_PATH; set them as metrics-agent's job does\n\
             ADDR: \"a\\u{1b}b\" holds a blank, a control character or one that is not ASCII\n\
             AGENT_TAGS: \"cf\" is not a name and a value with a colon between them\n\
             TTL: \"600\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"\n\
             EXPIRATION_INTERVAL: \"0s\" is out of range; it is from 1s to 24h\n\
             AGENT_PORT: \"70000\" is not a port; write a whole number from 1 to 65535"
        );
    }
}
