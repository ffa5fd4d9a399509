//! Loading the configuration: what comes out, and the exact words for what is wrong.

mod docs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{
    Auth, BulkAction, Config, DocumentShape, Escaping, MemoryLimit, NameValidation, Negotiation, OnFull, OutputKind,
    ScrapeProtocol,
};
use promferry::config::raw::ROOT;
use promferry::config::schema::{Section, Type};
use promferry::config::{Problems, Source, SourceError, YAML_VARIABLE, load, load_with_files};
use promferry::net::credentials::Secret;
use promferry::relabel::Rules;

/// Loads `yaml` as an app on Cloud Foundry would hand it in; the other variables are those of `variables`.
fn load_text(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment = |name: &str| match name {
        YAML_VARIABLE => Some(yaml.to_owned()),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    };
    load(&Source::Variable, &environment)
}

fn loaded(yaml: &str) -> Config {
    load_text(yaml, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is wrong with `yaml`: each line without the file's name.
fn problems(yaml: &str) -> Vec<String> {
    let problems = load_text(yaml, &[]).expect_err("this configuration is wrong").to_string();
    problems.lines().map(|line| line.strip_prefix("PROMFERRY_CONFIG_YAML:").unwrap_or(line).to_owned()).collect()
}

/// A configuration with one scrape configuration that has `keys` too.
fn scrape_with(keys: &str) -> String {
    format!("outputs: [{{name: o, file: {{path: '-'}}}}]\nscrape_configs:\n- job_name: j\n  {keys}\n")
}

/// A configuration with one Elasticsearch output that has `keys` too.
fn elasticsearch_with(keys: &str) -> String {
    format!("outputs:\n- name: o\n  elasticsearch:\n    urls: ['http://es:9200']\n    {keys}\n")
}

/// A configuration with one Splunk output that has `keys` too.
fn splunk_with(keys: &str) -> String {
    format!("outputs:\n- name: o\n  splunk_hec:\n    urls: ['https://splunk:8088']\n    {keys}\n")
}

/// All of it but the rules: how those are kept is not for here.
fn shown_without_rules(mut config: Config) -> String {
    for scrape in &mut config.scrapes {
        let scrape = Arc::make_mut(scrape);
        (scrape.relabel, scrape.metric_relabel) = (Rules::default(), Rules::default());
    }
    for output in &mut config.outputs {
        Arc::make_mut(output).write_relabel = Rules::default();
    }
    format!("{config:#?}\n")
}

#[test]
fn a_full_configuration() {
    let config = load_text(include_str!("config/full.yml"), &[("HOST_IP", "10.0.0.9")]);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let first = &config.scrapes[0];
    assert!(
        [&first.relabel, &first.metric_relabel, &config.outputs[0].write_relabel]
            .iter()
            .all(|r| **r != Rules::default())
    );

    let found = shown_without_rules(config);
    if std::env::var_os("WRITE_DOCS").is_some() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/config/full.txt");
        std::fs::write(golden, &found).unwrap();
        return;
    }
    let expected = include_str!("config/full.txt");
    let difference = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert_eq!(difference, None);
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn the_smallest_configuration_has_every_default() {
    let config = loaded("outputs: [{name: o, elasticsearch: {urls: [http://es]}}]\nscrape_configs: [{job_name: j}]");
    assert_eq!(config.global.shutdown_timeout, Duration::from_secs(8));
    assert_eq!(config.global.memory_limit, MemoryLimit::Percent(80));
    assert_eq!(config.global.memory_limit.bytes(Some(64 << 20)), Some((64 << 20) / 100 * 80));
    assert_eq!(config.global.memory_limit.bytes(None), None);
    assert_eq!(config.admin.map(|admin| (admin.listen, admin.tls)), Some(("127.0.0.1:9698".parse().unwrap(), None)));

    let scrape = &config.scrapes[0];
    assert_eq!((scrape.scrape_interval, scrape.scrape_timeout), (Duration::from_secs(15), Duration::from_secs(10)));
    assert!(
        scrape.is_timeout_inherited && scrape.enable_compression && scrape.honor_timestamps && scrape.scrape_metrics
    );
    assert!(!scrape.honor_labels && !scrape.track_timestamps_staleness && scrape.follow_redirects.is_none());
    assert_eq!((scrape.limits.body_bytes, scrape.limits.samples), (64 << 20, 0));
    assert_eq!(scrape.metrics_path, "/metrics");

    let output = &config.outputs[0];
    let OutputKind::Elasticsearch(elasticsearch) = &output.kind else { panic!("{output:?}") };
    assert_eq!(elasticsearch.http.urls[0].to_string(), "http://es:80/");
    assert_eq!(elasticsearch.index, "metrics-promferry-default");
    assert_eq!((elasticsearch.action, elasticsearch.shape), (BulkAction::Create, DocumentShape::TimeSeries));
    assert!(elasticsearch.http.gzip && elasticsearch.http.auth == Auth::None);
    assert!(elasticsearch.has_ids && !elasticsearch.manages_template && !elasticsearch.require_data_stream);
    assert_eq!((elasticsearch.max_indexes, elasticsearch.max_age), (100, Duration::from_secs(7200)));
    assert_eq!((output.batch.max_samples, output.batch.max_bytes), (4_000, 5 << 20));
    assert_eq!((output.queue.max_samples, output.queue.max_bytes), (1_000_000, 64 << 20));
    assert_eq!((output.queue.max_age, output.queue.on_full), (Duration::from_secs(7200), OnFull::DropOldest));
}

#[test]
fn what_is_absent_null_or_empty() {
    let one = |keys: &str| loaded(&format!("outputs: [{{name: o, file: {{path: '-'}}}}]\n{keys}"));
    assert!(one("admin: null").admin.is_none());
    assert!(one("admin:").admin.is_none());
    assert!(one("admin: {}").admin.is_some());
    assert!(one("global:\nscrape_configs:").scrapes.is_empty());
    let expose = loaded("outputs: [{name: o, expose: }]");
    let OutputKind::Expose(expose) = &expose.outputs[0].kind else { panic!("{expose:?}") };
    assert_eq!((expose.listen, expose.path.as_str()), (SocketAddr::from(([127, 0, 0, 1], 9699)), "/metrics"));

    assert_eq!(
        problems(""),
        ["PROMFERRY_CONFIG_YAML: the configuration is empty; at least \"outputs\" is needed"
            .replace("PROMFERRY_CONFIG_YAML:", "")]
    );
    assert_eq!(problems("{}"), ["1:1: outputs is missing in configuration"]);
    assert_eq!(problems("outputs: []"), ["1:10: outputs: an empty list; at least one is needed"]);
    assert_eq!(problems("- a"), ["1:1: configuration: expected a mapping, found a list"]);
}

#[test]
fn all_problems_come_in_one_go_in_the_order_of_the_file() {
    let yaml = include_str!("config/wrong.yml");
    let expected: Vec<&str> = include_str!("config/wrong.txt").lines().collect();
    assert_eq!(problems(yaml), expected);
}

#[test]
fn what_prometheus_knows_and_we_lack_gets_a_sentence_of_its_own() {
    let cases = [
        (
            "{outputs: [{name: o, expose: }], rule_files: [a]}",
            "1:34: rule_files: not supported: promferry evaluates no rules; leave them to the server that stores the samples",
        ),
        (
            "{outputs: [{name: o, expose: }], inputs: {}}",
            "1:34: inputs: a section of Telegraf's; write the endpoints under \"scrape_configs\"",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(problems(yaml), [expected]);
    }
    let cases = [
        (
            "kubernetes_sd_configs: []",
            "4:3: kubernetes_sd_configs: not supported; have a tool write the targets to a file and name it under \"file_sd_configs\"",
        ),
        (
            "nomad_sd_configs: [{token_file: t}]",
            "4:23: token_file: Nomad takes an ACL token as Prometheus gives it: authorization: {credentials_file: …}",
        ),
        ("bearer_token: s3cret", "4:3: bearer_token: Prometheus' old word; write authorization: {credentials: …}"),
        ("proxy_url: http://p", "4:3: proxy_url: not supported yet; targets and receivers are connected to directly"),
        ("oauth2: {}", "4:3: oauth2: not supported yet; use basic_auth or authorization"),
    ];
    for (keys, expected) in cases {
        assert_eq!(problems(&scrape_with(keys)), [expected]);
    }
}

#[test]
fn formats_are_inherited_as_in_prometheus() {
    use Escaping::{AllowUtf8, Dots, Underscores};
    use ScrapeProtocol::{OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4};
    let read = |global: &str, scrape: &str| {
        let yaml = format!(
            "global: {{{global}}}\nscrape_configs: [{{job_name: j, {scrape}}}]\noutputs: [{{name: o, expose: }}]"
        );
        loaded(&yaml).scrapes[0].negotiation.clone()
    };
    assert_eq!(read("", ""), Negotiation::default());
    let default = Negotiation::default().protocols;
    assert_eq!((default.len(), default[0], default[3]), (4, OpenMetricsText1_0_0, PrometheusText0_0_4));
    let native = "scrape_native_histograms: true";
    let classic = "always_scrape_classic_histograms: true";
    for (global, scrape, first, count) in [
        (native, "", PrometheusProto, 5),
        ("", native, PrometheusProto, 5),
        (native, "scrape_native_histograms: false", OpenMetricsText1_0_0, 4),
        // Protocols that are given are not changed, wherever they are.
        ("scrape_protocols: [OpenMetricsText0.0.1]", native, OpenMetricsText0_0_1, 1),
        (native, "scrape_protocols: [PrometheusText0.0.4, PrometheusProto]", PrometheusText0_0_4, 2),
        ("scrape_protocols: [OpenMetricsText0.0.1]", "scrape_protocols: [PrometheusProto]", PrometheusProto, 1),
    ] {
        let protocols = read(global, scrape).protocols;
        assert_eq!((protocols[0], protocols.len()), (first, count), "{global} / {scrape}");
    }
    assert!(read(classic, "").always_classic_histograms && read("", classic).always_classic_histograms);
    assert!(!read(classic, "always_scrape_classic_histograms: false").always_classic_histograms);
    assert_eq!(read("", "fallback_scrape_protocol: PrometheusProto").fallback, PrometheusProto);
    let (legacy, utf8) = ("metric_name_validation_scheme: legacy", "metric_name_validation_scheme: utf8");
    let dots = "metric_name_escaping_scheme: dots";
    for (global, scrape, escaping, validation) in [
        (legacy, "", Underscores, NameValidation::Legacy),
        ("", legacy, Underscores, NameValidation::Legacy),
        (legacy, utf8, AllowUtf8, NameValidation::Utf8),
        (dots, "", Dots, NameValidation::Utf8),
        (dots, legacy, Underscores, NameValidation::Legacy),
        (legacy, dots, Dots, NameValidation::Legacy),
    ] {
        let read = read(global, scrape);
        assert_eq!((read.escaping, read.validation), (escaping, validation), "{global} / {scrape}");
    }
}

#[test]
fn a_queue_keeps_what_its_output_can_use() {
    let with = |output: &str, queue: &str| format!("outputs: [{{name: o, {output}, queue: {{{queue}}}}}]");
    let (search, file) = ("elasticsearch: {urls: [\"http://es:9200\"]}", "file: {path: a}");
    load_text(&with(search, "order: oldest_first, disk: {path: d}"), &[]).unwrap();
    assert_eq!(
        problems(&with(file, "order: fresh_first")),
        ["1:53: order: fresh_first would mix up the order of samples, which this output must keep; leave it out"]
    );
    assert_eq!(
        problems(&with(file, "disk: {path: d}")),
        ["1:52: disk: not used by file, which writes to a disk itself; leave it out"]
    );
    assert_eq!(problems(&with(search, "disk: {}")), ["1:78: path is missing in disk"]);
}

#[test]
fn a_timeout_is_lowered_when_inherited_and_refused_when_explicit() {
    let with = |global: &str, scrape: &str| {
        format!(
            "outputs: [{{name: o, file: {{path: a}}}}]\nglobal: {{{global}}}\nscrape_configs: [{{job_name: j, {scrape}}}]"
        )
    };
    let cases = [
        ("", "", 10, true),
        ("scrape_interval: 5s", "", 5, true),
        ("", "scrape_interval: 4s", 4, true),
        ("scrape_timeout: 12s", "scrape_interval: 20s", 12, true),
        ("scrape_timeout: 12s", "scrape_interval: 11s", 11, true),
        ("", "scrape_timeout: 3s", 3, false),
        ("", "scrape_interval: 20s, scrape_timeout: 20s", 20, false),
    ];
    for (global, scrape, timeout_s, is_inherited) in cases {
        let config = loaded(&with(global, scrape));
        let found = (config.scrapes[0].scrape_timeout.as_secs(), config.scrapes[0].is_timeout_inherited);
        assert_eq!(found, (timeout_s, is_inherited), "{global} / {scrape}");
    }
    let end = "is above scrape_interval; a scrape must end before the next one begins";
    assert_eq!(problems(&with("scrape_timeout: 16s", "")), [format!("2:26: scrape_timeout: \"16s\" {end}")]);
    assert_eq!(problems(&with("", "scrape_timeout: 16s")), [format!("3:48: scrape_timeout: \"16s\" {end}")]);
    // A wrong interval is one problem, not two.
    let found = problems(&with("", "scrape_interval: 5, scrape_timeout: 60s"));
    assert!(
        matches!(found.as_slice(), [only] if only.contains("scrape_interval: \"5\" is not a duration")),
        "{found:?}"
    );
}

#[test]
fn variables_are_expanded_in_values_then_read_as_the_keys_type() {
    let yaml = "global: {scrape_interval: \"${INTERVAL}\", external_labels: {a: \"x${ONE}\", b: \"$${ONE} $ONE\"}}\n\
        admin: {listen: \"127.0.0.1:${PORT:-1234}\"}\n\
        scrape_configs:\n- job_name: ${ONE}\n  honor_labels: ${YES}\n  sample_limit: ${LIMIT:-7}\n\
        \x20 basic_auth: {username: u, password: \"${PASSWORD}\"}\n\
        \x20 relabel_configs:\n  - {source_labels: [a], regex: \"(.*)${ONE}\", target_label: b, replacement: \"${1}-$2${ONE}\"}\n\
        outputs: [{name: o, elasticsearch: {urls: [\"http://${ONE}:9200\"]}}]\n";
    let variables = [("INTERVAL", "20s"), ("ONE", "uno"), ("YES", "true"), ("PASSWORD", "p${ONE}")];
    let config = load_text(yaml, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    let scrape = &config.scrapes[0];
    assert_eq!((scrape.scrape_interval.as_secs(), scrape.job_name.as_str()), (20, "uno"));
    assert_eq!(scrape.external_labels.to_string(), r#"{a="xuno",b="${ONE} $ONE"}"#);
    assert_eq!((scrape.honor_labels, scrape.limits.samples), (true, 7));
    assert_eq!(config.admin.unwrap().listen.port(), 1234);
    let Auth::Basic { password: Secret::Inline(password), .. } = &scrape.auth else { panic!("{:?}", scrape.auth) };
    assert_eq!(password, "p${ONE}", "what a variable holds is not expanded again");
    let rules = format!("{:?}", scrape.relabel);
    assert!(rules.contains("(.*)${ONE}") && rules.contains("${1}-$2${ONE}"), "{rules}");

    assert_eq!(
        load_text(yaml, &variables[1..]).unwrap_err().to_string(),
        "PROMFERRY_CONFIG_YAML:1:27: scrape_interval: the variable INTERVAL is not set; set it, or give a default: ${INTERVAL:-default}"
    );
}

#[test]
fn a_pasted_prometheus_scrape_configuration_loads_unharmed() {
    let config = loaded(include_str!("config/pasted.yml"));
    let names: Vec<&str> = config.scrapes.iter().map(|scrape| scrape.job_name.as_str()).collect();
    assert_eq!(names, ["node", "snmp"]);
    let rules = format!("{:?}", config.scrapes[0].relabel);
    assert!(rules.contains("${1}-$2") && rules.contains(r"([^:]+)(?::\\d+)?"), "{rules}");
}

/// Marks every secret; none of them may be seen anywhere.
const CANARY: &str = "c4n4ry";

#[test]
fn no_secret_is_ever_printed() {
    let good = include_str!("config/secrets.yml");
    assert_eq!(good.matches(CANARY).count(), 15);
    let config = loaded(good);
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains(CANARY) && shown.contains("***"), "{shown}");

    // Every way to get one wrong: its form, its key, its place.
    let wrong = [
        scrape_with("basic_auth: {username: u, password: [c4n4ry]}"),
        scrape_with("basic_auth: {username: u, password: {c4n4ry: 1}}"),
        scrape_with("basic_auth: {username: u, password: \"c4n4ry\\n\"}"),
        scrape_with("basic_auth: {username: u, passwort: c4n4ry}"),
        scrape_with("basic_auth: c4n4ry"),
        scrape_with("authorization: Bearer c4n4ry"),
        scrape_with("authorization: {credentials: c4n4ry, credentials_file: f}"),
        scrape_with("authorization: {credentials: \"c4n4ry${NONE}\"}"),
        scrape_with("authorization: {credentials: \"c4n4ry\\r\\nHost: x\"}"),
        scrape_with("bearer_token: c4n4ry"),
        scrape_with("http_headers: {A: c4n4ry}"),
        scrape_with("http_headers: {A: {values: c4n4ry}}"),
        scrape_with("http_headers: {A: {secrets: [\"c4n4ry\\n\"]}}"),
        scrape_with("http_headers: {A: {secrets: [[c4n4ry]]}}"),
        scrape_with("static_configs: [{targets: ['https://u:c4n4ry@host:1/']}]"),
        scrape_with("static_configs: [{targets: ['u:c4n4ry@host:1']}]"),
        scrape_with("tls_config: c4n4ry"),
        scrape_with("authorization: {credentials: !vault c4n4ry}"),
        scrape_with("authorization: {credentials: \"c4n4ry}"),
        scrape_with("authorization: {credentials: c4n4ry, tpye: x}"),
        splunk_with("token: [c4n4ry]"),
        splunk_with("token: \"Splunk c4n4ry\""),
        splunk_with("token: c4n4ry\n    headers: {authorization: c4n4ry}"),
        splunk_with("default_token: c4n4ry"),
        scrape_with("nats_sd_configs: [{servers: ['nats://u:c4n4ry@host:x']}]"),
        scrape_with("nats_sd_configs: [{servers: ['htp://u:c4n4ry@host']}]"),
        scrape_with("nats_sd_configs: [{servers: ['u:c4n4ry%@host']}]"),
        scrape_with("nats_sd_configs: [{servers: 'nats://u:c4n4ry@host'}]"),
        scrape_with("nats_sd_configs: [{servers: [[c4n4ry]]}]"),
        scrape_with("nats_sd_configs: [{servers: [h], token: [c4n4ry]}]"),
        scrape_with("nats_sd_configs: [{servers: [h], password: c4n4ry}]"),
        scrape_with("nats_sd_configs: [{servers: [h], nkey: c4n4ry}]"),
        elasticsearch_with("api_key: [c4n4ry]"),
        elasticsearch_with("api_key: \"c4n4ry\\n\""),
        elasticsearch_with("headers: {authorization: c4n4ry}"),
        elasticsearch_with("headers: {x: \"c4n4ry\\n\"}"),
        elasticsearch_with("headers: [c4n4ry]"),
        elasticsearch_with("password: c4n4ry"),
        "outputs: [{name: o, elasticsearch: {urls: ['https://u:c4n4ry@es:9200']}}]".to_owned(),
        "outputs: [{name: o, elasticsearch: {urls: ['htps://u:c4n4ry@es:9200']}}]".to_owned(),
        "outputs: [{name: o, elasticsearch: {urls: ['https://es/?token=c4n4ry']}}]".to_owned(),
        "outputs: [{name: o, elasticsearch: 'https://u:c4n4ry@es:9200'}]".to_owned(),
    ];
    for yaml in wrong {
        let problems = load_text(&yaml, &[]).expect_err(&yaml);
        let shown = format!("{problems} {problems:?}");
        assert!(!shown.contains(CANARY), "{yaml}\n{shown}");
    }
}

#[test]
fn one_problem_and_its_words() {
    let table = include_str!("config/words.txt");
    let mut cases = 0;
    for block in table.split("\n\n") {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let [typed, expected @ ..] = lines.as_slice() else { continue };
        let yaml = match typed.split_once(' ') {
            Some(("scrape", keys)) => scrape_with(keys),
            Some(("elasticsearch", keys)) => elasticsearch_with(keys),
            Some(("splunk", keys)) => splunk_with(keys),
            Some(("all", yaml)) => yaml.to_owned(),
            _ => panic!("{typed}"),
        };
        match expected {
            ["fine"] => drop(loaded(&yaml)),
            _ => assert_eq!(problems(&yaml), expected, "{yaml}"),
        }
        cases += 1;
    }
    assert!(cases > 50, "{cases}");
}

#[test]
fn relative_paths_start_from_the_folder_of_the_file_and_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promferry.yml");
    std::fs::write(&path, elasticsearch_with("api_key_file: secrets/key\n    tls_config: {ca_file: /etc/ca.crt}"))
        .unwrap();
    let (_, files) = load_with_files(&Source::File(path.clone()), &|_| None).unwrap();
    let files: Vec<_> = files.iter().map(|f| (f.key, f.path.clone(), &*f.file, f.at.line, f.at.column)).collect();
    let name = path.to_str().unwrap();
    assert_eq!(
        files,
        [
            ("ca_file", "/etc/ca.crt".into(), name, 6, 27),
            ("api_key_file", folder.path().join("secrets/key"), name, 5, 19)
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_or_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.yml");
    let words = |path: &std::path::Path| load(&Source::File(path.to_owned()), &|_| None).unwrap_err().to_string();
    assert_eq!(words(&path), format!("{}: cannot be read: No such file or directory", path.display()));
    std::fs::write(&path, vec![b'#'; (8 << 20) + 1]).unwrap();
    assert_eq!(words(&path), format!("{}: the file is larger than 8388608 bytes", path.display()));
}

#[test]
fn where_the_configuration_comes_from() {
    let find = |option: Option<&str>, set: &[(&str, &str)]| {
        let environment = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        Source::find(option.map(Into::into), &environment)
    };
    let (file, text) = (("PROMFERRY_CONFIG", "b.yml"), ("PROMFERRY_CONFIG_YAML", "{}"));
    assert_eq!(find(Some("a.yml"), &[file, text]), Ok(Source::File("a.yml".into())));
    assert_eq!(find(None, &[file]), Ok(Source::File("b.yml".into())));
    assert_eq!(find(None, &[text, ("PROMFERRY_CONFIG", "")]), Ok(Source::Variable));
    assert_eq!(find(None, &[file, text]), Err(SourceError::Both));
    assert_eq!(find(None, &[]), Err(SourceError::None));
}

/// Whatever is typed, it loads or tells problems that stand within the text and can be printed.
#[test]
fn no_mutation_of_a_configuration_breaks_the_loader() {
    let texts = [include_str!("config/full.yml"), include_str!("config/wrong.yml"), include_str!("config/pasted.yml")];
    let (mut state, mut wrong) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..600 {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=random(3) {
            let at = random(text.len().max(1));
            match random(3) {
                0 if at < text.len() => drop(text.remove(at)),
                1 => text.insert(
                    at.min(text.len()),
                    "{}[]:-&*!|>'\"%@`#,\n \t$0é\u{1b}".chars().nth(random(26)).unwrap_or('x'),
                ),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let Err(problems) = load_text(&text, &[]) else { continue };
        wrong += 1;
        assert!(!problems.0.is_empty());
        for problem in problems.0 {
            assert!(problem.at.line as usize <= text.lines().count() + 1, "{problem}\n{text}");
            assert!(!problem.to_string().contains(char::is_control), "{:?}\n{text}", problem.to_string());
        }
    }
    assert!(wrong > 100, "{wrong}");
}

/// Every key of every section is read, and as the type that its table and docs/config.md say.
#[test]
fn every_key_is_read_as_its_type() {
    let mut keys = 0;
    walk(&ROOT, &|inner| inner.to_owned(), &mut keys);
    assert!(keys > 120, "{keys}");
}

fn walk(section: &'static Section, wrap: &dyn Fn(&str) -> String, keys: &mut usize) {
    for key in section.keys {
        *keys += 1;
        let name = key.name;
        let (wrong, words) = match key.kind {
            Type::Text | Type::Path | Type::Address => ("[]", "expected a single value, found a list"),
            Type::Switch => ("perhaps", "is neither true nor false"),
            Type::Count => ("1.5", "is not a whole number"),
            Type::Duration => ("15x", "is not a duration"),
            Type::Size => ("15x", "is not a size"),
            Type::PercentOrSize => ("15x", "is neither a percentage nor a size"),
            Type::Choice(_) => ("none-of-them", "is not known here"),
            Type::Choices(_) | Type::Texts | Type::Sections(_) => ("x", "expected a list, found a single value"),
            Type::TextMap | Type::TextsMap | Type::Section(_) | Type::SectionMap(_) => {
                ("[]", "expected a mapping, found a list")
            }
        };
        let yaml = wrap(&format!("{{{name}: {wrong}}}"));
        let found = problems(&yaml);
        assert!(
            found.iter().any(|line| line.contains(&format!("{name}: ")) && line.contains(words)),
            "{yaml}\n{found:#?}"
        );
        match key.kind {
            Type::Section(inner) => walk(inner, &|text| wrap(&format!("{{{name}: {text}}}")), keys),
            Type::Sections(inner) => walk(inner, &|text| wrap(&format!("{{{name}: [{text}]}}")), keys),
            Type::SectionMap(inner) => walk(inner, &|text| wrap(&format!("{{{name}: {{x: {text}}}}}")), keys),
            _ => {}
        }
    }
}

#[test]
fn instances_that_share_targets_are_counted_from_0() {
    let with = |shard: &str| format!("global: {{shard: {shard}}}\noutputs: [{{name: o, expose: }}]");
    for (shard, expected) in [
        ("{index: 3, count: 3}", "1:25: index: 3 is not an instance; with count: 3 they are 0 to 2"),
        ("{index: 0, count: 2, replicas: 3}", "1:48: replicas: 3 is more than there are instances, which is 2"),
        ("{count: 2}", "1:17: index is missing in shard"),
    ] {
        assert_eq!(problems(&with(shard)), [expected], "{shard}");
    }
}

#[test]
fn metrics_agent_may_stand_without_outputs_and_its_ports_need_certificates() {
    let tls = "tls_config: {cert_file: c, key_file: k, client_ca_file: ca}";
    let agent = |keys: &str| format!("metrics_agent:\n  address: 10.0.0.1\n  instance_id: i\n  {keys}\n");
    let scrapes = "scrape_configs: [{job_name: j, prom_scraper_sd_configs: [{}]}]\n";
    let ignores = |yaml: &str| loaded(yaml).scrapes[0].discovery.prom_scraper[0].ignores_interval;
    assert!(ignores(&format!("{scrapes}{}", agent(tls))), "targets are scraped on request only");
    let outputs = "outputs: [{name: o, file: {path: '-'}}]\n";
    assert!(!ignores(&format!("{scrapes}{outputs}{}", agent(tls))));

    assert_eq!(problems("metrics_agent:\nadmin:\n"), ["1:1: outputs is missing in configuration"]);
    assert_eq!(
        problems("metrics_agent: {}\n"),
        [
            "1:16: address is missing in metrics_agent",
            "1:16: instance_id is missing in metrics_agent",
            "1:16: tls_config is missing in metrics_agent",
        ]
    );
    let open = agent("tls_config: {cert_file: c, key_file: k}\n  ingress: {}");
    assert_eq!(
        problems(&open),
        [
            "4:15: tls_config: client_ca_file is missing; clients of this port must show a certificate",
            "5:12: tls_config is missing in ingress",
        ]
    );
    let wrong = agent(&format!(
        "{tls}\n  address: a b\n  listen: 14726\n  ttl: 0s\n  tags: {{__a: b, a-b: c}}\n  ingress: {{listen: '127.0.0.1:14727', {tls}}}\nadmin: {{listen: '127.0.0.1:14727'}}"
    ));
    let wrong = wrong.replacen("  address: 10.0.0.1\n", "", 1);
    assert_eq!(
        problems(&wrong),
        [
            "4:12: address: \"a b\" is not a host name or address",
            "5:11: listen: \"14726\" is not an address and a port, such as \"127.0.0.1:9698\" or \"[::1]:9698\"",
            "6:8: ttl: \"0s\" is below 1s",
            "7:15: tags: \"__a\" is not the name of a label; use letters, digits and `_`, no digit in front, and no `__`",
            "7:23: tags: \"a-b\" is not the name of a label; use letters, digits and `_`, no digit in front, and no `__`",
            "8:21: listen: \"127.0.0.1:14727\" is used twice; the first is on line 9",
        ]
    );
}

#[test]
fn an_agent_of_loggregator_is_asked_for_by_a_host_and_a_port() {
    let output = |keys: &str| format!("outputs:\n  - name: a\n    loggregator: {{{keys}}}\n");
    let tls = "tls_config: {ca_file: ca, cert_file: c, key_file: k}";
    let config = loaded(&output(tls));
    let OutputKind::Loggregator(agent) = &config.outputs[0].kind else { panic!("{config:?}") };
    let name = agent.tls.server_name.as_deref();
    assert_eq!((agent.host.as_str(), agent.port, name), ("127.0.0.1", 3458, Some("metron")));
    let batch = &config.outputs[0].batch;
    assert_eq!((batch.max_samples, batch.max_bytes), (1000, 1 << 20));
    for bad in ["localhost", "::1:3458", "a:0", "a:99999", ":3458", "http://a:1"] {
        let said = problems(&output(&format!("address: \"{bad}\", {tls}")));
        assert!(said.len() == 1 && said[0].contains(bad), "{said:?}");
    }
    let said = problems(&output("address: \"[::1]:3458\", tls_config: {ca_file: ca}"));
    assert_eq!(said, ["3:54: cert_file is missing in tls_config"]);
}
