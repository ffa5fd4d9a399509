//! Prometheus remote write, well and going wrong, over real TLS, through the real sender.
//!
//! In each case the ledger adds up, and what it says is compared with what the receiver has, sample by sample: each once, in order,
//! and nothing that the specifications forbid.

mod content;
mod main_job;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{Auth, HttpOutput, RemoteWrite as Settings, WriteMessage};
use promferry::model::{Scrape, Value};
use promferry::net::credentials::{Credentials, Secret};
use promferry::net::tls::TlsSettings;
use promferry::net::{Scheme, Url};
use promferry::output::remote_write::RemoteWrite;
use promferry::pipeline::{Counts, Reasons, SenderOptions};
use tokio_rustls::rustls::ServerConfig;

use crate::support::bulk_server::{Act, answer};
use crate::support::certificates::Ca;
use crate::support::delivery::{Delivery, Target, options};
use crate::support::random::Random;
use crate::support::remote_write::{Labels, Request, Step, Stored, Tsdb, V1Only, WriteServer, step};

pub const AT_MS: i64 = 1_798_859_045_006;
/// Makes a step each time that one is needed.
type MakeStep = fn() -> Step;

const VERSIONS: [WriteMessage; 2] = [WriteMessage::V1, WriteMessage::V2];

/// A receiver's certificates, and what the output needs to reach it.
pub struct Tls {
    folder: tempfile::TempDir,
    ca: Ca,
}

impl Tls {
    pub fn new() -> Self {
        let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        ca.write_to(folder.path());
        ca.client("writer").write_to(folder.path(), "client");
        Self { folder, ca }
    }

    /// It asks for a client certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.ca.server(&["127.0.0.1"]).server_config(Some(&self.ca))
    }

    pub fn settings(&self, server: &WriteServer, message: WriteMessage) -> Settings {
        let file = |name: &str| Some(self.folder.path().join(name));
        let url = Url {
            scheme: Scheme::Https,
            host: server.address.ip().to_string(),
            port: server.address.port(),
            path_and_query: "/api/v1/write?key=s3cret".to_owned(),
        };
        Settings {
            http: HttpOutput {
                urls: vec![url],
                tls: TlsSettings {
                    ca_file: file("ca.crt"),
                    cert_file: file("client.crt"),
                    key_file: file("client.key"),
                    ..TlsSettings::default()
                },
                auth: Auth::Basic { username: "u".to_owned(), password: Secret::Inline("p".to_owned()) },
                headers: vec![("x-scope-orgid".to_owned(), Secret::Inline("team".to_owned()))],
                timeout: Duration::from_secs(30),
                gzip: false,
            },
            message,
            send_exemplars: true,
            send_native_histograms: true,
            metadata_interval: None,
            lanes: 1,
        }
    }
}

/// An output that hurries.
pub fn start(settings: &Settings, samples: u64) -> Delivery {
    let options = SenderOptions {
        name: "prometheus".to_owned(),
        take: promferry::pipeline::Take { samples, ..options().take },
        ..options()
    };
    Delivery::start_with_lanes(RemoteWrite::new(settings, &Credentials::new(Duration::ZERO)), options, settings.lanes)
}

/// What scrapes of floats are, as a receiver should have them.
pub fn stored(scrapes: &[Arc<Scrape>]) -> BTreeMap<Labels, Vec<(i64, Stored)>> {
    let mut all: BTreeMap<Labels, Vec<(i64, Stored)>> = BTreeMap::new();
    for scrape in scrapes {
        for point in scrape.points.iter() {
            let series = scrape.series.get(point.series);
            let labels = series.labels().chain([("__name__", series.name())]);
            let mut labels: Labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            labels.sort();
            let Value::Float(value) = point.value else { panic!("floats only") };
            all.entry(labels).or_default().push((scrape.time_ms(&point), Stored::Float(value.to_bits())));
        }
    }
    all
}

/// What one case came to.
pub struct Outcome {
    pub server: WriteServer,
    pub scrapes: Vec<Arc<Scrape>>,
    pub counts: Counts,
}

impl Outcome {
    /// Each sample is there exactly once, in order.
    pub fn is_complete(&self, what: &str) {
        let tsdb = self.server.tsdb();
        assert_eq!(tsdb.violations, [""; 0], "{what}");
        assert!(tsdb.series == stored(&self.scrapes), "{what}: {} of {}", tsdb.samples(), self.counts.offered);
    }

    /// So many samples are delivered, and the others as these say.
    pub fn counts_are(&self, delivered: u64, duplicate: Reasons, rejected: Reasons, what: &str) {
        let settled = &self.counts.settled;
        assert_eq!(
            (settled.delivered, &settled.duplicate, &settled.rejected),
            (delivered, &duplicate, &rejected),
            "{what}"
        );
        assert_eq!(self.counts.maybe_doubled, 0, "{what}");
    }
}

/// Sends three scrapes of one target in one batch to a receiver that goes wrong as the script says.
pub async fn run(message: WriteMessage, script: Vec<Step>, adjust: impl FnOnce(&mut Settings)) -> Outcome {
    run_batch(message, script, 3, adjust).await
}

/// The same with so many scrapes.
pub async fn run_batch(
    message: WriteMessage,
    script: Vec<Step>,
    scrapes: i64,
    adjust: impl FnOnce(&mut Settings),
) -> Outcome {
    let tls = Tls::new();
    let server = WriteServer::start(Some(tls.server()), script).await;
    let mut settings = tls.settings(&server, message);
    adjust(&mut settings);
    let target = Target::new(1, 16);
    let scrapes: Vec<_> = (0..scrapes).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
    let output = start(&settings, 10_000);
    // The sender has not run yet: it finds them together.
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    Outcome { server, scrapes, counts }
}

pub fn says(status: u16, headers: &'static str, body: &'static str) -> Step {
    step(move |_, _| Act::Answer(answer(status, headers, body)))
}

/// The receiver stores everything, and then does something else than saying so.
pub fn stores(act: impl FnOnce() -> Act + Send + 'static) -> Step {
    step(move |tsdb, request| {
        tsdb.take(request);
        act()
    })
}

#[tokio::test]
async fn samples_of_many_targets_arrive_in_order_over_several_lanes() {
    for message in VERSIONS {
        let tls = Tls::new();
        let server = WriteServer::start(Some(tls.server()), Vec::new()).await;
        let settings = Settings { lanes: 3, ..tls.settings(&server, message) };
        let targets: Vec<Target> = (1..=7).map(|number| Target::new(number, 24)).collect();
        let output = start(&settings, 200);
        let mut scrapes = Vec::new();
        for nth in 0..20 {
            for target in &targets {
                let scrape = target.scrape(AT_MS + 1000 * nth);
                output.queue.push(&scrape);
                scrapes.push(scrape);
            }
            tokio::task::yield_now().await;
        }
        let counts = output.finish().await;
        let offered = counts.offered;
        let outcome = Outcome { server, scrapes, counts };
        outcome.is_complete("well");
        outcome.counts_are(offered, Reasons::new(), Reasons::new(), "well");
        let tsdb = outcome.server.tsdb();
        let first = &tsdb.requests[0];
        assert_eq!((first.path.as_str(), first.is_v2), ("/api/v1/write?key=s3cret", message == WriteMessage::V2));
        assert_eq!(
            (first.headers["x-scope-orgid"].as_str(), first.headers["authorization"].as_str()),
            ("team", "Basic dTpw")
        );
        assert!(first.headers["user-agent"].starts_with("promferry/"));
    }
}

#[tokio::test]
async fn what_fails_is_sent_again_and_stored_once() {
    let scripts: [(&str, MakeStep); 6] = [
        ("500", || says(500, "", "on fire")),
        ("503", || says(503, "Retry-After: 0\r\n", "")),
        ("429", || says(429, "Retry-After: 0\r\n", "slow down")),
        ("closed", || step(|_, _| Act::Close(Vec::new()))),
        ("half an answer", || step(|_, _| Act::Close(b"HTTP/1.1 204 No".to_vec()))),
        ("a redirect", || says(307, "Location: https://elsewhere/\r\n", "")),
    ];
    for (name, script) in scripts {
        for message in VERSIONS {
            let outcome = run(message, vec![script(), script()], |_| {}).await;
            outcome.is_complete(name);
            outcome.counts_are(48, Reasons::new(), Reasons::new(), name);
            assert_eq!(outcome.server.tsdb().requests.len(), 3, "{name}");
        }
    }
}

#[tokio::test]
async fn what_was_stored_without_an_answer_is_a_duplicate_and_not_refused() {
    let scripts: [(&str, MakeStep); 3] = [
        ("closed", || stores(|| Act::Close(Vec::new()))),
        ("504", || stores(|| Act::Answer(answer(504, "", "")))),
        ("closed, then busy", || stores(|| Act::Close(Vec::new()))),
    ];
    for (name, script) in scripts {
        for message in VERSIONS {
            let script = match name {
                "closed, then busy" => vec![script(), says(503, "", "")],
                _ => vec![script()],
            };
            let outcome = run(message, script, |_| {}).await;
            outcome.is_complete(name);
            // Of each series, the newest is taken as the one that is there and the older ones are out of order. With 2.0, one
            // word for all; with 1.0, the newest of those that it is asked about alone are delivered.
            let again = outcome.counts.settled.delivered;
            assert!(again <= if message == WriteMessage::V1 { 16 } else { 0 }, "{name}: {again}");
            outcome.counts_are(again, Reasons::from([("assumed", 48 - again)]), Reasons::new(), name);
        }
    }
    // One sample a series is simply taken again.
    let outcome = run_batch(WriteMessage::V1, vec![stores(|| Act::Close(Vec::new()))], 1, |_| {}).await;
    outcome.is_complete("one scrape");
    outcome.counts_are(16, Reasons::new(), Reasons::new(), "one scrape");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_and_asked_again() {
    let outcome = run(WriteMessage::V1, vec![step(|_, _| Act::Hang)], |settings| {
        settings.http.timeout = Duration::from_millis(200);
    })
    .await;
    outcome.is_complete("hangs");
    outcome.counts_are(48, Reasons::new(), Reasons::new(), "hangs");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_divided() {
    for message in VERSIONS {
        let tls = Tls::new();
        let server = WriteServer::start_with(Some(tls.server()), |tsdb: &mut Tsdb, request: &Request| {
            match request.samples() > 5 {
                true => Act::Answer(answer(413, "", "too large")),
                false => Act::Answer(tsdb.take(request)),
            }
        })
        .await;
        let target = Target::new(1, 16);
        let scrapes: Vec<_> = (0..3).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
        let output = start(&tls.settings(&server, message), 10_000);
        scrapes.iter().for_each(|scrape| output.queue.push(scrape));
        let counts = output.finish().await;
        let outcome = Outcome { server, scrapes, counts };
        outcome.is_complete("too large");
        outcome.counts_are(48, Reasons::new(), Reasons::new(), "too large");
    }
}

#[tokio::test]
async fn metadata_that_is_divided_off_holds_no_sample_up() {
    let tls = Tls::new();
    let server = WriteServer::start_with(Some(tls.server()), |tsdb: &mut Tsdb, request: &Request| {
        match (request.samples() > 0, request.metadata.is_empty()) {
            (false, _) => Act::Answer(answer(503, "", "")),
            (true, false) => Act::Answer(answer(413, "", "too large")),
            (true, true) => Act::Answer(tsdb.take(request)),
        }
    })
    .await;
    let mut settings = tls.settings(&server, WriteMessage::V1);
    settings.metadata_interval = Some(Duration::from_secs(60));
    let target = Target::new(1, 16);
    let output = start(&settings, 1);
    let scrapes: Vec<_> = (0..2).map(|nth| target.scrape(AT_MS + 1000 * nth)).collect();
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let outcome = Outcome { server, scrapes, counts };
    outcome.is_complete("metadata");
    let alone = outcome.server.tsdb().requests.iter().filter(|request| request.samples() == 0).count();
    assert!(alone <= 4, "{alone}");
}

#[tokio::test]
async fn whatever_goes_wrong_each_sample_is_there_once_and_in_order() {
    for seed in 1..=8 {
        let message = VERSIONS[seed as usize % 2];
        let tls = Tls::new();
        let random = std::sync::Mutex::new(Random::new(seed));
        let server =
            WriteServer::start_with(Some(tls.server()), move |tsdb: &mut Tsdb, request: &Request| {
                match random.lock().unwrap().below(12) {
                    0 => Act::Close(Vec::new()),
                    1 => {
                        tsdb.take(request);
                        Act::Close(Vec::new())
                    }
                    2 => {
                        tsdb.take(request);
                        Act::Answer(answer(502, "", "<html>bad gateway</html>"))
                    }
                    3 => Act::Answer(answer(503, "Retry-After: 0\r\n", "")),
                    4 => Act::Answer(answer(429, "", "")),
                    5 if request.series.len() > 1 => Act::Answer(answer(413, "", "")),
                    _ => Act::Answer(tsdb.take(request)),
                }
            })
            .await;
        if seed % 4 == 1 {
            server.tsdb().knows_v1_only = Some(V1Only::IsBlind);
        }
        let settings = Settings { lanes: 2, ..tls.settings(&server, message) };
        let targets: Vec<Target> = (1..=5).map(|number| Target::new(number, 16)).collect();
        let output = start(&settings, 100);
        let mut scrapes = Vec::new();
        for nth in 0..30 {
            for target in &targets {
                let scrape = target.scrape(AT_MS + 1000 * nth);
                output.queue.push(&scrape);
                scrapes.push(scrape);
            }
            tokio::task::yield_now().await;
        }
        let counts = output.finish().await;
        let outcome = Outcome { server, scrapes, counts };
        outcome.is_complete(&format!("seed {seed}"));
        assert!(outcome.counts.settled.rejected.is_empty(), "seed {seed}: {:?}", outcome.counts);
    }
}
