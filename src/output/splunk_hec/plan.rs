//! What is known of a target's events before any value is: which series share one, and all of its text but time and values.

use super::layout::{Dimensions, Layout};
use crate::model::{Origin, SeriesRef};
use crate::output::json::{Outline, Slot, Tag};

/// Metrics of one event, at most: an event that is refused costs no more.
const EVENT_METRICS_MAX: u32 = 256;

/// The events of one target's series. Keys are `"metric_name:NAME":`, or what stands for it in the single form; the text of a
/// group is what stands between an event's time and its dimensions.
pub(super) type Plan = Outline<Own>;

/// What is known of a group's events besides their text.
pub(super) struct Own {
    /// How many metrics they have.
    metrics: u32,
    /// Of a first group: how many copies there are of it. Only the youngest has room.
    copies: u32,
    /// The number of the index that they go to.
    pub index: u32,
}

/// Adds the next series to a plan. `dimensions` is memory that is used again.
pub(super) fn add<'a>(
    plan: &mut Plan,
    series: SeriesRef<'a>,
    origin: &Origin,
    layout: &Layout,
    dimensions: &mut Dimensions<'a>,
) {
    let index = match layout.index_number(series, origin) {
        Ok(index) => index,
        Err(reason) => return plan.refuse(reason),
    };
    layout.dimensions(series, dimensions);
    let key = plan.intern(|out| layout.key(out, series.name()));
    let text = plan.intern(|out| layout.envelope(out, series, origin, index));
    plan.read_labels(dimensions.iter().map(|(name, value)| (&**name, *value)));
    let group_like =
        |plan: &mut Plan, copy| plan.group_like(Tag { text, copy, part: 0 }, |_| Own { metrics: 0, copies: 0, index });
    let first = group_like(plan, 0);
    let mut group = match plan.group(first).own.copies {
        0 => first,
        youngest => group_like(plan, youngest),
    };
    if plan.group(group).own.metrics == EVENT_METRICS_MAX || !plan.take(Slot { group, key }) {
        plan.own(first).copies += 1;
        group = group_like(plan, plan.group(first).own.copies);
        plan.take(Slot { group, key });
    }
    plan.own(group).metrics += 1;
}
