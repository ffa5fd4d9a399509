//! What outputs that speak HTTP share.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The first `limit` characters of what may not be text, control characters escaped; `…` where there was more.
pub fn excerpt(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == limit {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// `Retry-After`: seconds, or a date, which counts from the answer's own `Date` (RFC 9110, 10.2.3). Without that, from now.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?;
    let date = headers.get(DATE).and_then(|value| http_date(value.to_str().ok()?));
    let from = date.unwrap_or_else(Timestamp::now);
    Some(Duration::try_from(until.duration_since(from)).unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn after(retry_after: &'static str, date: &'static str) -> Option<Duration> {
        let value = HeaderValue::from_static;
        super::retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value(retry_after)), (DATE, value(date))]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(after("120", date), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT", date), Some(Duration::from_secs(23)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT", ""), Some(Duration::ZERO));
        assert_eq!(after("soon", date), None);
        assert_eq!(after("-1", date), None);
        assert_eq!(super::retry_after(&HeaderMap::new()), None);
    }
}
