//! Scrapes of several targets as one exposition.
//!
//! An [`Index`] says how one target's series stand in it, a [`Plan`] what one exposition holds, and [`Pieces`] are its text.
//!
//! Promises
//! - One valid exposition: each family once, HELP and TYPE once, no series twice; `# EOF` in OpenMetrics.
//! - The text is never in memory as a whole.
//!
//! Left out on purpose: native histograms, which neither text format can say.

mod index;
mod pieces;
mod plan;

pub use index::Index;
pub use pieces::{Outcome, Pieces, Style, Timestamps};
pub use plan::{Plan, TypeClashes};
