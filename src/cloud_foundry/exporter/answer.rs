//! An exposition as the body of an answer: whole where it is short, else a piece at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;

use super::accept::Accepted;
use crate::exposition::merge::{Index, Pieces, Plan, Style, Timestamps};
use crate::exposition::write::Format;
use crate::model::Scrape;
use crate::net::server::{Response, full};

/// An exposition whose first piece is made.
pub(super) struct Exposition {
    first: Option<Bytes>,
    rest: Pieces,
    _permit: OwnedSemaphorePermit,
}

impl Exposition {
    pub(super) fn new(
        scrape: Arc<Scrape>,
        index: Arc<Index>,
        accepted: Accepted,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let is_gzip = accepted.is_gzip && !scrape.points.is_empty();
        let plan = Plan::new(Format::Text, vec![(scrape, index)]);
        let style = Style { timestamps: Timestamps::Own, quoted_names: accepted.quoted_names };
        let mut rest = Pieces::new(plan, style, is_gzip);
        Self { first: rest.next(), rest, _permit: permit }
    }
}

/// The answer to a request for it. HEAD has the headers that GET would have.
pub(super) fn response(exposition: Option<Exposition>, accepted: Accepted, is_head: bool) -> Response {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(accepted.content_type()));
    let Some(exposition) = exposition.filter(|exposition| exposition.first.is_some()) else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        return response;
    };
    if accepted.is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if exposition.rest.is_done() {
        let whole = exposition.first.unwrap_or_default();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
        return if is_head { response } else { response.map(|_| full(whole)) };
    }
    // Its length is not known: for HEAD, a body without one.
    response.map(|_| if is_head { Unsaid.boxed() } else { exposition.boxed() })
}

impl Body for Exposition {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.first.take().or_else(|| self.rest.next());
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_done()
    }
}

/// No body, of unknown length.
struct Unsaid;

impl Body for Unsaid {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
