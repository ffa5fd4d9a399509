//! OpenMetrics text 1.0.0, and 0.0.1.
//!
//! [`parse_line`] and [`parse_all`] read it as a scrape does: leniently, a line at a time.

pub(super) mod line;

pub use line::parse_line;
