//! What an output that sends requests has to say for itself, and the words in which it and the sender talk.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::pipeline::batch::{Attempt, Batch};
use crate::pipeline::ledger::Reasons;

/// Whether samples of one series must arrive in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// A target always uses the same lane.
    PerSeries,
    /// Any order will do: several requests may be in flight.
    Free,
}

/// An output that sends requests.
pub trait Output: Send + Sync + 'static {
    /// What delivery depends on from one request to the next; one a lane. It advances only in [`settle`](Self::settle).
    type State: Default + Send + 'static;

    /// What makes encoding cheap and may be forgotten at any time; one a lane of the queue, whoever works on it.
    type Cache: Default + Send + 'static;

    /// What the receiver needs.
    fn ordering(&self) -> Ordering;

    /// The receivers, for people: no secrets.
    fn urls(&self) -> Vec<String>;

    /// Looks at the receiver before the first batch. An error is one sentence; it is logged, and sending goes on.
    fn start(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Makes a request of a batch. Pure: the same batch and state give the same request.
    fn encode(&self, state: &Self::State, cache: &mut Self::Cache, batch: &Batch) -> Encoded;

    /// Sends a request to the receiver with this index in [`urls`](Self::urls).
    fn send(&self, url: usize, request: Request) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Says what an answer means for the items of a request. Pure.
    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement;

    /// Whether confirmations are waited for: such an output answers with [`Verdict::Accepted`].
    fn confirming(&self) -> Option<Confirming> {
        None
    }

    /// Asks the receiver with this index whether what it took is stored, for receipts of one route. One answer for each.
    fn confirm(&self, _url: usize, receipts: &[Receipt]) -> impl Future<Output = Result<Vec<bool>, Failure>> + Send {
        std::future::ready(Ok(vec![false; receipts.len()]))
    }

    /// Advances the state by the samples that `encode` left out and [noted](Encoded::noted): they are settled before anything
    /// is sent. `batch` has all of its samples still. Called before the request is sent, where any is noted.
    fn settle_noted(&self, _state: &mut Self::State, _batch: &Batch, _encoded: &Encoded) {}

    /// Whether the receiver knows what it has, so that a resend is stored once. Where not, what a resend delivers is counted as
    /// maybe stored twice.
    fn is_idempotent(&self) -> bool;

    /// Advances the state by what a request came to. `batch` has the samples of the items of `encoded`, by the same numbers, and
    /// none that is settled before. Where no answer came, the body may not be there any more.
    fn settle(&self, _state: &mut Self::State, _batch: &Batch, _encoded: &Encoded, _verdict: &Verdict) {}
}

/// How a body is compressed on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 1.
    Gzip,
    /// Snappy's block format, without framing, as remote write has it.
    Snappy,
}

/// A batch as an output wrote it.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// Path and query below the receiver's URL, starting with `/` or empty.
    pub path_and_query: String,
    /// Headers, besides those of compression and credentials.
    pub headers: HeaderMap,
    /// The body before compression; what is sent uncompressed is this memory.
    pub body: Bytes,
    /// Bytes at the start of the body, before the first item, that stay whatever is left out, such as a table of texts.
    pub head: usize,
    /// What the rest of the body is made of, in order. Where there are several, any of them may be left out of a resend.
    pub items: Vec<Item>,
    /// The points in the items, one item's after another's, numbered as [`Batch::keep`] has it: which samples stand or fall with
    /// an item.
    pub points: Vec<u32>,
    /// Samples that this receiver is not sent.
    pub skipped: Reasons,
    /// Of the samples that are not in the items, those that the state must know of, such as a counter's first, which a
    /// difference is taken from later; numbered as `points`.
    pub noted: Vec<u32>,
    /// Samples that this receiver would have to refuse, one entry a reason: they are not sent, and are loss.
    pub rejected: Vec<Rejection>,
    /// How the body is compressed.
    pub compression: Compression,
}

/// Samples that cannot be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The ledger's word.
    pub reason: &'static str,
    /// How many.
    pub samples: u64,
    /// One sentence for the operator.
    pub why: String,
}

/// A part of a body that the receiver judges by itself, such as a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it ends in the body; it starts where the one before ends, the first one behind the head.
    pub end: usize,
    /// Samples in it.
    pub samples: u32,
    /// For the output alone: what it has to know about the item when the answer comes.
    pub mark: u32,
}

/// A request, ready to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query below the receiver's URL.
    pub path_and_query: String,
    /// Headers, `content-encoding` among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Adds or replaces a header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; in gRPC its trailers too, so `grpc-status` is among them.
    pub headers: HeaderMap,
    /// The body, inflated, capped.
    pub body: Bytes,
}

/// No answer came.
#[derive(Clone, Debug)]
pub struct Failure {
    /// A short, stable word for the cause: `connect`, `tls`, `timeout`, …
    pub kind: &'static str,
    /// One sentence for the operator.
    pub message: String,
    /// Whether the receiver may have taken the request all the same.
    pub is_maybe_received: bool,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// The receiver had it already.
    Duplicate(&'static str),
    /// The receiver refuses it for good.
    Rejected(&'static str),
    /// The receiver may take it later.
    Retry,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same for all items.
    All(Fate),
    /// One for each item, in order. A list of another length counts as `All(Retry)`.
    Each(Vec<Fate>),
    /// All of it is settled. Of so many samples the receiver says that it refused them, and not which: the others are delivered.
    Partly {
        /// Refused samples; more than there are count as all.
        refused: u64,
    },
    /// The request must be made smaller.
    TooLarge,
    /// Nothing was taken, because of one or some of the items: the request is divided until they are found, and this becomes of
    /// them: rejected or duplicate. Dividing has an end: after many requests it becomes of what is left as a whole.
    Spoilt(Fate),
    /// Nothing was taken, and the state that [`Output::settle`] leaves knows how to say it otherwise: it is encoded again.
    Anew,
    /// Taken, and to be confirmed: until then the samples wait. See [`Output::confirm`].
    Accepted(Receipt),
}

/// What a receiver gives for a request that it has yet to confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The receiver's number for the request.
    pub number: u64,
    /// What leads back to the one that took it, such as cookies; receipts with the same route are asked about together.
    pub route: String,
}

/// How long confirmations are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirming {
    /// A request that is not confirmed by then is sent again.
    pub timeout: Duration,
    /// Requests of a lane that wait for it at most; then the lane sends nothing more.
    pub requests_max: usize,
}

/// When a request is tried again, or the next one is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: the receiver is well.
    Now,
    /// When the receiver asks for it. After a success, this is how long it wants to be left alone.
    After(Duration),
    /// After a random while, longer each time.
    Backoff,
}

/// A verdict, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What became of the items.
    pub verdict: Verdict,
    /// What is to be retried may have been taken all the same: a proxy gave up on a receiver that went on.
    pub is_maybe_received: bool,
    /// When to try again what is left.
    pub next: Next,
    /// What went wrong, as (a short stable word, one sentence); `None` where nothing did.
    pub problem: Option<(&'static str, String)>,
}

impl Judgement {
    /// All items delivered.
    pub fn delivered() -> Self {
        Self { verdict: Verdict::All(Fate::Delivered), is_maybe_received: false, next: Next::Now, problem: None }
    }
}
