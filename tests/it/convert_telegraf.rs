//! A real Telegraf and promferry with the converted configuration, on the same targets: the same documents, field for field.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value as Json, json};
use tokio::process::{Child, Command};

use crate::support::bulk_server::{Act, BulkServer, Request, Store, answer};
use crate::support::exporter::Exporter;
use crate::support::world::{World, command, outcome, until};

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
