//! Rules as a user pastes them from a `prometheus.yml`, all the way through the configuration.

use promferry::config::{self, Source};
use promferry::model::Labels;

fn relabelled(rules: &str, labels: &[(&str, &str)]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("promferry.yml");
    let text = format!(
        "scrape_configs:\n  - job_name: job\n    static_configs: [{{targets: [\"a:1\"]}}]\n    relabel_configs:\n{rules}\noutputs:\n  - name: out\n    file: {{path: \"-\"}}\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = config::load(&Source::File(file), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let mut labels: Labels<'_> = labels.iter().copied().collect();
    config.scrapes[0].relabel.apply(&mut labels).then(|| labels.to_string())
}

#[test]
fn pasted_rules_mean_what_they_mean_in_prometheus() {
    // From Prometheus' documentation and the configurations that people copy.
    let rules = r#"
      - source_labels: [__address__]
        regex: '([^:]+)(?::\d+)?'
        target_label: host
        replacement: ${1}-$$
      - source_labels: [__meta_a, __meta_b]
        separator: "@"
        regex: (.+)@(.+)
        target_label: pair
        replacement: $2/$1
      - action: labelmap
        regex: __meta_(.+)
      - action: labeldrop
        regex: b|__.*
      - source_labels: [host]
        action: drop
        regex: evil.*
"#;
    assert_eq!(
        relabelled(rules, &[("__address__", "h:1"), ("__meta_a", "x"), ("__meta_b", "y")]).as_deref(),
        Some(r#"{a="x",host="h-$",pair="y/x"}"#)
    );
    assert_eq!(relabelled(rules, &[("__address__", "evil:1")]), None);
}
