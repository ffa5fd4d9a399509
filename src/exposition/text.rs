//! The grammar of text format 0.0.4, one line at a time, with quoted UTF-8 names (`{"a.b",x="y"} 1`): those, and how the names
//! are escaped, are all that 1.0.0 adds.
//!
//! Strict where a line is ambiguous or broken, lenient where real exporters differ without doubt about what they mean: a
//! carriage return at the end, blanks and tabs wherever a token ends, a comma after the last label, OpenMetrics' words after
//! `# TYPE`. A `#` line that is neither `HELP` nor `TYPE` is a comment and may hold anything.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>; where it is silent, what Prometheus'
//! `model/textparse` does. Refused on purpose: a label given twice, a raw line break in quotes, a number that no float holds
//! (`1e999`), and Go's number forms `1_2` and `0x1p-3`.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use super::Format;
use super::body::BadLine;
use super::context::Metadata;
pub(super) use super::scan::blanks;
use super::scan::{Scanner, unescape, utf8};
use super::value::{after_number, number};
use super::write;
use crate::model::{FamilyRef, Labels, MetricType};

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// Nothing but blanks.
    Blank,
    /// A comment that means nothing.
    Comment,
    /// `# HELP name text`.
    Help {
        /// The family's name.
        name: Cow<'a, str>,
        /// The text, unescaped; may be empty.
        text: Cow<'a, str>,
    },
    /// `# TYPE name kind`.
    Type {
        /// The family's name.
        name: Cow<'a, str>,
        /// Its type.
        kind: MetricType,
    },
    /// `# UNIT name unit` (OpenMetrics).
    Unit {
        /// The family's name.
        name: Cow<'a, str>,
        /// Its unit; may be empty.
        unit: Cow<'a, str>,
    },
    /// `# EOF` (OpenMetrics).
    Eof,
    /// A sample.
    Sample(Sample<'a>),
}

/// A sample as its line has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: Cow<'a, str>,
    /// The labels, the metric's name among them as [`METRIC_NAME`].
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
    /// Its own timestamp in milliseconds since 1970.
    pub own_ms: Option<i64>,
    /// The exemplar behind it (OpenMetrics).
    pub exemplar: Option<LineExemplar<'a>>,
}

/// An exemplar as its line has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LineExemplar<'a> {
    /// Its labels.
    pub labels: Labels<'a>,
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds since 1970.
    pub at_ms: Option<i64>,
}

/// Where a line stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Bytes of the line before the place.
    pub at: usize,
    /// What could have stood there.
    pub expected: &'static str,
}

/// Characters of a bad line that an error repeats.
const FOUND_CHARS_MAX: usize = 40;

impl LineError {
    /// The column, in bytes from 1.
    pub fn column(&self) -> usize {
        self.at + 1
    }

    /// What stands at the place in `line`, escaped and cut for a person to read.
    pub fn found(&self, line: &[u8]) -> String {
        let rest = strip_cr(strip_newline(line)).get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return "the end of the line".to_owned();
        }
        let head = String::from_utf8_lossy(&rest[..rest.len().min(4 * FOUND_CHARS_MAX)]);
        let shown: String = head.chars().take(FOUND_CHARS_MAX).collect();
        let dots = if shown.len() < head.len() || head.len() < rest.len() { "…" } else { "" };
        // In double quotes a single one is no trouble.
        format!("\"{}{dots}\"", shown.escape_debug().to_string().replace("\\'", "'"))
    }
}

/// Reads one line, with or without its line break.
pub fn parse_line(line: &[u8]) -> Result<Line<'_>, LineError> {
    let line = strip_cr(strip_newline(line));
    let start = blanks(line);
    match line.get(start) {
        None => Ok(Line::Blank),
        Some(b'#') => comment(line, start + 1, Format::Text),
        Some(_) => sample(Scanner::lenient(utf8(line)?, start)).map(Line::Sample),
    }
}

/// Where a line's value starts if the line is a sample: what is before it decides which series it is.
///
/// Looks at as little as it can, and is right for every line that [`parse_line`] accepts. For other lines it is some place
/// in the line.
pub(super) fn value_start(line: &[u8]) -> usize {
    let start = blanks(line);
    let end = match memchr::memrchr(b'}', line) {
        Some(brace) => brace + 1,
        None => memchr::memchr2(b' ', b'\t', &line[start..]).map_or(line.len(), |blank| start + blank),
    };
    end + blanks(&line[end..])
}

pub(super) fn strip_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

pub(super) fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a line is at a first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blank, or a comment that means nothing.
    Nothing,
    /// A comment that starts as `# HELP` or `# TYPE` does.
    Metadata,
    /// Anything else.
    Sample,
}

/// Sorts a line without its line break.
#[inline]
pub(super) fn kind_of(line: &[u8]) -> Kind {
    match line {
        // Nearly all lines begin with a letter, or are of this shape.
        [first, ..] if *first > b'#' => return Kind::Sample,
        [b'#', b' ', b'H', b'E', b'L', b'P', ..] | [b'#', b' ', b'T', b'Y', b'P', b'E', ..] => return Kind::Metadata,
        _ => {}
    }
    let start = blanks(line);
    match line.get(start) {
        None => Kind::Nothing,
        Some(b'#') => {
            let word = start + 1 + blanks(&line[start + 1..]);
            let is_metadata = matches!(line.get(word..word + 4), Some(b"HELP" | b"TYPE"));
            if is_metadata { Kind::Metadata } else { Kind::Nothing }
        }
        Some(_) => Kind::Sample,
    }
}

/// A line that starts with `#`. OpenMetrics has more words than the text format, and escapes quotes in `HELP`.
pub(super) fn comment(line: &[u8], after_hash: usize, format: Format) -> Result<Line<'_>, LineError> {
    let is_openmetrics = format == Format::OpenMetrics;
    let gap = blanks(&line[after_hash..]);
    let word = after_hash + gap;
    let len = line[word..].iter().take_while(|byte| !matches!(byte, b' ' | b'\t')).count();
    let at = word + len;
    let after = blanks(&line[at..]);
    let has_more = at + after < line.len();
    let word = match &line[word..at] {
        _ if gap == 0 => return Ok(Line::Comment),
        b"EOF" if is_openmetrics && !has_more => return Ok(Line::Eof),
        word @ (b"HELP" | b"TYPE") if has_more => word,
        word @ b"UNIT" if has_more && is_openmetrics => word,
        _ => return Ok(Line::Comment),
    };
    let mut scan = Scanner::lenient(utf8(line)?, at + after);
    let name = scan.metric_name()?;
    let name_end = scan.at;
    if scan.peek().is_some() {
        scan.gap("a blank after the metric name")?;
    }
    if word == b"HELP" {
        // Blanks before the text belong to it in OpenMetrics.
        let start = if is_openmetrics { name_end + 1 } else { scan.at };
        return Ok(Line::Help { name, text: unescape(scan.text.get(start..).unwrap_or_default(), is_openmetrics) });
    }
    let rest = scan.rest().trim_end_matches([' ', '\t']);
    if word == b"UNIT" {
        return Ok(Line::Unit { name, unit: unescape(rest, true) });
    }
    let expected = match format {
        Format::OpenMetrics => "counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown",
        Format::Text | Format::Protobuf => "counter, gauge, histogram, summary or untyped",
    };
    MetricType::from_word(rest).map(|kind| Line::Type { name, kind }).ok_or(scan.error(expected))
}

fn sample(mut scan: Scanner<'_>) -> Result<Sample<'_>, LineError> {
    let (name, labels) = scan.series()?;
    let rest = scan.rest().as_bytes();
    let (value, used) = number(rest).ok_or(scan.error("a number"))?;
    match after_number(rest, used) {
        Ok((own_ms, _)) => Ok(Sample { name, labels, value, own_ms, exemplar: None }),
        Err(error) => Err(LineError { at: scan.at + error.at, ..error }),
    }
}

/// Writes `le` and `quantile` as Prometheus keeps them (`1` as `1.0`), where the family is of the type that has them.
pub(super) fn normalise(labels: &mut Labels<'_>, kind: MetricType) {
    let name = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        _ => return,
    };
    if let Some(normal) = labels.get(name).and_then(normal_number) {
        labels.set(name, normal);
    }
}

/// A number as Prometheus keeps it, if `held` is one and written otherwise.
pub(super) fn normal_number(held: &str) -> Option<String> {
    let (value, used) = number(held.as_bytes())?;
    let mut text = Vec::new();
    write::openmetrics_float(&mut text, value);
    (used == held.len() && text != held.as_bytes()).then(|| String::from_utf8(text).unwrap_or_default())
}

/// Reads an exposition line by line and gives each sample with its family, or the line that is no sample, to `each`.
///
/// This is for one look at a text. What is scraped again and again goes through a [`Table`](super::Table). A line of more
/// than `line_length_max` bytes ends the reading with [`io::ErrorKind::InvalidData`].
pub fn parse_all(
    input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) -> io::Result<()> {
    let mut metadata = Metadata::default();
    each_line(input, line_length_max, |number, line| {
        let read = parse_line(line).map_err(|error| BadLine::new(number, line, error));
        tell(&mut metadata, read, &mut each);
    })
    .map(|_| ())
}

/// Takes a line's comment into the metadata in force, or gives its sample, or what is wrong with it, to `each`.
pub(super) fn tell(
    metadata: &mut Metadata,
    read: Result<Line<'_>, BadLine>,
    each: &mut impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) {
    match read {
        Ok(Line::Blank | Line::Comment | Line::Eof) => {}
        Ok(Line::Help { name, text }) => metadata.set_help(&name, &text),
        Ok(Line::Type { name, kind }) => metadata.set_kind(&name, kind),
        Ok(Line::Unit { name, unit }) => metadata.set_unit(&name, &unit),
        Ok(Line::Sample(mut sample)) => {
            let name = sample.name.clone();
            let family = metadata.family_of(&name);
            normalise(&mut sample.labels, family.kind);
            each(Ok((&sample, family)));
        }
        Err(error) => each(Err(error)),
    }
}

/// Gives each line with its line break and its number from 1; then how many there were. A line of more than
/// `line_length_max` bytes ends the reading with [`io::ErrorKind::InvalidData`].
pub(super) fn each_line(
    mut input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(u64, &[u8]),
) -> io::Result<u64> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(line_length_max as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(number - 1);
        }
        if strip_newline(&line).len() > line_length_max {
            let text = format!("line {number} is longer than the {line_length_max} bytes that a line may have");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        each(number, &line);
    }
    Ok(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::scan::LABELS_MAX;

    /// The line as `{labels} value @time`, or the column and what was expected.
    fn read(line: &str) -> Result<String, String> {
        read_bytes(line.as_bytes())
    }

    fn read_bytes(line: &[u8]) -> Result<String, String> {
        match parse_line(line) {
            Ok(Line::Sample(sample)) => {
                let time = sample.own_ms.map(|ms| format!(" @{ms}")).unwrap_or_default();
                Ok(format!("{} {:?}{time}", sample.labels, sample.value))
            }
            Ok(other) => Ok(format!("{other:?}")),
            Err(error) => Err(format!("{}: {}", error.column(), error.expected)),
        }
    }

    #[test]
    fn valid_lines_are_read() {
        for (line, expected) in [
            ("", "Blank"),
            (" \t\r\n", "Blank"),
            ("#", "Comment"),
            ("# HELP", "Comment"),
            ("# HELPER a b", "Comment"),
            ("#HELP a b", "Comment"),
            ("# \tTYPE\ta \t counter ", r#"Type { name: "a", kind: Counter }"#),
            ("# TYPE a untyped", r#"Type { name: "a", kind: Unknown }"#),
            ("# HELP a", r#"Help { name: "a", text: "" }"#),
            (r#"# HELP "a.b" x\\y\nz\"#, r#"Help { name: "a.b", text: "x\\y\nz\\" }"#),
            ("a 1", r#"{__name__="a"} 1.0"#),
            ("a:b_c9 1e5", r#"{__name__="a:b_c9"} 100000.0"#),
            ("a 1\r\n", r#"{__name__="a"} 1.0"#),
            ("\ta{b=\"c\",}\t1 -7 ", r#"{__name__="a",b="c"} 1.0 @-7"#),
            ("a { b = \"c\" , d=\"e\"} 1", r#"{__name__="a",b="c",d="e"} 1.0"#),
            (r#"{"go.gc",quantile="0"} NaN"#, r#"{__name__="go.gc",quantile="0"} NaN"#),
            (r#"{quantile="0","go.gc"} +Inf"#, r#"{__name__="go.gc",quantile="0"} inf"#),
            (r#"a{"b c"="d"} -Inf"#, r#"{__name__="a",b c="d"} -inf"#),
            (r#"a{b="\\\"\n\x"} 1"#, r#"{__name__="a",b="\\\"\n\\x"} 1.0"#),
            ("a{b=\"\"} 1", r#"{__name__="a"} 1.0"#),
            ("a{b=\"\0\"} 1", r#"{__name__="a",b="\0"} 1.0"#),
            ("a{} 1", r#"{__name__="a"} 1.0"#),
            ("a{}1", r#"{__name__="a"} 1.0"#),
            ("a -0.0", r#"{__name__="a"} -0.0"#),
        ] {
            assert_eq!(read(line).as_deref(), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn invalid_lines_say_where_and_what_was_expected() {
        for (line, expected) in [
            ("a", "2: a blank or \"{\" after the metric name"),
            ("a ", "3: a number"),
            ("9a 1", "1: a metric name, \"{\" or \"#\""),
            ("a{b='c'} 1", "5: a value in double quotes"),
            ("a{b=c} 1", "5: a value in double quotes"),
            (r#"{"a", "b = "c"}"#, "7: a label that the line does not have yet"),
            (r#"{"a"} "#, "7: a number"),
            ("a true", "3: a number"),
            (r#"{=""}"#, "2: a label name, a quoted name or \"}\""),
            ("{A}0", "3: \"=\""),
            ("{} 1", "2: a metric name in quotes before \"}\""),
            (r#"{b="c"} 1"#, "7: a metric name in quotes before \"}\""),
            (r#"{""} 1"#, "2: a name that is not empty"),
            (r#"a{""="b"} 1"#, "3: a name that is not empty"),
            (r#"a{"b"} 1"#, "3: a label that the line does not have yet"),
            (r#"a{b="1",b="2"} 1"#, "9: a label that the line does not have yet"),
            (r#"a{b="1",b=""} 1"#, "9: a label that the line does not have yet"),
            (r#"a{__name__="b"} 1"#, "3: a label that the line does not have yet"),
            (r#"a{b="c" 1"#, "9: \",\" or \"}\""),
            (r#"a{b="c"#, "7: a closing double quote"),
            (r#"a{b="c\"#, "8: a closing double quote"),
            (r#"a{b="c""#, "8: \",\" or \"}\""),
            (r#"a{b:c="d"} 1"#, "4: \"=\""),
            ("a 1_2", "4: a blank or the end of the line after the value"),
            ("a 0x1p-3", "4: a blank or the end of the line after the value"),
            ("a 1e5x", "6: a blank or the end of the line after the value"),
            ("a 1e", "4: a blank or the end of the line after the value"),
            ("a 1e999", "3: a number"),
            ("a -nan", "3: a number"),
            ("a 1 1.5", "5: a timestamp in whole milliseconds"),
            ("a 1 9223372036854775808", "5: a timestamp in whole milliseconds"),
            ("a 1 -9223372036854775808", "5: a timestamp in whole milliseconds"),
            ("a 1 2 3", "7: the end of the line"),
            ("a 1 # {} 1", "5: a timestamp in whole milliseconds"),
            ("a\0 1", "2: a blank or \"{\" after the metric name"),
            ("a 1\0", "4: a blank or the end of the line after the value"),
            ("a 1\r\r\n", "4: a blank or the end of the line after the value"),
            ("# TYPE a", "9: counter, gauge, histogram, summary or untyped"),
            ("# TYPE a meter", "10: counter, gauge, histogram, summary or untyped"),
            ("# TYPE a-b gauge", "9: a blank after the metric name"),
            ("# HELP 1a b", "8: a metric name"),
        ] {
            assert_eq!(read(line).as_ref().map_err(String::as_str), Err(expected), "{line:?}");
        }
        for bytes in [&b"a{b=\"\xff\"} 1"[..], b"\xff 1", b"# HELP a \xff"] {
            assert!(read_bytes(bytes).expect_err("not UTF-8").ends_with("text in UTF-8"));
        }
        assert_eq!(read_bytes(b"# any \xff\0").as_deref(), Ok("Comment"));
    }

    /// Labels are put in order one by one: without the limit, a line of a megabyte whose labels come in falling order would
    /// cost the square of their number.
    #[test]
    fn a_sample_has_a_limited_number_of_labels() {
        let line = |labels: usize| {
            let list: Vec<String> = (0..labels).rev().map(|at| format!("l{at:06}=\"1\"")).collect();
            format!("m{{{}}} 1", list.join(","))
        };
        assert!(read(&line(LABELS_MAX)).is_ok());
        let told = format!("\"}}\" (a sample has at most {LABELS_MAX} labels)");
        let column = 3 + LABELS_MAX * "l000000=\"1\",".len();
        assert_eq!(read(&line(LABELS_MAX + 1)), Err(format!("{column}: {told}")));
        assert!(read(&line(80_000)).is_err(), "at once");
    }

    #[test]
    fn an_error_repeats_what_it_found_cut_and_escaped() {
        let error = parse_line(b"a \x1b[2J").expect_err("no number");
        assert_eq!(error.found(b"a \x1b[2J\n"), r#""\u{1b}[2J""#);
        let long = format!("a {}", "é".repeat(100));
        let error = parse_line(long.as_bytes()).expect_err("no number");
        assert_eq!(error.found(long.as_bytes()), format!("\"{}…\"", "é".repeat(40)));
    }

    #[test]
    fn the_value_starts_where_the_parser_finds_it() {
        for line in ["a 1", " a\t 1 2", "a{b=\"}\"} 1", "a{b=\"c\"}1", "a{b=\"\\\"} 7\"}  1", "{\"a b\"}\t1"] {
            let rest = &line[value_start(line.as_bytes())..];
            let Ok(Line::Sample(sample)) = parse_line(line.as_bytes()) else { panic!("{line} is a sample") };
            assert_eq!(
                (number(rest.as_bytes()).map(|(value, _)| value), rest.starts_with('1')),
                (Some(sample.value), true)
            );
        }
    }

    #[test]
    fn all_of_a_text_is_read_with_its_families() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\noops\nh_sum 2";
        let mut read = Vec::new();
        let each = |line: Result<(&Sample<'_>, FamilyRef<'_>), BadLine>| match line {
            Ok((sample, family)) => read.push(format!("{:?} {} {}", family.kind, sample.labels, sample.value)),
            Err(bad) => read.push(bad.to_string()),
        };
        parse_all(text.as_bytes(), 100, each).expect("a text in memory");
        assert_eq!(
            read,
            [
                r#"Histogram {__name__="h_bucket",le="1.0"} 1"#,
                r#"line 3, column 5: the end of the line stands where a blank or "{" after the metric name was expected"#,
                r#"Histogram {__name__="h_sum"} 2"#,
            ]
        );
        let error = parse_all(text.as_bytes(), 10, |_| {}).expect_err("a long line");
        assert_eq!(error.to_string(), "line 1 is longer than the 10 bytes that a line may have");
    }
}
