//! The grammar of text format 0.0.4, one line at a time, with quoted UTF-8 names (`{"a.b",x="y"} 1`).
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

use super::context::Metadata;
use super::write;
use crate::model::{FamilyRef, Labels, METRIC_NAME, MetricType};

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
    /// A sample.
    Sample(Sample<'a>),
}

/// A sample as its line has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The labels, the metric's name among them as [`METRIC_NAME`].
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
    /// Its own timestamp in milliseconds since 1970.
    pub own_ms: Option<i64>,
}

impl Sample<'_> {
    /// The metric's name.
    pub fn name(&self) -> &str {
        self.labels.get_or_empty(METRIC_NAME)
    }
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
        Some(b'#') => comment(line, start + 1),
        Some(_) => {
            let text = std::str::from_utf8(line)
                .map_err(|error| LineError { at: error.valid_up_to(), expected: "text in UTF-8" })?;
            sample(Scanner { text, at: start }).map(Line::Sample)
        }
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

/// Reads from the value to the end of the line, which must be there: value, time, and bytes up to and with the line break.
#[inline]
pub(super) fn value_line(rest: &[u8]) -> Option<(f64, Option<i64>, usize)> {
    let (value, used) = number(rest)?;
    if rest.get(used) == Some(&b'\n') {
        return Some((value, None, used + 1));
    }
    value_line_slow(rest, value, used)
}

#[inline(never)]
fn value_line_slow(rest: &[u8], value: f64, used: usize) -> Option<(f64, Option<i64>, usize)> {
    let (own_ms, used) = after_number(rest, used).ok()?;
    match rest.get(used..)? {
        [b'\n', ..] => Some((value, own_ms, used + 1)),
        [b'\r', b'\n', ..] => Some((value, own_ms, used + 2)),
        _ => None,
    }
}

/// A number at the start of `bytes` and how long it is: decimal, `NaN`, or an infinity, in any case.
#[inline]
pub(super) fn number(bytes: &[u8]) -> Option<(f64, usize)> {
    let (value, used) = fast_float2::parse_partial::<f64, _>(bytes).ok()?;
    if value.is_finite() || is_word(&bytes[..used]) { Some((value, used)) } else { None }
}

/// Whether a number that is not finite was written so: `+nan` and `1e999` were not.
#[cold]
fn is_word(written: &[u8]) -> bool {
    let (word, signed) = match written {
        [b'+' | b'-', word @ ..] => (word, true),
        word => (word, false),
    };
    match word.first() {
        Some(b'i' | b'I') => true,
        Some(b'n' | b'N') => !signed,
        _ => false,
    }
}

/// What may follow a value: blanks, a timestamp, blanks. Gives the timestamp and where the line should end.
fn after_number(rest: &[u8], used: usize) -> Result<(Option<i64>, usize), LineError> {
    let at = used + blanks(&rest[used..]);
    let ended = |at: usize| matches!(rest[at..], [] | [b'\n', ..] | [b'\r', b'\n', ..]);
    if ended(at) {
        return Ok((None, at));
    }
    if at == used {
        return Err(LineError { at, expected: "a blank or the end of the line after the value" });
    }
    let digits = rest[at..].iter().skip(usize::from(rest[at] == b'-')).take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + usize::from(rest[at] == b'-') + digits;
    let own_ms: Option<i64> = std::str::from_utf8(&rest[at..end]).ok().and_then(|text| text.parse().ok());
    let after = end + blanks(&rest[end..]);
    // The smallest number stands for "none" in the packed column of points.
    match own_ms.filter(|&ms| ms != i64::MIN) {
        Some(own_ms) if ended(after) => Ok((Some(own_ms), after)),
        Some(_) if after > end => Err(LineError { at: after, expected: "the end of the line" }),
        _ => Err(LineError { at, expected: "a timestamp in whole milliseconds" }),
    }
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

pub(super) fn strip_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

pub(super) fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the line is a comment or blank, that is, no sample.
pub(super) fn is_comment(line: &[u8]) -> bool {
    matches!(line.get(blanks(line)), None | Some(b'#' | b'\n' | b'\r'))
}

fn comment(line: &[u8], after_hash: usize) -> Result<Line<'_>, LineError> {
    let gap = blanks(&line[after_hash..]);
    let word = after_hash + gap;
    let at = word + 4;
    let is_help = match line.get(word..at) {
        Some(b"HELP") => true,
        Some(b"TYPE") => false,
        _ => return Ok(Line::Comment),
    };
    let after = blanks(&line[at..]);
    if gap == 0 || after == 0 || at + after == line.len() {
        return Ok(Line::Comment);
    }
    let text =
        std::str::from_utf8(line).map_err(|error| LineError { at: error.valid_up_to(), expected: "text in UTF-8" })?;
    let mut scan = Scanner { text, at: at + after };
    let name = match scan.peek() {
        Some(b'"') => scan.quoted()?,
        _ => Cow::Borrowed(scan.name(true).ok_or(scan.error("a metric name"))?),
    };
    let gap = scan.skip_blanks();
    if gap == 0 && scan.peek().is_some() {
        return Err(scan.error("a blank after the metric name"));
    }
    let rest = &text[scan.at..];
    if is_help {
        return Ok(Line::Help { name, text: unescape(rest, false) });
    }
    match MetricType::from_word(rest.trim_end_matches([' ', '\t'])) {
        Some(kind) => Ok(Line::Type { name, kind }),
        None => Err(scan.error("counter, gauge, histogram, summary or untyped")),
    }
}

fn sample(mut scan: Scanner<'_>) -> Result<Sample<'_>, LineError> {
    let mut labels = Labels::new();
    let bare = scan.name(true);
    if let Some(name) = bare {
        labels.set(METRIC_NAME, name);
    }
    let gap = scan.skip_blanks();
    if scan.peek() == Some(b'{') {
        scan.at += 1;
        label_list(&mut scan, &mut labels)?;
        scan.skip_blanks();
    } else if bare.is_none() {
        return Err(scan.error("a metric name, \"{\" or \"#\""));
    } else if gap == 0 {
        return Err(scan.error("a blank or \"{\" after the metric name"));
    }
    let rest = &scan.text.as_bytes()[scan.at..];
    let (value, used) = number(rest).ok_or(scan.error("a number"))?;
    match after_number(rest, used) {
        Ok((own_ms, _)) => Ok(Sample { labels, value, own_ms }),
        Err(error) => Err(LineError { at: scan.at + error.at, ..error }),
    }
}

/// Reads labels up to and with the closing brace; the metric's name may be among them, in quotes.
fn label_list<'a>(scan: &mut Scanner<'a>, labels: &mut Labels<'a>) -> Result<(), LineError> {
    loop {
        scan.skip_blanks();
        let start = scan.at;
        if scan.eat(b'}') {
            break;
        }
        let (name, is_quoted) = match scan.peek() {
            Some(b'"') => (scan.quoted()?, true),
            _ => (Cow::Borrowed(scan.name(false).ok_or(scan.error("a label name, a quoted name or \"}\""))?), false),
        };
        scan.skip_blanks();
        let (name, value) = if scan.eat(b'=') {
            scan.skip_blanks();
            (name, scan.quoted()?)
        } else if is_quoted {
            (Cow::Borrowed(METRIC_NAME), name)
        } else {
            return Err(scan.error("\"=\""));
        };
        if name.is_empty() || (name == METRIC_NAME && value.is_empty()) {
            return Err(LineError { at: start, expected: "a name that is not empty" });
        }
        if labels.get(&name).is_some() {
            return Err(LineError { at: start, expected: "a label that the line does not have yet" });
        }
        labels.set(name, value);
        scan.skip_blanks();
        if !scan.eat(b',') && scan.peek() != Some(b'}') {
            return Err(scan.error("\",\" or \"}\""));
        }
    }
    match labels.get(METRIC_NAME) {
        Some(_) => Ok(()),
        None => Err(LineError { at: scan.at - 1, expected: "a metric name in quotes before \"}\"" }),
    }
}

/// A place in one line.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) -> usize {
        let count = blanks(&self.text.as_bytes()[self.at..]);
        self.at += count;
        count
    }

    fn error(&self, expected: &'static str) -> LineError {
        LineError { at: self.at, expected }
    }

    /// A bare name; `:` only in a metric's.
    fn name(&mut self, is_metric: bool) -> Option<&'a str> {
        let rest = &self.text.as_bytes()[self.at..];
        if rest.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || (is_metric && **byte == b':');
        let len = rest.iter().take_while(is_part).count();
        let name = &self.text[self.at..self.at + len];
        self.at += len;
        (len > 0).then_some(name)
    }

    /// A string in quotes.
    fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a value in double quotes"));
        }
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut end = start;
        let mut is_escaped = false;
        loop {
            end += match memchr::memchr2(b'"', b'\\', bytes.get(end..).unwrap_or_default()) {
                Some(found) => found,
                None => return Err(LineError { at: self.text.len(), expected: "a closing double quote" }),
            };
            if bytes[end] == b'"' {
                break;
            }
            is_escaped = true;
            end += 2;
        }
        self.at = end + 1;
        let raw = &self.text[start..end];
        Ok(if is_escaped { unescape(raw, true) } else { Cow::Borrowed(raw) })
    }
}

/// Replaces `\\`, `\n` and, in quotes, `\"`; any other backslash stays, as in Prometheus.
fn unescape(raw: &str, in_quotes: bool) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (plain, used) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if in_quotes => ('"', 2),
            _ => ('\\', 1),
        };
        text.push(plain);
        rest = &rest[at + used..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Writes `le` and `quantile` as Prometheus keeps them (`1` as `1.0`), where the family is of the type that has them.
pub(super) fn normalise(labels: &mut Labels<'_>, kind: MetricType) {
    let name = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        _ => return,
    };
    let Some(held) = labels.get(name) else { return };
    let Some((value, used)) = number(held.as_bytes()) else { return };
    if used != held.len() {
        return;
    }
    let mut text = Vec::new();
    write::openmetrics_float(&mut text, value);
    if text != held.as_bytes() {
        labels.set(name, String::from_utf8(text).unwrap_or_default());
    }
}

/// A line that was skipped, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {found} stands where {expected} was expected")]
pub struct BadLine {
    /// The line, from 1.
    pub line: u64,
    /// The column, in bytes from 1.
    pub column: usize,
    /// What stands there, escaped and cut.
    pub found: String,
    /// What could have stood there.
    pub expected: &'static str,
}

impl BadLine {
    pub(super) fn new(number: u64, line: &[u8], error: LineError) -> Self {
        Self { line: number, column: error.column(), found: error.found(line), expected: error.expected }
    }
}

/// Reads an exposition line by line and gives each sample with its family, or the line that is no sample, to `each`.
///
/// This is for one look at a text. What is scraped again and again goes through a [`Table`](super::Table). A line of more
/// than `line_length_max` bytes ends the reading with [`io::ErrorKind::InvalidData`].
pub fn parse_all(
    mut input: impl BufRead,
    line_length_max: usize,
    mut each: impl FnMut(Result<(&Sample<'_>, FamilyRef<'_>), BadLine>),
) -> io::Result<()> {
    let mut metadata = Metadata::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(line_length_max as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if strip_newline(&line).len() > line_length_max {
            let text = format!("line {number} is longer than the {line_length_max} bytes that a line may have");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match parse_line(&line) {
            Ok(Line::Blank | Line::Comment) => {}
            Ok(Line::Help { name, text }) => metadata.set_help(&name, &text),
            Ok(Line::Type { name, kind }) => metadata.set_kind(&name, kind),
            Ok(Line::Sample(mut sample)) => {
                let name = sample.name().to_owned();
                let family = metadata.family_of(&name);
                normalise(&mut sample.labels, family.kind);
                each(Ok((&sample, family)));
            }
            Err(error) => each(Err(BadLine::new(number, &line, error))),
        }
    }
    Ok(())
}
