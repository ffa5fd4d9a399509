//! A real Telegraf and promferry with the converted configuration, on the same targets: the same documents, field for field.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use elasticsearch::http::Method;
use serde_json::{Value as Json, json};
use tokio::process::{Child, Command};

use crate::support::bulk_server::{Act, BulkServer, Request, Store, answer};
use crate::support::elasticsearch::{Node, now_ms};
use crate::support::exporter::Exporter;
use crate::support::world::{World, command, outcome, outcome_within, until, until_within};

/// Labels that only an exporter has, all types, what JSON cannot say, a time of its own.
const BODY: &str = r#"# TYPE go_goroutines gauge
go_goroutines 12
# TYPE requests_total counter
requests_total{code="200",job="router",instance="i-1",index="6",origin="gorouter",empty=""} 1027
requests_total{code="500",job="router",url="/x",host="vm-of-its-own"} 3
# TYPE big_total counter
big_total 16777217
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1",path="/"} 1
latency_seconds_bucket{le="1.0",path="/"} 2
latency_seconds_bucket{le="+Inf",path="/"} 3
latency_seconds_sum{path="/"} 1.5
latency_seconds_count{path="/"} 3
# TYPE gc_seconds summary
gc_seconds{quantile="0.5"} 0.25
gc_seconds{quantile="0.99"} NaN
gc_seconds_sum 1.75
gc_seconds_count 9
untyped_thing{a="ä\"\\\n"} -1e-9
# TYPE nan_gauge gauge
nan_gauge NaN
# TYPE with_time gauge
with_time{x="y"} 5 1790000000123
"#;

/// What is added to `[agent]`, to the input and to the output.
const CASES: [(&str, &str, &str, &str); 8] = [
    ("version 1", "", "", ""),
    ("version 2", "", "metric_version = 2", ""),
    (
        "tags and a measurement",
        "",
        "metric_version = 2\nfielddrop = [\"go_*\", \"latency_seconds_sum\"]\ntagexclude = [\"host\", \"index\"]\n\
         url_tag = \"target\"\nname_override = \"cf\"\n[inputs.prometheus.tagdrop]\ncode = [\"5*\"]\n\
         [inputs.prometheus.tags]\njob = \"fallback\"",
        "taginclude = [\"job\", \"env\", \"code\", \"target\", \"le\", \"quantile\", \"path\"]",
    ),
    (
        "names",
        "hostname = \"me\"",
        "namepass = [\"*_seconds\", \"requests_total\", \"b*\"]\nnamedrop = [\"gc_*\"]\ntaginclude = [\"code\", \"host\", \"job\"]",
        "namedrop = [\"big_total\"]\ntagexclude = [\"host\"]",
    ),
    (
        "values of tags",
        "omit_hostname = true",
        "[inputs.prometheus.tagpass]\npath = [\"*\"]\norigin = [\"goro*\", \"x\"]",
        "[outputs.elasticsearch.tagdrop]\nurl = [\"*SECOND*\"]",
    ),
    (
        "two versions",
        "",
        "[inputs.prometheus.tags]\ninstance = \"of-the-input\"\n[[inputs.prometheus]]\nmetric_version = 2\nname_prefix = \"cf_\"\n\
         urls = [\"https://FIRST/other\"]\ninsecure_skip_verify = true\ntls_cert = \"FOLDER/scrape.crt\"\n\
         tls_key = \"FOLDER/scrape.key\"\ntaginclude = [\"code\", \"job\", \"host\", \"le\", \"quantile\", \"path\", \"x\", \"a\"]",
        "",
    ),
    (
        "a tag for everybody",
        "always_include_local_tags = true",
        "tagexclude = [\"i*\"]\n[inputs.prometheus.tags]\nits = \"own\"",
        "",
    ),
    ("nothing passes", "", "metric_version = 2\nnamepass = [\"go_*\"]", ""),
];

fn telegraf() -> Option<PathBuf> {
    let program = std::env::var_os("PROMFERRY_TEST_TELEGRAF").map(PathBuf::from);
    if program.is_none() {
        let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == "telegraf"), "there is no telegraf");
        println!("skipped: no telegraf (PROMFERRY_TEST_TELEGRAF names one)");
    }
    program
}

/// Takes whatever comes.
async fn sink() -> BulkServer {
    let all = |_: &mut Store, request: &Request| {
        let items = request.actions().into_iter().map(|action| {
            let word = action.as_object().and_then(|action| action.keys().next().cloned()).unwrap();
            json!({word: {"status": 201}})
        });
        let items: Vec<Json> = items.collect();
        Act::Answer(answer(200, "", &json!({"errors": false, "took": 1, "items": items}).to_string()))
    };
    let server = BulkServer::start_with(all).await;
    server.store().about = Some(|request| {
        request.line.starts_with("HEAD ").then(|| answer(200, "x-elastic-product: Elasticsearch\r\n", ""))
    });
    server
}

/// The documents without their times, whole numbers as floats: each once. Telegraf's of a NaN, which have no field, are left out.
fn documents(server: &BulkServer) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mut document in server.store().requests.iter().flat_map(Request::documents) {
        let fields = document.as_object_mut().unwrap();
        assert!(fields.remove("@timestamp").is_some());
        let measurement = fields["measurement_name"].as_str().unwrap().to_owned();
        let values = fields[&measurement].as_object_mut().unwrap();
        values.values_mut().for_each(|value| *value = json!(value.as_f64().unwrap()));
        if !values.is_empty() {
            found.insert(document.to_string());
        }
    }
    found
}

fn run_telegraf(program: &PathBuf, config: &str) -> Child {
    let mut command = Command::new(program);
    command.args(["--config", config]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("TELEGRAF_CONFIG_PATH");
    command.spawn().unwrap()
}

#[tokio::test]
async fn the_same_documents_arrive_as_from_telegraf() {
    let Some(program) = telegraf() else { return };
    for (name, agent, input, output) in CASES {
        let world = World::new();
        let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
        let first = Exporter::start(tls.clone(), |_| BODY.to_owned()).await;
        let second = Exporter::start(tls, |_| BODY.to_owned()).await;
        let (theirs, ours) = (sink().await, sink().await);
        let text = |sink: &BulkServer| {
            let (first, second, es) = (first.address, second.address, sink.address);
            let folder = world.folder().display();
            let text = format!(
                "[agent]\ninterval = \"500ms\"\nflush_interval = \"200ms\"\nflush_jitter = \"0s\"\n{agent}\n[global_tags]\n\
                 env = \"prod\"\ndc = \"${{NOWHERE:-eu}}\"\n[[inputs.prometheus]]\n\
                 urls = [\"https://{first}/metrics?b=1&a=x\", \"https://{second}\"]\ntls_ca = \"{folder}/ca.crt\"\n\
                 tls_cert = \"{folder}/scrape.crt\"\ntls_key = \"{folder}/scrape.key\"\n{input}\n\
                 [[outputs.elasticsearch]]\nurls = [\"http://{es}\"]\nindex_name = \"m-%Y.%m.%d\"\nmanage_template = false\n\
                 float_handling = \"drop\"\n{output}\n"
            );
            let text = text.replace("SECOND", &second.port().to_string()).replace("FIRST", &first.to_string());
            text.replace("FOLDER", &folder.to_string())
        };
        let (their_file, our_file) = (world.path("theirs.conf"), world.path("ours.conf"));
        std::fs::write(&their_file, text(&theirs)).unwrap();
        std::fs::write(&our_file, text(&ours)).unwrap();
        let (code, yaml, err) = outcome(&mut command(&["convert", "telegraf", our_file.to_str().unwrap()])).await;
        assert_eq!(code, 0, "{name}: {err}");
        world.configure(&format!("{yaml}admin: {{listen: \"127.0.0.1:0\"}}\n"));

        let telegraf = run_telegraf(&program, their_file.to_str().unwrap());
        let scrapes = async |more: usize| {
            let before = [&first, &second].map(|target| target.bodies().len());
            let done =
                || [&first, &second].iter().zip(before).all(|(target, before)| target.bodies().len() >= before + more);
            until("scrapes", async || done().then_some(())).await;
        };
        let has_documents = name != "nothing passes";
        let settled = async |sink: &BulkServer| {
            scrapes(3).await;
            until("documents", async || (!has_documents || sink.store().requests.len() >= 3).then_some(())).await;
        };
        settled(&theirs).await;
        drop(telegraf);
        let process = world.run().await;
        settled(&ours).await;
        process.terminate().await;

        let (theirs, ours) = (documents(&theirs), documents(&ours));
        assert_eq!(theirs.is_empty(), !has_documents, "{name}");
        let missing: Vec<_> = theirs.difference(&ours).collect();
        let added: Vec<_> = ours.difference(&theirs).collect();
        assert!(missing.is_empty() && added.is_empty(), "{name}: missing {missing:#?}\nadded {added:#?}\n{yaml}");
    }
}

/// Pivotal's documented example with the addresses, paths and index of a test.
fn pivotal(world: &World, targets: [&Exporter; 2], node: &Node, index: &str) -> String {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/convert/pivotal.conf"));
    let urls = targets.map(|target| format!("\"https://{}/metrics\"", target.address)).join(", ");
    let names = [
        ("scrape_ca.crt", "ca.crt"),
        ("/var/vcap/certs", &world.folder().display().to_string()),
        ("\"https://172.28.106.203:14726/metrics\"", &urls),
        ("172.18.80.226:9200", &node.address),
        ("my-computer-metric", index),
    ];
    names.iter().fold(example.unwrap(), |text, (theirs, ours)| {
        assert!(text.contains(theirs), "{theirs} is no longer in the example");
        text.replace(theirs, ours)
    })
}

/// What a test's indices hold: documents without their times; fields and their types; the times of the samples that bring one
/// along, in milliseconds.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    documents: BTreeSet<String>,
    fields: BTreeSet<(String, String)>,
    own_times_ms: BTreeSet<i64>,
}

/// All of the indices, which are removed. Each document must be in the index of its day, and there once.
async fn take(node: &Node, index: &str) -> Stored {
    let (mut stored, mut seen) = (Stored::default(), BTreeSet::new());
    let mappings = node.ask(Method::Get, &format!("/{index}-*/_mapping"), None).await;
    for (name, mapping) in mappings.as_object().unwrap() {
        fields(&mapping["mappings"], "", &mut stored.fields);
        for mut document in node.documents(name).await {
            let time = document.as_object_mut().unwrap().remove("@timestamp").unwrap();
            let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
            assert_eq!(*name, format!("{index}-{}", time.strftime("%Y.%m.%d")), "{document}");
            if document["tag"]["x"] == "y" {
                stored.own_times_ms.insert(time.as_millisecond());
            }
            floats(&mut document);
            assert!(seen.insert((time, document.to_string())), "twice: {time} {document}");
            stored.documents.insert(document.to_string());
        }
        node.remove(&format!("/{name}")).await;
    }
    stored
}

/// Makes every number a float: Telegraf writes 3 where promferry writes 3.0.
fn floats(value: &mut Json) {
    match value {
        Json::Number(number) => *value = json!(number.as_f64().unwrap()),
        Json::Object(fields) => fields.values_mut().for_each(floats),
        _ => {}
    }
}

/// Names and types of the fields that a mapping has. Of a number that looked whole in the first document it says `long`.
fn fields(mapping: &Json, name: &str, found: &mut BTreeSet<(String, String)>) {
    if let Some(kind) = mapping["type"].as_str() {
        found.insert((name.to_owned(), kind.replace("long", "float")));
    }
    for below in ["properties", "fields"] {
        for (key, mapping) in mapping[below].as_object().into_iter().flatten() {
            fields(mapping, &format!("{name}/{key}"), found);
        }
    }
}

/// Pivotal's documented example, as it stands, run by Telegraf and, converted, by promferry, into a real Elasticsearch. Compared are
/// all fields of all documents, their indices, and what Elasticsearch made of the fields. `@timestamp` is not compared where
/// a scrape gives it: the two scrape at different moments. Where a sample has a time of its own, Telegraf rounds that to whole seconds, as
/// its interval of 30 s makes it.
#[tokio::test]
async fn pivotals_example_gives_elasticsearch_the_same_documents() {
    let (Some(program), Some(node)) = (telegraf(), Node::from_env()) else { return };
    let world = World::new();
    let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
    // One sample is of yesterday, which is another index.
    let yesterday_s = now_ms() / 1000 - 86_400;
    let body = BODY.replace("1790000000123", &format!("{yesterday_s}123"));
    let other = body.replace("1027", "4711");
    let samples = 2 * body.lines().filter(|line| !line.starts_with('#')).count();
    let first = Exporter::start(tls.clone(), move |_| body.clone()).await;
    let second = Exporter::start(tls, move |_| other.clone()).await;
    let index = Node::unused_name("my-computer-metric");
    let file = world.path("telegraf.conf");
    std::fs::write(&file, pivotal(&world, [&first, &second], &node, &index)).unwrap();
    let file = file.to_str().unwrap();

    let mut once = Command::new(&program);
    once.args(["--config", file, "--once"]).kill_on_drop(true).env_remove("TELEGRAF_CONFIG_PATH");
    // A busy Elasticsearch takes its time for a new index.
    let (code, _, log) = outcome_within(Duration::from_secs(120), &mut once).await;
    assert_eq!(code, 0, "{log}");
    let theirs = take(&node, &index).await;
    assert!(theirs.documents.len() > 15, "{theirs:#?}");

    let (code, yaml, err) = outcome(&mut command(&["convert", "telegraf", file])).await;
    assert_eq!((code, err.as_str()), (0, ""));
    world.configure(&format!("{yaml}admin: {{listen: \"127.0.0.1:0\"}}\n"));
    let scrapes_before = [&first, &second].map(|target| target.bodies().len());
    let process = world.run().await;
    // The first scrape comes within the interval, which is 30 s.
    until_within(Duration::from_secs(60), "a scrape of each", async || {
        let scrapes = [&first, &second].map(|target| target.bodies().len());
        (scrapes[0] > scrapes_before[0] && scrapes[1] > scrapes_before[1]).then_some(())
    })
    .await;
    // At its flush_interval, not by the drain: making an index takes a busy Elasticsearch its time.
    until_within(Duration::from_secs(60), "all is delivered", async || {
        let ledger = process.outputs().await["elasticsearch"]["ledger"].clone();
        (ledger["offered"].as_u64().unwrap() >= samples as u64 && ledger["waiting"] == 0).then_some(())
    })
    .await;
    let ended = process.terminate().await;
    for field in ["rejected", "dropped", "waiting"] {
        assert_eq!(ended.count("elasticsearch", field), 0, "{field}");
    }
    let mut ours = take(&node, &index).await;
    ours.own_times_ms = ours.own_times_ms.iter().map(|time_ms| time_ms / 1000 * 1000).collect();
    let missing: Vec<_> = theirs.documents.difference(&ours.documents).collect();
    let added: Vec<_> = ours.documents.difference(&theirs.documents).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing {missing:#?}\nadded {added:#?}");
    assert_eq!(theirs, ours);
}
