use super::*;
use crate::config::checked::{Auth, Discovery, Limits, OnBadLine};
use crate::net::tls::TlsSettings;
use crate::relabel::{Rule, RuleSpec, Rules};

fn config() -> ScrapeConfig {
    ScrapeConfig {
        job_name: "job".into(),
        discovery: Discovery::default(),
        scheme: Scheme::Http,
        metrics_path: "/metrics".into(),
        params: Params::new(),
        scrape_interval: Duration::from_secs(15),
        scrape_timeout: Duration::from_secs(10),
        is_timeout_inherited: true,
        scrape_jitter: Duration::ZERO,
        tls: TlsSettings::default(),
        auth: Auth::None,
        http_headers: Vec::new(),
        follow_redirects: None,
        enable_compression: true,
        negotiation: Default::default(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        on_bad_line: OnBadLine::Skip,
        scrape_metrics: true,
        limits: Limits {
            body_bytes: 0,
            line_bytes: 0,
            growth_bytes: 0,
            samples: 0,
            labels: 0,
            label_name_bytes: 0,
            label_value_bytes: 0,
            targets: 0,
        },
        relabel: Rules::default(),
        metric_relabel: Rules::default(),
        external_labels: Labels::new(),
        shard: None,
    }
}

fn group(labels: &[(&'static str, &'static str)]) -> Group {
    Group { labels: labels.iter().copied().collect(), ..Group::default() }
}

fn rule(source: &str, regex: &str, target: &str, replacement: &str) -> Rule {
    Rule::new(RuleSpec {
        source_labels: vec![source.into()],
        regex: Some(regex.into()),
        target_label: Some(target.into()),
        replacement: Some(replacement.into()),
        ..RuleSpec::default()
    })
    .unwrap()
}

fn target(config: ScrapeConfig, group: &Group, address: &str) -> Result<Target, String> {
    let labels = discovered(&config, group, address);
    resolve(&Arc::new(config), &group.own, group.file.as_ref(), labels).map_err(|dropped| dropped.reason.to_string())
}

#[test]
fn defaults_come_from_the_configuration() {
    let target = target(config(), &group(&[("env", "x")]), "a:9100").unwrap();
    assert_eq!(target.origin.labels.to_string(), r#"{env="x",instance="a:9100",job="job"}"#);
    assert_eq!(target.origin.url, "http://a:9100/metrics");
    assert_eq!((target.host.as_str(), target.port, target.scheme), ("a", 9100, Scheme::Http));
    assert_eq!((target.interval.as_secs(), target.timeout.as_secs()), (15, 10));
    assert_eq!(
        target.discovered.to_string(),
        r#"{__address__="a:9100",__metrics_path__="/metrics",__scheme__="http",__scrape_interval__="15s",__scrape_timeout__="10s",env="x",job="job"}"#
    );
}

#[test]
fn labels_steer_the_scrape_and_go() {
    let mut config = config();
    config.params = [("id".to_owned(), vec!["1".to_owned(), "2".to_owned()]), ("x".to_owned(), vec![])].into();
    let steered = group(&[
        ("__scheme__", "https"),
        ("__metrics_path__", "stats"),
        ("__param_id", "a b"),
        ("__param_new", "é"),
        ("__scrape_interval__", "1m30s"),
        ("__scrape_timeout__", "20s"),
        ("__tmp", "gone"),
        ("instance", "mine"),
        ("job", "other"),
    ]);
    let target = target(config, &steered, "[::1]").unwrap();
    assert_eq!(target.origin.url, "https://[::1]:443/stats?id=a+b&id=2&new=%C3%A9");
    assert_eq!(target.origin.labels.to_string(), r#"{instance="mine",job="other"}"#);
    assert_eq!((target.interval.as_secs(), target.timeout.as_secs()), (90, 20));
}

#[test]
fn relabelling_sees_what_was_discovered_and_has_the_last_word() {
    let mut config = config();
    config.relabel = Rules::new(vec![
        rule("__meta_filepath", ".*/(.*)", "source", "$1"),
        rule("__address__", "([^:]+).*", "__address__", "$1:1234"),
        rule("__address__", "([^:]+).*", "__param_target", "$1"),
        rule("job", ".*", "job", ""),
    ]);
    let found = group(&[("__meta_filepath", "/a/b")]);
    let target = target(config, &found, "h:80").unwrap();
    assert_eq!(target.origin.url, "http://h:1234/metrics?target=h");
    assert_eq!(target.origin.labels.to_string(), r#"{instance="h:1234",source="b"}"#);

    let mut dropping = self::config();
    dropping.relabel = Rules::new(vec![
        Rule::new(RuleSpec {
            action: Some("drop".into()),
            source_labels: vec!["__address__".into()],
            ..RuleSpec::default()
        })
        .unwrap(),
    ]);
    assert_eq!(self::target(dropping, &found, "h:80").unwrap_err(), "relabel_configs drop it");
}

#[test]
fn what_cannot_be_scraped_has_a_reason() {
    let refused = |labels: &[(&'static str, &'static str)], address: &str| {
        target(config(), &group(labels), address).expect_err(address)
    };
    assert_eq!(refused(&[], ""), "it has no address: the label __address__ is empty");
    assert_eq!(
        refused(&[], "http://a:1"),
        "\"http://a:1\" is not an address: write host:port, without http:// and without a path"
    );
    assert_eq!(
        refused(&[("__scheme__", "ftp")], "a:1"),
        "\"ftp\" in __scheme__ is not a scheme; there are http and https"
    );
    assert_eq!(
        refused(&[("__scrape_interval__", "15x")], "a:1"),
        "__scrape_interval__: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\""
    );
    assert_eq!(
        refused(&[("__scrape_interval__", "2d")], "a:1"),
        "its interval of 2d is out of range; it is from 1ms to 24h"
    );
    assert_eq!(
        refused(&[("__scrape_interval__", "0s")], "a:1"),
        "its interval of 0s is out of range; it is from 1ms to 24h"
    );
    assert_eq!(refused(&[("__scrape_timeout__", "0s")], "a:1"), "its timeout is 0s; it is 1ms at least");
    assert_eq!(
        refused(&[("__scrape_timeout__", "16s")], "a:1"),
        "its timeout of 16s is longer than its interval of 15s"
    );
    let large: &'static str = "x".repeat(LABEL_BYTES_MAX).leak();
    assert_eq!(
        refused(&[("large", large)], "a:1"),
        "it has 3 labels with 16406 bytes; at most 128 with 16384 bytes are allowed"
    );
}

#[test]
fn an_inherited_timeout_is_lowered_and_an_explicit_one_is_not() {
    let short = group(&[("__scrape_interval__", "5s")]);
    let lowered = target(config(), &short, "a:1").unwrap();
    assert_eq!((lowered.interval.as_secs(), lowered.timeout.as_secs()), (5, 5));
    let mut explicit = config();
    explicit.is_timeout_inherited = false;
    assert_eq!(
        target(explicit.clone(), &short, "a:1").unwrap_err(),
        "its timeout of 10s is longer than its interval of 5s"
    );
    let announced = Group { own: Own { announced: Some(Labels::new()), ..Own::default() }, ..short };
    assert_eq!(target(explicit, &announced, "a:1").unwrap().timeout.as_secs(), 5);
}

#[test]
fn own_tls_files_win_one_by_one() {
    let mut config = config();
    config.tls = TlsSettings {
        ca_file: Some("/ca".into()),
        cert_file: Some("/cert".into()),
        key_file: Some("/key".into()),
        ..TlsSettings::default()
    };
    let mut announced = group(&[]);
    announced.own.ca_file = Some("/own/ca".into());
    announced.own.server_name = Some("name".into());
    let target = target(config, &announced, "a:1").unwrap();
    assert_eq!(target.tls.ca_file, Some("/own/ca".into()));
    assert_eq!(target.tls.cert_file, Some("/cert".into()));
    assert_eq!(target.tls.key_file, Some("/key".into()));
    assert_eq!(target.tls.server_name.as_deref(), Some("name"));
}

#[test]
fn the_key_is_the_same_in_every_run() {
    let one = target(config(), &group(&[]), "a:1").unwrap();
    let other = target(config(), &group(&[]), "a:2").unwrap();
    let labelled = target(config(), &group(&[("x", "y")]), "a:1").unwrap();
    assert_ne!(one.origin.key, other.origin.key);
    assert_ne!(one.origin.key, labelled.origin.key);
    assert_eq!(one.origin.key, 370174216713001580);
}
