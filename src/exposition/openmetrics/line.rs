//! The lenient grammar of one line: what a scrape reads.
//!
//! As lenient as [`text`](crate::exposition::text) is and by the same scanner. Real programs break the rules of OpenMetrics
//! about order, escaping and suffixes; none of them makes a line mean something else. What OpenMetrics adds to a line:
//! `# UNIT`, `# EOF`, timestamps in seconds, exemplars. Names in quotes are Prometheus' extension (`escaping=allow-utf-8`).
//!
//! The format: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.

use crate::exposition::Format;
use crate::exposition::scan::{Scanner, blanks, utf8};
use crate::exposition::text::{self, Kind, Line, LineError, LineExemplar, Sample, strip_cr, strip_newline};
use crate::exposition::value::number;
use crate::model::Labels;

/// What stands behind a value: the sample's time in milliseconds, its exemplar, and where the line should end.
pub(in crate::exposition) type Tail<'a> = (Option<i64>, Option<LineExemplar<'a>>, usize);

/// Reads one line, with or without its line break.
pub fn parse_line(line: &[u8]) -> Result<Line<'_>, LineError> {
    let line = strip_cr(strip_newline(line));
    let start = blanks(line);
    match line.get(start) {
        None => Ok(Line::Blank),
        Some(b'#') => text::comment(line, start + 1, Format::OpenMetrics),
        Some(_) => sample(Scanner::lenient(utf8(line)?, start)).map(Line::Sample),
    }
}

fn sample(mut scan: Scanner<'_>) -> Result<Sample<'_>, LineError> {
    let (name, labels) = scan.series()?;
    let rest = scan.rest().as_bytes();
    let (value, used) = number(rest).ok_or(scan.error("a number"))?;
    let (own_ms, exemplar, _) = tail(rest, used).map_err(|error| LineError { at: scan.at + error.at, ..error })?;
    Ok(Sample { name, labels, value, own_ms, exemplar })
}

/// Reads what may follow a value: blanks, a timestamp, an exemplar, blanks.
///
/// `rest` starts with the value, which has `used` bytes, and may go on behind the line; the place that is given back is that
/// of the line break, or the end of `rest`. Only an exemplar with labels allocates.
pub(in crate::exposition) fn tail(rest: &[u8], used: usize) -> Result<Tail<'_>, LineError> {
    let mut at = used + blanks(&rest[used..]);
    if is_end(&rest[at..]) {
        return Ok((None, None, at));
    }
    if at == used {
        return Err(LineError { at, expected: "a blank or the end of the line after the value" });
    }
    let mut own_ms = None;
    if rest[at] != b'#' {
        (own_ms, at) = time(rest, at, "a timestamp in seconds, \"#\" and an exemplar, or the end of the line")?;
        if is_end(&rest[at..]) {
            return Ok((own_ms, None, at));
        }
        if rest[at] != b'#' {
            return Err(LineError { at, expected: "\"#\" and an exemplar, or the end of the line" });
        }
    }
    let (exemplar, at) = exemplar(rest, at + 1)?;
    Ok((own_ms, Some(exemplar), at))
}

/// Reads an exemplar from behind its `#`.
#[inline(never)]
fn exemplar(rest: &[u8], start: usize) -> Result<(LineExemplar<'_>, usize), LineError> {
    // The labels are text, and end with the line: a quote that is never closed must not swallow the next one.
    let end = memchr::memchr(b'\n', &rest[start..]).map_or(rest.len(), |len| start + len);
    let behind = strip_cr(&rest[start..end]);
    let within = |error: LineError| LineError { at: start + error.at, ..error };
    let mut scan = Scanner::lenient(utf8(behind).map_err(within)?, 0);
    let (mut labels, mut quoted) = (Labels::new(), None);
    scan.skip_blanks();
    let brace = start + scan.at;
    if !scan.eat(b'{') {
        return Err(LineError { at: brace, expected: "the labels of an exemplar in braces" });
    }
    scan.labels(&mut quoted, &mut labels).map_err(within)?;
    if quoted.is_some() {
        return Err(LineError { at: brace, expected: "labels that all have a value (an exemplar has no name)" });
    }
    scan.skip_blanks();
    let at = start + scan.at;
    let (value, used) = number(&rest[at..]).ok_or(LineError { at, expected: "the exemplar's value" })?;
    let (mut at_ms, value_end) = (None, at + used);
    let mut at = value_end + blanks(&rest[value_end..]);
    if !is_end(&rest[at..]) {
        if at == value_end {
            return Err(LineError { at, expected: "a blank or the end of the line after the exemplar's value" });
        }
        (at_ms, at) = time(rest, at, "the exemplar's timestamp in seconds, or the end of the line")?;
    }
    if !is_end(&rest[at..]) {
        return Err(LineError { at, expected: "the end of the line" });
    }
    Ok((LineExemplar { labels, value, at_ms }, at))
}

/// Reads a timestamp in seconds and the blanks behind it: its milliseconds, and the place behind it.
fn time(rest: &[u8], at: usize, expected: &'static str) -> Result<(Option<i64>, usize), LineError> {
    let (seconds, used) =
        number(&rest[at..]).filter(|(seconds, _)| seconds.is_finite()).ok_or(LineError { at, expected })?;
    let end = at + used;
    let after = end + blanks(&rest[end..]);
    if after == end && !is_end(&rest[after..]) {
        return Err(LineError { at, expected });
    }
    Ok((Some(to_ms(seconds)), after))
}

/// Seconds as milliseconds, rounded.
///
/// What no `i64` holds is the nearest that one does, 292 million years from now. The very smallest number stands for "none"
/// in the packed column of points, and is not given.
pub(super) fn to_ms(seconds: f64) -> i64 {
    ((seconds * 1000.0).round() as i64).max(i64::MIN + 1)
}

fn is_end(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..])
}

/// Sorts a line without its line break.
pub(in crate::exposition) fn kind_of(line: &[u8]) -> Kind {
    let start = blanks(line);
    match line.get(start) {
        None => Kind::Nothing,
        Some(b'#') => {
            let word = start + 1 + blanks(&line[start + 1..]);
            let is_metadata = matches!(line.get(word..word + 4), Some(b"HELP" | b"TYPE" | b"UNIT"))
                || matches!(line.get(word..word + 3), Some(b"EOF"));
            if is_metadata { Kind::Metadata } else { Kind::Nothing }
        }
        Some(_) => Kind::Sample,
    }
}

/// Where a line's value starts if the line is a sample: what is before it decides which series it is.
///
/// Right for every line that [`parse_line`] accepts; for other lines it is some place in the line. The labels' end is
/// searched from the front, because an exemplar has braces too.
pub(in crate::exposition) fn value_start(line: &[u8]) -> usize {
    let start = blanks(line);
    let name = line[start..].iter().take_while(|byte| !matches!(byte, b' ' | b'\t' | b'{')).count();
    let mut end = start + name;
    let brace = end + blanks(&line[end..]);
    if line.get(brace) == Some(&b'{') {
        end = brace + labels_len(&line[brace..]);
    }
    end + blanks(&line[end..])
}

/// How long a list of labels is, braces included, that `bytes` starts with.
fn labels_len(bytes: &[u8]) -> usize {
    let (mut at, mut in_quotes) = (1, false);
    while let Some(found) = memchr::memchr3(b'"', b'\\', b'}', bytes.get(at..).unwrap_or_default()) {
        at += found + 1;
        match bytes[at - 1] {
            b'"' => in_quotes = !in_quotes,
            // Escapes are in quotes only; elsewhere the line is bad.
            b'\\' => at += 1,
            _ if !in_quotes => return at,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line as `{labels} value @ms # {labels} value @ms`, or the column and what was expected.
    fn read(line: &str) -> Result<String, String> {
        let time = |ms: Option<i64>| ms.map(|ms| format!(" @{ms}")).unwrap_or_default();
        match parse_line(line.as_bytes()) {
            Ok(Line::Sample(sample)) => {
                let exemplar = sample
                    .exemplar
                    .as_ref()
                    .map(|exemplar| format!(" # {} {:?}{}", exemplar.labels, exemplar.value, time(exemplar.at_ms)));
                let exemplar = exemplar.unwrap_or_default();
                Ok(format!("{} {:?}{}{exemplar}", sample.labels, sample.value, time(sample.own_ms)))
            }
            Ok(other) => Ok(format!("{other:?}")),
            Err(error) => Err(format!("{}: {}", error.column(), error.expected)),
        }
    }

    #[test]
    fn valid_lines_are_read() {
        for (line, expected) in [
            ("", "Blank"),
            ("# EOF", "Eof"),
            ("# EOF \r\n", "Eof"),
            ("# EOF x", "Comment"),
            ("# EOFx", "Comment"),
            ("#EOF", "Comment"),
            ("# UNIT a_s s", r#"Unit { name: "a_s", unit: "s" }"#),
            ("# UNIT a", r#"Unit { name: "a", unit: "" }"#),
            (r#"# UNIT "a.s" s "#, r#"Unit { name: "a.s", unit: "s" }"#),
            ("# TYPE a stateset", r#"Type { name: "a", kind: StateSet }"#),
            ("# TYPE a unknown", r#"Type { name: "a", kind: Unknown }"#),
            (r#"# HELP a \"b\" \\ \n "c" \d"#, r#"Help { name: "a", text: "\"b\" \\ \n \"c\" \\d" }"#),
            ("a 1", r#"{__name__="a"} 1.0"#),
            ("a{} 1.2E8\r\n", r#"{__name__="a"} 120000000.0"#),
            (r#"{"a.b",x="y"} 1"#, r#"{__name__="a.b",x="y"} 1.0"#),
            ("a 1 2", r#"{__name__="a"} 1.0 @2000"#),
            ("a 1 1520879607.789", r#"{__name__="a"} 1.0 @1520879607789"#),
            ("a 1 1.520879607789e+09", r#"{__name__="a"} 1.0 @1520879607789"#),
            ("a 1 -0.0006", r#"{__name__="a"} 1.0 @-1"#),
            ("a 1 1e300", r#"{__name__="a"} 1.0 @9223372036854775807"#),
            ("a 1 -1e300", r#"{__name__="a"} 1.0 @-9223372036854775807"#),
            ("a 1 # {} 2", r#"{__name__="a"} 1.0 # {} 2.0"#),
            ("a 1 3 # {b=\"c # }\"} -2 4.5 ", r#"{__name__="a"} 1.0 @3000 # {b="c # }"} -2.0 @4500"#),
            ("a{b=\"#\"}  1\t#{ c = \"d\" , }2\r\n", r##"{__name__="a",b="#"} 1.0 # {c="d"} 2.0"##),
            (r#"a 1 # {"b.c"="d"} NaN 1.7e9"#, r#"{__name__="a"} 1.0 # {b.c="d"} NaN @1700000000000"#),
        ] {
            assert_eq!(read(line).as_deref(), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn invalid_lines_say_where_and_what_was_expected() {
        let behind = "a timestamp in seconds, \"#\" and an exemplar, or the end of the line";
        let exemplar_time = "the exemplar's timestamp in seconds, or the end of the line";
        for (line, expected) in [
            ("a", "2: a blank or \"{\" after the metric name"),
            ("a 1 x", &format!("5: {behind}")),
            ("a 1 NaN", &format!("5: {behind}")),
            ("a 1 +Inf", &format!("5: {behind}")),
            ("a 1 1.5x", &format!("5: {behind}")),
            ("a 1 2 3", "7: \"#\" and an exemplar, or the end of the line"),
            ("a 1#", "4: a blank or the end of the line after the value"),
            ("a 1 #", "6: the labels of an exemplar in braces"),
            ("a 1 # 5", "7: the labels of an exemplar in braces"),
            ("a 1 # {} x", "10: the exemplar's value"),
            ("a 1 # {", "8: a label name, a quoted name or \"}\""),
            ("a 1 # {\"b\"} 1", "7: labels that all have a value (an exemplar has no name)"),
            ("a 1 # {b=\"1\",b=\"\"} 1", "14: a label that the line does not have yet"),
            ("a 1 # {} 1x", "11: a blank or the end of the line after the exemplar's value"),
            ("a 1 # {} 1 NaN", &format!("12: {exemplar_time}")),
            ("a 1 # {} 1 2 3", "14: the end of the line"),
            ("a 1 # {} 1 # {} 1", &format!("12: {exemplar_time}")),
            ("# TYPE a meter", "10: counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown"),
        ] {
            assert_eq!(read(line).as_ref().map_err(String::as_str), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn a_tail_ends_with_its_line() {
        for (rest, end) in [
            (&b"1\nb 2 3\n"[..], 1),
            (b"1 2.5 \r\nb 1\n", 6),
            (b"1 # {b=\"c\"} 2\r\nb{c=\"d\"} 1 # {} 1\n", 13),
            (b"1 # {b=\"c\"} 2 3\nb 1\n", 15),
            (b"1", 1),
        ] {
            let (_, used) = number(rest).expect("a number");
            assert_eq!(tail(rest, used).map(|(.., at)| at), Ok(end));
        }
        let open = b"1 # {b=\"c\nd\"} 1\n";
        assert_eq!(tail(open, 1), Err(LineError { at: 9, expected: "a closing double quote" }));
        let bytes = b"1 # {b=\"\xff\"} 1\n";
        assert_eq!(tail(bytes, 1), Err(LineError { at: 8, expected: "text in UTF-8" }));
    }

    #[test]
    fn the_value_starts_where_the_parser_finds_it() {
        for line in [
            "a 1",
            " a\t 1 2 # {b=\"}\"} 2",
            "a{b=\"}\"} 1 # {} 3",
            "a {b=\"c\"}1",
            "a{b=\"\\\"} 7\\\\\"}  1 # {b=\"\\\"}\"} 3",
            "{\"a b\"}\t1",
        ] {
            let rest = &line[value_start(line.as_bytes())..];
            assert!(matches!(parse_line(line.as_bytes()), Ok(Line::Sample(sample)) if sample.value == 1.0), "{line}");
            assert!(rest.starts_with('1'), "{line}");
        }
        for line in ["", "{", "a{\"\\", "a{b=\"\\\"", "a}", " "] {
            assert!(value_start(line.as_bytes()) <= line.len());
        }
    }

    #[test]
    fn lines_are_sorted_at_a_first_look() {
        for (line, kind) in [
            ("# EOF", Kind::Metadata),
            ("# UNIT a b", Kind::Metadata),
            ("# HELP a b", Kind::Metadata),
            ("# TYPE a b", Kind::Metadata),
            ("# EO", Kind::Nothing),
            (" ", Kind::Nothing),
            ("a 1", Kind::Sample),
        ] {
            assert_eq!(kind_of(line.as_bytes()), kind, "{line}");
        }
    }
}
