//! Any output, behind one type: the sender loop is large, and is compiled once instead of once for each output.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::contract::{Answer, Confirming, Encoded, Failure, Judgement, Ordering, Output, Receipt, Request, Verdict};
use crate::pipeline::batch::{Attempt, Batch};

/// An output of whichever kind.
#[derive(Clone)]
pub struct AnyOutput(Arc<dyn Dynamic>);

impl AnyOutput {
    /// This one.
    pub fn new(output: impl Output) -> Self {
        Self(Arc::new(output))
    }
}

/// The state or the cache of an output of whichever kind; nothing before its first use.
#[derive(Default)]
pub struct Slot(Option<Box<dyn Any + Send>>);

impl Slot {
    fn get<T: Default + Send + 'static>(&mut self) -> &mut T {
        // One slot is used by one output alone. Were it not, the other's would be let go.
        if !self.0.as_ref().is_some_and(|held| held.is::<T>()) {
            self.0 = Some(Box::new(T::default()));
        }
        self.0.as_mut().and_then(|held| held.downcast_mut()).expect("it was just put in")
    }

    fn with<T: Default + 'static, R>(&self, read: impl FnOnce(&T) -> R) -> R {
        match self.0.as_ref().and_then(|held| held.downcast_ref()) {
            Some(held) => read(held),
            None => read(&T::default()),
        }
    }
}

impl Output for AnyOutput {
    type State = Slot;
    type Cache = Slot;

    fn ordering(&self) -> Ordering {
        self.0.ordering()
    }

    fn urls(&self) -> Vec<String> {
        self.0.urls()
    }

    fn start(&self) -> impl Future<Output = Result<(), String>> + Send {
        self.0.start()
    }

    fn encode(&self, state: &Slot, cache: &mut Slot, batch: &Batch) -> Encoded {
        self.0.encode(state, cache, batch)
    }

    fn send(&self, url: usize, request: Request) -> impl Future<Output = Result<Answer, Failure>> + Send {
        self.0.send(url, request)
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        self.0.classify(encoded, attempt, answer)
    }

    fn confirming(&self) -> Option<Confirming> {
        self.0.confirming()
    }

    async fn confirm(&self, url: usize, receipts: &[Receipt]) -> Result<Vec<bool>, Failure> {
        self.0.confirm(url, receipts).await
    }

    fn settle_noted(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded) {
        self.0.settle_noted(state, batch, encoded);
    }

    fn is_idempotent(&self) -> bool {
        self.0.is_idempotent()
    }

    fn settle(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        self.0.settle(state, batch, encoded, verdict);
    }
}

type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What [`Output`] says, in a form that a pointer can have.
trait Dynamic: Send + Sync {
    fn ordering(&self) -> Ordering;
    fn urls(&self) -> Vec<String>;
    fn start(&self) -> Asked<'_, Result<(), String>>;
    fn encode(&self, state: &Slot, cache: &mut Slot, batch: &Batch) -> Encoded;
    fn send(&self, url: usize, request: Request) -> Asked<'_, Result<Answer, Failure>>;
    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement;
    fn confirming(&self) -> Option<Confirming>;
    fn confirm<'a>(&'a self, url: usize, receipts: &'a [Receipt]) -> Asked<'a, Result<Vec<bool>, Failure>>;
    fn settle_noted(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded);
    fn is_idempotent(&self) -> bool;
    fn settle(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded, verdict: &Verdict);
}

impl<O: Output> Dynamic for O {
    fn ordering(&self) -> Ordering {
        Output::ordering(self)
    }

    fn urls(&self) -> Vec<String> {
        Output::urls(self)
    }

    fn start(&self) -> Asked<'_, Result<(), String>> {
        Box::pin(Output::start(self))
    }

    fn encode(&self, state: &Slot, cache: &mut Slot, batch: &Batch) -> Encoded {
        state.with(|state| Output::encode(self, state, cache.get(), batch))
    }

    fn send(&self, url: usize, request: Request) -> Asked<'_, Result<Answer, Failure>> {
        Box::pin(Output::send(self, url, request))
    }

    fn classify(&self, encoded: &Encoded, attempt: Attempt, answer: &Answer) -> Judgement {
        Output::classify(self, encoded, attempt, answer)
    }

    fn confirming(&self) -> Option<Confirming> {
        Output::confirming(self)
    }

    fn confirm<'a>(&'a self, url: usize, receipts: &'a [Receipt]) -> Asked<'a, Result<Vec<bool>, Failure>> {
        Box::pin(Output::confirm(self, url, receipts))
    }

    fn settle_noted(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded) {
        Output::settle_noted(self, state.get(), batch, encoded);
    }

    fn is_idempotent(&self) -> bool {
        Output::is_idempotent(self)
    }

    fn settle(&self, state: &mut Slot, batch: &Batch, encoded: &Encoded, verdict: &Verdict) {
        Output::settle(self, state.get(), batch, encoded, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_the_default_until_something_else_is_put_in() {
        let mut slot = Slot::default();
        assert_eq!(slot.with(|text: &String| text.clone()), "");
        slot.get::<String>().push('a');
        slot.get::<String>().push('b');
        assert_eq!(slot.with(|text: &String| text.clone()), "ab");
    }
}
