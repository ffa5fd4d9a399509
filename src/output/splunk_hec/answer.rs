//! Reads what a collector answers. It comes from outside: whatever is no answer of a collector's is told apart from one.

use http::header::SET_COOKIE;
use serde_json::Value as Json;

use super::CHANNEL;
use crate::net::text::excerpt;
use crate::pipeline::{Answer, Receipt};

/// Bytes of an answer, at most: a collector's are below 200, those about acknowledgements about 20 for each.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Bytes of all cookies of an answer, at most; with more of them none is sent back.
const COOKIES_BYTES_MAX: usize = 4 << 10;

/// Characters of a receiver's sentence that are passed on.
const QUOTED_CHARS_MAX: usize = 300;

/// An answer of a collector: `{"text":"Success","code":0}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HecAnswer {
    /// What it says.
    pub code: u64,
    /// The number that it gives of an event which it does not take, where it gives one.
    pub invalid_event: Option<u64>,
    /// The number under which an acknowledgement can be asked for.
    pub ack: Option<u64>,
}

/// Reads the answer to events; `None` where no collector speaks so.
pub(super) fn read(body: &[u8]) -> Option<HecAnswer> {
    let json = json(body)?;
    let number = |key: &str| json.get(key).and_then(Json::as_u64);
    Some(HecAnswer { code: number("code")?, invalid_event: number("invalid-event-number"), ack: number("ackId") })
}

/// Reads `{"acks":{"0":true,"1":false}}`; `None` where it is something else. What is not spoken of is not acknowledged.
pub(super) fn acknowledged(body: &[u8], numbers: &[u64]) -> Option<Vec<bool>> {
    let json = json(body)?;
    let acks = json.get("acks")?.as_object()?;
    Some(numbers.iter().map(|number| acks.get(&number.to_string()) == Some(&Json::Bool(true))).collect())
}

fn json(body: &[u8]) -> Option<Json> {
    if body.len() > ANSWER_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// What leads back to who took a request, as a [`Receipt`] carries it: `CHANNEL COOKIES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'r> {
    pub channel: &'r str,
    pub cookies: &'r str,
}

impl<'r> Route<'r> {
    pub fn of(route: &'r str) -> Self {
        let (channel, cookies) = route.split_once(' ').unwrap_or((route, ""));
        Self { channel, cookies }
    }
}

/// The receipt for a request that was taken. The channel stands in the answer's headers, where the output has put it.
pub(super) fn receipt(answer: &Answer) -> Option<Receipt> {
    let number = read(&answer.body)?.ack?;
    let channel = answer.headers.get(CHANNEL).and_then(|channel| channel.to_str().ok()).unwrap_or_default();
    Some(Receipt { number, route: format!("{channel} {}", cookies(answer)) })
}

/// What a `Cookie` header has to say to come back to who gave this answer.
fn cookies(answer: &Answer) -> String {
    let mut cookies = String::new();
    for set in answer.headers.get_all(SET_COOKIE) {
        let Some((pair, attributes)) = set.to_str().ok().map(|set| set.split_once(';').unwrap_or((set, ""))) else {
            continue;
        };
        let is_deleted = attributes.split(';').any(|one| one.trim().eq_ignore_ascii_case("max-age=0"));
        let pair = pair.trim();
        if is_deleted || !pair.contains('=') || pair.starts_with('=') {
            continue;
        }
        let join = if cookies.is_empty() { "" } else { "; " };
        cookies.push_str(join);
        cookies.push_str(pair);
    }
    if cookies.len() > COOKIES_BYTES_MAX { String::new() } else { cookies }
}

/// `503, code 9: Server is busy`, or the status and the first words of what is no collector's answer.
pub(super) fn words(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let said = json(&answer.body).filter(|json| json.get("code").is_some());
    let Some(json) = said else {
        let start = &answer.body[..answer.body.len().min(4 * QUOTED_CHARS_MAX)];
        let text = excerpt(start, QUOTED_CHARS_MAX);
        return if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    };
    let text = json.get("text").and_then(Json::as_str).unwrap_or_default();
    let code = json.get("code").map(Json::to_string).unwrap_or_default();
    format!("{status}, code {}: {}", excerpt(code.as_bytes(), 20), excerpt(text.as_bytes(), QUOTED_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn answer(cookies: &[&'static str], body: &'static str) -> Answer {
        let headers: HeaderMap = cookies.iter().map(|cookie| (SET_COOKIE, HeaderValue::from_static(cookie))).collect();
        Answer { status: StatusCode::OK, headers, body: body.into() }
    }

    #[test]
    fn a_receipt_leads_back_by_its_cookies() {
        let taken = r#"{"text":"Success","code":0,"ackId":7}"#;
        let set = ["AWSALB=a b; Path=/; HttpOnly", "old=; Max-Age=0", "=x", "none", "sticky=2"];
        let found = receipt(&answer(&set, taken)).unwrap();
        assert_eq!(
            (found.number, Route::of(&found.route)),
            (7, Route { channel: "", cookies: "AWSALB=a b; sticky=2" })
        );
        assert_eq!(receipt(&answer(&[], taken)).unwrap().route, " ");
        assert_eq!(receipt(&answer(&[], r#"{"text":"Success","code":0}"#)), None);
        let long: &'static str = Box::leak(format!("a={}", "x".repeat(5000)).into_boxed_str());
        assert_eq!(receipt(&answer(&[long], taken)).unwrap().route, " ", "too long to be sent back");
    }

    #[test]
    fn only_what_is_said_to_be_true_is_acknowledged() {
        let read = |body: &str| acknowledged(body.as_bytes(), &[0, 1, 2]);
        assert_eq!(read(r#"{"acks":{"0":true,"1":false}}"#), Some(vec![true, false, false]));
        assert_eq!(read(r#"{"acks":{"0":"true","1":1,"2":null}}"#), Some(vec![false, false, false]));
        for body in ["", "{}", r#"{"acks":[true]}"#, "<html>", r#"{"text":"ACK is disabled","code":14}"#] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn no_cut_or_flipped_byte_is_a_panic_or_a_success() {
        let body = br#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#.to_vec();
        for at in 0..body.len() {
            assert_eq!(read(&body[..at]), None);
            for flip in [1, 0x20, 0x80] {
                let mut body = body.clone();
                body[at] ^= flip;
                let _ = (read(&body), acknowledged(&body, &[1]));
            }
        }
        assert_eq!(read(&[b'['].repeat(60_000)), None);
        assert_eq!(read(&[b' '].repeat(ANSWER_BYTES_MAX + 1)), None);
        for code in ["-1", "1.5", "\"6\"", "null", "99999999999999999999"] {
            assert_eq!(read(format!("{{\"code\":{code}}}").as_bytes()), None, "{code}");
        }
    }
}
