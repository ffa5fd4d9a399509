//! Durations as Prometheus writes them.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Writes a duration as Prometheus' `model.Duration` does: `1h30m`, `500ms`, `0s`; parts of a millisecond are left out.
pub(super) fn format_prometheus(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, unit_ms) in UNITS {
        // Days and longer are only written where nothing is left over: 36h is not 1d12h.
        let is_calendar = matches!(unit, "y" | "w" | "d");
        if rest_ms >= unit_ms && (!is_calendar || rest_ms.is_multiple_of(unit_ms)) {
            out.push_str(&format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values;

    #[test]
    fn durations_there_and_back() {
        for text in ["15s", "1m30s", "500ms", "1h30m", "36h", "1d", "2w", "1y", "1h1ms", "0s"] {
            assert_eq!(format_prometheus(values::duration(text).unwrap()), text);
        }
        assert_eq!(format_prometheus(Duration::from_secs(90)), "1m30s");
        assert_eq!(format_prometheus(Duration::from_micros(1500)), "1ms");
    }
}
