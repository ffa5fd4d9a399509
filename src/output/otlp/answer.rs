//! What receivers answer: `ExportMetricsServiceResponse`, and `google.rpc.Status` with how long to wait.
//!
//! All of it comes from outside: what cannot be read says nothing, and never more than so much is quoted.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use prost::Message;

use crate::net::text::excerpt;
use crate::pipeline::Answer;

/// Characters of an answer that are quoted.
const QUOTED_CHARS_MAX: usize = 200;

/// The gRPC trailer with the details of a status, as bytes.
const STATUS_DETAILS: &str = "grpc-status-details-bin";

/// What is a retry delay among a status' details.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// gRPC leaves the padding out, and wants it to be read all the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_data_points: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What a receiver says of a request that it has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Data points that it refused.
    pub rejected: u64,
    /// Why, or what else it has to say; escaped.
    pub message: String,
}

/// Whether an answer is in JSON.
fn is_json(headers: &HeaderMap) -> bool {
    has_content_type(headers, "application/json")
}

/// Whether an answer is a page for people, and so not from a receiver.
pub(in crate::output) fn is_page(headers: &HeaderMap) -> bool {
    has_content_type(headers, "text/html")
}

fn has_content_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

/// Reads the answer of a request that was taken. Many receivers answer with nothing, or with something of their own: then all is
/// well.
pub(super) fn taken(answer: &Answer) -> Taken {
    // No message of ours begins with this byte in protobuf.
    if is_json(&answer.headers) || answer.body.first() == Some(&b'{') {
        return taken_json(&answer.body).unwrap_or_default();
    }
    let partial = Response::decode(&*answer.body).ok().and_then(|response| response.partial_success);
    let Some(PartialSuccess { rejected_data_points, error_message }) = partial else { return Taken::default() };
    Taken { rejected: u64::try_from(rejected_data_points).unwrap_or(0), message: quoted(&error_message) }
}

fn taken_json(body: &[u8]) -> Option<Taken> {
    let read: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = read.get("partialSuccess")?;
    let rejected = partial.get("rejectedDataPoints");
    // 64 bits are text, and may be a number.
    let rejected = rejected.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(0);
    let message = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
    Some(Taken { rejected, message: quoted(message) })
}

/// What an answer that is no success says, escaped: the message of its status, or its beginning.
pub(super) fn words(answer: &Answer) -> String {
    let body = &answer.body;
    let said = match is_json(&answer.headers) {
        true => serde_json::from_slice::<serde_json::Value>(body)
            .ok()
            .and_then(|status| Some(status.get("message")?.as_str()?.to_owned())),
        false if has_content_type(&answer.headers, "application/x-protobuf") => {
            RpcStatus::decode(&**body).ok().map(|status| status.message)
        }
        false => None,
    };
    let said = match said.filter(|message| !message.is_empty()) {
        Some(message) => quoted(&message),
        None => excerpt(body, QUOTED_CHARS_MAX),
    };
    let status = answer.status.as_u16();
    if said.is_empty() { format!("HTTP status {status}") } else { format!("HTTP status {status}: {said}") }
}

fn quoted(text: &str) -> String {
    excerpt(text.as_bytes(), QUOTED_CHARS_MAX)
}

/// How long the receiver wants to be left alone, by the details of a gRPC status; `None` where it does not say so.
pub(super) fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let bytes = BASE64.decode(headers.get(STATUS_DETAILS)?.as_bytes()).ok()?;
    let details = RpcStatus::decode(&*bytes).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or(0), nanos))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn answer(content_type: &'static str, body: &[u8]) -> Answer {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Answer { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn what_was_refused_is_read_in_both_encodings() {
        let partial = Response {
            partial_success: Some(PartialSuccess { rejected_data_points: 7, error_message: "too\nold".to_owned() }),
        };
        let expected = Taken { rejected: 7, message: "too\\nold".to_owned() };
        assert_eq!(taken(&answer("application/x-protobuf", &partial.encode_to_vec())), expected);
        assert_eq!(taken(&answer("application/grpc", &partial.encode_to_vec())), expected);
        for rejected in ["7", "\"7\""] {
            let text = format!(r#"{{"partialSuccess":{{"rejectedDataPoints":{rejected},"errorMessage":"too\nold"}}}}"#);
            assert_eq!(taken(&answer("application/json; charset=utf-8", text.as_bytes())), expected);
        }
        for nothing in [&b""[..], b"{}", b"ok", b"\xff\xff", b"[1]", br#"{"partialSuccess":7}"#, b"\x0a\x02\x08"] {
            for content_type in ["application/json", "application/x-protobuf", "text/plain"] {
                assert_eq!(taken(&answer(content_type, nothing)), Taken::default(), "{nothing:?}");
            }
        }
        let negative = Response {
            partial_success: Some(PartialSuccess { rejected_data_points: -1, error_message: String::new() }),
        };
        assert_eq!(taken(&answer("application/x-protobuf", &negative.encode_to_vec())).rejected, 0);
    }

    #[test]
    fn a_delay_is_read_from_the_details_of_a_status() {
        let status = |type_url: &str, value: Vec<u8>| RpcStatus {
            message: "busy".to_owned(),
            details: vec![AnyMessage::default(), AnyMessage { type_url: type_url.to_owned(), value }],
        };
        let info = |seconds, nanos| RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }.encode_to_vec();
        let read = |status: &RpcStatus, is_padded: bool| {
            let mut text = BASE64.encode(status.encode_to_vec());
            if !is_padded {
                text = text.trim_end_matches('=').to_owned();
            }
            let mut headers = HeaderMap::new();
            headers.insert(STATUS_DETAILS, HeaderValue::try_from(text).unwrap());
            retry_delay(&headers)
        };
        for is_padded in [false, true] {
            let delay = read(&status(RETRY_INFO, info(5, 500_000_000)), is_padded);
            assert_eq!(delay, Some(Duration::from_millis(5500)));
        }
        assert_eq!(read(&status(RETRY_INFO, info(-5, -1)), true), Some(Duration::ZERO));
        assert_eq!(read(&status(RETRY_INFO, Vec::new()), true), Some(Duration::ZERO));
        assert_eq!(read(&status(RETRY_INFO, vec![0xff]), true), None);
        assert_eq!(read(&status("type.googleapis.com/google.rpc.Help", info(5, 0)), true), None);
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static(STATUS_DETAILS), HeaderValue::from_static("%%%"))]);
        assert_eq!((retry_delay(&headers), retry_delay(&HeaderMap::new())), (None, None));
    }

    #[test]
    fn words_are_those_of_the_status() {
        let status = RpcStatus { message: "no\u{7}".to_owned(), details: Vec::new() };
        let refused = |content_type, body: &[u8]| {
            words(&Answer { status: StatusCode::BAD_REQUEST, ..answer(content_type, body) })
        };
        assert_eq!(refused("application/x-protobuf", &status.encode_to_vec()), "HTTP status 400: no\\u{7}");
        assert_eq!(refused("application/json", br#"{"code":3,"message":"no"}"#), "HTTP status 400: no");
        assert_eq!(refused("text/plain", b"unexpected\n"), "HTTP status 400: unexpected");
        assert_eq!(refused("text/plain", b""), "HTTP status 400");
    }
}
