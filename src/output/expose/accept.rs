//! Which format and encoding a client is answered in: `Accept` and `Accept-Encoding` (RFC 9110, 12.5).
//!
//! Whoever states no preference that we can meet gets text format 0.0.4, as other exporters do, and never a 406.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use crate::exposition::write::{CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Format};

/// Media ranges of one request that are looked at; the rest are not.
const RANGES_MAX: usize = 64;

/// How a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) format: Format,
    /// The client reads names in quotes: it says so, or takes anything.
    pub(super) quoted_names: bool,
    pub(super) is_gzip: bool,
}

impl Accepted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let (format, quoted_names) = format(headers);
        Self { format, quoted_names, is_gzip: takes_gzip(headers) }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match (self.format, self.quoted_names) {
            (Format::Text, true) => CONTENT_TYPE_TEXT,
            (Format::Text, false) => "text/plain; version=0.0.4; charset=utf-8",
            (Format::OpenMetrics, true) => CONTENT_TYPE_OPENMETRICS,
            (Format::OpenMetrics, false) => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// An entry of a list header: its value, its parameters and its weight in thousandths.
struct Entry<'h> {
    value: &'h str,
    parameters: &'h str,
    weight: u16,
}

impl<'h> Entry<'h> {
    fn parameter(&self, name: &str) -> Option<&'h str> {
        parameters(self.parameters).find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
}

fn entries(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Entry<'_>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).take(RANGES_MAX).map(|entry| {
        let (value, parameters_text) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters(parameters_text).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        Entry { value: value.trim(), parameters: parameters_text, weight: weight.map_or(1000, |(_, q)| thousandths(q)) }
    })
}

/// A weight; one that cannot be read is none at all.
fn thousandths(q: &str) -> u16 {
    q.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0).round() as u16)
}

fn format(headers: &HeaderMap) -> (Format, bool) {
    let mut best = (Format::Text, true);
    let mut best_weight = 0;
    for entry in entries(headers, ACCEPT) {
        let version = entry.parameter("version");
        let is_any = matches!(entry.value, "*/*" | "text/*");
        let format = match entry.value.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" if matches!(version, None | Some("1.0.0" | "0.0.1")) => Format::OpenMetrics,
            "text/plain" if matches!(version, None | Some("0.0.4" | "1.0.0")) => Format::Text,
            _ if is_any => Format::Text,
            _ => continue,
        };
        if entry.weight > best_weight {
            best_weight = entry.weight;
            best = (format, is_any || entry.parameter("escaping") == Some("allow-utf-8"));
        }
    }
    best
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    entries(headers, ACCEPT_ENCODING).any(|entry| entry.value.eq_ignore_ascii_case("gzip") && entry.weight > 0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepted(accept: &'static str) -> (Format, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let accepted = Accepted::of(&headers);
        (accepted.format, accepted.quoted_names)
    }

    #[test]
    fn the_heaviest_range_that_we_can_serve_wins() {
        let prometheus3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (prometheus3, (Format::OpenMetrics, true)),
            (prometheus2, (Format::OpenMetrics, false)),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", (Format::Text, false)),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.3", (Format::Text, false)),
            ("application/openmetrics-text;q=0, text/plain;q=0.001", (Format::Text, false)),
            ("application/openmetrics-text;version=2.0.0", (Format::Text, true)),
            ("text/html,*/*;q=0.8", (Format::Text, true)),
            ("application/json", (Format::Text, true)),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", (Format::OpenMetrics, false)),
            ("application/openmetrics-text;q=x", (Format::Text, true)),
            ("", (Format::Text, true)),
        ] {
            assert_eq!(super::tests::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_only_where_it_is_asked_for() {
        for (value, expected) in
            [("gzip", true), ("deflate, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false), ("gzipped", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(Accepted::of(&headers).is_gzip, expected, "{value}");
        }
        assert!(!Accepted::of(&HeaderMap::new()).is_gzip);
    }
}
