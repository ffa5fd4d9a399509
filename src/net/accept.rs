//! `Accept` and `Accept-Encoding`: lists of what a client takes, with weights (RFC 9110, 12.4.2 and 12.5).

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, HeaderName};

/// Entries of one request's header that are looked at; the rest are not.
const ENTRIES_MAX: usize = 64;

/// One entry of such a list.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'h> {
    /// `text/plain`, `gzip`, …
    pub value: &'h str,
    parameters: &'h str,
    /// In thousandths; a weight that cannot be read is 0.
    pub weight: u16,
}

impl<'h> Entry<'h> {
    /// A parameter, without quotes.
    pub fn parameter(&self, name: &str) -> Option<&'h str> {
        parameters(self.parameters).find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The entries of a header, in the order of the request; of many, the first 64.
pub fn accepted(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Entry<'_>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).take(ENTRIES_MAX).map(|entry| {
        let (value, text) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters(text).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        Entry { value: value.trim(), parameters: text, weight: weight.map_or(1000, |(_, q)| thousandths(q)) }
    })
}

/// Whether an answer may be gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    accepted(headers, ACCEPT_ENCODING).any(|entry| entry.value.eq_ignore_ascii_case("gzip") && entry.weight > 0)
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
}

fn thousandths(q: &str) -> u16 {
    q.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_only_where_it_is_asked_for() {
        for (value, expected) in
            [("gzip", true), ("deflate, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false), ("gzipped", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
