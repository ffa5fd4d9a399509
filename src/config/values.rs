//! Texts that stand for numbers: durations, sizes, switches, counts.
//!
//! Each reader says of a wrong text what it is not and what to write: the end of a sentence that begins with the text.

use std::time::Duration;

/// The end of the sentence `"15x" …`.
pub type Complaint = String;

/// A duration, in the syntaxes of Prometheus and of Go together: `500ms`, `1m30s`, `1.5h`, `1d`, or `0`.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    let nanos = unsigned_nanos(text).ok_or_else(not_a_duration)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "is more than 584 years".to_owned())
}

/// A duration as Go's `time.ParseDuration` reads it, in nanoseconds: it may be negative. Days, weeks and years are read
/// too.
pub fn signed_duration_ns(text: &str) -> Result<i64, Complaint> {
    let (is_negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let nanos = unsigned_nanos(digits).ok_or_else(not_a_duration)?;
    let nanos = i64::try_from(nanos).map_err(|_| "is more than 292 years".to_owned())?;
    Ok(if is_negative { -nanos } else { nanos })
}

fn not_a_duration() -> Complaint {
    r#"is not a duration; write a number and a unit, such as "500ms", "15s" or "2m""#.to_owned()
}

fn unsigned_nanos(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut sum) = (text, 0_u128);
    while !rest.is_empty() {
        let (number, after) = Decimal::read(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        sum = sum.checked_add(number.times(unit_nanos(unit)?)?)?;
        rest = after;
    }
    Some(sum)
}

fn unit_nanos(unit: &str) -> Option<u128> {
    const SECOND: u128 = 1_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 7 * 86_400 * SECOND,
        "y" => 365 * 86_400 * SECOND,
        _ => return None,
    })
}

/// A size in bytes. `KB` and `KiB` are both 1024 bytes, as in Prometheus; only 0 needs no unit.
pub fn size(text: &str) -> Result<u64, Complaint> {
    let bytes = || {
        let (number, unit) = Decimal::read(text)?;
        let unit = unit.trim_start().to_ascii_lowercase();
        let power = match unit.as_str() {
            "" if text == "0" => 0,
            "b" => 0,
            _ => {
                "kmgtpe".find(unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).filter(|u| u.len() == 1)?)? + 1
            }
        };
        u64::try_from(number.times(1 << (10 * power))?).ok()
    };
    bytes().ok_or_else(|| r#"is not a size; write a number and a unit, such as "512KiB" or "64MiB""#.to_owned())
}

/// What [`percent_or_size`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PercentOrSize {
    /// 1 to 100.
    Percent(u8),
    /// Bytes.
    Size(u64),
}

/// A whole percentage such as `80%`, or a size.
pub fn percent_or_size(text: &str) -> Result<PercentOrSize, Complaint> {
    match text.strip_suffix('%') {
        Some(number) => match count(number) {
            Ok(percent @ 1..=100) => Ok(PercentOrSize::Percent(percent as u8)),
            _ => Err("is not a percentage; write a whole number from 1% to 100%".to_owned()),
        },
        None => size(text).map(PercentOrSize::Size).map_err(|_| {
            r#"is neither a percentage nor a size; write a number and a unit, such as "80%" or "64MiB""#.to_owned()
        }),
    }
}

/// `true` or `false`, or the words that YAML 1.1 (and so Prometheus) takes for them.
pub fn switch(text: &str) -> Result<bool, Complaint> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// A whole number.
pub fn count(text: &str) -> Result<u64, Complaint> {
    let number = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    };
    number.ok_or_else(|| "is not a whole number".to_owned())
}

/// A port that can be connected to.
pub fn port(text: &str) -> Result<u16, Complaint> {
    match count(text).ok().and_then(|number| u16::try_from(number).ok()) {
        Some(port) if port > 0 => Ok(port),
        _ => Err("is not a port; write a number from 1 to 65535".to_owned()),
    }
}

/// A number with up to 18 digits behind its point.
struct Decimal {
    digits: u128,
    scale: u128,
}

impl Decimal {
    /// Reads `12`, `1.5`, `.5` or `1.` off the front.
    fn read(text: &str) -> Option<(Self, &str)> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.len() > 18 || fraction.contains('.') {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some((Self { digits, scale: 10_u128.pow(u32::try_from(fraction.len()).ok()?) }, rest))
    }

    fn times(&self, unit: u128) -> Option<u128> {
        Some(self.digits.checked_mul(unit)? / self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("15s", 15_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1d", 86_400_000_000_000),
            ("1y2w", 32_745_600_000_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(signed_duration_ns(text), Ok(nanos.try_into().unwrap()), "{text}");
        }
        for text in ["", "15", "15x", "s", "1..5s", "1 s", "-5s", "+5s", "1e3s", "1mm", ".s", "é", "5é"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(signed_duration_ns("-1.5s"), Ok(-1_500_000_000));
        assert_eq!(signed_duration_ns("+1s"), Ok(1_000_000_000));
        assert_eq!(signed_duration_ns("--1s").unwrap_err(), not_a_duration());
        assert_eq!(signed_duration_ns("300y").unwrap_err(), "is more than 292 years");
        assert_eq!(duration("999999999999999999y").unwrap_err(), "is more than 584 years");
    }

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("10B", 10),
            ("64KB", 65_536),
            ("64KiB", 65_536),
            ("1.5MiB", 1_572_864),
            ("2 GB", 1 << 31),
            ("5mb", 5 << 20),
            ("1EiB", 1 << 60),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "10X", "MiB", "-1B", "1KKB", "16EiB", "1iB", "1 M iB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_and_sizes() {
        assert_eq!(percent_or_size("80%"), Ok(PercentOrSize::Percent(80)));
        assert_eq!(percent_or_size("64MiB"), Ok(PercentOrSize::Size(64 << 20)));
        assert_eq!(percent_or_size("0"), Ok(PercentOrSize::Size(0)));
        for text in ["0%", "101%", "-1%", "1.5%", "%", "80 %", "999999999999999999999%"] {
            assert!(percent_or_size(text).unwrap_err().contains("from 1% to 100%"), "{text}");
        }
        for text in ["", "80", "80 percent", "MiB"] {
            assert!(percent_or_size(text).unwrap_err().contains("such as \"80%\" or \"64MiB\""), "{text}");
        }
    }

    #[test]
    fn switches_counts_and_ports() {
        assert_eq!((switch("True"), switch("off")), (Ok(true), Ok(false)));
        assert!(switch("1").is_err());
        assert_eq!(count("007"), Ok(7));
        assert!(["", "-1", "+1", "1.0", "18446744073709551616"].iter().all(|text| count(text).is_err()));
        assert_eq!(port("65535"), Ok(65_535));
        assert!(["0", "65536", "", "80x"].iter().all(|text| port(text).is_err()));
    }

    #[test]
    fn durations_there_and_back() {
        for text in ["15s", "1m30s", "500ms", "1h30m", "36h", "1d", "2w", "1y", "1h1ms", "0s"] {
            assert_eq!(crate::net::text::prometheus_duration(duration(text).unwrap()), text);
        }
    }
}
