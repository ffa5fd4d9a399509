//! Two bodies, split at the first NUL: whatever they are, a table that has seen others reads the second one as a fresh table
//! does, in one piece or in many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::exposition::{Admission, Admit, Counts, Parsed, Settings, Table};
use promferry::model::Labels;

struct KeepAll;

impl Admit for KeepAll {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        Admission::Keep
    }
}

fn table() -> Table {
    let settings = Settings { line_length_max: 256, sample_limit: 1000, ..Settings::default() };
    Table::new(settings, Box::new(KeepAll), Labels::new())
}

/// What was read, or `None` where a limit refused it.
fn scrape(table: &mut Table, body: &[u8], piece: usize) -> Option<(Counts, Parsed)> {
    table.begin(1_700_000_000_000);
    let fed = body.chunks(piece).try_for_each(|bytes| table.feed(bytes));
    match fed.and_then(|()| table.finish_body()) {
        Ok(counts) => {
            table.accept();
            Some((counts, table.take()))
        }
        Err(_) => {
            table.fail();
            table.take();
            None
        }
    }
}

/// Everything that does not depend on the scrapes before: samples without markers, and counts.
fn comparable(read: Option<(Counts, Parsed)>) -> Option<(Counts, Vec<String>)> {
    let (counts, parsed) = read?;
    let line = |point: promferry::model::Point<'_>| {
        let series = parsed.series.get(point.series);
        let labels: Vec<_> = series.labels().collect();
        format!("{:?} {} {labels:?} {:?} {:?}", series.family(), series.name(), point.value, point.own_ms)
    };
    let lines = parsed.points.iter().filter(|point| !point.value.is_stale()).map(line).collect();
    Some((Counts { series_added: 0, ..counts }, lines))
}

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|&byte| byte == 0).unwrap_or(data.len() / 2);
    let (before, body) = data.split_at(split);
    let fresh = comparable(scrape(&mut table(), body, usize::MAX));
    let mut table = table();
    scrape(&mut table, before, usize::MAX);
    for piece in [usize::MAX, 3, 1] {
        assert_eq!(comparable(scrape(&mut table, body, piece)), fresh);
    }
    scrape(&mut table, before, 7);
    assert_eq!(comparable(scrape(&mut table, body, usize::MAX)), fresh);
});
