//! A line as nearly all are written, read without a look back: `name{a="b",c="d"} `, `# HELP name text`.
//!
//! Not a grammar of its own: whatever is not exactly of this shape is left to that of the format, which reads every line that
//! is read here as the same. What is written otherwise costs more, and means no less.

use super::super::scan::name_len;
use super::contexts::Effect;
use crate::model::{Labels, METRIC_NAME, MetricType, same};

/// Reads what is before a sample's value, the blank there included, into `labels`, which are empty; gives the metric's name,
/// which may be the `likely` one that was read before.
/// `None` says nothing about the line but that it is not written plainly, and leaves some labels behind.
pub(super) fn series<'l>(line: &'l str, likely: &[u8], labels: &mut Labels<'l>) -> Option<&'l str> {
    let name = match line.as_bytes().get(likely.len()) {
        Some(b' ' | b'{') if !likely.is_empty() && line.as_bytes().starts_with(likely) => &line[..likely.len()],
        _ => &line[..name_len(line.as_bytes(), true)?],
    };
    labels.push(METRIC_NAME, name);
    let mut rest = &line[name.len()..];
    let mut before = METRIC_NAME;
    if let Some(list) = rest.strip_prefix('{') {
        rest = list;
        let mut empty = None;
        for count in 1..=LABELS_MAX {
            let label = &rest[..name_len(rest.as_bytes(), false)?];
            let value = rest[label.len()..].strip_prefix("=\"")?;
            let end = if value.starts_with('"') { 0 } else { value_len(value.as_bytes())? };
            // One that is there twice is an error, and `__name__` as well.
            if empty == Some(label) {
                return None;
            } else if end == 0 {
                // Without a value it is no label.
                if empty.is_some() || labels.get(label).is_some() {
                    return None;
                }
                empty = Some(label);
            } else if label > before {
                labels.push(label, &value[..end]);
                before = label;
            } else {
                labels.set(label, &value[..end]);
                if labels.len() + usize::from(empty.is_some()) != count + 1 {
                    return None;
                }
            }
            rest = &value[end + 1..];
            match rest.as_bytes().first()? {
                // Some programs write a blank there.
                b',' => rest = rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]),
                b'}' => break,
                _ => return None,
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    (rest == " ").then_some(name)
}

/// Reads a comment as nearly all are written, `# HELP name text` or `# TYPE name type`, whose name may be the `likely` one that
/// was read before. `None` says nothing about it.
pub(super) fn comment<'l>(line: &'l str, likely: &[u8]) -> Option<Effect<'l>> {
    let (word, rest) = line.as_bytes().split_first_chunk()?;
    let is_likely = rest.get(likely.len()) == Some(&b' ') && same(&rest[..likely.len()], likely);
    let name_len = if is_likely && !likely.is_empty() { likely.len() } else { name_len(rest, true)? };
    let rest = &line[word.len()..];
    let (name, text) = (&rest[..name_len], rest[name_len..].strip_prefix(' ')?);
    match word {
        b"# TYPE " => MetricType::from_word(text).map(|kind| Effect::Type { name, kind }),
        b"# HELP " => {
            let is_plain = *text.as_bytes().first()? > b' ' && memchr::memchr(b'\\', text.as_bytes()).is_none();
            is_plain.then_some(Effect::Help { name, text })
        }
        _ => None,
    }
}

/// Labels that are read here; the grammar knows how many a line may have.
const LABELS_MAX: usize = 64;

/// How long the value is that `bytes` start with, up to its quote, if nothing in it is escaped. None is empty, and none goes on
/// behind its line.
#[inline(always)]
pub(super) fn value_len(bytes: &[u8]) -> Option<usize> {
    special(bytes).filter(|&len| len > 0 && bytes[len] == b'"')
}

/// Where the first quote, backslash or line break is.
#[inline(always)]
fn special(bytes: &[u8]) -> Option<usize> {
    // Most values are short: eight bytes are looked at as a number, before anything is called.
    const ONES: u64 = 0x0101_0101_0101_0101;
    const QUOTE: u64 = b'"' as u64;
    const BACKSLASH: u64 = b'\\' as u64;
    const BREAK: u64 = b'\n' as u64;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    for word in bytes.as_chunks().0.iter().take(2) {
        let word = u64::from_le_bytes(*word);
        let found =
            [QUOTE, BACKSLASH, BREAK].map(|byte| is_zero(word ^ (ONES * byte))).iter().fold(0, |all, one| all | one);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = &bytes[at..];
    // So is the last value, with little behind it.
    let found = if rest.len() < 16 {
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))
    } else {
        memchr::memchr3(b'"', b'\\', b'\n', rest)
    };
    found.map(|found| at + found)
}

/// Whether a bound or quantile is written as Prometheus keeps it: digits, a point, digits that do not end in a useless zero.
pub(super) fn is_normal_number(text: &[u8]) -> bool {
    // From a million on it is written with an exponent.
    const WHOLE_MAX: usize = 6;
    const DIGITS_MAX: usize = 15;
    let digits = |text: &[u8]| text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(text);
    let [b'.', fraction @ ..] = &text[whole..] else { return text == b"+Inf" };
    let is_large = || text[0] != b'0' || fraction == b"0" || fraction.iter().take(4).any(|byte| *byte != b'0');
    digits(fraction) == fraction.len()
        && (1..=WHOLE_MAX).contains(&whole)
        && (1..=DIGITS_MAX - whole).contains(&fraction.len())
        && (whole == 1 || text[0] != b'0')
        && (fraction == b"0" || fraction.last() != Some(&b'0'))
        && is_large()
}

#[cfg(test)]
mod tests {
    use super::super::super::openmetrics::line as openmetrics;
    use super::super::super::{text, write};
    use super::*;

    #[test]
    fn what_is_read_here_the_grammar_reads_as_the_same() {
        let mut read = 0;
        for line in [
            "a ",
            "a:b_c9 ",
            "a{b=\"c\"} ",
            "a{b=\"c\",D=\"e é\"} ",
            "a{d=\"}\",b=\"# {\"} ",
            "a{_=\"1\",__name=\"2\"} ",
            "9 ",
            "a",
            "a  ",
            "a\t",
            " a ",
            "a{} ",
            "a{b=\"\"} ",
            "a{b=\"\\n\"} ",
            "a{b=\"c\",} ",
            "a{b=\"c\",b=\"d\"} ",
            "a{__name__=\"b\"} ",
            "{\"a\"} ",
            "a{b:c=\"d\"} ",
            "a {b=\"c\"} ",
            "a{b=\"c\"}",
            "a{b=\"c} ",
            "a{b=\"c\"}  ",
            "a{b = \"c\"} ",
            "a{\"b\"=\"c\"} ",
            "a-b ",
            "a{b=\"c\"x} ",
            "a{b=\"c\",d} ",
            "a{b=\"c\", d=\"e\"} ",
            "a{b=\"c\", } ",
            "a{b=\"c\",  d=\"e\"} ",
            "a{b=\"c\",d=\"\"} ",
            "a{b=\"\",c=\"\"} ",
            "a{b=\"c\",b=\"\"} ",
            "a{b=\"\",b=\"c\"} ",
            "a{b=\"\",b=\"\"} ",
            "a{__name__=\"\"} ",
        ] {
            let mut labels = Labels::new();
            let Some(name) = series(line, b"a", &mut labels) else { continue };
            read += 1;
            let whole = format!("{line}1");
            let Ok(text::Line::Sample(sample)) = text::parse_line(whole.as_bytes()) else { panic!("{line:?}") };
            assert_eq!((sample.name.as_ref(), &sample.labels), (name, &labels), "{line:?}");
        }
        assert_eq!(read, 9);
    }

    #[test]
    fn a_comment_that_is_read_here_the_grammars_read_as_the_same() {
        let mut read = 0;
        for line in [
            "# HELP a b c",
            "# HELP a b c ",
            "# HELP a:b é",
            "# TYPE a counter",
            "# TYPE ab untyped",
            "# HELP a  b",
            "# HELP a \tb",
            "# HELP a",
            "# HELP a ",
            "# HELP a b\\n",
            "# HELP 9 b",
            "# HELP a-b c",
            "# HELP \"a\" c",
            "# HELP  a b",
            "#HELP a b",
            "# HELPa b",
            "# TYPE a counter ",
            "# TYPE a b",
            "# TYPE a\tcounter",
            "# UNIT a b",
            "# EOF",
        ] {
            let Some(effect) = comment(line, b"a") else { continue };
            read += 1;
            for parsed in [text::parse_line(line.as_bytes()), openmetrics::parse_line(line.as_bytes())] {
                match (effect, parsed) {
                    (Effect::Help { name, text }, Ok(text::Line::Help { name: other, text: other_text })) => {
                        assert_eq!((name, text), (&*other, &*other_text), "{line:?}");
                    }
                    (Effect::Type { name, kind }, Ok(text::Line::Type { name: other, kind: other_kind })) => {
                        assert_eq!((name, kind), (&*other, other_kind), "{line:?}");
                    }
                    other => panic!("{line:?}: {other:?}"),
                }
            }
        }
        assert_eq!(read, 5);
    }

    #[test]
    fn a_normal_number_is_written_as_it_is() {
        let mut normal = 0;
        for text in [
            "+Inf",
            "0.005",
            "0.01",
            "2.5",
            "1.0",
            "0.0",
            "10.0",
            "123456.25",
            "0.0001",
            "0.00005",
            "0.50",
            "00.5",
            "01.0",
            "1",
            "5e-05",
            "1e+06",
            ".5",
            "5.",
            "",
            "-0.5",
            "NaN",
            "123456789012.3456",
            "0.99",
            "0.00012",
            "1.00",
        ] {
            let Ok(value) = text.parse::<f64>() else { continue };
            let mut written = Vec::new();
            write::openmetrics_float(&mut written, value);
            if is_normal_number(text.as_bytes()) {
                normal += 1;
                assert_eq!(String::from_utf8_lossy(&written), text);
            }
        }
        assert_eq!(normal, 11);
    }
}
