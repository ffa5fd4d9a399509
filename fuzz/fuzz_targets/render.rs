//! What was parsed and then written, in either text format, parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::exposition::write::{self, Format};
use promferry::exposition::{BadLine, openmetrics, text};
use promferry::model::{Family, FamilyRef, METRIC_NAME, MetricType};
use promferry_fuzz::{LINE_LENGTH_MAX, family_text};

type Each<'e> = &'e mut dyn FnMut(Result<(&text::Sample<'_>, FamilyRef<'_>), BadLine>);

fn parse(format: Format, bytes: &[u8], line_length_max: usize, each: Each<'_>) -> std::io::Result<()> {
    match format {
        Format::Text => text::parse_all(bytes, line_length_max, each),
        Format::OpenMetrics => openmetrics::parse_all(bytes, line_length_max, each),
    }
}

/// Everything of a sample that `format` can say. Of exemplars and created timestamps the writer knows nothing.
fn comparable(format: Format, sample: &text::Sample<'_>, family: FamilyRef<'_>) -> String {
    let family = match format {
        Format::Text => {
            let kind = MetricType::from_word(family.kind.as_text()).expect("a word of the format");
            Family { kind, unit: "", ..family }
        }
        Format::OpenMetrics => family,
    };
    format!("{} | {} {:?} {:?}", family_text(family), sample.labels, sample.value, sample.own_ms)
}

fuzz_target!(|data: &[u8]| {
    let Some((&control, body)) = data.split_first() else { return };
    let from = if control & 1 == 0 { Format::Text } else { Format::OpenMetrics };
    for to in [Format::Text, Format::OpenMetrics] {
        let (mut written, mut expected) = (Vec::new(), Vec::new());
        let read = parse(from, body, LINE_LENGTH_MAX, &mut |read| {
            let Ok((sample, family)) = read else { return };
            // There is no way to write a carriage return at the end of a line that is not taken for a part of the line break.
            if family.help.ends_with('\r') || family.unit.ends_with('\r') {
                return;
            }
            // Nor blanks before a help that the text format does not pass over.
            if to == Format::Text && family.help.starts_with([' ', '\t']) {
                return;
            }
            // OpenMetrics has seconds, which are read as a float: a thousandth is exact for some hundred thousand years.
            if sample.own_ms.is_some_and(|ms| ms.unsigned_abs() > 1 << 52) {
                return;
            }
            write::help(&mut written, to, family.name, family.help);
            write::kind(&mut written, to, family.name, family.kind);
            if to == Format::OpenMetrics {
                write::unit(&mut written, family.name, family.unit);
            }
            let labels = sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            write::series(&mut written, &sample.name, labels);
            write::value(&mut written, to, sample.value, sample.own_ms);
            expected.push(comparable(to, sample, family));
        });
        if read.is_err() {
            return;
        }
        if to == Format::OpenMetrics {
            written.extend_from_slice(write::EOF);
        }
        let mut again = Vec::new();
        parse(to, &written, usize::MAX >> 1, &mut |read| match read {
            Ok((sample, family)) => again.push(comparable(to, sample, family)),
            Err(bad) => panic!("{bad}: {}", String::from_utf8_lossy(&written)),
        })
        .expect("memory can be read");
        assert_eq!(again, expected, "{}", String::from_utf8_lossy(&written));
    }
});
