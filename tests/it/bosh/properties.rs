//! Properties in, files out.

use std::collections::BTreeSet;

use promferry::config::{self, Source};
use promferry::detect;
use promferry::model::Labels;
use serde_json::{Value as Json, json};

use super::{Pems, Rendered, Vm, has_ruby, instance, links, ruby};

/// `more` on top of `base`; what is in both is `more`'s, mappings are merged.
fn merged(base: &Json, more: &Json) -> Json {
    let (Json::Object(base), Json::Object(more)) = (base, more) else { return more.clone() };
    let mut all = base.clone();
    for (key, value) in more {
        let below = all.get(key).map_or_else(|| value.clone(), |known| merged(known, value));
        all.insert(key.clone(), below);
    }
    Json::Object(all)
}

fn elasticsearch() -> Json {
    json!({"elasticsearch": {"urls": ["https://search.example.com:9200"]}})
}

/// Whatever has a property, but for what takes the place of other agents.
fn everything(pems: &Pems) -> Json {
    let rules =
        json!([{"source_labels": ["__name__"], "regex": "(go)_(.*)", "target_label": "x", "replacement": "${1}-$2"}]);
    let tls = merged(&pems.client(), &json!({"server_name": "a_name.internal", "insecure_skip_verify": true}));
    json!({
        "scrape": {
            "globs": ["/var/vcap/jobs/*/config/prom_scraper_config.yml"], "host": "10.0.16.4", "refresh_interval": "20s",
            "interval": "30s", "timeout": "5s", "jitter": "1s", "honor_labels": true, "honor_timestamps": false,
            "native_histograms": true, "on_bad_line": "fail",
            "limits": {"body_size": "32MiB", "growth": "1MiB", "samples": "5000", "labels": 60, "label_name_length": 200,
                       "label_value_length": 2000, "targets": 500},
            "relabel_configs": rules, "metric_relabel_configs": rules,
            "tls": merged(&tls, &json!({"min_version": "TLS13"})),
            "extra_configs": [{"job_name": "node", "static_configs": [{"targets": ["${NODE:-127.0.0.1:9100}"]}]}],
        },
        "external_labels": {"environment": "production", "az": "", "number": 7},
        "detect": ["host"],
        "elasticsearch": {
            "urls": ["https://search-1.example.com:9200", "https://search-2.example.com:9200/prefix"],
            "index": "metrics-cf-{{deployment}}", "action": "create", "shape": "telegraf", "manage_template": true,
            "data_retention": "30d", "pipeline": "p", "username": "user", "password": "secret-word-1 ${word}\n", "headers": {"X-Team": "a"},
            "tls": tls, "timeout": "30s", "gzip": false, "write_relabel_configs": rules,
        },
        "splunk_hec": {
            "urls": ["https://splunk.example.com:8088"], "token": "secret-word-2", "index": "m_{{deployment}}", "allowed_indexes": ["m_cf"],
            "sourcetype": "prometheus", "source": "{{job}}", "host": "{{id}}", "multi_metric": false, "ack": true,
            "headers": {"X-Team": "a"}, "tls": tls, "timeout": "30s", "gzip": false, "write_relabel_configs": rules,
        },
        "expose": {"enabled": true, "address": "0.0.0.0", "port": "9700", "path": "/all", "timestamps": true, "tls": pems.server(),
                   "write_relabel_configs": rules},
        "outputs": [{"name": "lines", "file": {"path": "/var/vcap/data/promferry/lines", "format": "text"}}],
        "batch": {"max_samples": 5000, "max_bytes": "1MiB", "flush_interval": "5s", "flush_jitter": "0s"},
        "queue": {"max_samples": 500_000, "max_bytes": "32MiB", "max_age": "1h", "on_full": "drop_newest",
                  "disk": {"enabled": true, "persistent": true, "max_bytes": "2GiB", "fsync": "never"}},
        "admin": {"address": "::", "port": 9800, "tls": pems.server()},
        "announce": {"source_id": "ferry", "server_name": "promferry_metrics"},
        "address": "10.9.9.9",
        "log": {"level": "debug", "format": "human"},
        "shutdown_timeout": "1m30s",
        "post_start": {"timeout_seconds": 5},
        "memory_limit": "100MiB",
        "bpm": {"memory_limit": "1G", "open_files": 1024,
                "volumes": ["/var/vcap/jobs/a/config/certs/*.crt", {"path": "/var/vcap/data/shared", "writable": true}]},
        "env": {"NODE": "it's \"quoted\"", "TOKIO_WORKER_THREADS": 2},
    })
}

/// Everything that a cf-deployment needs for the drop-ins.
fn drop_ins(pems: &Pems) -> Json {
    json!({
        "metrics_agent": {
            "enabled": true, "port": 24_726, "metrics_port": 24_727, "tls": pems.server(),
            "targets_file": "/var/vcap/data/promferry/metric_targets.yml", "tags": {"deployment": "mine"}, "ttl": "5m",
            "expiration_interval": "30s", "ingress": {"port": 13_461, "tls": pems.server(), "timer_tags": ["source_id"]},
        },
        "nats": {"discover": {"enabled": true, "scheme": "https", "server_name": "metrics_agent", "expiry": "30s", "target_limit": 10},
                 "register": {"enabled": true, "interval": "10s", "globs": ["/var/vcap/data/*/metric_targets.yml"]},
                 "servers": ["10.0.0.1:4222", "tls://10.0.0.2:4222"], "username": "me", "password": "secret-word-3", "subject": "metrics.other",
                 "tls": merged(&pems.client(), &json!({"server_name": "nats.service.cf.internal"}))},
        "targets_file": {"enabled": true, "path": "/var/vcap/data/promferry/targets.yml", "format": "yaml"},
        "loggregator": {"enabled": true, "host": "127.0.0.1", "port": 3460, "source_id": "mine", "write_relabel_configs": [],
                        "tls": merged(&pems.client(), &json!({"server_name": "metron"}))},
    })
}

/// Renders, and lets `promferry check` look at the result.
fn checked(what: &str, properties: &Json, links: &Json) -> Rendered {
    let rendered = Rendered::new(properties, links).unwrap_or_else(|error| panic!("{what}: {error}"));
    let vm = Vm::new();
    vm.deploy(&rendered);
    let (code, out, err) = vm.check();
    assert_eq!((code, err.as_str()), (0, ""), "{what}: {out}\n{}", rendered.config());
    assert!(out.ends_with(": nothing is wrong with them\n"), "{what}: {out}");
    rendered
}

#[test]
fn what_is_rendered_passes_check_and_every_property_is_used() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let (none, linked) = (json!({}), links(&pems));
    let splunk = json!({"splunk_hec": {"urls": ["https://splunk.example.com:8088"], "token": "t"}});
    let agent = json!({"metrics_agent": {"enabled": true, "tls": pems.server(), "ingress": {"tls": pems.server()}}});
    let nats = json!({"nats": {"discover": {"enabled": true}, "register": {"enabled": true}}});
    let loggregator = json!({"loggregator": {"enabled": true}});
    let shared = json!({"scrape": {"enabled": false}, "nats": {"discover": {"enabled": true}}, "shard": {"count": 3, "replicas": 2}});
    let api_key = json!({"elasticsearch": {"urls": ["http://127.0.0.1:9200"], "api_key": "a2V5", "manage_template": true,
                                           "ilm_policy": "hot"}});
    let closed = json!({"scrape": {"enabled": false}, "admin": {"enabled": false}, "bosh_labels": false, "bpm": {"memory_limit": ""},
                        "announce": {"enabled": false}});
    let open = json!({"expose": {"enabled": true, "address": "10.0.16.4", "insecure": true},
                      "admin": {"address": "0.0.0.0", "insecure": true}});
    let all = merged(&everything(&pems), &drop_ins(&pems));
    let mut asked = BTreeSet::new();
    let mut known = BTreeSet::new();
    for (what, properties, links) in [
        ("defaults", &none, &none),
        ("nothing but an Elasticsearch URL", &elasticsearch(), &none),
        ("nothing but Splunk", &splunk, &none),
        ("everything", &everything(&pems), &none),
        ("everything, and all drop-ins", &all, &linked),
        ("metrics-agent", &agent, &none),
        ("NATS over its link", &nats, &linked),
        ("Loggregator over its link", &loggregator, &linked),
        ("links that nobody uses", &elasticsearch(), &linked),
        ("an API key", &api_key, &none),
        ("a targets file and nothing else", &json!({"targets_file": {"enabled": true}}), &none),
        (
            "announcements and nothing else",
            &json!({"nats": {"register": {"enabled": true}, "servers": ["h:1"]}}),
            &none,
        ),
        ("shared targets", &shared, &linked),
        ("as little as can be", &closed, &none),
        ("open to others", &open, &none),
    ] {
        let rendered = checked(what, properties, links);
        asked.extend(rendered.asked);
        known = rendered.known;
    }
    let unused: Vec<_> = known.difference(&asked).collect();
    assert!(unused.is_empty(), "no template uses {unused:?}");
}

#[test]
fn the_spec_explains_every_property() {
    if !has_ruby() {
        return;
    }
    let script = "require 'yaml'; require 'json'; puts JSON.generate(YAML.safe_load(File.read(ARGV[0])))";
    let said = std::process::Command::new("ruby").args(["-e", script]).arg(super::job().join("spec")).output().unwrap();
    let spec: Json = serde_json::from_slice(&said.stdout).unwrap();
    for (name, property) in spec["properties"].as_object().unwrap() {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.len() > 10 && description.ends_with('.'), "{name} has no description");
        let default = property.get("default");
        let says_little = default.is_none_or(|default| *default == json!([]) || *default == json!({}));
        assert!(
            !says_little || property.get("example").is_some(),
            "{name} has neither a default that shows its form nor an example"
        );
        let keys: Vec<_> = property
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !["description", "default", "example"].contains(&key.as_str()))
            .collect();
        assert!(keys.is_empty(), "{name}: {keys:?}");
    }
    // A property and one below it would hide each other.
    let names: Vec<&String> = spec["properties"].as_object().unwrap().keys().collect();
    for name in &names {
        let below = format!("{name}.");
        assert!(!names.iter().any(|other| other.starts_with(&below)), "{name} is a property and has some below it");
    }
    let (sources, rendered) = (spec["templates"].as_object().unwrap(), Rendered::of(json!({})));
    assert_eq!(sources.len() + 1, rendered.files.len(), "two templates have one target");
    let mut found = 0;
    let mut folders = vec![super::job().join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found += 1;
            }
        }
    }
    assert_eq!(found, sources.len(), "a template is not in the spec");
}

#[test]
fn bad_properties_fail_while_rendering_with_a_sentence() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let half = json!({"cert": pems.certificate});
    let es = |more: Json| merged(&elasticsearch(), &json!({"elasticsearch": more}));
    let cases = [
        (
            json!({"scrape": {"interval": "15x"}}),
            "property scrape.interval: \"15x\" is not a duration; write a number and a unit, such as 500ms, 15s or 2m",
        ),
        (
            json!({"scrape": {"limits": {"samples": -1}}}),
            "property scrape.limits.samples: -1 is not a whole number of 0 or more; write one, such as 0",
        ),
        (
            json!({"scrape": {"limits": {"body_size": "64"}}}),
            "property scrape.limits.body_size: \"64\" is not a size; write a number and a unit, such as 512KiB or 64MiB",
        ),
        (
            json!({"scrape": {"honor_labels": "yes"}}),
            "property scrape.honor_labels: \"yes\" is not a yes or no; write true or false",
        ),
        (
            json!({"scrape": {"on_bad_line": "ignore"}}),
            "property scrape.on_bad_line: \"ignore\" is not known; write one of skip, fail",
        ),
        (
            json!({"scrape": {"globs": []}}),
            "property scrape.globs: it is empty; name a file, or set scrape.enabled: false",
        ),
        (json!({"scrape": {"globs": "/x"}}), "property scrape.globs: \"/x\" is not a list; write a list, [] for none"),
        (
            json!({"scrape": {"host": "http://x/"}}),
            "property scrape.host: \"http://x/\" is not a host; write a name or an address, without a port",
        ),
        (
            json!({"scrape": {"tls": half}}),
            "property scrape.tls.key: it is not set, and scrape.tls.cert is; a certificate needs its key",
        ),
        (
            json!({"scrape": {"tls": {"key": pems.key}}}),
            "property scrape.tls.cert: it is not set, and scrape.tls.key is; a key needs its certificate",
        ),
        (
            json!({"scrape": {"tls": {"ca_cert": "/etc/ca.crt"}}}),
            "property scrape.tls.ca_cert: it holds no certificate in PEM form; write the text that begins with -----BEGIN CERTIFICATE-----, not a path",
        ),
        (
            json!({"scrape": {"extra_configs": [{"static_configs": []}]}}),
            "property scrape.extra_configs: one of them has no job_name; write each as a mapping with a job_name, in the words of scrape_configs",
        ),
        (
            json!({"scrape": {"metric_relabel_configs": ["drop"]}}),
            "property scrape.metric_relabel_configs: \"drop\" is not a rule; write a mapping with keys such as source_labels and action",
        ),
        (
            json!({"external_labels": ["a"]}),
            "property external_labels: [\"a\"] is not a mapping; write names and values, {} for none",
        ),
        (
            json!({"detect": ["bosh", "cf"]}),
            "property detect: \"cf\" is not known; write some of bosh, cloud_foundry, nomad, kubernetes, host",
        ),
        (
            json!({"external_labels": {"a": ["b"]}}),
            "property external_labels.a: [\"b\"] is not a single value; write a text",
        ),
        (
            json!({"elasticsearch": {"urls": ["https://user:secret-word@es:9200"]}}),
            "property elasticsearch.urls: one of them is not a URL that can be used; write https://HOST:PORT, without a user in it",
        ),
        (
            es(json!({"username": "u"})),
            "property elasticsearch.password: it is not set, and elasticsearch.username is; a user needs a password",
        ),
        (
            es(json!({"username": "u", "password": "secret-word", "api_key": "secret-word"})),
            "property elasticsearch.api_key: it is set, and elasticsearch.username is; take one of them away",
        ),
        (
            es(json!({"shape": "ecs"})),
            "property elasticsearch.shape: \"ecs\" is not known; write one of timeseries, telegraf, telegraf_v1, metricbeat",
        ),
        (
            es(json!({"manage_template": true, "data_retention": "30d", "ilm_policy": "hot"})),
            "property elasticsearch.ilm_policy: it is set, and elasticsearch.data_retention is; take one of them away",
        ),
        (
            es(json!({"data_retention": "30d"})),
            "property elasticsearch.data_retention: it is set, and elasticsearch.manage_template is false; it is part of the template: set elasticsearch.manage_template: true, or take it away",
        ),
        (
            json!({"splunk_hec": {"urls": ["https://s:8088"]}}),
            "property splunk_hec.token: it is not set, and splunk_hec.urls is; write the collector's token",
        ),
        (
            json!({"splunk_hec": {"urls": ["https://s:8088"], "token": "t", "index": "m_{{org}}"}}),
            "property splunk_hec.allowed_indexes: it is empty, and splunk_hec.index is \"m_{{org}}\"; list what the template may come to",
        ),
        (
            json!({"expose": {"port": 65_536}}),
            "property expose.port: 65536 is not a port; write a whole number from 1 to 65535",
        ),
        (
            json!({"expose": {"address": "0.0.0.0"}}),
            "property expose.address: \"0.0.0.0\" can be reached by other machines; set expose.tls.client_ca_cert, so that they must show a certificate, or expose.insecure: true",
        ),
        (
            json!({"expose": {"address": "all"}}),
            "property expose.address: \"all\" is not an IP address; write one, such as 127.0.0.1, or 0.0.0.0 for every address",
        ),
        (
            json!({"expose": {"enabled": false}}),
            "property expose.enabled: it is false, and no output is set; set elasticsearch.urls, splunk_hec.urls, loggregator.enabled, metrics_agent.enabled or outputs, or take it away",
        ),
        (
            json!({"expose": {"insecure": true, "tls": pems.server()}}),
            "property expose.insecure: it is true, and expose.tls.client_ca_cert is set; take one of them away",
        ),
        (json!({"admin": {"port": 9699}}), "property admin.port: 9699 is taken by expose.port; write another port"),
        (
            json!({"admin": {"tls": {"client_ca_cert": pems.ca}}}),
            "property admin.tls.cert: it is not set, and admin.tls.client_ca_cert is; a listener that asks for certificates needs one itself",
        ),
        (
            json!({"admin": {"tls": {"cert": pems.certificate, "key": pems.key}}}),
            "property announce.server_name: it is not set, and admin.tls.cert is; write the name in that certificate, or set announce.enabled: false",
        ),
        (
            json!({"outputs": [{"name": "x", "kafka": {}}]}),
            "property outputs: \"x\" has \"kafka\", which is no kind of output; write one of elasticsearch, splunk_hec, remote_write, otlp, signalfx, loggregator, dogstatsd, expose, file",
        ),
        (
            json!({"outputs": [{"name": "x", "file": {}, "expose": {}}]}),
            "property outputs: \"x\" has 2 kinds; write one of elasticsearch, splunk_hec, remote_write, otlp, signalfx, loggregator, dogstatsd, expose, file",
        ),
        (
            json!({"outputs": [{"file": {}}]}),
            "property outputs: one of them has no name; write each as a mapping with a name and a kind",
        ),
        (
            merged(&elasticsearch(), &json!({"batch": {"max_samples": 0}})),
            "property batch.max_samples: 0 is not a whole number of 1 or more; write one, such as 1",
        ),
        (
            merged(&elasticsearch(), &json!({"queue": {"on_full": "wait"}})),
            "property queue.on_full: \"wait\" is not known; write one of drop_oldest, drop_newest",
        ),
        (
            json!({"nats": {"register": {"enabled": true}}}),
            "property nats.servers: it is empty, and there is no link nats-tls; name a server, such as nats.service.cf.internal:4224",
        ),
        (
            json!({"nats": {"register": {"enabled": true}, "servers": ["nats://u:secret-word@h:1"]}}),
            "property nats.servers: one of them is not an address that can be used; write HOST:PORT, without a user in it; nats.username and nats.password are for that",
        ),
        (
            json!({"metrics_agent": {"enabled": true}}),
            "property metrics_agent.tls: client_ca_cert, cert and key are not all set; the exporter serves mutual TLS only: write all three",
        ),
        (
            json!({"loggregator": {"enabled": true}}),
            "property loggregator.tls: ca_cert, cert and key are not all set, and there is no link loggregator; the agent takes mutual TLS only: write all three",
        ),
        (
            json!({"scrape": {"enabled": false}, "shard": {"count": 2, "replicas": 3}}),
            "property shard.replicas: 3 is not a whole number from 1 to 2; write one, such as 1",
        ),
        (
            json!({"shard": {"count": 2}}),
            "property shard.count: it is 2, and scrape.enabled is true; no other instance scrapes the jobs of this VM for it: set \
             scrape.enabled: false, or leave the sharing to instances of their own",
        ),
        (
            json!({"memory_limit": "100"}),
            "property memory_limit: \"100\" is not a size; write a number and a unit, such as 512KiB or 64MiB",
        ),
        (
            json!({"bpm": {"memory_limit": "256MB"}}),
            "property bpm.memory_limit: \"256MB\" is not a limit of bpm; write a number with M or G, such as 256M",
        ),
        (
            json!({"bpm": {"memory_limit": "16M"}}),
            "property bpm.memory_limit: \"16M\" is too little; write 32M or more",
        ),
        (
            json!({"bpm": {"open_files": 1}}),
            "property bpm.open_files: 1 is not a whole number from 64 to 1048576; write one, such as 8192",
        ),
        (
            json!({"bpm": {"volumes": ["/var/vcap/jobs"]}}),
            "property bpm.volumes or a glob: \"/var/vcap/jobs\" would show all jobs' files; name the files that are needed, such as /var/vcap/jobs/*/config/certs/scrape.crt",
        ),
        (
            json!({"bpm": {"volumes": [{"path": "/x", "mode": "rw"}]}}),
            "property bpm.volumes: \"mode\" is no key of a volume; write path, writable, mount_only or allow_executions",
        ),
        (
            json!({"scrape": {"globs": ["jobs/*/x.yml"]}}),
            "property bpm.volumes or a glob: \"jobs/*/x.yml\" is not an absolute path; write one from / on, without ..",
        ),
        (
            json!({"env": {"PROMFERRY_CONFIG": "x"}}),
            "property env: PROMFERRY_CONFIG is promferry's own; take it away; its configuration is made from the properties of this job",
        ),
        (
            json!({"env": {"A B": "x"}}),
            "property env: \"A B\" is not the name of a variable; write letters, digits and _, and no digit in front",
        ),
        (
            json!({"log": {"level": "loud"}}),
            "property log.level: \"loud\" is not known; write one of error, warn, info, debug, trace",
        ),
        (
            json!({"post_start": {"timeout_seconds": 60}}),
            "property post_start.timeout_seconds: 60 is not a whole number from 1 to 25; monit gives up after 30 s",
        ),
    ];
    let no_links = json!({});
    let requests: Vec<_> = cases.iter().map(|(properties, _)| (properties, &no_links)).collect();
    for (answer, (properties, sentence)) in Rendered::all(&requests).into_iter().zip(&cases) {
        let Err(error) = answer else { panic!("it is rendered: {properties}") };
        assert!(!error.contains("secret-word"), "{error}");
        let (before, said) = error.split_once(": ").unwrap();
        assert!(
            before.starts_with("Error filling in template '")
                && before.contains("(line ")
                && !before.contains("unknown"),
            "{error}"
        );
        assert_eq!(said.trim_end_matches(')'), sentence.trim_end_matches(')'), "{properties}");
    }
}

#[test]
fn the_templates_know_the_kinds_of_outputs_that_the_program_knows() {
    let template = std::fs::read_to_string(super::job().join("templates/promferry.yml.erb")).unwrap();
    let (_, rest) = template.split_once("kinds = %w[").unwrap();
    let listed: BTreeSet<&str> = rest.split(']').next().unwrap().split(' ').collect();
    let docs = std::fs::read_to_string(super::root().join("docs/config.md")).unwrap();
    let (_, rest) = docs.split_once("It needs exactly one of ").unwrap();
    let known: BTreeSet<&str> = rest.split('.').next().unwrap().split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, known);
}

#[test]
fn no_value_can_break_the_form_of_the_configuration_or_be_taken_for_a_variable() {
    if !has_ruby() {
        return;
    }
    let odd = "a: b\n- c # \"d\" 'e' ${HOME} $${HOME} $$$ {{x}} %> <%= 1 %> \u{e9}";
    let properties = json!({
        "external_labels": {"odd": odd, "yes": "no", "octal": "0123", "truth": true, "empty": ""},
        "elasticsearch": {"urls": ["https://es:9200"], "pipeline": "${HOME}", "index": "metrics-${x}"},
        "scrape": {"relabel_configs": [{"source_labels": ["a"], "target_label": "b", "replacement": "${1}-$2"}]},
    });
    let rendered = Rendered::of(properties);
    let vm = Vm::new();
    vm.deploy(&rendered);
    let path = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
    let config = config::load(&Source::File(path), &|_| panic!("a variable was looked up")).unwrap();
    let labels = &config.scrapes[0].external_labels;
    for (name, value) in
        [("odd", odd), ("yes", "no"), ("octal", "0123"), ("truth", "true"), ("az", "z1"), ("index", "2")]
    {
        assert_eq!(labels.get(name), Some(value), "{name}");
    }
    assert_eq!(labels.get("empty"), None);
    assert!(rendered.config().contains("pipeline: \"$${HOME}\""), "{}", rendered.config());
    assert!(rendered.config().contains("index: metrics-${x}"), "an index has no variables: {}", rendered.config());
    assert!(rendered.config().contains("replacement: \"${1}-$2\""), "{}", rendered.config());
}

#[test]
fn every_sample_has_boshs_labels_and_an_operator_may_change_them() {
    if !has_ruby() {
        return;
    }
    let labels = |properties: Json| {
        let vm = Vm::new();
        vm.deploy(&Rendered::of(properties));
        let path = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
        let config = config::load(&Source::File(path), &|_| None).unwrap();
        config.scrapes[0]
            .external_labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let spec = instance();
    let id = spec["id"].as_str().unwrap();
    assert_eq!(labels(json!({})), format!("az=z1 deployment=cf id={id} index=2 instance_group=router ip=10.0.16.4"));
    let changed = json!({"external_labels": {"az": "", "ip": "", "id": "", "index": "${x}", "team": "a"}});
    assert_eq!(labels(changed), "deployment=cf index=${x} instance_group=router team=a");
    assert_eq!(labels(json!({"bosh_labels": false})), "");
}

/// What the process finds is what the templates rendered: below bpm it sees no other names.
#[test]
fn what_is_rendered_is_what_detect_finds() {
    if !has_ruby() {
        return;
    }
    let vm = Vm::new();
    let rendered = Rendered::of(json!({"detect": ["bosh"], "bosh_labels": false, "external_labels": {"bosh_az": ""}}));
    vm.deploy(&rendered);
    let path = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
    let mut config = config::load(&Source::File(path), &|_| None).unwrap();
    let bpm = rendered.file("config/bpm.yml");
    let environment = |name: &str| {
        let value = bpm.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        value.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    // What check is told is what the process is told.
    for line in bpm.lines().filter_map(|line| line.trim().strip_prefix("PROMFERRY_BOSH_")) {
        let (name, value) = line.split_once(": ").unwrap();
        let exported = format!("export PROMFERRY_BOSH_{name}={}\n", value.trim_matches('\''));
        assert!(rendered.file("bin/pre-start").contains(&exported), "{exported}");
    }
    let empty = tempfile::tempdir().unwrap();
    let notes = detect::apply(&mut config, detect::Place { environment: &environment, root: empty.path() });
    assert_eq!(notes, [] as [&str; 0]);
    let id = instance()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        config.scrapes[0].external_labels.to_string(),
        format!(
            "{{bosh_deployment=\"cf\",bosh_instance_group=\"router\",bosh_instance_id=\"{id}\",\
             bosh_instance_index=\"2\",bosh_instance_ip=\"10.0.16.4\"}}"
        )
    );
}

#[test]
fn the_firehose_gets_what_prom_scraper_gives_it() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let rules = json!([{"regex": "secret", "action": "labeldrop"}]);
    let vm = Vm::new();
    vm.deploy(&Rendered::of(json!({
        "loggregator": {"enabled": true, "tls": pems.client(), "write_relabel_configs": rules},
        "external_labels": {"az": "mine"},
    })));
    let path = vm.path("/var/vcap/jobs/promferry/config/promferry.yml");
    let config = config::load(&Source::File(path), &|_| None).unwrap();
    let sent = |given: &[(&str, &str)]| {
        let mut labels = Labels::new();
        given.iter().for_each(|&(name, value)| labels.set(name, value));
        let is_sent = config.outputs[0].write_relabel.apply(&mut labels);
        let text: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        is_sent.then(|| text.join(" "))
    };
    let ours = [("deployment", "cf"), ("index", "2"), ("ip", "10.0.16.4"), ("az", "mine")];
    let metric = |more: &[(&'static str, &'static str)]| sent(&[&[("__name__", "a")], &ours[..], more].concat());
    assert_eq!(metric(&[("secret", "x")]).as_deref(), Some("__name__=a az=mine"), "the agent has its own");
    let own = [("__name__", "a"), ("deployment", "other"), ("index", "22"), ("ip", "10x0.16.4")];
    assert_eq!(sent(&own).as_deref(), Some("__name__=a deployment=other index=22 ip=10x0.16.4"), "a metric's own stay");
    for name in ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"] {
        assert_eq!(sent(&[("__name__", name)]), None);
    }
    for name in ["upper", "scrape_targets_total"] {
        assert!(sent(&[("__name__", name)]).is_some(), "{name} is a job's own");
    }
}

#[test]
fn an_empty_certificate_is_an_empty_file_and_is_not_named() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let empty = json!({"ca_cert": "", "cert": "", "key": ""});
    let rendered =
        Rendered::of(json!({"scrape": {"tls": empty}, "elasticsearch": {"urls": ["https://es:9200"], "api_key": "",
        "password": "", "username": "", "tls": empty}}));
    let below = |rendered: &Rendered| {
        let files = rendered.files.iter().filter(|(path, _)| path.contains("/certs/") || path.contains("/secrets/"));
        files.map(|(path, text)| (path.clone(), text.clone())).collect::<Vec<_>>()
    };
    for (path, text) in below(&rendered) {
        assert_eq!(text, "", "{path}");
    }
    assert!(!rendered.config().contains("_file:"), "{}", rendered.config());

    let all = merged(&everything(&pems), &drop_ins(&pems));
    let rendered = Rendered::new(&all, &json!({})).unwrap();
    for (path, text) in below(&rendered) {
        let expected = match path.rsplit('/').next().unwrap() {
            "elasticsearch_password" => "secret-word-1 ${word}\n",
            "elasticsearch_api_key" => continue,
            "splunk_hec_token" => "secret-word-2",
            "nats_password" => "secret-word-3",
            name if name.ends_with("_ca.crt") => &pems.ca,
            name if name.ends_with(".crt") => &pems.certificate,
            _ => &pems.key,
        };
        assert_eq!(text, expected, "{path}");
        assert!(rendered.config().contains(&format!("/var/vcap/jobs/promferry/{path}")), "nothing names {path}");
    }
    for secret in ["secret-word", "PRIVATE KEY"] {
        for path in ["config/promferry.yml", "config/bpm.yml", "bin/pre-start", "bin/post-start", "bin/drain"] {
            assert!(!rendered.file(path).contains(secret), "{path} holds a secret");
        }
    }
}

#[test]
fn what_a_link_gives_is_used_where_no_property_says_otherwise_and_written_nowhere_else() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let links = links(&pems);
    let unused = Rendered::new(&json!({}), &links).unwrap();
    for (path, text) in &unused.files {
        assert!(!text.contains("link-password") && !text.contains("PRIVATE KEY"), "{path}");
    }
    let properties = json!({"nats": {"register": {"enabled": true}}, "loggregator": {"enabled": true}});
    let used = Rendered::new(&properties, &links).unwrap();
    for part in [
        "register:\n  servers:\n  - nats://nats.service.cf.internal:4224\n  username: nats\n  password_file: \"/var/vcap/jobs/promferry/config/secrets/nats_password\"\n",
        "ca_file: \"/var/vcap/jobs/promferry/config/certs/nats_ca.crt\"",
        "address: 127.0.0.1:3458\n",
        "cert_file: \"/var/vcap/jobs/promferry/config/certs/loggregator.crt\"",
        "source_id: router\n",
        "  address: 10.0.16.4\n",
    ] {
        assert!(used.config().contains(part), "{part:?} is not in\n{}", used.config());
    }
    assert_eq!(used.file("config/secrets/nats_password"), "link-password");
    assert_eq!(used.file("config/certs/nats_ca.crt"), pems.ca);
    assert_eq!(used.file("config/certs/loggregator.key"), pems.key);
    assert!(!used.config().contains("certs/nats.crt"), "no certificate was given for NATS");
}

/// All of it, so that a wider mount or a right more is seen here.
const BPM: &str = r#"---
processes:
- name: promferry
  executable: "/var/vcap/packages/promferry/bin/promferry"
  args:
  - run
  - "-c"
  - "/var/vcap/jobs/promferry/config/promferry.yml"
  - "--log-level"
  - info
  - "--log-format"
  - json
  env:
    PROMFERRY_BOSH_DEPLOYMENT: cf
    PROMFERRY_BOSH_INSTANCE_GROUP: router
    PROMFERRY_BOSH_ID: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000
    PROMFERRY_BOSH_INDEX: '2'
    PROMFERRY_BOSH_IP: 10.0.16.4
    PROMFERRY_BOSH_AZ: z1
    PROMFERRY_BPM_VOLUMES: "/var/vcap/jobs/promferry:/var/vcap/packages:/var/vcap/data/packages:/var/vcap/sys/log/promferry:/var/vcap/data/promferry:/var/vcap/store/promferry:/var/vcap/jobs/*/config/prom_scraper_config.yml:/var/vcap/jobs/*/config/metric_port.yml"
  limits:
    memory: 256M
    open_files: 8192
  unsafe:
    unrestricted_volumes:
    - path: "/var/vcap/jobs/*/config/prom_scraper_config.yml"
      mount_only: true
    - path: "/var/vcap/jobs/*/config/metric_port.yml"
      mount_only: true
"#;

#[test]
fn bpm_shows_what_is_announced_and_a_disk_only_where_something_is_written() {
    if !has_ruby() {
        return;
    }
    let bpm = |properties: Json| Rendered::of(properties).file("config/bpm.yml").to_owned();
    assert_eq!(bpm(json!({})), BPM);
    let disks = |properties: Json| {
        let bpm = bpm(properties);
        (bpm.contains("\n  ephemeral_disk: true\n"), bpm.contains("\n  persistent_disk: true\n"))
    };
    let pems = Pems::new();
    assert_eq!(disks(json!({"queue": {"disk": {"enabled": true}}})), (true, false));
    assert_eq!(disks(json!({"queue": {"disk": {"enabled": true, "persistent": true}}})), (false, true));
    assert_eq!(disks(json!({"targets_file": {"enabled": true}})), (true, false));
    assert_eq!(disks(json!({"metrics_agent": {"enabled": true, "tls": pems.server()}})), (true, false));
    assert_eq!(
        disks(json!({"outputs": [{"name": "x", "file": {"path": "/var/vcap/data/promferry/x"}}]})),
        (true, false)
    );

    let more = bpm(
        json!({"bpm": {"volumes": ["/var/vcap/jobs/a/config/certs/*.crt", {"path": "/var/vcap/data/b", "writable": true}],
        "memory_limit": ""}, "env": {"A": "b c"}}),
    );
    assert!(more.contains("    - path: \"/var/vcap/jobs/a/config/certs/*.crt\"\n      mount_only: true\n"), "{more}");
    assert!(
        more.contains("    - path: \"/var/vcap/data/b\"\n      mount_only: true\n      writable: true\n"),
        "{more}"
    );
    assert!(more.contains("    A: b c\n") && !more.contains("memory:"), "{more}");
    // What check is told is what the process is told.
    let volumes =
        BPM.lines().find_map(|line| line.trim().strip_prefix("PROMFERRY_BPM_VOLUMES: ")).unwrap().trim_matches('"');
    let pre_start = Rendered::of(json!({})).file("bin/pre-start").replace('\\', "");
    assert!(pre_start.contains(&format!("export PROMFERRY_BPM_VOLUMES={volumes}\n")), "{pre_start}");
}

#[test]
fn it_announces_itself_as_other_jobs_do() {
    if !has_ruby() {
        return;
    }
    let pems = Pems::new();
    let file = |properties: Json| Rendered::of(properties).file("config/prom_scraper_config.yml").to_owned();
    let id = "instance_id: 0e4cc47a-abc1-4360-b3f7-46ba7fc10000";
    assert_eq!(file(json!({})), format!("---\nport: 9698\nsource_id: promferry\n{id}\nscheme: http\n"));
    let tls = json!({"admin": {"port": 1, "tls": pems.server()}, "announce": {"server_name": "x"}});
    assert_eq!(file(tls), format!("---\nport: 1\nsource_id: promferry\n{id}\nscheme: https\nserver_name: x\n"));
    for off in [json!({"announce": {"enabled": false}}), json!({"admin": {"enabled": false}})] {
        assert_eq!(file(off).trim(), "");
    }
    let ingress = |properties: Json| Rendered::of(properties).file("config/ingress_port.yml").trim().to_owned();
    assert_eq!(ingress(json!({})), "");
    let agent = json!({"metrics_agent": {"enabled": true, "tls": pems.server(), "ingress": {"tls": pems.server()}}});
    assert_eq!(ingress(agent), "---\ningress: 3461");
}

#[test]
fn the_helper_renders_as_bosh_does() {
    if !has_ruby() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).unwrap();
    write("monit", "");
    write(
        "spec",
        "name: x\ntemplates: {t.erb: t}\nconsumes: [{name: l, type: l, optional: true}]\nproperties:\n  a.b: {default: 1}\n  a.c: {}\n  d: {}\n",
    );
    let rendered = |template: &str, properties: Json, links: Json| {
        write("templates/t.erb", template);
        let request = json!([{"job": folder.path(), "properties": properties, "spec": instance(), "links": links}]);
        let answers: Json = serde_json::from_str(&ruby("render.rb", &[], &request.to_string())).unwrap();
        let answer = &answers[0];
        answer["files"]["t"].as_str().or(answer["error"].as_str()).unwrap().to_owned()
    };
    let link = json!({"l": {"instances": [{"address": "10.0.0.1"}], "properties": {"x": {"y": 3}}}});
    for (template, expected) in [
        ("<%= p('a.b') %>", "1"),
        ("<%= p('a.c', 'none') %>", "none"),
        ("<%= p(['a.c', 'a.b']) %>", "1"),
        ("<%= p('a.c') %>", "Error filling in template 't.erb' (line 1: Can't find property 'a.c')"),
        ("\n<%= p('zz', 1) %>", "Error filling in template 't.erb' (line 2: the spec has no property 'zz')"),
        ("<% if_p('a.b') { |b| %>has <%= b %><% }.else { %>none<% } %>", "has 1"),
        ("<% if_p('a.b', 'a.c') { |b, c| %>both<% }.else_if_p('a.b') { |b| %>one<% }.else { %>none<% } %>", "one"),
        ("<% if_p('d') { |d| %>d<% }.else { %>none<% } %>", "none"),
        ("<%- if true -%>\nx\n<%- end -%>\n", "x\n"),
        ("<%= spec.deployment %>/<%= spec.name %>/<%= index %>", "cf/router/2"),
        ("<% if_link('l') { |l| %><%= l.p('x.y') %> <%= l.instances.first.address %><% } %>", "3 10.0.0.1"),
    ] {
        assert_eq!(rendered(template, json!({}), link.clone()), expected, "{template}");
    }
    let template = "<% if_link('l') { |l| %>l<% }.else { %>no link<% } %>";
    assert_eq!(rendered(template, json!({}), json!({})), "no link");
    assert_eq!(rendered("x", json!({"a": {"z": 1}}), json!({})), "the spec has no property 'a.z'");
}
