//! Which escaping and encoding a client is answered in.
//!
//! As `expfmt.Negotiate` of Prometheus' common 0.64 does it for text: the entries of `Accept` are gone through, the heaviest
//! first, up to the first that is text format 0.0.4; the last `escaping` on the way there counts.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::net::accept::{Entry, accepted, takes_gzip};

/// How a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Names may stand in quotes; else what they cannot have becomes `_`.
    pub(super) quoted_names: bool,
    pub(super) is_gzip: bool,
}

impl Accepted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut entries: Vec<Entry<'_>> = accepted(headers, ACCEPT).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.weight));
        let mut quoted_names = false;
        for entry in entries {
            match entry.parameter("escaping") {
                Some("allow-utf-8") => quoted_names = true,
                // The last two are not spoken here: who reads them reads this too.
                Some("underscores" | "dots" | "values") => quoted_names = false,
                _ => {}
            }
            let is_text = entry.value.eq_ignore_ascii_case("text/plain");
            if is_text && matches!(entry.parameter("version"), None | Some("" | "0.0.4")) {
                break;
            }
        }
        Self { quoted_names, is_gzip: takes_gzip(headers) }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.quoted_names {
            true => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_are_quoted_for_who_asks_for_it() {
        let prometheus3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("text/plain;escaping=allow-utf-8", true),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", true),
            ("text/plain;version=0.0.4, application/json;escaping=allow-utf-8;q=0.5", false),
            ("application/json;escaping=allow-utf-8;q=0.5, text/plain;q=0.1", true),
            ("text/plain;escaping=allow-utf-8;q=0.9, text/plain;escaping=underscores", false),
            (prometheus3, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Accepted::of(&headers).quoted_names, expected, "{accept}");
        }
    }
}
