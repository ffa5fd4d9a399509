//! Any bytes as delimited protobuf: they are read or refused, in one piece or in many, by the table as by the plain reader;
//! what is read is within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::exposition::{Format, Settings};
use promferry::model::Value;
use promferry_fuzz::{Body, KeepAll, check, of_table, plain, scrape, settings, table};

const SAMPLES_MAX: u64 = 40;

fuzz_target!(|data: &[u8]| {
    let Some((&control, bytes)) = data.split_first() else { return };
    let body = |piece| Body { format: Format::Protobuf, piece, bytes };
    let settings = Settings {
        native_histograms: control & 1 == 0,
        classic_histograms_too: control & 2 == 0,
        honor_timestamps: true,
        ..settings()
    };
    let alone = plain(body(usize::MAX), &settings, &KeepAll);
    assert_eq!(plain(body(1), &settings, &KeepAll), alone);
    let mut one = table(settings.clone(), KeepAll);
    for piece in [usize::MAX, 1 + usize::from(control >> 2), usize::MAX] {
        let read = scrape(&mut one, body(piece));
        if let Some((_, parsed)) = &read {
            for point in parsed.points.iter().filter(|point| !point.value.is_stale()) {
                if let Value::Histogram(histogram) = point.value {
                    check(histogram);
                }
            }
        }
        assert_eq!(read.map(|(counts, parsed)| of_table(&counts, &parsed)), alone);
    }
    let limited = Settings { sample_limit: SAMPLES_MAX, growth_max: 20_000, ..settings };
    if let Some((counts, parsed)) = scrape(&mut table(limited, KeepAll), body(usize::MAX)) {
        assert!(counts.samples_post_relabelling <= SAMPLES_MAX && parsed.points.len() as u64 <= SAMPLES_MAX);
        assert!(parsed.series.bytes() < 200_000);
    }
});
