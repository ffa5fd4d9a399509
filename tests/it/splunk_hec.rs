//! Splunk's HTTP Event Collector, well and going wrong, over real sockets, through the real sender.
//!
//! In each case the ledger adds up, and what it says is compared with what the collector has indexed, sample by sample: where
//! the protocol permits, each exactly once; where it does not, at least once, and counted.

mod acks;
mod main_job;

use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{Auth, HttpOutput, SplunkHec as Settings, Template};
use promferry::model::{Scrape, Value};
use promferry::net::credentials::{Credentials, Secret};
use promferry::net::tls::TlsSettings;
use promferry::net::{Scheme, Url};
use promferry::output::splunk_hec::SplunkHec;
use promferry::pipeline::{Counts, Output as _, Reasons};
use serde_json::Value as Json;
use tracing::Level;

use crate::support::bulk_server::{Act, Request, answer};
use crate::support::certificates::Ca;
use crate::support::delivery::{Delivery, Target, options};
use crate::support::hec_server::{Hec, HecServer, Rules, Step, TOKEN, said, step, well};
use crate::support::logs::Logs;
use crate::support::samples::{Samples, Series, assert_same, canonical};

const AT_MS: i64 = 1_798_859_045_006;
/// Samples of one scrape, and the events that they become.
const SAMPLES: usize = 80;
const EVENTS: usize = 40;

/// Settings of an output at this address.
pub fn settings(address: std::net::SocketAddr) -> Settings {
    let url = Url {
        scheme: Scheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
        path_and_query: "/".to_owned(),
    };
    Settings {
        http: HttpOutput {
            urls: vec![url],
            tls: TlsSettings::default(),
            auth: Auth::Header { scheme: "Splunk".to_owned(), credentials: Secret::Inline(TOKEN.to_owned()) },
            headers: Vec::new(),
            timeout: Duration::from_secs(30),
            gzip: true,
        },
        index: template("metrics"),
        allowed_indexes: Vec::new(),
        sourcetype: template("prometheus"),
        source: Template::default(),
        host: template("{{instance}}"),
        multi_metric: true,
        rename_reserved: false,
        ack_timeout: None,
    }
}

pub fn template(text: &str) -> Template {
    Template::new(text).unwrap()
}

/// The samples of scrapes, as the collector should have them.
pub fn samples(scrapes: &[Arc<Scrape>]) -> Samples {
    let mut samples = Samples::new();
    for scrape in scrapes {
        for point in scrape.points.iter() {
            let series = scrape.series.get(point.series);
            let labels = series.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let Value::Float(value) = point.value else { panic!("floats only") };
            let key = (Series { name: series.name().to_owned(), labels }, scrape.time_ms(&point));
            samples.insert(key, canonical(&value.to_string()));
        }
    }
    samples
}

/// What one case came to.
struct Outcome {
    server: HecServer,
    scrapes: Vec<Arc<Scrape>>,
    counts: Counts,
    /// Each `error` at that level, without the receiver's URL.
    warnings: Vec<String>,
    losses: Vec<String>,
}

impl Outcome {
    fn requests(&self) -> usize {
        self.server.hec().requests.len()
    }

    /// Each sample is there exactly once, and counts as delivered.
    fn is_exactly_once(&self) {
        let hec = self.server.hec();
        assert_same(&hec.samples(), &samples(&self.scrapes));
        assert_eq!((hec.doubled(), self.counts.settled.delivered), (0, self.counts.offered), "{:?}", self.counts);
        assert_eq!(self.losses, [""; 0]);
    }

    /// All is there, and this was complained of in the meantime.
    fn recovered(&self, warning: &str) {
        self.is_exactly_once();
        assert_eq!(self.warnings, [warning]);
    }
}

async fn run(script: Vec<Step>) -> Outcome {
    run_with(Rules::default(), script, |_| {}).await
}

/// Sends two scrapes of one target to a collector.
async fn run_with(rules: Rules, script: Vec<Step>, adjust: impl FnOnce(&mut Settings)) -> Outcome {
    let target = Target::new(1, SAMPLES);
    let scrapes = vec![target.scrape(AT_MS), target.scrape(AT_MS + 1000)];
    let logs = Logs::listen();
    let server = HecServer::start(rules, script).await;
    let mut settings = settings(server.address);
    adjust(&mut settings);
    // Files are looked at each time: a test does not wait.
    let output = Delivery::start(SplunkHec::new(&settings, &Credentials::new(Duration::ZERO)), options());
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let address = server.address.to_string();
    let errors = |level, message: &str| -> Vec<String> {
        let lines = logs.at(level).into_iter().filter(|(said, _)| said == message);
        lines.map(|(_, error)| error.replace(&format!("http://{address}/: "), "").replace(&address, "SERVER")).collect()
    };
    let warnings = errors(Level::WARN, "output cannot deliver; samples wait and are sent again");
    let losses = errors(Level::ERROR, "samples rejected");
    assert_eq!(logs.at(Level::ERROR).len(), losses.len(), "{:?}", logs.at(Level::ERROR));
    Outcome { server, scrapes, counts, warnings, losses }
}

/// The collector says this and indexes nothing.
fn says(status: u16, code: u64, text: &'static str) -> Step {
    step(move |_, _| Act::Answer(said((status, code, text), "")))
}

/// The collector indexes everything, and then does something else than saying so.
fn stores(act: impl FnOnce(Vec<u8>) -> Act + Send + 'static) -> Step {
    step(move |hec, request| act(hec.take(request, |_, _| None)))
}

/// Whether an object has this metric.
fn has(object: &Json, metric: &str) -> bool {
    object["fields"].get(format!("metric_name:{metric}")).is_some()
}

#[tokio::test]
async fn all_well_is_one_request_and_no_word() {
    let outcome = run(Vec::new()).await;
    outcome.is_exactly_once();
    assert_eq!((outcome.requests(), outcome.warnings.len(), outcome.counts.maybe_doubled), (1, 0, 0));
    let hec = outcome.server.hec();
    assert_eq!(hec.indexes, vec!["metrics"; 2 * EVENTS]);
    let request = &hec.requests[0];
    assert_eq!(request.line, "POST /services/collector/event");
    assert_eq!(request.headers["authorization"], format!("Splunk {TOKEN}"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(request.headers["x-splunk-request-channel"].len(), 36);
    let event: Json = serde_json::from_str(request.body.lines().next().unwrap()).unwrap();
    assert_eq!((&event["host"], &event["sourcetype"]), (&"10.0.16.1:9100".into(), &"prometheus".into()));
}

#[tokio::test]
async fn the_single_form_holds_the_same_samples() {
    let outcome = run_with(Rules::default(), Vec::new(), |settings| {
        settings.multi_metric = false;
        settings.http.gzip = false;
    })
    .await;
    outcome.is_exactly_once();
    let hec = outcome.server.hec();
    assert_eq!((hec.indexes.len(), hec.requests[0].headers.get("content-encoding")), (2 * SAMPLES, None));
}

#[tokio::test]
async fn whatever_the_collector_suffers_from_is_waited_for_and_told_once() {
    for (status, code, text, told) in [
        (503, 9, "Server is busy", "is busy (503, code 9: Server is busy)"),
        (500, 8, "Internal server error", "failed inside; see splunkd.log there (500, code 8: Internal server error)"),
        (403, 4, "Invalid token", "does not know the token; correct it (403, code 4: Invalid token)"),
        (429, 26, "Queue at capacity", "is busy: its queue is full (429, code 26: Queue at capacity)"),
        (503, 23, "Server is shutting down", "is shutting down (503, code 23: Server is shutting down)"),
    ] {
        let outcome = run((0..3).map(|_| says(status, code, text)).collect()).await;
        outcome.recovered(told);
        assert_eq!(outcome.requests(), 4);
        let is_doubtful = code == 8;
        assert_eq!(outcome.counts.maybe_doubled, if is_doubtful { outcome.counts.offered } else { 0 }, "{told}");
    }
}

#[tokio::test]
async fn what_is_no_collector_is_waited_for() {
    let html = || step(|_, _| Act::Answer(answer(200, "", "<html>Log in</html>")));
    let elsewhere = step(|_, _| Act::Answer(answer(307, "location: http://elsewhere/\r\n", "")));
    let outcome = run(vec![html(), html(), elsewhere]).await;
    outcome.is_exactly_once();
    assert_eq!(
        outcome.warnings,
        [
            "gives an answer that is not a collector's; see urls, and proxies between (200: <html>Log in</html>)",
            "redirects to http://elsewhere/, which is not followed; write the right address into urls (307)"
        ]
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_is_a_resend_that_may_be_stored_twice_and_is_counted() {
    let outcome = run(vec![stores(|_| Act::Close(Vec::new()))]).await;
    let hec = outcome.server.hec();
    assert_same(&hec.samples(), &samples(&outcome.scrapes));
    let offered = outcome.counts.offered;
    assert_eq!(
        (outcome.counts.settled.delivered, hec.doubled(), outcome.counts.maybe_doubled),
        (offered, offered, offered)
    );
    assert_eq!(outcome.warnings, ["SERVER closed the connection without an answer"]);
}

#[tokio::test]
async fn one_event_that_is_refused_is_rejected_alone_and_nothing_is_doubled() {
    for (code, text, reason) in [
        (6, "Invalid data format", "invalid_data"),
        (12, "Event field is required", "event_blank"),
        (13, "Event field cannot be blank", "event_blank"),
        (15, "Error in handling indexed fields", "indexed_fields"),
    ] {
        // The event with three metrics of one label set, in both scrapes.
        let is_bad = |object: &Json| has(object, "queue") && object["fields"]["path"] == "/v2/\"thing\"/3";
        let refuse = move |hec: &mut Hec, request: &Request| {
            Act::Answer(hec.take(request, |_, object| is_bad(object).then_some((400, code, text))))
        };
        let outcome = run((0..3).map(|_| step(refuse)).collect()).await;
        let hec = outcome.server.hec();
        let bad =
            |series: &Series| series.label("path") == "/v2/\"thing\"/3" && !series.name.starts_with("latency_bucket");
        let mut expected = samples(&outcome.scrapes);
        expected.retain(|(series, _), _| !bad(series));
        assert_same(&hec.samples(), &expected);
        let lost = 2 * SAMPLES as u64 - expected.len() as u64;
        assert_eq!(lost, 10);
        assert_eq!(outcome.counts.settled.rejected, Reasons::from([(reason, lost)]), "{code}");
        assert_eq!((hec.doubled(), outcome.counts.settled.delivered), (0, hec.indexed()));
        assert_eq!((hec.requests.len(), outcome.counts.maybe_doubled), (3, 0));
        // Behind the bad one, and no further.
        let objects = |at: usize| hec.requests[at].body.lines().count();
        assert!(objects(1) < 2 * EVENTS && objects(2) < objects(1));
        assert_eq!(outcome.warnings, [""; 0], "the collector is well");
        let [told] = outcome.losses.as_slice() else { panic!("{:?}", outcome.losses) };
        assert!(told.contains(&format!("(400, code {code}: {text}): {{\"time\":1798859045.006,")), "{told}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_halved_until_it_fits_and_nothing_is_lost() {
    for is_cloud in [false, true] {
        // Above what is halved on code 6, below what two hundred scrapes are.
        let rules = Rules { body_bytes_max: 100_000, is_cloud, ..Rules::default() };
        let server = HecServer::start(rules, Vec::new()).await;
        let target = Target::new(1, SAMPLES);
        let scrapes: Vec<_> = (0..100).map(|second| target.scrape(AT_MS + second * 1000)).collect();
        let logs = Logs::listen();
        let output = Delivery::start(SplunkHec::new(&settings(server.address), &Credentials::default()), options());
        scrapes.iter().for_each(|scrape| output.queue.push(scrape));
        let counts = output.finish().await;
        let hec = server.hec();
        assert_same(&hec.samples(), &samples(&scrapes));
        assert_eq!((hec.doubled(), counts.settled.delivered), (0, counts.offered));
        assert!(hec.requests.len() > 8, "{}", hec.requests.len());
        assert_eq!(logs.at(Level::ERROR).len() + logs.at(Level::WARN).len(), 0, "a matter of course");
    }
}

#[tokio::test]
async fn an_index_that_is_missing_is_waited_for() {
    let rules = Rules { indexes: vec!["main"], ..Rules::default() };
    let appears = step(|hec, request| {
        hec.rules.indexes.push("metrics");
        Act::Answer(hec.take(request, |_, _| None))
    });
    let outcome = run_with(rules, vec![step(well), step(well), appears], |_| {}).await;
    outcome.recovered(
        "does not take events for the index \"metrics\": make it, as a metrics index, and allow it for the token (400, code \
         7: Incorrect index)",
    );
    assert_eq!(outcome.requests(), 3);
}

#[tokio::test]
async fn one_index_of_several_that_is_missing_holds_up_nothing() {
    let rules = Rules { indexes: vec!["m0", "m1", "m2"], ..Rules::default() };
    let server = HecServer::start(rules, Vec::new()).await;
    let targets: Vec<_> = (0..4).map(|number| Target::new(number, SAMPLES)).collect();
    let mut settings = settings(server.address);
    // The instance is 10.0.16.NUMBER:9100: its index is that of a target of this job alone.
    settings.index = template("{{instance}}");
    settings.allowed_indexes = (0..3).map(|number| format!("10.0.16.{number}:9100")).collect();
    server.hec().rules.indexes = vec!["10.0.16.0:9100", "10.0.16.2:9100"];
    let output = Delivery::start(SplunkHec::new(&settings, &Credentials::default()), options());
    let scrapes: Vec<_> = targets.iter().map(|target| target.scrape(AT_MS)).collect();
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let lost = SAMPLES as u64;
    assert_eq!(counts.settled.rejected, Reasons::from([("incorrect_index", lost), ("index_not_allowed", lost)]));
    let hec = server.hec();
    assert_same(&hec.samples(), &samples(&[scrapes[0].clone(), scrapes[2].clone()]));
    assert_eq!((hec.doubled(), hec.requests.len()), (0, 2));
}

#[tokio::test]
async fn a_token_is_read_again_when_its_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0LD\n").unwrap();
    let rotated = path.clone();
    let rotate = step(move |hec, request| {
        let answered = Act::Answer(hec.take(request, |_, _| None));
        // As a deploy does it: a new file in the place of the old one.
        let new = rotated.with_extension("new");
        std::fs::write(&new, TOKEN).unwrap();
        std::fs::rename(new, &rotated).unwrap();
        answered
    });
    let outcome = run_with(Rules::default(), vec![step(well), rotate], |settings| {
        settings.http.auth = Auth::Header { scheme: "Splunk".to_owned(), credentials: Secret::File(path) };
    })
    .await;
    outcome.recovered("does not know the token; correct it (403, code 4: Invalid token)");
    assert_eq!(outcome.requests(), 3);
}

#[tokio::test]
async fn a_collector_that_is_nearly_full_has_taken_it() {
    let full = |code: u64| {
        step(move |hec: &mut Hec, request: &Request| {
            hec.take(request, |_, _| None);
            Act::Answer(answer(200, "retry-after: 0\r\n", &format!("{{\"text\":\"Nearly full\",\"code\":{code}}}")))
        })
    };
    for code in [24, 25] {
        let outcome = run(vec![full(code)]).await;
        outcome.is_exactly_once();
        assert_eq!((outcome.requests(), outcome.warnings.len()), (1, 0));
    }
}

#[tokio::test]
async fn health_at_the_start_warns_and_no_more() {
    for (health, told) in [
        ((503, 18), "is unhealthy: its queues are full (503, code 18: HEC is as it is)"),
        (
            (503, 20),
            "is unhealthy: its queues are full, and its acknowledgement service is unavailable (503, code 20: HEC is as it is)",
        ),
        ((404, 404), "has no collector at this address; see urls (404, code 404: HEC is as it is)"),
    ] {
        let server = HecServer::start(Rules { health, ..Rules::default() }, Vec::new()).await;
        let logs = Logs::listen();
        let output = Delivery::start(SplunkHec::new(&settings(server.address), &Credentials::default()), options());
        output.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
        let counts = output.finish().await;
        assert_eq!((counts.settled.delivered, server.hec().indexed()), (counts.offered, counts.offered));
        let warnings = logs.at(Level::WARN);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].1, format!("http://{}/: {told}", server.address));
    }
    let server = HecServer::start(Rules::default(), Vec::new()).await;
    let output = SplunkHec::new(&settings(server.address), &Credentials::default());
    assert_eq!(output.start().await, Ok(()));
    drop(server);
}

#[tokio::test]
async fn a_collector_that_wants_a_client_certificate_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Ca::new(), Ca::new());
    let tls = servers.server(&["127.0.0.1"]).server_config(Some(&clients));
    let server = HecServer::start_tls(Rules::default(), Vec::new(), tls).await;
    clients.client("promferry").write_to(folder.path(), "hec");
    let mut settings = settings(server.address);
    settings.http.urls[0].scheme = Scheme::Https;
    settings.http.tls = TlsSettings {
        ca_file: Some(servers.write_to(folder.path())),
        cert_file: Some(folder.path().join("hec.crt")),
        key_file: Some(folder.path().join("hec.key")),
        ..TlsSettings::default()
    };
    let output = Delivery::start(SplunkHec::new(&settings, &Credentials::default()), options());
    output.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, server.hec().indexed()), (SAMPLES as u64, SAMPLES as u64));
}

#[tokio::test]
async fn another_collector_takes_over() {
    let sick = HecServer::start(Rules::default(), (0..100).map(|_| says(503, 9, "Server is busy")).collect()).await;
    let well = HecServer::start(Rules::default(), Vec::new()).await;
    let mut both = settings(sick.address);
    both.http.urls.extend(settings(well.address).http.urls);
    let options = promferry::pipeline::SenderOptions { backoff_first: Duration::from_secs(3600), ..options() };
    let output = Delivery::start(SplunkHec::new(&both, &Credentials::default()), options);
    output.queue.push(&Target::new(1, SAMPLES).scrape(AT_MS));
    let counts = output.finish().await;
    assert_eq!((counts.settled.delivered, well.hec().indexed()), (SAMPLES as u64, SAMPLES as u64));
    assert_eq!(sick.hec().requests.len(), 1);
}

#[tokio::test]
async fn after_every_kind_of_fault_the_ledger_says_what_the_collector_has() {
    const REQUESTS: usize = 60;
    let fault = |number: usize| -> Step {
        // Which faults meet which requests differs from run to run of the numbers, and is the same each time.
        match number * 7 % 11 {
            0 => stores(|_| Act::Close(Vec::new())),
            1 => stores(|answer| Act::Close(answer[..answer.len() / 2].to_vec())),
            2 => step(|_, _| Act::Close(Vec::new())),
            3 => stores(|_| Act::Answer(answer(504, "", "upstream timed out"))),
            4 => says(503, 9, "Server is busy"),
            5 => says(500, 8, "Internal server error"),
            6 => step(|hec, request| {
                let refuse =
                    |number: usize, _: &Json| (number == 5).then_some((400, 15, "Error in handling indexed fields"));
                Act::Answer(hec.take(request, refuse))
            }),
            7 => step(|_, _| Act::Answer(answer(413, "", ""))),
            _ => step(well),
        }
    };
    let server = HecServer::start(Rules::default(), (0..REQUESTS).map(fault).collect()).await;
    let mut options = options();
    options.take.samples = 200;
    options.backoff_max = Duration::from_millis(5);
    let output = Delivery::start(SplunkHec::new(&settings(server.address), &Credentials::default()), options);
    let target = Target::new(1, SAMPLES);
    let scrapes: Vec<_> = (0..40).map(|second| target.scrape(AT_MS + second * 1000)).collect();
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    let hec = server.hec();
    assert!(hec.requests.len() >= REQUESTS, "{}", hec.requests.len());
    let (found, expected) = (hec.samples(), samples(&scrapes));
    assert!(found.iter().all(|(key, value)| expected.get(key) == Some(value)), "other values than were sent");
    let rejected: u64 = counts.settled.rejected.values().sum();
    assert!(rejected > 0);
    assert_eq!(counts.settled.rejected.keys().collect::<Vec<_>>(), [&"indexed_fields"]);
    assert_eq!(counts.settled.delivered + rejected, counts.offered);
    // What was rejected may be there all the same, from an attempt whose answer was lost.
    let missing = (expected.len() - found.len()) as u64;
    assert!(missing <= rejected && found.len() as u64 >= counts.settled.delivered, "{missing} {counts:?}");
    assert!(hec.doubled() > 0 && hec.doubled() <= counts.maybe_doubled + rejected, "{} {counts:?}", hec.doubled());
}
