//! Bodies of any format, one after another, through one table with relabelling on: each reads as it does by itself, whatever
//! came before and in whatever pieces. Series that are gone get a marker, and those that are there get none.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use promferry_fuzz::{Relabel, bodies, forget_families, of_table, plain, scrape, settings, table};

fuzz_target!(|data: &[u8]| {
    let bodies = bodies(data);
    let mut table = table(settings(), Relabel);
    // Series that were live, and those that have samples with a time of their own and without: whether they are is the
    // table's matter.
    let (mut live, mut unsure) = (HashSet::new(), HashSet::new());
    // All of them, then back, so that each comes after itself and after its neighbours.
    let alone: Vec<_> = bodies.iter().map(|&body| plain(body, &settings(), &Relabel)).collect();
    let all = bodies.iter().zip(&alone);
    for (&body, alone) in all.clone().chain(all.rev()) {
        let Some((counts, parsed)) = scrape(&mut table, body) else {
            assert_eq!(*alone, None, "the table refuses what can be read");
            live.clear();
            unsure.clear();
            continue;
        };
        let Some(alone) = alone else { panic!("the table reads what has to be refused") };
        let mut read = of_table(&counts, &parsed);
        forget_families(&mut read, alone);
        assert_eq!(read, *alone);

        let series = |number: u32| {
            let series = parsed.series.get(number);
            (series.name().to_owned(), series.labels().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>())
        };
        let mut here = HashSet::new();
        let (mut timed, mut untimed, mut marked) = (HashSet::new(), HashSet::new(), HashSet::new());
        for point in parsed.points.iter() {
            if point.value.is_stale() {
                assert!(marked.insert(series(point.series)), "two markers of one series");
            } else {
                here.insert(series(point.series));
                let times = if point.own_ms.is_some() { &mut timed } else { &mut untimed };
                times.insert(series(point.series));
            }
        }
        assert!(marked.is_disjoint(&here), "a series is there and stale");
        marked.retain(|series| !unsure.contains(series));
        assert!(marked.is_subset(&live), "a marker of a series that was not live");
        unsure = timed.intersection(&untimed).cloned().collect();
        if counts.bad_lines == 0 {
            let gone: HashSet<_> = live.difference(&here).cloned().collect();
            assert_eq!(marked, gone, "markers are for the series that are gone");
            live = here.difference(&timed).cloned().collect();
        } else {
            // A series whose line is bad stays live. It is not known here which those are.
            live = table
                .live_series()
                .map(|s| {
                    let labels = s.labels().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                    (s.name().to_owned(), labels)
                })
                .filter(|series| !unsure.contains(series))
                .collect();
        }
    }
});
