//! The name of the index or data stream that a document goes to, and the time and the labels in it.

use std::collections::HashMap;

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::Offset};

use super::shapes::Pairs;

/// Milliseconds of the shortest time that a name may change after: its finest part is the hour.
const HOUR_MS: i64 = 3_600_000;

/// A sample's own time chooses its index when it is at most this far from its scrape's; else the scrape's time does.
///
/// A target may write any timestamp: without this limit it could make an index for each hour since 1970.
pub(super) const OWN_TIME_REACH_MS: i64 = 48 * HOUR_MS;

/// Bytes of a name that Elasticsearch takes.
const NAME_BYTES_MAX: usize = 255;

/// Bytes of a label's value in a name; what is longer is cut.
const VALUE_BYTES_MAX: usize = 100;

/// A name with parts of the time in it, `%Y %y %m %d %H %V` as Telegraf has them, and labels, `{{label}}`. The
/// configuration has checked it.
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
    Label(String),
}

impl IndexName {
    /// Reads a name; a `%` that stands for no part of the time stays as it is.
    pub fn new(pattern: &str) -> Self {
        let mut parts = Vec::new();
        for piece in pieces(pattern) {
            match piece {
                Piece::Label(name) => parts.push(Part::Label(name)),
                Piece::Text(text) => read_time(&text, &mut parts),
            }
        }
        Self { parts }
    }

    /// The name, where it depends neither on the time nor on labels.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The pattern of all of its names: `*` for each part that is not fixed.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => pattern.push_str(text),
                _ if pattern.ends_with('*') => {}
                _ => pattern.push('*'),
            }
        }
        // `2027.01.02`: the dots between parts of the time tell nothing apart.
        match pattern.split_once('*') {
            Some((prefix, _)) => format!("{prefix}*"),
            None => pattern,
        }
    }

    /// The name for a sample of this time, milliseconds since 1970. A label is as good as empty.
    pub fn at(&self, ms: i64) -> String {
        let time = utc(ms).unwrap_or_default();
        let two = |number: i8| format!("{number:02}");
        let mut name: String = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Year => format!("{:04}", time.year()),
                Part::YearOfCentury => two(time.year().rem_euclid(100) as i8),
                Part::Month => two(time.month()),
                Part::Day => two(time.day()),
                Part::Hour => two(time.hour()),
                Part::Week => two(time.date().iso_week_date().week()),
                Part::Label(_) => String::new(),
            })
            .collect();
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        name
    }

    /// Times with the same number have the same name.
    pub(super) fn period(ms: i64) -> i64 {
        ms.div_euclid(HOUR_MS)
    }

    fn has_labels(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Label(_)))
    }

    /// The name with the values of these labels, made fit for a name.
    fn with(&self, labels: &Pairs<'_>) -> Self {
        let filled = self.parts.iter().map(|part| match part {
            Part::Label(wanted) => Part::Text(sanitised(value_of(labels, wanted))),
            part => part.clone(),
        });
        Self { parts: filled.collect() }
    }
}

/// Appends a text that may hold parts of the time.
fn read_time(pattern: &str, parts: &mut Vec<Part>) {
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
}

/// A label's value as a part of a name: lowercase, `_` for what Elasticsearch refuses in names, and not too long.
fn sanitised(value: &str) -> String {
    let refused = |c: char| c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:".contains(c);
    let mut name: String =
        value.chars().flat_map(char::to_lowercase).map(|c| if refused(c) { '_' } else { c }).collect();
    name.truncate(name.floor_char_boundary(VALUE_BYTES_MAX));
    name
}

fn value_of<'p>(labels: &'p Pairs<'_>, wanted: &str) -> &'p str {
    labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

/// A part of a text with labels in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label(String),
}

/// Reads `text-{{label}}`. Braces that are not closed stay as they are; the configuration has checked that there are none.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, (label, behind))) =
        rest.split_once("{{").and_then(|(before, behind)| Some((before, behind.split_once("}}")?)))
    {
        pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
        pieces.push(Piece::Label(label.trim().to_owned()));
        rest = behind;
    }
    pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
    pieces
}

/// What decides the shard of a document: a text, or one with labels in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    pieces: Vec<Piece>,
}

impl Routing {
    /// Reads it.
    pub fn new(text: &str) -> Self {
        Self { pieces: pieces(text) }
    }

    /// The text, where it does not depend on labels.
    pub fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with the values of these labels.
    pub(super) fn with(&self, labels: &Pairs<'_>) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Label(wanted) => value_of(labels, wanted).to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }
}

/// The indices that values of labels have led to: no more than a limit. Whoever writes labels must not be able to make
/// indices without end.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    /// By the name with its labels filled in, its parts of the time left out.
    by_name: HashMap<String, u32>,
    names: Vec<IndexName>,
}

impl Destinations {
    /// The number of the destination of documents with these labels, or `None` beyond the limit.
    pub(super) fn of(&mut self, index: &IndexName, labels: &Pairs<'_>, max: usize) -> Option<u32> {
        if !index.has_labels() {
            if self.names.is_empty() {
                self.names.push(index.clone());
            }
            return Some(0);
        }
        let name = index.with(labels);
        let key = name.parts.iter().map(|part| if let Part::Text(text) = part { text } else { "%" }).collect();
        if let Some(&known) = self.by_name.get(&key) {
            return Some(known);
        }
        if self.names.len() >= max {
            return None;
        }
        let number = self.names.len() as u32;
        self.names.push(name);
        self.by_name.insert(key, number);
        Some(number)
    }

    /// The name of a destination, for a sample of this time.
    pub(super) fn name(&self, number: u32, ms: i64) -> String {
        self.names.get(number as usize).map(|name| name.at(ms)).unwrap_or_default()
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
    fn a_template_covers_all_names() {
        let pattern = |name: &str| IndexName::new(name).pattern();
        assert_eq!(pattern("metrics-promferry-default"), "metrics-promferry-default");
        assert_eq!(pattern("my-computer-metric-%Y.%m.%d"), "my-computer-metric-*");
        assert_eq!(pattern("m-{{deployment}}-x-%Y"), "m-*");
    }

    fn pairs<'a>(labels: &[(&'a str, &'a str)]) -> Pairs<'a> {
        labels.iter().map(|&(name, value)| (name, value.into())).collect()
    }

    #[test]
    fn labels_are_made_fit_for_a_name() {
        let index = IndexName::new("m-{{a}}-{{ b }}-%Y");
        let mut destinations = Destinations::default();
        let mut name = |labels: &[(&str, &str)]| {
            let number = destinations.of(&index, &pairs(labels), 100).unwrap();
            destinations.name(number, TIME_MS)
        };
        assert_eq!(name(&[("a", "Cf"), ("b", "x/y:z é*\u{7f}")]), "m-cf-x_y_z_é__-2027");
        assert_eq!(name(&[("a", "../..")]), "m-.._..--2027", "a label that is missing is empty");
        let long = "ä".repeat(1000);
        assert_eq!(name(&[("a", &long)]).len(), "m---2027".len() + VALUE_BYTES_MAX);
        let many = IndexName::new("m-{{a}}{{a}}{{a}}");
        let number = destinations.of(&many, &pairs(&[("a", &long)]), 100).unwrap();
        assert!(destinations.name(number, TIME_MS).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn labels_do_not_make_indices_without_end() {
        let index = IndexName::new("m-{{a}}-%Y.%m.%d");
        let mut destinations = Destinations::default();
        let mut of = |value: &str| destinations.of(&index, &pairs(&[("a", value)]), 2);
        assert_eq!([of("1"), of("2"), of("3"), of("2"), of("1")], [Some(0), Some(1), None, Some(1), Some(0)]);
    }

    #[test]
    fn a_routing_is_a_text_or_made_of_labels() {
        assert_eq!(Routing::new("a").fixed(), Some("a"));
        let routing = Routing::new("{{a}}/{{b}}");
        assert_eq!((routing.fixed(), routing.with(&pairs(&[("a", "X y")]))), (None, "X y/".to_owned()));
    }

    #[test]
    fn a_time_beyond_the_calendar_is_no_panic() {
        for ms in [i64::MIN, i64::MAX, -62_200_000_000_000] {
            assert_eq!(utc(ms), None, "{ms}");
            IndexName::new("m-%Y.%m.%d-%H-%V-%y").at(ms);
        }
    }
}
