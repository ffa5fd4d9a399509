//! metrics-agent's environment as a configuration.
//!
//! The variables are those of metrics-discovery-release 3.2.33, job `metrics-agent`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::cloud_foundry::environment::{EnvironmentError, FromEnvironment, Reader};
use crate::config::checked::{Ingress, MetricsAgent, PromScraperSd, ScrapeConfig};
use crate::config::{Environment, check_tag, quoted};
use crate::net::tls::TlsSettings;

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

/// The shortest time of `TTL` and `EXPIRATION_INTERVAL`.
const SHORTEST: Duration = Duration::from_secs(1);

/// Reads metrics-agent's environment.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_environment(environment: Environment<'_>) -> Result<FromEnvironment, EnvironmentError> {
    let mut reader = Reader::new("metrics-agent", environment);
    let agent = agent(&mut reader);
    let tls = TlsSettings {
        ca_file: Some(reader.path("SCRAPE_CA_CERT_PATH")),
        cert_file: Some(reader.path("SCRAPE_CERT_PATH")),
        key_file: Some(reader.path("SCRAPE_KEY_PATH")),
        ..TlsSettings::default()
    };
    let globs = reader.list("CONFIG_GLOBS");
    reader.tell_what_means_nothing();
    let mut config = reader.base("metrics-agent's defaults", BASE)?;
    config.scrapes = config.scrapes.iter().map(|scrape| Arc::new(with_globs(scrape, &globs, &tls))).collect();
    config.metrics_agent = Some(agent);
    reader.finish(config)
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
        listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, reader.port("METRICS_EXPORTER_PORT", 14726))),
        tls: reader.server_tls("METRICS_CERT_FILE_PATH", "METRICS_KEY_FILE_PATH", "METRICS_CA_FILE_PATH"),
        metrics_listen: SocketAddr::from((local, reader.port("METRICS_PORT", 14727))),
        targets_file: Some(reader.path("METRICS_TARGETS_FILE")),
        address: reader.word("ADDR"),
        instance_id: reader.word("INSTANCE_ID"),
        tags: tags(reader),
        ttl: reader.time("TTL", Duration::from_secs(600), SHORTEST),
        expiration_interval: reader.time("EXPIRATION_INTERVAL", Duration::from_secs(60), SHORTEST),
        ingress: Some(Ingress {
            listen: SocketAddr::from((local, reader.port("AGENT_PORT", 3461))),
            tls: reader.server_tls("AGENT_CERT_FILE_PATH", "AGENT_KEY_FILE_PATH", "AGENT_CA_FILE_PATH"),
            timer_tags: reader.list("WHITELISTED_TIMER_TAGS"),
            // For outputs, of which there are none.
            scrape_interval: Duration::from_secs(15),
        }),
    }
}

/// `AGENT_TAGS`: names and values, with colons between. A name that no label can have costs its tag only.
fn tags(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for pair in reader.list("AGENT_TAGS") {
        let Some((name, value)) = pair.split_once(':') else {
            reader.wrong("AGENT_TAGS", &pair, "is not a name and a value with a colon between them");
            continue;
        };
        match check_tag(name) {
            Ok(()) => drop(tags.insert(name.to_owned(), value.to_owned())),
            Err(complaint) => {
                reader.notes.push(format!("AGENT_TAGS: {} {complaint}; the tag is left out", quoted(name)));
            }
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::ServerTls;

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
            listen: "[::]:1".parse().unwrap(),
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
