//! gRPC over HTTP/2: framing, status and deadlines, a client and a server. Nothing here knows any service.
//!
//! The format is that of gRPC's "gRPC over HTTP2": a message is five bytes of header (whether it is compressed, and its length)
//! and its bytes; a call ends with the trailers `grpc-status` and `grpc-message`. Messages are bytes here: what they mean is
//! whose service it is.
//!
//! Left out on purpose: answers of more than one message, and answers that we compress.

mod client;
mod frame;
mod server;
mod status;

pub use client::{CallError, Client, ClientSettings, Reply};
pub use frame::framed;
pub use server::{Call, Limits, Server, Service, Shape};
pub use status::{Code, Status};

/// What a request and its answer have as `content-type`; a suffix such as `+proto` may follow.
const CONTENT_TYPE: &str = "application/grpc";

/// The encodings that we read.
const ACCEPTED_ENCODINGS: &str = "identity,gzip";

const GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: http::HeaderName = http::HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: http::HeaderName = http::HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: http::HeaderName = http::HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: http::HeaderName = http::HeaderName::from_static("grpc-accept-encoding");

/// Whether the header fields of a message say that it is gRPC.
fn is_grpc(headers: &http::HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = value.get(..CONTENT_TYPE.len()).filter(|start| start.eq_ignore_ascii_case(CONTENT_TYPE));
    rest.is_some() && matches!(value.as_bytes().get(CONTENT_TYPE.len()), None | Some(b'+' | b';'))
}
