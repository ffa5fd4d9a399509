//! What flows through the program: a scrape, the table of series it is about, and its values.
//!
//! Owns the shapes that every stage shares, and nothing that acts. A [`Scrape`] is made once, is immutable, and is shared by
//! `Arc` between all outputs; consecutive scrapes of a target share one [`SeriesSet`], so a scrape costs its values alone.

mod chunk;
mod chunk_builder;
mod histogram;
mod labels;
pub(crate) mod room;
mod scrape;
mod series;

pub(crate) use chunk::part_label;
pub use chunk::{Chunk, SeriesRef};
pub use chunk_builder::ChunkBuilder;
pub(crate) use chunk_builder::{PreparedLabels, label_set_keys};
pub use histogram::{Histogram, Span as HistogramSpan};
pub(crate) use labels::same;
pub use labels::{Labels, METRIC_NAME};
pub use scrape::{
    Created, Exemplar, Origin, Point, Points, PointsBuilder, STALE_NAN, STALE_NAN_BITS, Scrape, Value, Values,
    is_stale, wall_ms,
};
pub use series::{Family, FamilyRef, MetricType, SeriesSet};
