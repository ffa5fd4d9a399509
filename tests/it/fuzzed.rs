//! What the fuzzers found, each by its name. The targets are in `fuzz/`, `tests/fuzz` runs them.

use promferry::exposition::text::{self, Line};
use promferry::exposition::{Admission, Admit, Settings, Table, openmetrics, write};
use promferry::model::Labels;

#[test]
fn a_unit_reads_back_as_it_was_written() {
    for unit in ["seconds", "a\\b", "\"", "a\nb"] {
        let mut written = Vec::new();
        write::unit(&mut written, "m", unit);
        match openmetrics::parse_line(&written) {
            Ok(Line::Unit { name, unit: read }) => assert_eq!((&*name, &*read), ("m", unit)),
            line => panic!("{unit:?} reads as {line:?}"),
        }
    }
}

struct KeepAll;

impl Admit for KeepAll {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        Admission::Keep
    }
}

/// Of two carriage returns at the end of a line only one belongs to the line break.
#[test]
fn a_second_carriage_return_is_as_bad_for_the_table_as_for_the_plain_reader() {
    for body in ["\r\r", "\r\r\n", "a 1\r\r\n", "a 1\r\n", "# TYPE a gauge\r\r\na 1\n"] {
        let (mut samples, mut bad) = (0, Vec::new());
        text::parse_all(body.as_bytes(), 100, |line| match line {
            Ok(_) => samples += 1,
            Err(error) => bad.push(error.to_string()),
        })
        .expect("a text in memory");
        let mut table = Table::new(Settings::default(), Box::new(KeepAll), Labels::new());
        for _ in 0..2 {
            table.begin(0);
            table.feed(body.as_bytes()).expect("no limit");
            let counts = table.finish_body().expect("no limit");
            let told: Vec<String> = counts.first_bad_lines.iter().map(ToString::to_string).collect();
            assert_eq!((counts.samples_scraped, told), (samples, bad.clone()), "{body:?}");
            table.accept();
            table.take();
        }
    }
}
