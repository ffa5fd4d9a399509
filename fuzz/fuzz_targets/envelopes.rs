//! Batches of envelopes, separated by two bytes of 0xfe: whatever they hold, the table stays within its limits, and what it
//! collected is an exposition that reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::cloud_foundry::loggregator::{Collected, Limits, Settings, View};
use promferry::exposition::text::parse_line;
use promferry::exposition::write::{self, Format};
use promferry::model::Value;

const LIMITS: Limits = Limits {
    metrics_max: 100,
    bytes_max: 100_000,
    tags_max: 8,
    name_bytes_max: 64,
    value_bytes_max: 64,
    sources_max: 3,
};

fuzz_target!(|data: &[u8]| {
    let settings = Settings {
        tags: vec![("deployment".to_owned(), "cf".to_owned())],
        timer_tags: vec!["peer_type".to_owned(), "le".to_owned()],
        limits: LIMITS,
        ..Settings::default()
    };
    let collected = Collected::new(settings);
    let view = View::bare(collected.clone());
    let mut at_ms = 0;
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == [0xfe, 0xfe]);
        let (batch, behind) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
        rest = behind;
        let before = collected.counts().envelopes;
        let is_batch = collected.fold_batch(batch);
        let counts = collected.counts();
        assert!(is_batch || counts.envelopes == before, "all or nothing");
        assert!(counts.metrics <= LIMITS.metrics_max && counts.bytes <= LIMITS.bytes_max);
        assert!(counts.sources.len() <= LIMITS.sources_max + 1);
        at_ms += 1;
        let scrape = view.scrape(at_ms);
        for point in scrape.points.iter() {
            let series = scrape.series.get(point.series);
            let Value::Float(value) = point.value else { panic!("a native histogram") };
            let mut line = Vec::new();
            write::series(&mut line, series.name(), series.labels());
            write::value(&mut line, Format::Text, value, None);
            assert!(parse_line(&line).is_ok(), "{}", String::from_utf8_lossy(&line));
        }
    }
});
