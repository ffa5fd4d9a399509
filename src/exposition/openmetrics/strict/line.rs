//! The strict grammar of one line: the specification's ABNF, and what its prose adds about a single line.

use crate::exposition::scan::{Scanner, unescape, utf8};
use crate::exposition::text::{Line, LineError, LineExemplar, Sample, strip_newline};
use crate::exposition::value::number;
use crate::model::{Labels, MetricType};

use super::super::line::to_ms;

/// A line, and where the parts are that rules across lines speak of.
pub(super) struct Read<'a> {
    pub(super) line: Line<'a>,
    pub(super) places: Places,
}

/// Places in a line, in bytes before them; of a line that does not have the part, some place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    /// Of metadata: behind the family's name.
    pub(super) word: usize,
    /// Of a sample: behind the metric's name, where labels would start.
    pub(super) labels: usize,
    pub(super) value: usize,
    pub(super) time: usize,
    pub(super) exemplar: usize,
    pub(super) exemplar_value: usize,
    /// The sample's own time.
    pub(super) time_of: Option<Time>,
}

/// A timestamp, for the order of points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    seconds: f64,
    /// Exact, where it is not written with an exponent: a float of today has not the digits for nanoseconds.
    nanoseconds: Option<i128>,
}

impl Time {
    fn new(seconds: f64, text: &str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let has_exponent = text.contains(['e', 'E']);
        let nanoseconds = if has_exponent { None } else { format!("{whole}{digits}").parse().ok() };
        Self { seconds, nanoseconds }
    }

    pub(super) fn is_before(&self, other: &Self) -> bool {
        let is_before = self.nanoseconds.zip(other.nanoseconds).is_some_and(|(this, other)| this < other);
        self.seconds < other.seconds || (self.seconds == other.seconds && is_before)
    }
}

/// Characters of the names and values of an exemplar's labels, at most.
const EXEMPLAR_CHARS_MAX: usize = 128;

const METADATA: &str = "\"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"";

/// Reads one line with its line break, which only `# EOF` may lack.
pub(super) fn parse_line(line: &[u8]) -> Result<Read<'_>, LineError> {
    let line = strip_newline(line);
    let text = utf8(line)?;
    match text.as_bytes() {
        [] => Err(LineError { at: 0, expected: "a sample or metadata (blank lines are not allowed)" }),
        [.., b'\r'] => Err(LineError { at: line.len() - 1, expected: "a line feed alone at the end of the line" }),
        [b'#', ..] => metadata(text),
        _ => sample(text),
    }
}

fn metadata(text: &str) -> Result<Read<'_>, LineError> {
    if text == "# EOF" {
        return Ok(Read { line: Line::Eof, places: Places::default() });
    }
    let word = ["# HELP", "# TYPE", "# UNIT"].into_iter().find(|word| text.starts_with(word));
    let word = word.ok_or(LineError { at: 0, expected: METADATA })?;
    let mut scan = Scanner::strict(text, word.len());
    scan.gap("a single space")?;
    let name = scan.metric_name()?;
    scan.gap("a single space after the metric name")?;
    let places = Places { word: scan.at, ..Places::default() };
    let rest = scan.rest();
    let line = match word {
        "# HELP" => {
            check_help(rest, scan.at)?;
            Line::Help { name, text: unescape(rest, true) }
        }
        "# TYPE" => {
            let kind = MetricType::from_word(rest).filter(|_| rest != "untyped");
            let expected = "counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown";
            Line::Type { name, kind: kind.ok_or(scan.error(expected))? }
        }
        _ => {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
            if let Some(odd) = rest.bytes().position(|byte| !is_part(byte)) {
                return Err(LineError {
                    at: scan.at + odd,
                    expected: "a letter, a digit, \"_\", \":\" or the end of the line",
                });
            }
            Line::Unit { name, unit: rest.into() }
        }
    };
    Ok(Read { line, places })
}

/// A backslash must have something to escape. A quote may stand alone: the ABNF forbids it, the reference suite has one.
fn check_help(text: &str, at: usize) -> Result<(), LineError> {
    let backslashes = text.bytes().rev().take_while(|&byte| byte == b'\\').count();
    if backslashes % 2 == 1 {
        return Err(LineError { at: at + text.len() - 1, expected: "a character behind the last backslash" });
    }
    Ok(())
}

fn sample(text: &str) -> Result<Read<'_>, LineError> {
    let mut scan = Scanner::strict(text, 0);
    let (name, labels) = scan.series()?;
    let mut places = Places { labels: name_len(text), value: scan.at, ..Places::default() };
    let value = any_number(&mut scan, "a number")?;
    let (mut own_ms, mut exemplar) = (None, None);
    if scan.peek().is_some() {
        scan.gap("a single space or the end of the line after the value")?;
        if scan.peek() != Some(b'#') {
            places.time = scan.at;
            let seconds = real_number(&mut scan, "a timestamp in seconds, or \"#\" and an exemplar")?;
            let written = text.get(places.time..scan.at).unwrap_or_default();
            (places.time_of, own_ms) = (Some(Time::new(seconds, written)), Some(to_ms(seconds)));
        }
        if own_ms.is_none() || scan.peek().is_some() {
            if own_ms.is_some() {
                scan.gap("a single space or the end of the line after the timestamp")?;
            }
            places.exemplar = scan.at;
            exemplar = Some(read_exemplar(&mut scan, &mut places)?);
        }
    }
    Ok(Read { line: Line::Sample(Sample { name, labels, value, own_ms, exemplar }), places })
}

fn read_exemplar<'a>(scan: &mut Scanner<'a>, places: &mut Places) -> Result<LineExemplar<'a>, LineError> {
    if !scan.eat(b'#') {
        return Err(scan.error("\"#\" and an exemplar, or no space at the end of the line"));
    }
    scan.gap("a single space after \"#\"")?;
    let brace = scan.at;
    if !scan.eat(b'{') {
        return Err(scan.error("the labels of an exemplar in braces"));
    }
    let (mut labels, mut quoted) = (Labels::new(), None);
    scan.labels(&mut quoted, &mut labels)?;
    if quoted.is_some() {
        return Err(LineError { at: brace, expected: "labels that all have a value (an exemplar has no name)" });
    }
    let chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if chars > EXEMPLAR_CHARS_MAX {
        return Err(LineError {
            at: brace,
            expected: "at most 128 characters in the names and values of an exemplar's labels",
        });
    }
    scan.gap("a single space after the exemplar's labels")?;
    places.exemplar_value = scan.at;
    let value = any_number(scan, "the exemplar's value")?;
    let mut at_ms = None;
    if scan.peek().is_some() {
        scan.gap("a single space or the end of the line after the exemplar's value")?;
        at_ms = Some(to_ms(real_number(scan, "the exemplar's timestamp in seconds")?));
    }
    match scan.peek() {
        None => Ok(LineExemplar { labels, value, at_ms }),
        Some(_) => Err(scan.error("the end of the line")),
    }
}

/// `number` of the ABNF. What no float holds (`1e999`) is none.
fn any_number(scan: &mut Scanner<'_>, expected: &'static str) -> Result<f64, LineError> {
    let (value, used) = number(scan.rest().as_bytes()).ok_or(scan.error(expected))?;
    scan.at += used;
    Ok(value)
}

/// `realnumber` of the ABNF.
fn real_number(scan: &mut Scanner<'_>, expected: &'static str) -> Result<f64, LineError> {
    let error = scan.error(expected);
    any_number(scan, expected).ok().filter(|value| value.is_finite()).ok_or(error)
}

/// Where the labels start of a line that is a sample.
fn name_len(text: &str) -> usize {
    text.bytes().take_while(|byte| !matches!(byte, b'{' | b' ')).count()
}
