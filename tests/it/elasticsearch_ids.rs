//! A real Elasticsearch node: nothing is stored twice that was sent twice, and nothing is lost where documents could meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use elasticsearch::http::Method;
use promferry::config::checked::{DocumentShape, Elasticsearch as Settings};
use promferry::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet};
use promferry::net::credentials::Credentials;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{Reasons, SenderOptions, Take};
use serde_json::{Value as Json, json};

use crate::elasticsearch::deliver;
use crate::support::delivery::{Delivery, Target, elasticsearch, options};
use crate::support::elasticsearch::{Node, assert_same, now_ms, samples_of};

/// Settings of a plain data stream of `telegraf` documents, with its template.
fn plain_stream(node: &Node) -> (String, Settings) {
    let name = Node::unused_name("metrics-plain");
    let mut settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    (settings.shape, settings.manages_template) = (DocumentShape::Telegraf, true);
    (name, settings)
}

/// Settings of a time series data stream, with its template.
fn time_series(node: &Node) -> (String, Settings) {
    let name = Node::unused_name("metrics-promferry-ids");
    let mut settings = elasticsearch(std::slice::from_ref(&node.address), &name);
    settings.manages_template = true;
    (name, settings)
}

/// The same settings with another address.
fn through(settings: &Settings, address: String) -> Settings {
    Settings { http: elasticsearch(&[address], &settings.index).http, ..settings.clone() }
}

async fn clean_up(node: &Node, name: &str) {
    node.remove(&format!("/_data_stream/{name}")).await;
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}

/// Values of all documents.
async fn values(node: &Node, name: &str) -> usize {
    let fields = |document: &Json| {
        let fields = document["prometheus"].get("metrics").unwrap_or(&document["prometheus"]);
        fields.as_object().map_or(0, serde_json::Map::len)
    };
    node.documents(name).await.iter().map(fields).sum()
}

#[tokio::test]
async fn a_resend_into_a_plain_stream_or_index_is_stored_once() {
    let Some(node) = Node::from_env() else { return };
    let scrapes = [Target::new(1, 400).scrape(now_ms() - 1000)];
    for is_dated in [false, true] {
        let (name, mut settings) = plain_stream(&node);
        if is_dated {
            (settings.index, settings.shape) = (format!("{name}-%Y"), DocumentShape::Metricbeat);
        }
        let lost = node.behind_a_lost_answer(None).await;
        let counts = deliver(&through(&settings, lost), &scrapes).await;
        assert_eq!(counts.settled.duplicate, Reasons::from([("resend", 400)]), "{counts:?}");
        assert_eq!((counts.maybe_doubled, values(&node, &format!("{name}*")).await), (0, 400));
        // Another process, with the same labels and times, makes the same ids.
        let again = deliver(&settings, &scrapes).await;
        assert_eq!(again.settled.rejected, Reasons::from([("conflict", 400)]));
        assert_eq!(values(&node, &format!("{name}*")).await, 400);
        match is_dated {
            true => node.remove(&format!("/{}", settings.index.replace("%Y", &year()))).await,
            false => node.remove(&format!("/_data_stream/{name}")).await,
        }
        node.remove(&format!("/_index_template/promferry-{name}")).await;
    }
}

fn year() -> String {
    jiff::Timestamp::from_millisecond(now_ms() - 1000).expect("a time").to_string()[..4].to_owned()
}

#[tokio::test]
async fn without_ids_a_resend_is_stored_twice_and_said_to_be() {
    let Some(node) = Node::from_env() else { return };
    let (name, mut settings) = plain_stream(&node);
    settings.has_ids = false;
    let lost = node.behind_a_lost_answer(None).await;
    let counts = deliver(&through(&settings, lost), &[Target::new(1, 8).scrape(now_ms() - 1000)]).await;
    assert_eq!((counts.settled.delivered, counts.maybe_doubled), (8, 8), "{counts:?}");
    assert_eq!(values(&node, &name).await, 16);
    clean_up(&node, &name).await;
}

/// Ids are unique in one index only: docs/elasticsearch.md says so.
#[tokio::test]
async fn a_resend_after_a_rollover_is_a_second_document() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = plain_stream(&node);
    let lost = node.behind_a_lost_answer(Some(&name)).await;
    let counts = deliver(&through(&settings, lost), &[Target::new(1, 8).scrape(now_ms() - 1000)]).await;
    assert_eq!(counts.settled.delivered, 8, "{counts:?}");
    assert_eq!(values(&node, &name).await, 16);
    clean_up(&node, &name).await;
}

/// A time series data stream chooses the index by the document's time, so a rollover in between changes nothing.
#[tokio::test]
async fn a_resend_after_a_rollover_of_time_series_is_stored_once() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = time_series(&node);
    let scrapes = [Target::new(1, 8).scrape(now_ms() - 1000)];
    let lost = node.behind_a_lost_answer(Some(&name)).await;
    let counts = deliver(&through(&settings, lost), &scrapes).await;
    assert_eq!(counts.settled.duplicate, Reasons::from([("resend", 8)]), "{counts:?}");
    assert_same(&node.samples(&name).await, &samples_of(scrapes.iter().map(Arc::as_ref)));
    clean_up(&node, &name).await;
}

/// A metric's name, its labels and its value.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn scrape(key: u64, at_ms: i64, rows: &[Row<'_>]) -> Arc<Scrape> {
    let (mut chunk, mut points) = (ChunkBuilder::default(), PointsBuilder::default());
    for (at, (name, labels, value)) in rows.iter().enumerate() {
        let family = chunk.family(Family { name, kind: MetricType::Gauge, ..Family::default() });
        chunk.push(family, name, labels.iter().copied());
        points.push_float(at as u32, *value, None);
    }
    Arc::new(Scrape {
        origin: Arc::new(Origin { key, labels: Labels::new(), url: "http://a/metrics".to_owned() }),
        at_ms,
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

#[tokio::test]
async fn a_nan_that_comes_and_goes_and_names_with_dots_lose_nothing() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = time_series(&node);
    let (labels, now_ms): (&[_], _) = (&[("instance", "a:1")], now_ms() - 10_000);
    let scrapes: Vec<_> = (0..6)
        .map(|round| {
            let sometimes = if round % 2 == 0 { f64::NAN } else { 1.5 };
            let rows: [Row<'_>; 5] = [
                ("a", labels, 1.0),
                ("a.b", labels, 2.0),
                ("a.b.c", labels, f64::from(round)),
                ("b.a", &[("x", "2"), ("x.y", "1")], 3.0),
                ("sometimes", labels, sometimes),
            ];
            scrape(1, now_ms + i64::from(round) * 1000, &rows)
        })
        .collect();
    let counts = deliver(&settings, &scrapes).await;
    assert_eq!(counts.settled.skipped, Reasons::from([("nan", 3)]));
    assert_eq!(counts.settled.delivered, 27, "{counts:?}");
    let mut expected = samples_of(scrapes.iter().map(Arc::as_ref));
    expected.retain(|_, bits| !f64::from_bits(*bits).is_nan());
    assert_same(&node.samples(&name).await, &expected);
    let documents = node.documents(&name).await;
    let series: BTreeSet<_> = documents.iter().map(|document| document["_metric_names_hash"].to_string()).collect();
    assert_eq!(series.len(), 2, "one series for each label set, whatever of it is a number just now");
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn a_batch_that_ends_inside_a_label_set_does_not_split_its_document() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = time_series(&node);
    let scrapes = [1, 2].map(|number| Target::new(number, 800).scrape(now_ms() - 1000));
    // Neither is a multiple of what a label set has.
    let options = SenderOptions { take: Take { samples: 7, ..options().take }, body_bytes_max: 20_011, ..options() };
    let output = Delivery::start(Elasticsearch::new(&settings, &Credentials::default()), options);
    scrapes.iter().for_each(|scrape| output.queue.push(scrape));
    let counts = output.finish().await;
    assert_eq!(counts.settled.delivered, 1600, "{counts:?}");
    assert_same(&node.samples(&name).await, &samples_of(scrapes.iter().map(Arc::as_ref)));
    // Eight samples are one document, and one for each of three buckets.
    assert_eq!(node.documents(&name).await.len(), 2 * 100 * 4);
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn two_processes_with_equal_labels_lose_nothing_in_silence() {
    let Some(node) = Node::from_env() else { return };
    let (name, settings) = time_series(&node);
    let (labels, at_ms): (&[_], _) = (&[("instance", "a:1")], now_ms() - 1000);
    let first = [scrape(1, at_ms, &[("only_first", labels, 1.0), ("other", labels, 2.0)])];
    let second = [scrape(2, at_ms, &[("only_second", labels, 3.0)])];
    let third = [scrape(3, at_ms, &[("only_second", labels, 4.0)])];
    assert_eq!(deliver(&settings, &first).await.settled.delivered, 2);
    assert_eq!(deliver(&settings, &second).await.settled.delivered, 1, "other metrics are another document");
    let counts = deliver(&settings, &third).await;
    assert_eq!(counts.settled.rejected, Reasons::from([("conflict", 1)]), "the same metric cannot be two");
    assert_same(&node.samples(&name).await, &samples_of(first.iter().chain(&second).map(Arc::as_ref)));
    clean_up(&node, &name).await;
}

#[tokio::test]
async fn labels_name_indices_and_what_is_beyond_the_limit_is_counted() {
    let Some(node) = Node::from_env() else { return };
    let name = Node::unused_name("m");
    let mut settings = elasticsearch(std::slice::from_ref(&node.address), &format!("{name}-{{{{deployment}}}}-%Y"));
    (settings.shape, settings.manages_template) = (DocumentShape::Metricbeat, true);
    (settings.max_indexes, settings.routing) = (2, Some("{{deployment}}".to_owned()));
    let rows: [Row<'_>; 3] =
        [("a", &[("deployment", "CF/1")], 1.0), ("a", &[("deployment", "b")], 2.0), ("a", &[("deployment", "c")], 3.0)];
    let counts = deliver(&settings, &[scrape(1, 1_798_859_045_006, &rows)]).await;
    assert_eq!(counts.settled.rejected, Reasons::from([("index_limit", 1)]), "{counts:?}");
    assert_eq!(counts.settled.delivered, 2);
    for (deployment, index, value) in [("CF/1", "cf_1", 1.0), ("b", "b", 2.0)] {
        let index = format!("{name}-{index}-2027");
        let found = node.documents(&index).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["prometheus"]["metrics"], json!({"a": value}));
        let routed = node.ask(Method::Get, &format!("/{index}/_search"), None).await;
        assert_eq!(routed["hits"]["hits"][0]["_routing"], deployment);
        node.remove(&format!("/{index}")).await;
    }
    node.remove(&format!("/_index_template/promferry-{name}")).await;
}
