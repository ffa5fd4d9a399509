//! The tokens that the grammars of a line share: names, strings in quotes, and the list of labels.
//!
//! One scanner reads both text formats, leniently as a scrape does, or strictly: then a blank is allowed only where the ABNF
//! of OpenMetrics has one, and no comma behind the last label.

use std::borrow::Cow;

use super::text::LineError;
use crate::model::{Labels, METRIC_NAME};

/// Labels of one sample, at most. No exporter has as many; but a line of a megabyte could hold a hundred thousand, and each
/// is put into its place among those before it.
pub(super) const LABELS_MAX: usize = 512;

/// How many blanks and tabs `bytes` starts with.
pub(super) fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Which bytes may be in a bare name, as bits: a label's, a metric's.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let at = byte as u8;
        if at.is_ascii_alphanumeric() || at == b'_' {
            classes[byte] = LABEL | METRIC;
        } else if at == b':' {
            classes[byte] = METRIC;
        }
        byte += 1;
    }
    classes
};

const LABEL: u8 = 1;
const METRIC: u8 = 2;

/// How long the bare name is that `bytes` start with; `:` only in a metric's.
#[inline]
pub(super) fn name_len(bytes: &[u8], is_metric: bool) -> Option<usize> {
    let class = if is_metric { METRIC } else { LABEL };
    let other = bytes.iter().position(|byte| CLASSES[usize::from(*byte)] & class == 0);
    let len = other.unwrap_or(bytes.len());
    (len > 0 && !bytes[0].is_ascii_digit()).then_some(len)
}

/// A line as text, or the first byte that is none.
pub(super) fn utf8(line: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(line).map_err(|error| LineError { at: error.valid_up_to(), expected: "text in UTF-8" })
}

/// A place in one line.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    /// Bytes of `text` before the place.
    pub(super) at: usize,
    /// Whether blanks are allowed only where the ABNF of OpenMetrics has them.
    pub(super) is_strict: bool,
}

impl<'a> Scanner<'a> {
    /// Reads leniently from `at` on.
    pub(super) fn lenient(text: &'a str, at: usize) -> Self {
        Self { text, at, is_strict: false }
    }

    /// Reads strictly from `at` on.
    pub(super) fn strict(text: &'a str, at: usize) -> Self {
        Self { text, at, is_strict: true }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks that may be there and mean nothing; strictly there are none such.
    pub(super) fn skip_blanks(&mut self) {
        if !self.is_strict {
            self.at += blanks(self.rest().as_bytes());
        }
    }

    /// Skips the blanks between two tokens; strictly that is one space.
    pub(super) fn gap(&mut self, expected: &'static str) -> Result<(), LineError> {
        let count =
            if self.is_strict { usize::from(self.peek() == Some(b' ')) } else { blanks(self.rest().as_bytes()) };
        if count == 0 {
            return Err(self.error(expected));
        }
        self.at += count;
        Ok(())
    }

    pub(super) fn error(&self, expected: &'static str) -> LineError {
        LineError { at: self.at, expected }
    }

    /// A bare name; `:` only in a metric's.
    pub(super) fn name(&mut self, is_metric: bool) -> Option<&'a str> {
        let rest = self.rest();
        let len = name_len(rest.as_bytes(), is_metric)?;
        self.at += len;
        Some(&rest[..len])
    }

    /// A metric's name as metadata has it: bare, or in quotes.
    pub(super) fn metric_name(&mut self) -> Result<Cow<'a, str>, LineError> {
        let start = self.at;
        let name = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => self.name(true).map(Cow::Borrowed).ok_or(self.error("a metric name"))?,
        };
        self.allowed(&name, start)?;
        Ok(name)
    }

    /// A string in quotes.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
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

    /// What is before a sample's value, and the blanks there: the metric's name, and the labels with that name among them.
    pub(super) fn series(&mut self) -> Result<(Cow<'a, str>, Labels<'a>), LineError> {
        let mut labels = Labels::new();
        let bare = self.name(true);
        let name_end = self.at;
        let mut name = bare.map(Cow::Borrowed);
        if let Some(name) = bare {
            self.allowed(name, name_end - name.len())?;
        }
        self.skip_blanks();
        if self.eat(b'{') {
            self.labels(&mut name, &mut labels)?;
            let brace = self.at - 1;
            let name = name.ok_or(LineError { at: brace, expected: "a metric name in quotes before \"}\"" })?;
            labels.set(METRIC_NAME, name.clone());
            if self.is_strict {
                self.gap("a space after the labels")?;
            }
            self.skip_blanks();
            return Ok((name, labels));
        }
        let name = name.ok_or(self.error("a metric name, \"{\" or \"#\""))?;
        labels.set(METRIC_NAME, name.clone());
        self.at = name_end;
        self.gap("a blank or \"{\" after the metric name")?;
        Ok((name, labels))
    }

    /// Labels, from behind the opening brace up to and with the closing one; the metric's name may be among them, in quotes.
    pub(super) fn labels(
        &mut self,
        metric: &mut Option<Cow<'a, str>>,
        labels: &mut Labels<'a>,
    ) -> Result<(), LineError> {
        // A label without a value is none to the model, but it is there twice all the same.
        let mut empty: Vec<Cow<'a, str>> = Vec::new();
        let mut may_end = true;
        loop {
            self.skip_blanks();
            let start = self.at;
            if may_end && self.eat(b'}') {
                return Ok(());
            }
            if labels.len() + empty.len() == LABELS_MAX {
                return Err(LineError { at: start, expected: "\"}\" (a sample has at most 512 labels)" });
            }
            let (name, is_quoted) = self.label_name()?;
            self.skip_blanks();
            let is_new = if self.eat(b'=') {
                self.skip_blanks();
                let value = self.quoted()?;
                let is_new = name != METRIC_NAME && labels.get(&name).is_none() && !empty.contains(&name);
                if value.is_empty() {
                    empty.push(name);
                } else {
                    labels.set(name, value);
                }
                is_new
            } else if is_quoted {
                metric.replace(name).is_none()
            } else {
                return Err(self.error("\"=\""));
            };
            if !is_new {
                return Err(LineError { at: start, expected: "a label that the line does not have yet" });
            }
            self.skip_blanks();
            let is_comma = self.eat(b',');
            if !is_comma && self.peek() != Some(b'}') {
                return Err(self.error("\",\" or \"}\""));
            }
            may_end = !(is_comma && self.is_strict);
        }
    }

    /// Whether a name at `at` may be one; OpenMetrics reserves those that start with an underscore.
    fn allowed(&self, name: &str, at: usize) -> Result<(), LineError> {
        match name.as_bytes().first() {
            None => Err(LineError { at, expected: "a name that is not empty" }),
            Some(b'_') if self.is_strict => {
                Err(LineError { at, expected: "a name that does not start with an underscore (they are reserved)" })
            }
            Some(_) => Ok(()),
        }
    }

    /// The name of a label, and whether it is in quotes: then it may turn out to be the metric's.
    fn label_name(&mut self) -> Result<(Cow<'a, str>, bool), LineError> {
        let start = self.at;
        let (name, is_quoted) = match self.peek() {
            Some(b'"') => (self.quoted()?, true),
            _ => {
                let expected = "a label name, a quoted name or \"}\"";
                (Cow::Borrowed(self.name(false).ok_or(self.error(expected))?), false)
            }
        };
        self.allowed(&name, start)?;
        Ok((name, is_quoted))
    }
}

/// Replaces `\\`, `\n` and, with `quotes`, `\"`; any other backslash stays, as in Prometheus.
pub(super) fn unescape(raw: &str, quotes: bool) -> Cow<'_, str> {
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
            Some(b'"') if quotes => ('"', 2),
            _ => ('\\', 1),
        };
        text.push(plain);
        rest = &rest[at + used..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}
