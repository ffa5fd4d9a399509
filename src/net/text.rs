//! Words for people: text from outside is escaped, durations and sizes have units.

use std::fmt::Write as _;
use std::time::Duration;

/// Control characters and what could hide or reorder text are escaped; the rest stays.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The first `limit` characters of what may not be text, escaped; `…` where there was more.
pub fn excerpt(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for (at, c) in text.trim().chars().enumerate() {
        if at == limit {
            out.push('…');
            break;
        }
        out.push_str(&escaped(c.encode_utf8(&mut [0; 4])));
    }
    out
}

/// A duration as it stands in a configuration: `10s`, `200ms`, `1.5s`.
pub fn duration(duration: Duration) -> String {
    let ms = (duration.as_micros() + 500) / 1000;
    let mut out = String::new();
    let _ = match ms {
        0 if !duration.is_zero() => write!(out, "{}us", duration.as_micros()),
        0..1000 => write!(out, "{ms}ms"),
        _ if ms.is_multiple_of(1000) => write!(out, "{}s", ms / 1000),
        _ => write!(out, "{}s", ms as f64 / 1000.0),
    };
    out
}

/// A size: `12 bytes`, `64 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit && count.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", count / unit),
        None if count == 1 => "1 byte".to_owned(),
        None => format!("{count} bytes"),
    }
}

/// The system's words for an error, without its number.
pub fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    escaped(words)
}

/// Bidirectional controls, zero-width characters, line separators, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped("a\x1b[31m\nb\u{202e}é"), "a\\u{1b}[31m\\nb\\u{202e}é");
        assert_eq!(excerpt(b"  <html>\xff\nx", 7), "<html>\u{fffd}…");
    }

    #[test]
    fn durations_and_sizes_have_units() {
        let spelled = |ms| duration(Duration::from_millis(ms));
        assert_eq!([spelled(0), spelled(200), spelled(1500), spelled(10_000)], ["0ms", "200ms", "1.5s", "10s"]);
        assert_eq!([bytes(1), bytes(1000), bytes(64 << 20)], ["1 byte", "1000 bytes", "64 MiB"]);
    }
}
