//! A request that is on its way: its body, the batch that it was made of, and what of that is settled.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::worker::Work;
use super::{Compression, Encoded, Fate, Request, Verdict};
use crate::memory::{Charge, Kind};
use crate::pipeline::batch::Batch;
use crate::pipeline::ledger::{Reasons, Settlement, reason};

/// An encoded batch until all of it is settled.
///
/// Invariant: the batch holds exactly the samples of the items that are left, so it can be encoded anew at any time.
pub(super) struct Parcel {
    pub(super) encoded: Encoded,
    pub(super) batch: Batch,
    request: Option<Request>,
    charge: Charge,
}

impl Parcel {
    /// Settles what is not sent; the rest is the parcel.
    pub(super) fn new(mut encoded: Encoded, mut batch: Batch) -> Self {
        let skipped = std::mem::take(&mut encoded.skipped);
        let rejected: Reasons = encoded.rejected.drain(..).map(|refused| (refused.reason, refused.samples)).collect();
        if !skipped.is_empty() || !rejected.is_empty() {
            batch.settle(&Settlement { skipped, rejected, ..Settlement::default() });
            batch.keep(&sorted(&encoded.points));
        }
        Self::of(encoded, batch)
    }

    fn of(encoded: Encoded, batch: Batch) -> Self {
        let charge = Charge::new(Kind::Bodies, encoded.bytes());
        Self { encoded, batch, request: None, charge }
    }

    /// The request as it goes over the wire; made at the first attempt, and kept for the next.
    pub(super) fn request(&mut self, compress: impl FnOnce(&Encoded) -> Request) -> Request {
        let request = self.request.get_or_insert_with(|| compress(&self.encoded));
        let wire_bytes = if self.encoded.compression == Compression::None { 0 } else { request.body.len() };
        self.charge.resize(self.encoded.bytes() + wire_bytes);
        request.clone()
    }

    /// Before a wait, which may be long while memory is short: of a compressed request, only what goes over the wire is kept.
    pub(super) fn rest(&mut self) {
        if let Some(request) = self.request.as_ref().filter(|_| self.encoded.compression != Compression::None) {
            let wire_bytes = request.body.len();
            self.encoded.body = Bytes::new();
            self.charge.resize(self.encoded.bytes() + wire_bytes);
        }
    }

    /// Before its items are looked at: has the whole body again.
    pub(super) fn wake(&mut self) {
        let Some(request) = self.request.as_ref().filter(|_| self.encoded.body.is_empty()) else { return };
        // It is of our own making, so it is whole.
        let body = match self.encoded.compression {
            Compression::None => return,
            Compression::Gzip => {
                let mut body = Vec::with_capacity(self.encoded.items.last().map_or(0, |item| item.end));
                let _ = GzDecoder::new(&*request.body).read_to_end(&mut body);
                body
            }
            Compression::Snappy => snap::raw::Decoder::new().decompress_vec(&request.body).unwrap_or_default(),
        };
        let wire_bytes = request.body.len();
        self.encoded.body = body.into();
        self.charge.resize(self.encoded.bytes() + wire_bytes);
    }

    /// Settles by a verdict. Returns what is left to send, if anything is.
    pub(super) fn settle(mut self, verdict: &Verdict) -> Option<Self> {
        let is_retry = |at: usize| match verdict {
            Verdict::All(fate) => *fate == Fate::Retry,
            Verdict::Each(fates) => fates.get(at) == Some(&Fate::Retry),
            Verdict::Partly { .. } => false,
            Verdict::TooLarge | Verdict::Spoilt(_) | Verdict::Anew | Verdict::Accepted(_) => true,
        };
        let items = self.encoded.items.len();
        let left = (0..items).filter(|&at| is_retry(at)).count();
        if left == items && items > 0 {
            return Some(self);
        }
        self.batch.settle(&settlement(&self.encoded, verdict));
        if left == 0 {
            return None;
        }
        self.encoded = self.encoded.only(is_retry);
        self.batch.keep(&sorted(&self.encoded.points));
        self.request = None;
        self.charge.resize(self.encoded.bytes());
        Some(self)
    }

    /// Two pieces of work of half the size; or none, when it cannot be made smaller and is settled by `fate`.
    pub(super) fn halve(mut self, fate: Fate) -> Option<[Work; 2]> {
        self.wake();
        let Self { encoded, mut batch, .. } = self;
        let items = encoded.items.len();
        if items > 1 {
            let (left, right) = (encoded.only(|at| at < items / 2), encoded.only(|at| at >= items / 2));
            let mut rest = Batch {
                slices: batch.slices.clone(),
                waiting: batch.waiting.take(right.samples()),
                oldest: batch.oldest,
                attempt: batch.attempt,
                record: batch.record.clone(),
            };
            batch.keep(&sorted(&left.points));
            rest.keep(&sorted(&right.points));
            let part = |encoded, batch| Work::Parcel(Box::new(Self::of(encoded, batch)));
            return Some([part(left, batch), part(right, rest)]);
        }
        match batch.split() {
            Ok(halves) => Some(halves.map(Work::Batch)),
            Err(mut batch) => {
                batch.settle(&settlement(&encoded, &Verdict::All(fate)));
                None
            }
        }
    }
}

fn sorted(numbers: &[u32]) -> Vec<u32> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
}

impl Encoded {
    /// Samples in its items.
    pub fn samples(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.samples)).sum()
    }

    /// Bytes of memory that it has.
    fn bytes(&self) -> usize {
        self.body.len() + size_of_val(&*self.items) + size_of_val(&*self.points)
    }

    /// The body of one item.
    pub fn item(&self, at: usize) -> &[u8] {
        let start = if at == 0 { self.head } else { self.items[at - 1].end };
        &self.body[start..self.items[at].end]
    }

    /// The same request with some items only.
    fn only(&self, keep: impl Fn(usize) -> bool) -> Encoded {
        let mut body = self.body[..self.head].to_vec();
        let mut kept = Encoded {
            path_and_query: self.path_and_query.clone(),
            headers: self.headers.clone(),
            head: self.head,
            compression: self.compression,
            ..Encoded::default()
        };
        let mut start = 0;
        for (at, item) in self.items.iter().enumerate() {
            let end = start + item.samples as usize;
            if keep(at) {
                body.extend_from_slice(self.item(at));
                kept.items.push(super::Item { end: body.len(), ..*item });
                kept.points.extend_from_slice(&self.points[start..end]);
            }
            start = end;
        }
        kept.body = body.into();
        kept
    }
}

/// What a verdict settles: items that are to be retried are left out.
pub(super) fn settlement(encoded: &Encoded, verdict: &Verdict) -> Settlement {
    let mut settled = Settlement::default();
    if let Verdict::Partly { refused } = *verdict {
        let samples = encoded.samples();
        settled.delivered = samples.saturating_sub(refused);
        settled.rejected.insert(reason::PARTIAL_UNATTRIBUTED, refused.min(samples));
        return settled;
    }
    for (at, item) in encoded.items.iter().enumerate() {
        let fate = match verdict {
            Verdict::All(fate) => *fate,
            Verdict::Each(fates) => fates.get(at).copied().unwrap_or(Fate::Retry),
            Verdict::Partly { .. } | Verdict::TooLarge | Verdict::Spoilt(_) | Verdict::Anew | Verdict::Accepted(_) => {
                Fate::Retry
            }
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
    use crate::pipeline::sender::Item;
    use crate::pipeline::{Ledger, Slice};

    /// A parcel of these items; behind their points, the batch has some that are skipped.
    fn parcel(ledger: &std::sync::Arc<Ledger>, items: &[(&str, u32)], skipped: u64) -> Parcel {
        let mut body = Vec::new();
        let sent: u32 = items.iter().map(|(_, samples)| samples).sum();
        let items: Vec<Item> = items
            .iter()
            .map(|(text, samples)| {
                body.extend_from_slice(text.as_bytes());
                Item { end: body.len(), samples: *samples, mark: 0 }
            })
            .collect();
        let encoded = Encoded {
            body: body.into(),
            items,
            points: (0..sent).collect(),
            skipped: Reasons::from([(reason::NAN, skipped)]),
            ..Encoded::default()
        };
        let scrape = crate::pipeline::sender::tests::scrape(&vec![1.0; sent as usize + skipped as usize]);
        let waiting = ledger.offer(scrape.samples() as u64);
        Parcel::new(encoded, Batch::new(vec![Slice::whole(scrape)], waiting, tokio::time::Instant::now()))
    }

    fn names(batch: &Batch) -> String {
        batch.slices.iter().flat_map(|slice| slice.points()).map(|(_, series)| series.name().to_owned()).collect()
    }

    #[test]
    fn what_is_to_be_retried_is_all_that_is_sent_again() {
        let ledger = Ledger::new("test");
        let parcel = parcel(&ledger, &[("a", 1), ("bb", 2), ("c", 4)], 8);
        let fates = vec![Fate::Delivered, Fate::Retry, Fate::Rejected("mapping")];
        let left = parcel.settle(&Verdict::Each(fates)).unwrap();
        assert_eq!((left.encoded.body.as_ref(), left.encoded.samples()), (&b"bb"[..], 2));
        assert_eq!(names(&left.batch), "bc", "the batch has what is left, and nothing else");
        let counts = ledger.snapshot();
        assert_eq!((counts.settled.delivered, counts.waiting, counts.settled.total()), (1, 2, 13));
        assert!(left.settle(&Verdict::All(Fate::Duplicate("resend"))).is_none());
        let counts = ledger.snapshot();
        assert_eq!((counts.waiting, counts.settled.duplicate["resend"], counts.imbalance()), (0, 2, 0));
    }

    #[test]
    fn a_parcel_that_waits_keeps_what_goes_over_the_wire_and_has_its_items_again() {
        let ledger = Ledger::new("test");
        let mut parcel = parcel(&ledger, &[("a", 1), ("bb", 2), ("c", 4)], 0);
        parcel.rest();
        assert_eq!(&*parcel.encoded.body, b"abbc", "there is nothing to send yet");
        parcel.encoded.compression = Compression::Gzip;
        let sent = parcel.request(crate::pipeline::sender::exchange::compress);
        parcel.rest();
        assert!(parcel.encoded.body.is_empty());
        assert_eq!(parcel.request(|_| panic!("it is made once")).body, sent.body);
        parcel.wake();
        assert_eq!((parcel.encoded.body.as_ref(), parcel.encoded.item(1)), (&b"abbc"[..], &b"bb"[..]));
        parcel.rest();
        let [Work::Parcel(left), Work::Parcel(right)] = parcel.halve(Fate::Rejected(reason::TOO_LARGE)).unwrap() else {
            panic!("items are divided")
        };
        assert_eq!((left.encoded.body.as_ref(), right.encoded.body.as_ref()), (&b"a"[..], &b"bbc"[..]));
        left.batch.drop_all(reason::SHUTDOWN);
        right.batch.drop_all(reason::SHUTDOWN);
    }

    #[test]
    fn a_request_too_large_is_halved_down_to_one_item_and_that_is_rejected() {
        let ledger = Ledger::new("test");
        let [Work::Parcel(left), Work::Parcel(right)] =
            parcel(&ledger, &[("a", 1), ("b", 2), ("c", 4)], 8).halve(Fate::Rejected(reason::TOO_LARGE)).unwrap()
        else {
            panic!("items are divided, not encoded anew")
        };
        assert_eq!((left.encoded.body.as_ref(), right.encoded.body.as_ref()), (&b"a"[..], &b"bc"[..]));
        assert_eq!((names(&left.batch), names(&right.batch)), ("a".into(), "bcdefg".into()));
        assert!(left.halve(Fate::Rejected(reason::TOO_LARGE)).is_none());
        assert!(right.settle(&Verdict::All(Fate::Delivered)).is_none());
        let counts = ledger.snapshot();
        assert_eq!((counts.settled.rejected[reason::TOO_LARGE], counts.settled.delivered), (1, 6));
        assert_eq!((counts.settled.skipped[reason::NAN], counts.waiting, counts.imbalance()), (8, 0, 0));
    }

    #[test]
    fn a_batch_that_cannot_be_divided_keeps_its_numbers() {
        let ledger = Ledger::new("test");
        let scrape = |samples: usize| crate::pipeline::sender::tests::scrape(&vec![1.0; samples]);
        let slices = vec![Slice::of(scrape(2), Vec::new()), Slice::whole(scrape(1))];
        let mut batch = Batch::new(slices, ledger.offer(1), tokio::time::Instant::now()).split().unwrap_err();
        batch.keep(&[2]);
        assert_eq!(batch.samples(), 1);
        batch.drop_all(reason::SHUTDOWN);
    }
}
