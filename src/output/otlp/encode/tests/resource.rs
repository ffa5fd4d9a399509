//! Resources and scopes.

use std::borrow::Cow;

use super::*;
use crate::model::SeriesRef;

fn attributes(resource: &ResourceMetrics) -> Vec<String> {
    texts(&resource.resource.as_ref().unwrap().attributes)
}

#[test]
fn a_resource_is_what_is_scraped() {
    let (sent, _) = Lane::new(encoder()).send(&[Target::new().scrape(0, "# TYPE g gauge\ng 1")]);
    assert_eq!(
        attributes(&sent[0]),
        [
            "service.instance.id=10.0.0.1:9100",
            "service.name=app",
            "server.address=10.0.0.1",
            "server.port=9100 (int)",
            "url.scheme=https",
        ]
    );
}

#[test]
fn series_of_other_jobs_have_resources_of_their_own() {
    let lines = "# TYPE g gauge\ng 1\ng{job=\"b\"} 2\ng{instance=\"c\"} 3\ng{job=\"b\",z=\"1\"} 4";
    let (sent, encoded) = Lane::new(encoder()).send(&[Target::new().scrape(0, lines)]);
    let read: Vec<_> = sent
        .iter()
        .map(|of| {
            let values: Vec<f64> =
                metrics(std::slice::from_ref(of)).iter().flat_map(|m| numbers(m)).map(value).collect();
            (attributes(of)[..2].join(","), values)
        })
        .collect();
    let of = |instance: &str, job: &str| format!("service.instance.id={instance},service.name={job}");
    let expected = [
        (of("10.0.0.1:9100", "app"), vec![1.0]),
        (of("10.0.0.1:9100", "b"), vec![2.0, 4.0]),
        (of("c", "app"), vec![3.0]),
    ];
    assert_eq!(read, expected);
    assert_eq!(encoded.items.iter().map(|item| item.samples).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn target_info_is_told_by_the_resource() {
    let (mut target, mut lane) = (Target::new(), Lane::new(encoder()));
    let lines =
        |version: &str| format!("# TYPE target info\ntarget_info{{version=\"{version}\"}} 1\n# TYPE g gauge\ng 1");
    let (sent, encoded) = lane.send(&[target.scrape(0, &lines("1"))]);
    assert_eq!(attributes(&sent[0]).last().unwrap(), "version=1");
    assert_eq!((metrics(&sent).len(), encoded.samples()), (1, 2), "it is delivered with the others");
    let (sent, encoded) = lane.send(&[target.scrape(10, &lines("2"))]);
    assert_eq!(attributes(&sent[0]).last().unwrap(), "version=2");
    assert_eq!(encoded.skipped, Reasons::from([(reason::STALE_MARKER, 1)]));
    let (sent, _) = lane.send(&[target.scrape(20, "# TYPE other gauge\nother 1")]);
    assert_eq!(attributes(&sent[0]).last().unwrap(), "version=2", "markers belong to what they end");
    let (sent, encoded) =
        Lane::new(encoder()).send(&[Target::new().scrape(0, "# TYPE target info\ntarget_info{version=\"3\"} 1")]);
    assert_eq!((sent.len(), encoded.skipped), (0, Reasons::from([(METADATA_ONLY, 1)])), "there is nothing to tell of");
    let (sent, _) = Lane::new(plain()).send(&[Target::new().scrape(0, &lines("1"))]);
    assert_eq!(value(&numbers(metric(&sent, "target_info"))[0]), 1.0);
}

#[test]
fn a_part_of_a_scrape_has_the_resource_of_all_of_it() {
    let scrape = Target::new().scrape(0, "# TYPE target info\ntarget_info{version=\"1\"} 1\n# TYPE g gauge\ng 1");
    let encoded = encoder().encode(&Cumulative::default(), &mut Cache::default(), &[Slice::of(scrape, vec![1])]);
    let request = ExportMetricsServiceRequest::decode(encoded.body).unwrap();
    assert_eq!(attributes(&request.resource_metrics[0]).last().unwrap(), "version=1");
    assert_eq!(encoded.points, [1]);
}

#[test]
fn labels_of_the_scope_are_the_scopes() {
    let lines = "# TYPE g gauge\ng{a=\"b\"} 1\n\
                 g{otel_scope_name=\"lib\",otel_scope_version=\"2\",otel_scope_schema_url=\"https://s\",otel_scope_kind=\"x\"} 2";
    let (sent, _) = Lane::new(encoder()).send(&[Target::new().scrape(0, lines)]);
    let [own, lib] = &sent[0].scope_metrics[..] else { panic!("{sent:?}") };
    let scope = own.scope.as_ref().unwrap();
    assert_eq!((&*scope.name, &*scope.version), ("promferry", env!("CARGO_PKG_VERSION")));
    let scope = lib.scope.as_ref().unwrap();
    assert_eq!((&*scope.name, &*scope.version, &*lib.schema_url), ("lib", "2", "https://s"));
    assert_eq!(texts(&scope.attributes), ["kind=x"]);
    assert!(numbers(&lib.metrics[0])[0].attributes.is_empty());
    let (sent, _) = Lane::new(plain()).send(&[Target::new().scrape(0, lines)]);
    assert_eq!(sent[0].scope_metrics.len(), 1);
}

#[derive(Debug)]
struct Strict;

impl Rules for Strict {
    fn refuses(&self, series: SeriesRef<'_>, _: usize) -> Option<&'static str> {
        (series.name() == "bad").then_some("bad_name")
    }

    fn explain(&self, reason: &'static str, series: SeriesRef<'_>, _: usize) -> String {
        format!("{} is refused for {reason}", series.name())
    }

    fn attribute<'a>(&self, name: &'a str, value: &'a str) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        (name != "secret").then(|| (format!("my_{name}").into(), value.into()))
    }
}

#[test]
fn a_receiver_may_have_rules_of_its_own() {
    let encoder = Encoder { rules: Some(Box::new(Strict)), ..encoder() };
    let lines = "# TYPE bad gauge\nbad 1\n# TYPE g gauge\ng{a=\"b\",secret=\"s\"} 1";
    let (sent, encoded) = Lane::new(encoder).send(&[Target::new().scrape(0, lines)]);
    assert_eq!(texts(&numbers(metric(&sent, "g"))[0].attributes), ["my_a=b"]);
    assert_eq!((encoded.rejected[0].reason, &*encoded.rejected[0].why), ("bad_name", "bad is refused for bad_name"));
}

#[test]
fn plans_follow_their_targets() {
    let mut lane = Lane::new(encoder());
    let (mut one, mut other) = (Target::new(), Target::with_key(2));
    for round in 0..3 {
        let lines = |name: &str| (0..=round).map(|at| format!("{name}{{a=\"{at}\"}} {at}\n")).collect::<String>();
        let text = format!("# TYPE g gauge\n{}# TYPE h gauge\n{}", lines("g"), lines("h"));
        let scrapes = [one.scrape(round, &text), other.scrape(round, "# TYPE g gauge\ng 7")];
        let (sent, _) = lane.send(&scrapes);
        let values: Vec<f64> = numbers(metric(&sent[..1], "g")).iter().map(value).collect();
        assert_eq!(values, (0..=round).map(|at| at as f64).collect::<Vec<_>>(), "new series join their metric");
        assert_eq!(value(&numbers(metric(&sent[1..], "g"))[0]), 7.0);
    }
}

#[test]
fn a_long_description_is_cut_and_many_scopes_share_it() {
    let scoped: String = (0..500).map(|at| format!("g{{otel_scope_name=\"{at}\"}} 1\n")).collect();
    let lines = format!("# TYPE g gauge\n# HELP g {}\n{scoped}", "é".repeat(300_000));
    let (sent, encoded) = Lane::new(encoder()).send(&[Target::new().scrape(0, &lines)]);
    assert_eq!(sent[0].scope_metrics.len(), 500);
    assert!(metrics(&sent).iter().all(|metric| metric.description.len() == 4096));
    assert!(encoded.body.len() < 500 * 4300);
}

/// A target may say as much of itself as it likes: that costs no more than its length.
#[test]
fn many_attributes_of_a_target_are_each_told_once() {
    let many: String = (0..40_000).map(|at| format!("target_info{{l{at}=\"v\",same=\"{at}\"}} 1\n")).collect();
    let scrape = Target::new().scrape(0, &format!("# TYPE target info\n{many}# TYPE g gauge\ng 1"));
    let encoded = encoder().encode(&Cumulative::default(), &mut Cache::default(), &[Slice::whole(scrape)]);
    let request = ExportMetricsServiceRequest::decode(encoded.body).unwrap();
    let told = attributes(&request.resource_metrics[0]);
    assert_eq!((told.len(), &*told[5], &*told[6]), (5 + 1 + 40_000, "l0=v", "same=0"));
}

#[test]
fn rules_of_a_receiver_hold_for_what_a_target_says_of_itself() {
    let encoder = Encoder { rules: Some(Box::new(Strict)), ..encoder() };
    let lines = "# TYPE target info\ntarget_info{a=\"b\",secret=\"s\"} 1\n# TYPE g gauge\ng 1";
    let (sent, _) = Lane::new(encoder).send(&[Target::new().scrape(0, lines)]);
    assert_eq!(attributes(&sent[0])[5..], ["my_a=b"]);
}
