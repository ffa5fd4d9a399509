//! The name of the index or data stream that a document goes to, and the time in it.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::Offset};

/// Milliseconds of the shortest time that a name may change after: its finest part is the hour.
const HOUR_MS: i64 = 3_600_000;

/// A sample's own time chooses its index when it is at most this far from its scrape's; else the scrape's time does.
///
/// A target may write any timestamp: without this limit it could make an index for each hour since 1970.
pub(super) const OWN_TIME_REACH_MS: i64 = 48 * HOUR_MS;

/// A name with parts of the time in it: `%Y %y %m %d %H %V`, as Telegraf has them. The configuration has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexName {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    YearOfCentury,
    Month,
    Day,
    Hour,
    /// The week of ISO 8601, 01 to 53.
    Week,
}

impl IndexName {
    /// Reads a name; a `%` that stands for no part of the time stays as it is.
    pub fn new(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            let part = match (c, rest.clone().next()) {
                ('%', Some('Y')) => Part::Year,
                ('%', Some('y')) => Part::YearOfCentury,
                ('%', Some('m')) => Part::Month,
                ('%', Some('d')) => Part::Day,
                ('%', Some('H')) => Part::Hour,
                ('%', Some('V')) => Part::Week,
                _ => {
                    text.push(c);
                    continue;
                }
            };
            rest.next();
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// The name, where it does not depend on the time.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The name for a sample of this time, milliseconds since 1970.
    pub fn at(&self, ms: i64) -> String {
        let time = utc(ms).unwrap_or_default();
        let two = |number: i8| format!("{number:02}");
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Year => format!("{:04}", time.year()),
                Part::YearOfCentury => two(time.year().rem_euclid(100) as i8),
                Part::Month => two(time.month()),
                Part::Day => two(time.day()),
                Part::Hour => two(time.hour()),
                Part::Week => two(time.date().iso_week_date().week()),
            })
            .collect()
    }

    /// Times with the same number have the same name.
    pub(super) fn period(ms: i64) -> i64 {
        ms.div_euclid(HOUR_MS)
    }
}

/// A time in UTC, or `None` outside of the years 0 to 9999.
pub(super) fn utc(ms: i64) -> Option<DateTime> {
    let time = Offset::UTC.to_datetime(Timestamp::from_millisecond(ms).ok()?);
    (time.year() >= 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-02T03:04:05.006Z, a Saturday in week 53 of 2026.
    const TIME_MS: i64 = 1_798_859_045_006;

    #[test]
    fn a_name_is_made_of_the_time_in_utc() {
        let at = |pattern: &str| IndexName::new(pattern).at(TIME_MS);
        assert_eq!(at("my-computer-metric-%Y.%m.%d"), "my-computer-metric-2027.01.02");
        assert_eq!(at("m-%y%m%d-%H"), "m-270102-03");
        assert_eq!(at("m-%Y-w%V"), "m-2027-w53");
        assert_eq!(at("metrics-é-%q-%"), "metrics-é-%q-%");
        assert_eq!(IndexName::new("m-%Y").at(-1), "m-1969");
    }

    #[test]
    fn a_name_without_time_is_fixed() {
        assert_eq!(IndexName::new("metrics-promferry-default").fixed(), Some("metrics-promferry-default"));
        assert_eq!(IndexName::new("m-%Y").fixed(), None);
    }

    #[test]
    fn a_time_beyond_the_calendar_is_no_panic() {
        for ms in [i64::MIN, i64::MAX, -62_200_000_000_000] {
            assert_eq!(utc(ms), None, "{ms}");
            IndexName::new("m-%Y.%m.%d-%H-%V-%y").at(ms);
        }
    }
}
