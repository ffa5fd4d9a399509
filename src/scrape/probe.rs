//! One scrape, for a person to look at: what it went through, and what came.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Head};
use super::run::{Fault, read, table};
use crate::exposition::{Counts, Parsed};
use crate::net::credentials::Credentials;
use crate::net::trace::{Trace, Traced};
use crate::target::Target;

/// One scrape that nobody gets.
#[derive(Debug)]
pub struct Probe {
    /// What came, or why nothing did.
    pub outcome: Result<Found, Fault>,
    /// What it went through, up to where it failed.
    pub trace: Traced,
    /// How long it took.
    pub duration: Duration,
}

/// What a scrape found.
#[derive(Debug)]
pub struct Found {
    /// What the target answered.
    pub head: Head,
    /// What its body was made of.
    pub counts: Counts,
    /// Its samples, after relabelling.
    pub parsed: Parsed,
}

/// Scrapes a target once, and hands nothing on.
pub async fn probe(target: &Arc<Target>, credentials: &Credentials) -> Probe {
    let trace = Arc::new(Trace::default());
    let began = Instant::now();
    let (mut client, mut table) = (Client::traced(target.clone(), credentials, trace.clone()), table(target));
    table.begin(0);
    let read = read(target, &mut client, &mut table, began + target.timeout).await;
    let duration = began.elapsed();
    // Where it is over already, this changes nothing.
    trace.end(false);
    let outcome = read.map(|(head, counts)| {
        table.accept();
        Found { head, counts, parsed: table.take() }
    });
    Probe { outcome, trace: trace.traced(), duration }
}
