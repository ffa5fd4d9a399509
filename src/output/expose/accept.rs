//! Which format and encoding a client is answered in: `Accept` and `Accept-Encoding` (RFC 9110, 12.5).
//!
//! Whoever states no preference that we can meet gets text format 0.0.4, as other exporters do, and never a 406.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::exposition::write::{CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Format};
use crate::net::accept::{accepted, takes_gzip};

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

fn format(headers: &HeaderMap) -> (Format, bool) {
    let mut best = (Format::Text, true);
    let mut best_weight = 0;
    for entry in accepted(headers, ACCEPT) {
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
}
