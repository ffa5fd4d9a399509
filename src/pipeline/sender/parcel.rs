//! A request that is on its way: its body, the batch that it was made of, and what of that is settled.

use super::{Attempt, Encoded, Fate, Request, Verdict, Work};
use crate::pipeline::batch::Batch;
use crate::pipeline::ledger::{Reasons, Settlement, reason};

/// An encoded batch until all of it is settled.
pub(super) struct Parcel {
    pub(super) encoded: Encoded,
    /// Its token holds what is not settled yet, skipped samples included until the first verdict.
    pub(super) batch: Batch,
    pub(super) attempt: Attempt,
    /// Nothing of the batch is settled or divided: it can be encoded anew in two halves.
    is_whole: bool,
    request: Option<Request>,
}

impl Parcel {
    pub(super) fn new(encoded: Encoded, batch: Batch) -> Self {
        Self { encoded, batch, attempt: Attempt::default(), is_whole: true, request: None }
    }

    /// The request as it goes over the wire; made at the first attempt, and kept for the next.
    pub(super) fn request(&mut self, compress: impl FnOnce(&Encoded) -> Request) -> Request {
        self.request.get_or_insert_with(|| compress(&self.encoded)).clone()
    }

    /// Settles by a verdict. Returns what is left to send, if anything is.
    pub(super) fn settle(mut self, verdict: &Verdict) -> Option<Self> {
        let is_retry = |at: usize| match verdict {
            Verdict::All(fate) => *fate == Fate::Retry,
            Verdict::Each(fates) => fates.get(at) == Some(&Fate::Retry),
            Verdict::TooLarge => true,
        };
        let items = self.encoded.items.len();
        let left = (0..items).filter(|&at| is_retry(at)).count();
        if left == items && items > 0 {
            return Some(self);
        }
        self.batch.waiting.settle(&settlement(&self.encoded, verdict));
        if left == 0 {
            return None;
        }
        self.encoded = Encoded { skipped: Reasons::new(), ..self.encoded.only(is_retry) };
        self.batch.slices.clear();
        (self.is_whole, self.request) = (false, None);
        Some(self)
    }

    /// Two pieces of work of half the size; or none, when it cannot be made smaller and is rejected.
    pub(super) fn halve(mut self) -> Option<[Work; 2]> {
        let items = self.encoded.items.len();
        if items > 1 {
            let right = Encoded { skipped: Reasons::new(), ..self.encoded.only(|at| at >= items / 2) };
            let left = self.encoded.only(|at| at < items / 2);
            let waiting = self.batch.waiting.take(right.samples());
            let rest = Batch { slices: Vec::new(), waiting, oldest: self.batch.oldest };
            self.batch.slices.clear();
            let part = |encoded, batch| {
                let attempt = self.attempt;
                Work::Parcel(Box::new(Self { encoded, batch, attempt, is_whole: false, request: None }))
            };
            return Some([part(left, self.batch), part(right, rest)]);
        }
        if self.is_whole {
            match self.batch.split() {
                Ok(halves) => return Some(halves.map(Work::Batch)),
                Err(batch) => self.batch = batch,
            }
        }
        let samples = self.encoded.samples();
        let rejected = Reasons::from([(reason::TOO_LARGE, samples)]);
        self.batch.waiting.settle(&Settlement { rejected, skipped: self.encoded.skipped, ..Settlement::default() });
        None
    }
}

impl Encoded {
    /// Samples in its items.
    pub fn samples(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.samples)).sum()
    }

    /// The body of one item.
    pub fn item(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.items[at - 1].end };
        &self.body[start..self.items[at].end]
    }

    /// The same request with some items only.
    fn only(&self, keep: impl Fn(usize) -> bool) -> Encoded {
        let mut kept = Encoded { body: Vec::new(), items: Vec::new(), ..self.without_body() };
        for at in (0..self.items.len()).filter(|&at| keep(at)) {
            kept.body.extend_from_slice(self.item(at));
            kept.items.push(super::Item { end: kept.body.len(), ..self.items[at] });
        }
        kept
    }

    fn without_body(&self) -> Encoded {
        Encoded {
            path_and_query: self.path_and_query.clone(),
            headers: self.headers.clone(),
            body: Vec::new(),
            items: Vec::new(),
            skipped: self.skipped.clone(),
            compression: self.compression,
        }
    }
}

/// What a verdict settles: items that are to be retried are left out, and skipped samples are in it.
pub(super) fn settlement(encoded: &Encoded, verdict: &Verdict) -> Settlement {
    let mut settled = Settlement { skipped: encoded.skipped.clone(), ..Settlement::default() };
    for (at, item) in encoded.items.iter().enumerate() {
        let fate = match verdict {
            Verdict::All(fate) => *fate,
            Verdict::Each(fates) => fates.get(at).copied().unwrap_or(Fate::Retry),
            Verdict::TooLarge => Fate::Retry,
        };
        let samples = u64::from(item.samples);
        match fate {
            Fate::Delivered => settled.delivered += samples,
            Fate::Duplicate(reason) => *settled.duplicate.entry(reason).or_default() += samples,
            Fate::Rejected(reason) => *settled.rejected.entry(reason).or_default() += samples,
            Fate::Retry => {}
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Ledger;
    use crate::pipeline::sender::{Compression, Item};
    use http::HeaderMap;

    fn parcel(ledger: &std::sync::Arc<Ledger>, items: &[(&str, u32)], skipped: u64) -> Parcel {
        let mut body = Vec::new();
        let items: Vec<Item> = items
            .iter()
            .map(|(text, samples)| {
                body.extend_from_slice(text.as_bytes());
                Item { end: body.len(), samples: *samples, mark: 0 }
            })
            .collect();
        let encoded = Encoded {
            path_and_query: String::new(),
            headers: HeaderMap::new(),
            body,
            items,
            skipped: Reasons::from([(reason::NAN, skipped)]),
            compression: Compression::None,
        };
        let waiting = ledger.offer(encoded.samples() + skipped);
        let batch = Batch { slices: Vec::new(), waiting, oldest: tokio::time::Instant::now() };
        Parcel::new(encoded, batch)
    }

    #[test]
    fn what_is_to_be_retried_is_all_that_is_sent_again() {
        let ledger = Ledger::new("test");
        let parcel = parcel(&ledger, &[("a", 1), ("bb", 2), ("c", 4)], 8);
        let fates = vec![Fate::Delivered, Fate::Retry, Fate::Rejected("mapping")];
        let left = parcel.settle(&Verdict::Each(fates)).unwrap();
        assert_eq!((left.encoded.body.as_slice(), left.encoded.samples()), (&b"bb"[..], 2));
        let counts = ledger.snapshot();
        assert_eq!((counts.settled.delivered, counts.waiting, counts.settled.total()), (1, 2, 13));
        assert!(left.settle(&Verdict::All(Fate::Duplicate("resend"))).is_none());
        let counts = ledger.snapshot();
        assert_eq!((counts.waiting, counts.settled.duplicate["resend"], counts.imbalance()), (0, 2, 0));
    }

    #[test]
    fn a_request_too_large_is_halved_down_to_one_item_and_that_is_rejected() {
        let ledger = Ledger::new("test");
        let [Work::Parcel(left), Work::Parcel(right)] =
            parcel(&ledger, &[("a", 1), ("b", 2), ("c", 4)], 8).halve().unwrap()
        else {
            panic!("items are divided, not encoded anew")
        };
        assert_eq!((left.encoded.body.as_slice(), right.encoded.body.as_slice()), (&b"a"[..], &b"bc"[..]));
        assert!(left.halve().is_none());
        assert!(right.settle(&Verdict::All(Fate::Delivered)).is_none());
        let counts = ledger.snapshot();
        assert_eq!((counts.settled.rejected[reason::TOO_LARGE], counts.settled.delivered), (1, 6));
        assert_eq!((counts.settled.skipped[reason::NAN], counts.waiting, counts.imbalance()), (8, 0, 0));
    }
}
