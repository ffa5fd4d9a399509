//! The body of an answer: an exposition, counted as the client takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use crate::exposition::merge::Pieces;

/// An exposition on its way.
pub(super) struct Exposition {
    pieces: Pieces,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Exposition {
    pub(super) fn new(pieces: Pieces, shared: Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        Self { pieces, shared, _permit: permit }
    }

    fn piece(&mut self) -> Option<Bytes> {
        if self.pieces.is_done() {
            return None;
        }
        let piece = self.pieces.next();
        if self.pieces.is_done() {
            let (plan, outcome) = self.pieces.outcome();
            self.shared.count_outcome(plan, outcome);
        }
        self.shared.count_bytes(piece.as_ref().map_or(0, Bytes::len) as u64);
        piece
    }
}

impl Body for Exposition {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_done()
    }
}

/// No body, of unknown length: what HEAD is answered with where GET brings an [`Exposition`].
pub(super) struct Unsaid;

impl Body for Unsaid {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
