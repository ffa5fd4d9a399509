//! From a target to its scrapes: one task a target, one kept-alive connection, one predicting table.
//!
//! Owns when a target is scraped, what makes a scrape fail, and what is said about it. Leaves out where targets come from and
//! where scrapes go: a list comes in, [`Emit`] takes them out.

mod accept;
mod admit;
pub mod client;
mod history;
mod manager;
mod now;
mod probe;
mod redirect;
mod run;
mod schedule;
mod status;

pub use history::{HISTORY_MAX, Mark};
pub use manager::{Admit, Emit, Manager, Scrapes};
pub use now::{CONCURRENT_SCRAPES_MAX, ScrapeNow, Targets};
pub use probe::{Found, Probe, probe};
pub use run::Fault;
pub use schedule::{Schedule, Tick};
pub use status::{Health, Status, Totals, Watched};
