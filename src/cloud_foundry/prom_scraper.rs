//! A drop-in for prom_scraper: its environment as a configuration.
//!
//! The variables are those of loggregator-agent-release 8.3.24, job `prom_scraper`. What is scraped goes to the agent as
//! envelopes, see `output::loggregator`; docs/loggregator.md says what is better on purpose.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::environment::{EnvironmentError, FromEnvironment, Reader};
use crate::config::checked::{Admin, Config, OutputConfig, OutputKind, PromScraperSd, ScrapeConfig};
use crate::config::{Environment, agent_address};
use crate::net::tls::TlsSettings;

/// What the environment says nothing of. A metric's own labels win; its own time is lost; redirects are followed; what is asked
/// for is text, as the original does by asking for nothing. There is no `up`, for the original sends none. A source without an
/// id gets `DEFAULT_SOURCE_ID`, and not its job's name.
const BASE: &str = r#"
scrape_configs:
  - job_name: prom_scraper
    honor_labels: true
    honor_timestamps: false
    follow_redirects: true
    scrape_protocols: [PrometheusText0.0.4]
    scrape_metrics: false
    prom_scraper_sd_configs: [{}]
    relabel_configs:
      - {source_labels: [__meta_prom_scraper_source_id], regex: "", target_label: source_id, replacement: ""}
outputs:
  - name: loggregator
    loggregator: {tls_config: {ca_file: unset, cert_file: unset, key_file: unset}}
    batch: {flush_interval: 1s, flush_jitter: 0s}
admin: null
"#;

/// The shortest `SCRAPE_INTERVAL`, and how long a scrape may take unless that is shorter. The original waits for ever.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Reads prom_scraper's environment.
///
/// # Errors
/// Everything that is wrong with it.
pub fn from_environment(environment: Environment<'_>) -> Result<FromEnvironment, EnvironmentError> {
    let mut reader = Reader::new("prom_scraper", environment);
    let mut config = reader.base("prom_scraper's defaults", BASE)?;
    let targets = Targets {
        globs: reader.list("CONFIG_GLOBS"),
        tls: target_tls(&mut reader),
        interval: reader.time("SCRAPE_INTERVAL", Duration::from_secs(15), INTERVAL_MIN),
    };
    config.scrapes = config.scrapes.iter().map(|scrape| Arc::new(targets.of(scrape))).collect();
    let outputs: Vec<Arc<OutputConfig>> =
        config.outputs.iter().map(|output| Arc::new(to_agent(&mut reader, output))).collect();
    let admin = admin(&mut reader);
    reader.tell_what_means_nothing();
    reader.finish(Config { outputs, admin, ..config })
}

/// What is scraped, and how.
struct Targets {
    globs: Vec<String>,
    tls: TlsSettings,
    interval: Duration,
}

impl Targets {
    fn of(&self, base: &ScrapeConfig) -> ScrapeConfig {
        let mut scrape = ScrapeConfig {
            tls: self.tls.clone(),
            scrape_interval: self.interval,
            scrape_timeout: self.interval.min(TIMEOUT_MAX),
            ..base.clone()
        };
        for sd in scrape.discovery.prom_scraper.iter_mut().filter(|_| !self.globs.is_empty()) {
            *sd = PromScraperSd { files: self.globs.clone(), ..sd.clone() };
        }
        scrape
    }
}

/// `SCRAPE_*` may be absent, and a certificate counts with its key only.
fn target_tls(reader: &mut Reader<'_>) -> TlsSettings {
    let file = |name| reader.optional(name).map(PathBuf::from);
    let (ca_file, cert_file, key_file) =
        (file("SCRAPE_CA_CERT_PATH"), file("SCRAPE_CERT_PATH"), file("SCRAPE_KEY_PATH"));
    if cert_file.is_some() != key_file.is_some() {
        let note = "SCRAPE_CERT_PATH and SCRAPE_KEY_PATH: only one of them is set, and a certificate needs its key; none is shown";
        reader.notes.push(note.to_owned());
    }
    let pair = cert_file.zip(key_file);
    let (cert_file, key_file) = pair.unzip();
    let insecure_skip_verify = reader.switch("SKIP_SSL_VALIDATION");
    TlsSettings { ca_file, cert_file, key_file, insecure_skip_verify, ..TlsSettings::default() }
}

fn to_agent(reader: &mut Reader<'_>, base: &OutputConfig) -> OutputConfig {
    let mut output = base.clone();
    let OutputKind::Loggregator(agent) = &mut output.kind else { return output };
    let address = reader.required("LOGGREGATOR_AGENT_ADDR");
    if !address.is_empty() {
        match agent_address(&address) {
            Ok((host, port)) => (agent.host, agent.port) = (host, port),
            Err(complaint) => reader.wrong("LOGGREGATOR_AGENT_ADDR", &address, &complaint),
        }
    }
    agent.source_id = reader.word("DEFAULT_SOURCE_ID");
    agent.tls = TlsSettings {
        ca_file: Some(reader.path("CA_CERT_PATH")),
        cert_file: Some(reader.path("CLIENT_CERT_PATH")),
        key_file: Some(reader.path("CLIENT_KEY_PATH")),
        ..agent.tls.clone()
    };
    output
}

/// The original's own metrics, and promferry's with its pages, on the same port with the same certificates.
fn admin(reader: &mut Reader<'_>) -> Option<Admin> {
    reader.optional("METRICS_PORT")?;
    let port = reader.port("METRICS_PORT", 0);
    let tls = reader.server_tls("METRICS_CERT_FILE_PATH", "METRICS_KEY_FILE_PATH", "METRICS_CA_FILE_PATH");
    Some(Admin {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: Some(tls),
        stands_in_for_prom_scraper: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::ServerTls;

    const WHOLE: &[(&str, &str)] = &[
        ("CLIENT_KEY_PATH", "/c/key"),
        ("CLIENT_CERT_PATH", "/c/cert"),
        ("CA_CERT_PATH", "/c/ca"),
        ("SCRAPE_KEY_PATH", "/s/key"),
        ("SCRAPE_CERT_PATH", "/s/cert"),
        ("SCRAPE_CA_CERT_PATH", "/s/ca"),
        ("LOGGREGATOR_AGENT_ADDR", "localhost:3461"),
        ("DEFAULT_SOURCE_ID", "prom_scraper"),
        ("CONFIG_GLOBS", "/jobs/*/b.yml,/jobs/*/a.yml"),
        ("SCRAPE_INTERVAL", "5s"),
        ("SKIP_SSL_VALIDATION", "true"),
        ("METRICS_PORT", "14821"),
        ("METRICS_CA_FILE_PATH", "/m/ca"),
        ("METRICS_CERT_FILE_PATH", "/m/cert"),
        ("METRICS_KEY_FILE_PATH", "/m/key"),
        ("DEBUG_METRICS", "false"),
        ("PPROF_PORT", "0"),
    ];

    fn read(change: &[(&str, &str)]) -> Result<FromEnvironment, String> {
        let environment = |name: &str| {
            let set = change.iter().chain(WHOLE).find(|(held, _)| *held == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        from_environment(&environment).map_err(|error| error.to_string())
    }

    fn files(place: &str) -> [Option<PathBuf>; 3] {
        ["ca", "cert", "key"].map(|file| Some(format!("/{place}/{file}").into()))
    }

    #[test]
    fn every_variable_is_read() {
        let FromEnvironment { config, .. } = read(&[]).unwrap();
        let [scrape] = &*config.scrapes else { panic!("{:?}", config.scrapes) };
        assert_eq!(scrape.discovery.prom_scraper[0].files, ["/jobs/*/b.yml", "/jobs/*/a.yml"]);
        assert_eq!((scrape.scrape_interval, scrape.scrape_timeout), (Duration::from_secs(5), Duration::from_secs(5)));
        assert!(scrape.tls.insecure_skip_verify && scrape.honor_labels && !scrape.scrape_metrics);
        let [ca_file, cert_file, key_file] = files("s");
        assert_eq!(
            [&scrape.tls.ca_file, &scrape.tls.cert_file, &scrape.tls.key_file],
            [&ca_file, &cert_file, &key_file]
        );
        let [output] = &*config.outputs else { panic!("{:?}", config.outputs) };
        let OutputKind::Loggregator(agent) = &output.kind else { panic!("{output:?}") };
        assert_eq!((agent.host.as_str(), agent.port, agent.source_id.as_str()), ("localhost", 3461, "prom_scraper"));
        let [ca_file, cert_file, key_file] = files("c");
        let server_name = Some("metron".to_owned());
        assert_eq!(agent.tls, TlsSettings { ca_file, cert_file, key_file, server_name, ..TlsSettings::default() });
        let tls =
            ServerTls { cert_file: "/m/cert".into(), key_file: "/m/key".into(), client_ca_file: Some("/m/ca".into()) };
        let listen = "127.0.0.1:14821".parse().unwrap();
        assert_eq!(config.admin, Some(Admin { listen, tls: Some(tls), stands_in_for_prom_scraper: true }));
    }

    #[test]
    fn what_has_a_default_may_be_absent() {
        let absent =
            ["SCRAPE_CERT_PATH", "SCRAPE_CA_CERT_PATH", "CONFIG_GLOBS", "SCRAPE_INTERVAL", "SKIP_SSL_VALIDATION"];
        let metrics = ["METRICS_PORT", "METRICS_CA_FILE_PATH", "METRICS_CERT_FILE_PATH", "METRICS_KEY_FILE_PATH"];
        let change: Vec<_> = absent.into_iter().chain(metrics).map(|name| (name, "")).collect();
        let FromEnvironment { config, notes } = read(&change).unwrap();
        let scrape = &config.scrapes[0];
        assert_eq!(scrape.discovery.prom_scraper[0].files, crate::config::raw::PROM_SCRAPER_FILES);
        assert_eq!((scrape.scrape_interval, scrape.scrape_timeout), (Duration::from_secs(15), Duration::from_secs(10)));
        assert_eq!(scrape.tls, TlsSettings::default());
        assert!(config.admin.is_none());
        assert!(notes[0].starts_with("SCRAPE_CERT_PATH and SCRAPE_KEY_PATH: only one"), "{notes:?}");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told = read(&[
            ("CLIENT_KEY_PATH", ""),
            ("DEFAULT_SOURCE_ID", " "),
            ("METRICS_KEY_FILE_PATH", ""),
            ("LOGGREGATOR_AGENT_ADDR", "localhost"),
            ("SCRAPE_INTERVAL", "0s"),
            ("SKIP_SSL_VALIDATION", "yes"),
            ("METRICS_PORT", "http"),
        ]);
        assert_eq!(
            told.unwrap_err(),
            "missing required environment variables: DEFAULT_SOURCE_ID, CLIENT_KEY_PATH, METRICS_KEY_FILE_PATH; set them as prom_scraper's job does\n\
             SKIP_SSL_VALIDATION: \"yes\" is neither true nor false\n\
             SCRAPE_INTERVAL: \"0s\" is out of range; it is from 1ms to 24h\n\
             LOGGREGATOR_AGENT_ADDR: \"localhost\" is not a host and a port, such as \"127.0.0.1:3458\"\n\
             METRICS_PORT: \"http\" is not a port; write a whole number from 1 to 65535"
        );
    }
}
