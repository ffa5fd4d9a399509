//! The output to Loggregator's agent: what envelopes samples become, and that none is lost and none overtakes another while the
//! agent is away, slow, or in a bad mood.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use promferry::config::checked::Loggregator as OutputSettings;
use promferry::model::{
    ChunkBuilder, Family, Histogram, Labels, MetricType, Origin, PointsBuilder, STALE_NAN, Scrape, SeriesSet,
};
use promferry::net::credentials::Credentials;
use promferry::net::grpc::{Call, Code, Limits, Server, Service, Shape, Status};
use promferry::net::tls::{ServerTls, TlsSettings};
use promferry::output::loggregator::Loggregator;
use promferry::pipeline::{Batch, Ledger, Output as _, SenderOptions, Slice};
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::certificates::Ca;
use crate::support::delivery::{Delivery, Target, options};
use crate::support::loggregator_client::{Envelope, EnvelopeBatch, Said};
use crate::support::random::Random;

/// An agent's folder, and the settings of an output to it.
pub struct Place {
    pub folder: TempDir,
    pub ca: Ca,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ca = Ca::named("loggregator_ca");
        ca.write_to(folder.path());
        ca.server(&["metron"]).write_to(folder.path(), "metron");
        ca.client("prom_scraper").write_to(folder.path(), "client");
        Self { folder, ca }
    }

    pub fn settings(&self, address: SocketAddr) -> OutputSettings {
        let file = |name: &str| Some(self.folder.path().join(name));
        OutputSettings {
            host: address.ip().to_string(),
            port: address.port(),
            tls: TlsSettings {
                ca_file: file("ca.crt"),
                cert_file: file("client.crt"),
                key_file: file("client.key"),
                server_name: Some("metron".to_owned()),
                ..TlsSettings::default()
            },
            source_id: "prom_scraper".to_owned(),
            timeout: Duration::from_secs(30),
        }
    }

    pub fn output(&self, address: SocketAddr) -> Loggregator {
        Loggregator::new(&self.settings(address), &Credentials::new(Duration::ZERO))
    }
}

/// An agent that notes what comes, and fails when it is told to.
#[derive(Clone)]
pub struct Agent(Arc<Mutex<Notes>>);

pub struct Notes {
    pub taken: Vec<Envelope>,
    random: Random,
    /// Of ten calls so many fail, with one of these.
    failing: u64,
    calls: u64,
}

impl Agent {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Notes { taken: Vec::new(), random: Random::new(7), failing: 0, calls: 0 })))
    }

    pub async fn listen(&self, place: &Place, address: SocketAddr) -> Server {
        let file = |name: &str| place.folder.path().join(name);
        let tls = ServerTls {
            cert_file: file("metron.crt"),
            key_file: file("metron.key"),
            client_ca_file: Some(file("ca.crt")),
        };
        let tls = Credentials::new(Duration::ZERO).listener(&tls);
        let listener = TcpListener::bind(address).await.unwrap();
        Server::start(listener, Some(tls), Limits::default(), Arc::new(self.clone())).unwrap()
    }

    pub fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap()
    }
}

impl Service for Agent {
    fn begin(&self, path: &str) -> Option<Box<dyn Call>> {
        (path == "/loggregator.v2.Ingress/Send").then(|| Box::new(self.clone()) as Box<dyn Call>)
    }
}

impl Call for Agent {
    fn shape(&self) -> Shape {
        Shape::Unary
    }

    fn message(&mut self, message: Bytes) -> Result<(), Status> {
        let batch = EnvelopeBatch::decode(message).map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        let mut notes = self.notes();
        notes.calls += 1;
        let fails = notes.failing;
        match notes.random.below(10) < fails {
            // Half of what fails was taken all the same.
            true if notes.random.below(2) == 0 => {
                notes.taken.extend(batch.batch);
                Err(Status::new(Code::Unavailable, "the answer is lost"))
            }
            true => Err(Status::new(Code::ResourceExhausted, "no room")),
            false => {
                notes.taken.extend(batch.batch);
                Ok(())
            }
        }
    }

    fn end(self: Box<Self>) -> Result<Bytes, Status> {
        Ok(Bytes::new())
    }
}

/// A scrape of a target that a job's file announced: its labels are on every series.
struct Announced {
    labels: Labels<'static>,
    chunk: ChunkBuilder,
    points: PointsBuilder,
}

impl Announced {
    fn new(source_id: &str, instance_id: &str) -> Self {
        let labels = [
            ("deployment", "mine"),
            ("instance", "127.0.0.1:9100"),
            ("instance_id", instance_id),
            ("job", "prom_scraper"),
            ("origin", "odd"),
            ("source_id", source_id),
        ];
        let labels = labels.into_iter().collect::<Labels<'_>>().into_owned();
        Self { labels, chunk: ChunkBuilder::default(), points: PointsBuilder::default() }
    }

    /// A sample of a family, with labels of its own, which win.
    fn with(mut self, family: &str, kind: MetricType, name: &str, own: &[(&str, &str)], value: f64) -> Self {
        let mut labels = self.labels.clone();
        own.iter().for_each(|(name, value)| labels.set((*name).to_owned(), (*value).to_owned()));
        let family = self.chunk.family(Family { name: family, kind, ..Family::default() });
        let series = self.chunk.push(family, name, labels.iter());
        self.points.push_float(series, value, None);
        self
    }

    fn scrape(mut self) -> Arc<Scrape> {
        let origin = Origin { key: 1, labels: self.labels, url: String::new() };
        Arc::new(Scrape {
            origin: Arc::new(origin),
            at_ms: 1_798_859_045_006,
            series: Arc::new(SeriesSet::new(vec![self.chunk.finish()])),
            points: self.points.finish(),
            exemplars: Box::default(),
            created: Default::default(),
            is_last: false,
        })
    }
}

/// What an output encodes a scrape as, and what it skips.
fn encoded(scrape: Arc<Scrape>) -> (Bytes, BTreeMap<&'static str, u64>) {
    let place = Place::new();
    let samples = scrape.samples() as u64;
    let ledger = Ledger::new("firehose");
    let batch = Batch::new(vec![Slice::whole(scrape)], ledger.offer(samples), tokio::time::Instant::now());
    let encoded = place.output("127.0.0.1:1".parse().unwrap()).encode(&(), &mut (), &batch);
    let skipped: u64 = encoded.skipped.values().sum();
    assert_eq!(
        (encoded.samples() + skipped, encoded.items.len(), encoded.points.len() as u64),
        (samples, encoded.items.len(), encoded.samples())
    );
    let made = (encoded.body.clone(), encoded.skipped.clone());
    batch.drop_all("abandoned");
    made
}

/// Envelopes as the facts write them, one a line.
fn lines(body: Bytes) -> Vec<String> {
    let batch = EnvelopeBatch::decode(body).unwrap();
    batch.batch.into_iter().map(line).collect()
}

fn line(envelope: Envelope) -> String {
    assert_eq!(envelope.timestamp, 1_798_859_045_006_000_000);
    let tags: BTreeMap<_, _> = envelope.tags.into_iter().collect();
    let said = match envelope.message.unwrap() {
        Said::Counter(counter) => {
            assert_eq!(counter.delta, 0);
            format!("counter {} {}", counter.name, counter.total)
        }
        Said::Gauge(gauge) => {
            let gauges =
                gauge.metrics.into_iter().map(|(name, held)| format!("gauge {name} {:?} {}", held.unit, held.value));
            gauges.collect::<Vec<_>>().join(",")
        }
        other => panic!("{other:?}"),
    };
    format!("{} {} {tags:?} {said}", envelope.source_id, envelope.instance_id)
}

#[tokio::test]
async fn samples_become_the_original_s_envelopes() {
    use MetricType::{Counter, Gauge, Histogram as Buckets, Summary, Unknown};
    let scrape = Announced::new("odd-good", "inst-good")
        .with("h", Buckets, "h_bucket", &[("le", "0.1")], 1.0)
        .with("h", Buckets, "h_bucket", &[("le", "1.0")], 2.0)
        .with("h", Buckets, "h_bucket", &[("le", "+Inf")], 3.0)
        .with("h", Buckets, "h_sum", &[("unit", "s")], 2.5)
        .with("h", Buckets, "h_count", &[], 3.0)
        .with("s", Summary, "s", &[("quantile", "0.50")], 0.25)
        .with("s", Summary, "s_sum", &[], 1.5)
        .with("s", Summary, "s_count", &[], 4.0)
        .with("g", Gauge, "g", &[("source_id", "some-app"), ("unit", "ms")], 7.0)
        .with("a_first", Unknown, "a_first", &[("q", "a\"b\\c\nd")], f64::NAN)
        .with("c_total", Counter, "c_total", &[("unit", "s"), ("instance_id", "own")], 12.9)
        .with("up", Gauge, "up", &[], 1.0)
        .scrape();
    let tags = |more: &str| format!("{{\"deployment\": \"mine\", {more}\"origin\": \"odd\"}}");
    let good = |tags: String, said: &str| format!("odd-good inst-good {tags} {said}");
    let (body, skipped) = encoded(scrape);
    let expected = [
        good(tags("\"le\": \"0.1\", "), "counter h_bucket 1"),
        good(tags("\"le\": \"1\", "), "counter h_bucket 2"),
        good(tags("\"le\": \"+Inf\", "), "counter h_bucket 3"),
        good(r#"{"deployment": "mine", "origin": "odd", "unit": "s"}"#.to_owned(), "gauge h_sum \"\" 2.5"),
        good(tags(""), "counter h_count 3"),
        good(r#"{"deployment": "mine", "origin": "odd", "quantile": "0.5"}"#.to_owned(), "gauge s \"\" 0.25"),
        good(tags(""), "gauge s_sum \"\" 1.5"),
        good(tags(""), "counter s_count 4"),
        format!("some-app inst-good {} gauge g \"ms\" 7", tags("")),
        good(r#"{"deployment": "mine", "origin": "odd", "q": "a\"b\\c\nd"}"#.to_owned(), "gauge a_first \"\" NaN"),
        good(
            r#"{"deployment": "mine", "instance_id": "own", "origin": "odd", "unit": "s"}"#.to_owned(),
            "counter c_total 12",
        ),
        good(tags(""), "gauge up \"\" 1"),
    ];
    assert_eq!(lines(body), expected);
    assert!(skipped.is_empty());
}

#[tokio::test]
async fn an_envelope_is_these_bytes() {
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: "c", kind: MetricType::Counter, ..Family::default() });
    let mut points = PointsBuilder::default();
    points.push_float(chunk.push(family, "c", [("a", "b")].into_iter()), 300.0, Some(1));
    let scrape = Scrape {
        origin: Arc::new(Origin { key: 1, labels: Labels::new(), url: String::new() }),
        at_ms: 5,
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    };
    let (body, _) = encoded(Arc::new(scrape));
    let expected: &[u8] = b"\x0a\x22\
        \x08\xc0\x84\x3d\
        \x12\x0cprom_scraper\
        \x2a\x06\x0a\x01c\x18\xac\x02\
        \x4a\x06\x0a\x01a\x12\x01b";
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_an_envelope_cannot_say_is_skipped() {
    use MetricType::{Counter, Gauge, Histogram as Buckets};
    let mut announced = Announced::new("s", "i")
        .with("c", Counter, "c", &[], f64::NAN)
        .with("d", Counter, "d", &[], f64::INFINITY)
        .with("e", Counter, "e", &[], -1.0)
        .with("f", Counter, "f", &[], 1.9e19)
        .with("g", Gauge, "g", &[], STALE_NAN)
        .with("h", Gauge, "h", &[], f64::NEG_INFINITY)
        .with("k", Counter, "k", &[], 18_446_744_073_709_549_568.0);
    let family = announced.chunk.family(Family { name: "n", kind: Buckets, ..Family::default() });
    let native = announced.chunk.push(family, "n", std::iter::empty());
    announced.points.push_histogram(native, Histogram { sum: 1.0, ..Histogram::stale() }, None);
    let (body, skipped) = encoded(announced.scrape());
    let said: Vec<String> = lines(body).iter().map(|line| line.rsplit("} ").next().unwrap().to_owned()).collect();
    assert_eq!(said, ["gauge h \"\" -inf", "counter k 18446744073709549568"]);
    let expected = [("infinite", 1), ("nan", 1), ("out_of_range", 2), ("stale_marker", 1), ("unsupported_type", 1)];
    assert_eq!(skipped, BTreeMap::from(expected));
}

/// The times of each series, in the order in which they came.
fn times(taken: &[Envelope]) -> BTreeMap<String, Vec<i64>> {
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for envelope in taken {
        let name = match envelope.message.as_ref().unwrap() {
            Said::Counter(counter) => counter.name.clone(),
            Said::Gauge(gauge) => gauge.metrics.keys().next().unwrap().clone(),
            other => panic!("{other:?}"),
        };
        let tags: BTreeMap<_, _> = envelope.tags.iter().collect();
        let times = times.entry(format!("{name} {tags:?} {}", envelope.source_id)).or_default();
        // What comes twice is one more of the same, at once.
        if times.last() != Some(&envelope.timestamp) {
            times.push(envelope.timestamp);
        }
    }
    times
}

const SERIES: usize = 64;

/// Distinct series of a target: its label `instance` is left out, so they are told apart by a label of their own.
fn target(number: u64) -> Target {
    Target::new(number, SERIES)
}

fn hurried(workers: usize) -> SenderOptions {
    SenderOptions { name: "firehose".to_owned(), workers, body_bytes_max: 4096, ..options() }
}

#[tokio::test]
async fn an_agent_that_goes_and_comes_back_gets_all_in_order() {
    let place = Place::new();
    let agent = Agent::new();
    let server = agent.listen(&place, "127.0.0.1:0".parse().unwrap()).await;
    let address = server.listens_on();
    let delivery = Delivery::start_with_lanes(place.output(address), hurried(3), 3);
    let target = target(1);
    let push = |number: i64| delivery.queue.push(&target.scrape(1_798_859_045_006 + number * 1000));
    (0..5).for_each(push);
    // In the middle of it, or before or after: it must not matter.
    server.stop(Duration::ZERO).await;
    (5..10).for_each(push);
    delivery.failed_once().await;
    agent.notes().failing = 5;
    let _server = agent.listen(&place, address).await;
    (10..15).for_each(push);
    let counts = delivery.finish().await;
    let skipped: u64 = counts.settled.skipped.values().sum();
    assert_eq!((counts.offered, counts.settled.delivered + skipped), (15 * SERIES as u64, 15 * SERIES as u64));
    assert!(counts.settled.dropped.is_empty() && counts.settled.rejected.is_empty(), "{counts:?}");
    let notes = agent.notes();
    let twice = notes.taken.len() as u64 - counts.settled.delivered;
    assert!(twice <= counts.maybe_doubled, "{twice} came twice, {counts:?}");
    let all: Vec<i64> = (0..15).map(|number| (1_798_859_045_006 + number * 1000) * 1_000_000).collect();
    let times = times(&notes.taken);
    assert_eq!(times.len() as u64, counts.settled.delivered / 15);
    for (series, times) in times {
        // A call that is sent again repeats the times of its batch, but what is new is always later.
        let mut news: Vec<i64> = Vec::new();
        times.iter().for_each(|time| {
            if !news.contains(time) {
                news.push(*time)
            }
        });
        assert_eq!(news, all, "{series}");
    }
}

#[tokio::test]
async fn targets_keep_their_lanes() {
    let place = Place::new();
    let agent = Agent::new();
    agent.notes().failing = 4;
    let server = agent.listen(&place, "127.0.0.1:0".parse().unwrap()).await;
    let delivery = Delivery::start_with_lanes(place.output(server.listens_on()), hurried(3), 3);
    for at in 0..20 {
        for number in 1..=5 {
            delivery.queue.push(&target(number).scrape(1_798_859_045_006 + at * 1000));
        }
    }
    let counts = delivery.finish().await;
    assert_eq!(counts.offered, 100 * SERIES as u64);
    assert!(counts.settled.dropped.is_empty() && counts.settled.rejected.is_empty(), "{counts:?}");
}

#[tokio::test]
async fn who_is_no_agent_is_told_apart() {
    let place = Place::new();
    let agent = Agent::new();
    let server = agent.listen(&place, "127.0.0.1:0".parse().unwrap()).await;
    place.output(server.listens_on()).check().await.unwrap();
    assert_eq!(agent.notes().calls, 1);

    let mut settings = place.settings(server.listens_on());
    settings.tls.server_name = Some("doppler".to_owned());
    let said = Loggregator::new(&settings, &Credentials::default()).check().await.unwrap_err();
    assert!(said.contains("doppler") && said.contains("metron"), "{said}");

    let stranger = Ca::new().client("stranger");
    stranger.write_to(place.folder.path(), "client");
    let said = place.output(server.listens_on()).check().await.unwrap_err();
    assert!(said.contains("our client certificate") && said.contains("stranger"), "{said}");
    place.ca.client("prom_scraper").write_to(place.folder.path(), "client");
    place.output(server.listens_on()).check().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_rolled_is_shown_at_the_next_call() {
    let place = Place::new();
    let agent = Agent::new();
    let server = agent.listen(&place, "127.0.0.1:0".parse().unwrap()).await;
    let output = place.output(server.listens_on());
    output.check().await.unwrap();
    // The agent goes over to another authority; the connection that is there goes on.
    let ca = Ca::named("next_loggregator_ca");
    ca.server(&["metron"]).write_to(place.folder.path(), "metron");
    ca.client("prom_scraper").write_to(place.folder.path(), "client");
    ca.write_to(place.folder.path());
    output.check().await.unwrap();
    assert_eq!(agent.notes().calls, 2);
}
