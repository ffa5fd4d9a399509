//! Words for people: text from outside is escaped, durations and sizes have units.

use std::fmt::Write as _;
use std::time::Duration;

use crate::telemetry::Printable;

/// Control characters and what could hide or reorder text are escaped; the rest stays.
pub fn escaped(text: &str) -> String {
    Printable(text).to_string()
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

/// A duration as Prometheus writes it: `1h30m`, `500ms`, `0s`; parts of a millisecond are left out.
pub fn prometheus_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest_ms = duration.as_millis();
    if rest_ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, unit_ms) in UNITS {
        // Days and longer are only written where nothing is left over: 36h is not 1d12h.
        let is_calendar = matches!(unit, "y" | "w" | "d");
        if rest_ms >= unit_ms && (!is_calendar || rest_ms.is_multiple_of(unit_ms)) {
            let _ = write!(out, "{}{unit}", rest_ms / unit_ms);
            rest_ms %= unit_ms;
        }
    }
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

    #[test]
    fn durations_as_prometheus_writes_them() {
        for (ms, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (15_000, "15s"),
            (90_000, "1m30s"),
            (3_600_500, "1h500ms"),
            (86_400_000, "1d"),
            (90_000_000, "25h"),
            (7 * 86_400_000, "1w"),
        ] {
            assert_eq!(prometheus_duration(Duration::from_millis(ms)), expected);
        }
    }
}
