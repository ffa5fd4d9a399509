//! What the fuzzers found, each by its name. The targets are in `fuzz/`, `tests/fuzz` runs them.

use promferry::exposition::openmetrics;
use promferry::exposition::text::Line;
use promferry::exposition::write;

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
