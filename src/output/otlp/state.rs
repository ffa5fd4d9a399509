//! What is remembered from one request to the next: since when series count, and, where differences are sent, their last values.

use super::encode::Temporality;
use super::plan::is_counted;
use crate::model::Value;
use crate::output::cumulative::{Cumulative, key_in_target};
use crate::pipeline::Batch;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct State(pub(super) Cumulative);

/// Advances the state by the points of a batch with these numbers, which are settled.
pub(super) fn settle(state: &mut Cumulative, temporality: Temporality, batch: &Batch, numbers: &[u32]) {
    let is_delta = temporality == Temporality::Delta;
    for (scrape, point, series) in batch.points_at(numbers) {
        if point.value.is_stale() || !is_counted(series, is_delta) {
            continue;
        }
        let value = match point.value {
            Value::Float(value) => value,
            Value::Histogram(histogram) => histogram.count,
        };
        if value.is_nan() || (is_delta && value.is_infinite()) {
            continue;
        }
        let (key, at_ms) = (key_in_target(scrape, &series), scrape.time_ms(&point));
        // What is noted is settled before what was sent with it, and may be later.
        if !is_delta || state.ahead().last_ms(key).is_none_or(|last_ms| last_ms <= at_ms) {
            state.advance(key, value, at_ms);
        }
    }
}
