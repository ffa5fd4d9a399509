//! Numbers, times and sizes, as a person reads them.

use std::time::Duration;

/// `1,204`.
pub(in crate::admin) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 target`, `1,204 targets`.
pub(in crate::admin) fn counted(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number as u64))
}

/// `340 µs`, `12 ms`, `1.2 s`, `3 min`, `5 h`, `2 d`: two units at most, none of them fine.
pub(in crate::admin) fn span(time: Duration) -> String {
    let (seconds, micros) = (time.as_secs(), time.as_micros());
    match seconds {
        0 if micros == 0 => "0 s".to_owned(),
        0 if micros < 1000 => format!("{micros} µs"),
        0 => format!("{} ms", micros / 1000),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// `12 s ago`; `now` for what is not a second old, or lies ahead because a clock was set back.
pub(in crate::admin) fn ago(ms: i64, now_ms: i64) -> String {
    let age_ms = now_ms.saturating_sub(ms);
    match u64::try_from(age_ms / 1000) {
        Ok(0) | Err(_) => "now".to_owned(),
        // Whole seconds: an age is no measurement.
        Ok(seconds @ 1..10) => format!("{seconds} s ago"),
        Ok(seconds) => format!("{} ago", span(Duration::from_secs(seconds))),
    }
}

/// `812 bytes`, `4.0 KiB`, `64 MiB`.
pub(in crate::admin) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
        Some((unit, name)) => match bytes as f64 / *unit as f64 {
            number if number < 10.0 && !bytes.is_multiple_of(*unit) => format!("{number:.1} {name}"),
            number => format!("{number:.0} {name}"),
        },
    }
}

/// A rate: `0`, `0.4`, `12`, `1,204`; with `/s` behind it.
pub(in crate::admin) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0/s".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate => format!("{}/s", count(rate.round() as u64)),
    }
}

/// How long a certificate has, in whole days; negative where it has expired.
pub(in crate::admin) fn days_left(not_after: i64, now_ms: i64) -> i64 {
    not_after.saturating_sub(now_ms.div_euclid(1000)).div_euclid(86_400)
}

/// `412 days left`, `expires within a day`, `expired 3 days ago`.
pub(in crate::admin) fn validity(not_after: i64, now_ms: i64) -> String {
    let seconds = not_after.saturating_sub(now_ms.div_euclid(1000));
    match (days_left(not_after, now_ms), seconds) {
        (1, _) => "1 day left".to_owned(),
        (0, _) => "expires within a day".to_owned(),
        (days @ 1.., _) => format!("{} days left", count(days.unsigned_abs())),
        (_, seconds) => match seconds.unsigned_abs() / 86_400 {
            0 => "expired within the last day".to_owned(),
            1 => "expired 1 day ago".to_owned(),
            days => format!("expired {} days ago", count(days)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "target"), counted(0, "file")], ["1 target", "0 files"]);
        assert_eq!([0.0, 0.44, 12.4, 1204.0].map(rate), ["0/s", "0.4/s", "12/s", "1,204/s"]);
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        let micros = [0, 340, 12_345, 1_240_000, 59_000_000, 180_000_000, 5_400_000_000];
        let spans = micros.map(|micros| span(Duration::from_micros(micros)));
        assert_eq!(spans, ["0 s", "340 µs", "12 ms", "1.2 s", "59 s", "3 min", "90 min"]);
        assert_eq!(span(Duration::from_secs(3 * 3600 + 60)), "3 h 1 min");
        assert_eq!(span(Duration::from_secs(2 * 86_400)), "2 d");
        assert_eq!([ago(0, 12_900), ago(0, 900), ago(5000, 0), ago(0, 3000)], ["12 s ago", "now", "now", "3 s ago"]);
        assert_eq!(ago(i64::MIN, i64::MAX).rsplit_once(' ').unwrap().1, "ago");
    }

    #[test]
    fn sizes_and_days_are_rounded_to_what_matters() {
        let sizes = [1, 812, 4096, 4500, 64 << 20, 100_000_000].map(size);
        assert_eq!(sizes, ["1 byte", "812 bytes", "4 KiB", "4.4 KiB", "64 MiB", "95 MiB"]);
        let day = 86_400;
        let left = [412 * day, day, 60, -60, -day, -3 * day].map(|end| validity(end, 0));
        assert_eq!(
            left,
            [
                "412 days left",
                "1 day left",
                "expires within a day",
                "expired within the last day",
                "expired 1 day ago",
                "expired 3 days ago"
            ]
        );
    }
}
