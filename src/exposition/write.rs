//! Writes expositions: text format 0.0.4 and OpenMetrics 1.0, piece by piece.
//!
//! Pure functions that append to a buffer. Which families and samples there are, and in what order, is the caller's matter;
//! so is the `# EOF` of OpenMetrics ([`EOF`]). What these write, [`parse_line`](super::text::parse_line) reads back as the
//! same name, labels and bits (one NaN stands for all).

use crate::model::{Exemplar, MetricType, SeriesRef};

/// The last line of an OpenMetrics exposition.
pub const EOF: &[u8] = b"# EOF\n";

/// The content type of text format 0.0.4.
pub const CONTENT_TYPE_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";

/// The content type of OpenMetrics 1.0.
pub const CONTENT_TYPE_OPENMETRICS: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";

/// Characters that names and values of an exemplar's labels may have together (OpenMetrics 1.0, "Exemplars").
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// Which of the two formats is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Writes a value as Prometheus does: the shortest digits that read back as the same float, `1e+06` from a million on,
/// `NaN`, `+Inf`, `-Inf`, no `.0`.
pub fn float(out: &mut Vec<u8>, value: f64) {
    // Exact below 2^53, and below Go's border to the exponent form.
    if value.abs() < 1e6 && value == value.trunc() && (value != 0.0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        let mut buffer = zmij::Buffer::new();
        let printed = buffer.format_finite(value).as_bytes();
        // Not a whole number, and between Go's borders to the exponent form: both print it the same.
        if (1e-4..1e6).contains(&value.abs()) && memchr::memchr(b'e', printed).is_none() {
            out.extend_from_slice(printed);
        } else {
            finite(out, printed);
        }
    }
}

/// Writes a value as OpenMetrics wants `le` and `quantile`: as [`float`], and never without a point or an exponent.
pub fn openmetrics_float(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    float(out, value);
    if value.is_finite() && !out[start..].iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}

/// Rewrites the shortest digits as Go's `strconv.FormatFloat(value, 'g', -1, 64)` has them: an exponent, of at least two digits, below 1e-04 and from 1e+06 on.
fn finite(out: &mut Vec<u8>, printed: &[u8]) {
    let (mantissa, exponent) = match memchr::memchr(b'e', printed) {
        Some(at) => (&printed[..at], parse_exponent(&printed[at + 1..])),
        None => (printed, 0),
    };
    let mantissa = match mantissa {
        [b'-', rest @ ..] => {
            out.push(b'-');
            rest
        }
        rest => rest,
    };
    let mut digits = [0u8; 40];
    let mut count = 0;
    let mut point = None;
    for &byte in mantissa {
        match byte {
            b'.' => point = Some(count),
            digit => {
                digits[count] = digit;
                count += 1;
            }
        }
    }
    let point = point.unwrap_or(count) as i32 + exponent;
    let leading = digits[..count].iter().take_while(|&&digit| digit == b'0').count();
    let trailing = digits[leading..count].iter().rev().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[leading..count - trailing];
    if digits.is_empty() {
        out.push(b'0');
    } else {
        place_point(out, digits, point - leading as i32);
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    sign * digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'))
}

/// Writes `0.digits × 10^point`.
fn place_point(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let exponent = point - 1;
    if !(-4..6).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', -point as usize));
        out.extend_from_slice(digits);
    } else {
        let whole = digits.len().min(point as usize);
        out.extend_from_slice(&digits[..whole]);
        out.extend(std::iter::repeat_n(b'0', point as usize - whole));
        if whole < digits.len() {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// Whether a metric's name may stand without quotes.
pub fn is_bare_metric_name(name: &str) -> bool {
    is_bare(name, true)
}

/// Whether a label's name may stand without quotes.
pub fn is_bare_label_name(name: &str) -> bool {
    is_bare(name, false)
}

fn is_bare(name: &str, is_metric: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (is_metric && byte == b':');
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_part)
}

/// Writes `text` in quotes, with `\`, `"` and line breaks escaped.
pub fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text, true);
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let mut rest = text.as_bytes();
    while let Some(at) = memchr::memchr3(b'\\', b'\n', if quotes { b'"' } else { b'\n' }, rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(if rest[at] == b'\n' { b'n' } else { rest[at] });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn family_name(out: &mut Vec<u8>, name: &str) {
    if is_bare_metric_name(name) { out.extend_from_slice(name.as_bytes()) } else { quoted(out, name) }
}

/// Writes `# HELP name text`.
pub fn help(out: &mut Vec<u8>, format: Format, name: &str, text: &str) {
    out.extend_from_slice(b"# HELP ");
    family_name(out, name);
    out.push(b' ');
    // OpenMetrics escapes quotes here too; text format 0.0.4 knows only the other two.
    escaped(out, text, format == Format::OpenMetrics);
    out.push(b'\n');
}

/// Writes `# TYPE name kind`, in the words of the format.
pub fn kind(out: &mut Vec<u8>, format: Format, name: &str, kind: MetricType) {
    out.extend_from_slice(b"# TYPE ");
    family_name(out, name);
    out.push(b' ');
    let word = match format {
        Format::Text => kind.as_text(),
        Format::OpenMetrics => kind.as_openmetrics(),
    };
    out.extend_from_slice(word.as_bytes());
    out.push(b'\n');
}

/// Name and type of the family that a series stands under in text format 0.0.4, whatever format it came in: there a counter
/// has its sample's name, when a series began is a gauge, and what the format has no type for is a gauge or untyped.
pub fn text_family<'a>(series: &SeriesRef<'a>) -> (&'a str, MetricType) {
    let family = series.family();
    let is_created = series.name().strip_prefix(family.name) == Some("_created");
    match family.kind {
        MetricType::Counter | MetricType::Histogram | MetricType::Summary if is_created => {
            (series.name(), MetricType::Gauge)
        }
        MetricType::Histogram | MetricType::Summary => (family.name, family.kind),
        MetricType::Counter => (series.name(), MetricType::Counter),
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => (series.name(), MetricType::Gauge),
        MetricType::GaugeHistogram | MetricType::Unknown => (series.name(), MetricType::Unknown),
    }
}

/// Writes `# UNIT name unit` (OpenMetrics only: text format 0.0.4 has no such line).
pub fn unit(out: &mut Vec<u8>, name: &str, unit: &str) {
    out.extend_from_slice(b"# UNIT ");
    family_name(out, name);
    out.push(b' ');
    escaped(out, unit, true);
    out.push(b'\n');
}

/// Writes name and labels of a sample, with the blank after them. A name that needs quotes goes inside the braces.
pub fn series<'l>(out: &mut Vec<u8>, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) {
    let mut separator: &[u8] = b"{";
    if is_bare_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'{');
        quoted(out, name);
        separator = b",";
    }
    let mut is_open = separator == b",";
    for (label, value) in labels {
        out.extend_from_slice(separator);
        if is_bare_label_name(label) {
            out.extend_from_slice(label.as_bytes())
        } else {
            quoted(out, label)
        }
        out.push(b'=');
        quoted(out, value);
        (separator, is_open) = (b",", true);
    }
    if is_open {
        out.push(b'}');
    }
    out.push(b' ');
}

/// Writes the rest of a sample's line: value, time if given, line break. Text format 0.0.4 has milliseconds, OpenMetrics
/// seconds.
pub fn value(out: &mut Vec<u8>, format: Format, value: f64, at_ms: Option<i64>) {
    value_and_time(out, format, value, at_ms);
    out.push(b'\n');
}

/// The same with an exemplar, which only OpenMetrics has, and only for samples that may have one. The caller has asked
/// [`is_expressible`].
pub fn value_with_exemplar(out: &mut Vec<u8>, value: f64, at_ms: Option<i64>, exemplar: &Exemplar) {
    value_and_time(out, Format::OpenMetrics, value, at_ms);
    out.extend_from_slice(b" # {");
    for (at, (name, text)) in exemplar.labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        quoted(out, text);
    }
    out.extend_from_slice(b"} ");
    value_and_time(out, Format::OpenMetrics, exemplar.value, exemplar.at_ms);
    out.push(b'\n');
}

/// Whether OpenMetrics has a way to write this exemplar: its labels are not longer than [`EXEMPLAR_CHARS_MAX`], and their
/// names need no quotes.
pub fn is_expressible(exemplar: &Exemplar) -> bool {
    let chars = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
    exemplar.labels.iter().map(chars).sum::<usize>() <= EXEMPLAR_CHARS_MAX
        && exemplar.labels.iter().all(|(name, _)| is_bare_label_name(name))
}

fn value_and_time(out: &mut Vec<u8>, format: Format, value: f64, at_ms: Option<i64>) {
    float(out, value);
    if let Some(ms) = at_ms {
        out.push(b' ');
        match format {
            Format::Text => out.extend_from_slice(itoa::Buffer::new().format(ms).as_bytes()),
            Format::OpenMetrics => seconds(out, ms),
        }
    }
}

fn seconds(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    if !ms.is_multiple_of(1000) {
        out.push(b'.');
        out.extend([100, 10, 1].map(|unit| b'0' + (ms % 1000 / unit % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{Line, parse_line};
    use super::*;
    use crate::model::{ChunkBuilder, Family, METRIC_NAME};

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        // From Go's strconv.FormatFloat(v, 'g', -1, 64), as Prometheus' expfmt calls it.
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (123_456.789, "123456.789"),
            (1_795_245_135.052_745, "1.795245135052745e+09"),
            (0.5, "0.5"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (-4.2e-7, "-4.2e-07"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text(|out| float(out, value)), expected);
        }
        for (value, expected) in [(1.0, "1.0"), (2.5, "2.5"), (1e6, "1e+06"), (0.0, "0.0"), (f64::INFINITY, "+Inf")] {
            assert_eq!(text(|out| openmetrics_float(out, value)), expected);
        }
    }

    #[test]
    fn floats_read_back_to_the_same_bits() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for value in [f64::from_bits(state), (state >> 40) as f64 / 64.0, (state >> 20) as f64] {
                let written = text(|out| float(out, value));
                let read: f64 = written.parse().expect("a number");
                assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()), "{written}");
            }
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let labels = [("a", "x"), ("b c", "\\ \" \n é"), ("le", "+Inf")];
        for name in ["plain:name", "with.dots and blanks", "0", "quo\"te"] {
            let line = text(|out| {
                series(out, name, labels.into_iter());
                value(out, Format::Text, 1.5, Some(-7));
            });
            let Ok(Line::Sample(sample)) = parse_line(line.as_bytes()) else { panic!("{line}") };
            let expected = labels.into_iter().chain([(METRIC_NAME, name)]).collect();
            assert_eq!((sample.labels, sample.value, sample.own_ms), (expected, 1.5, Some(-7)));
        }
        let line = text(|out| help(out, Format::Text, "a.b", "x\\y\n\"z\""));
        assert_eq!(line, "# HELP \"a.b\" x\\\\y\\n\"z\"\n");
        let Ok(Line::Help { name, text: help }) = parse_line(line.as_bytes()) else { panic!("{line}") };
        assert_eq!((&*name, &*help), ("a.b", "x\\y\n\"z\""));
    }

    #[test]
    fn text_has_families_of_its_own_for_what_came_in_openmetrics() {
        use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
        for (family, kind, series, expected) in [
            ("c", Counter, "c_total", ("c_total", Counter)),
            ("c_total", Counter, "c_total", ("c_total", Counter)),
            ("c", Counter, "c_created", ("c_created", Gauge)),
            ("h", Histogram, "h_bucket", ("h", Histogram)),
            ("h", Histogram, "h_created", ("h_created", Gauge)),
            ("s", Summary, "s_sum", ("s", Summary)),
            ("i", Info, "i_info", ("i_info", Gauge)),
            ("s", StateSet, "s", ("s", Gauge)),
            ("g", GaugeHistogram, "g_gsum", ("g_gsum", Unknown)),
            ("u", Unknown, "u", ("u", Unknown)),
        ] {
            let mut chunk = ChunkBuilder::default();
            let number = chunk.family(Family { name: family, kind, ..Family::default() });
            chunk.push(number, series, std::iter::empty());
            assert_eq!(text_family(&chunk.finish().get(0)), expected);
        }
    }

    #[test]
    fn an_exemplar_is_written_where_its_labels_fit() {
        let exemplar = |labels: &[(&str, &str)]| Exemplar {
            series: 0,
            labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            value: 0.5,
            at_ms: Some(1_500),
        };
        let written = |exemplar: &Exemplar| text(|out| value_with_exemplar(out, 2.0, None, exemplar));
        let full = exemplar(&[("a", "x\"y"), ("trace_id", "é")]);
        assert_eq!(written(&full), "2 # {a=\"x\\\"y\",trace_id=\"é\"} 0.5 1.500\n");
        assert_eq!(written(&Exemplar { at_ms: None, ..exemplar(&[]) }), "2 # {} 0.5\n");
        let long = |chars: usize| exemplar(&[("ab", &"é".repeat(chars))]);
        assert_eq!([126, 127].map(|chars| is_expressible(&long(chars))), [true, false]);
        assert!(!is_expressible(&exemplar(&[("a.b", "c")])));
    }

    #[test]
    fn each_format_has_its_words() {
        let openmetrics = text(|out| {
            kind(out, Format::OpenMetrics, "a", MetricType::Unknown);
            unit(out, "a", "seconds");
            help(out, Format::OpenMetrics, "a", "say \"hi\"");
            series(out, "a", std::iter::empty());
            value(out, Format::OpenMetrics, 1.0, Some(1_700_000_000_050));
            value(out, Format::OpenMetrics, 1.0, Some(-1_000));
            out.extend_from_slice(EOF);
        });
        assert_eq!(
            openmetrics,
            "# TYPE a unknown\n# UNIT a seconds\n# HELP a say \\\"hi\\\"\na 1 1700000000.050\n1 -1\n# EOF\n"
        );
        assert_eq!(text(|out| kind(out, Format::Text, "a", MetricType::StateSet)), "# TYPE a gauge\n");
        assert_eq!(text(|out| series(out, "a", [("b", "c")].into_iter())), "a{b=\"c\"} ");
    }
}
