//! From a scrape to a settled sample: fan-out, one bounded queue an output, batches, one sender loop, and the ledger.
//!
//! Promises
//! - Nothing here makes a scrape wait: [`Fanout::offer`] never blocks.
//! - Every sample that is offered is settled exactly once; [`Ledger`] says how, and its equation holds in every snapshot.
//! - No output sees another: each has its own queue, sender and ledger.

mod batch;
pub mod disk;
mod fanout;
mod ledger;
mod queue;
pub mod recent;
mod sender;
mod shedding;

pub use batch::{Attempt, Batch, Slice};
pub use fanout::{Fanout, Intake, Projection};
pub use ledger::{Counts, Ledger, Reasons, Settlement, Waiting, reason};
pub use queue::{Limits as QueueLimits, Overflow, Pick, Queue, Take};
pub use sender::{
    Answer, AnyOutput, Compression, Confirming, Encoded, Failure, Fate, Item, Judgement, Next, Ordering, Output,
    Receipt, Rejection, Request, SenderOptions, SenderStatus, Verdict, past, run as run_sender, snappy,
};
pub use shedding::Shedding;
