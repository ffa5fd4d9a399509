//! Targets that a reload changes or takes away, in a running manager: which series end, and that each end is told.

use std::sync::Arc;
use std::time::Duration;

use promferry::model::{Labels, Scrape};
use promferry::net::credentials::Credentials;
use promferry::scrape::{Emit, Manager};
use promferry::target::Target;
use tokio::sync::mpsc;

use crate::support::fake_target::{FakeTarget, Step, ok};
use crate::support::scraping::{configured, target};

const WAIT_MAX: Duration = Duration::from_secs(30);

struct Run {
    manager: Manager,
    scrapes: mpsc::UnboundedReceiver<Arc<Scrape>>,
}

impl Run {
    fn new() -> Self {
        let (sender, scrapes) = mpsc::unbounded_channel();
        let emit: Emit = Arc::new(move |scrape| sender.send(scrape).expect("the test listens"));
        Self { manager: Manager::new(emit, Arc::new(|| true), Arc::new(Credentials::default()), "vm"), scrapes }
    }

    async fn apply(&mut self, targets: Vec<Target>) {
        let quick = |target| Arc::new(Target { interval: Duration::from_millis(20), timeout: WAIT_MAX, ..target });
        self.manager.apply(&targets.into_iter().map(quick).collect::<Vec<_>>()).await;
    }

    /// Waits for a scrape.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Scrape) -> bool) -> Arc<Scrape> {
        let look = async {
            loop {
                let scrape = self.scrapes.recv().await.expect("the manager lives");
                if is_it(&scrape) {
                    return scrape;
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, look).await.unwrap_or_else(|_| panic!("it did not come: {what}"))
    }
}

fn has(scrape: &Scrape, name: &str) -> bool {
    scrape.points.iter().any(|point| scrape.series.get(point.series).name() == name)
}

/// The series that end with a scrape, without the `instance` that has a random port.
fn ended(scrape: &Scrape) -> Vec<String> {
    let stale = scrape.points.iter().filter(|point| point.value.is_stale());
    let text = |point: promferry::model::Point<'_>| {
        let series = scrape.series.get(point.series);
        let labels: Labels = series.labels().filter(|(_, value)| !value.starts_with("127.")).collect();
        format!("{}{labels}", series.name())
    };
    stale.map(text).collect()
}

fn is_ending(scrape: &Scrape) -> bool {
    !ended(scrape).is_empty()
}

#[tokio::test]
async fn a_reload_ends_the_series_whose_labels_it_changes_and_no_others() {
    let exporter = FakeTarget::start(Step::Answer(ok("a{instance=\"own\"} 1\nb 2\n"))).await;
    let mut run = Run::new();
    run.apply(vec![target(exporter.address)]).await;
    run.until("a first scrape", |scrape| has(scrape, "a")).await;

    run.apply(vec![configured(target(exporter.address), |config| config.honor_labels = true)]).await;
    let ending = run.until("an end", is_ending).await;
    assert_eq!(ended(&ending), ["a{exported_instance=\"own\",job=\"test\"}"]);
    let next = run.until("the next scrape", |_| true).await;
    assert!(has(&next, "a") && has(&next, "up") && !is_ending(&next));
    assert_eq!(next.at_ms, ending.at_ms);
    run.manager.shutdown().await;
}

#[tokio::test]
async fn the_targets_own_series_end_too_where_a_reload_changes_their_labels() {
    let exporter = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    let mut run = Run::new();
    run.apply(vec![target(exporter.address)]).await;
    run.until("a first scrape", |scrape| has(scrape, "a")).await;

    let renamed = configured(target(exporter.address), |config| config.external_labels.set("deployment", "cf"));
    run.apply(vec![renamed]).await;
    let ending = run.until("an end", is_ending).await;
    let labels = "{job=\"test\"}";
    let own = [
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    ];
    let expected: Vec<String> = ["a"].into_iter().chain(own).map(|name| format!("{name}{labels}")).collect();
    assert_eq!(ended(&ending), expected);
    run.manager.shutdown().await;
}

#[tokio::test]
async fn a_target_without_series_says_that_it_is_gone() {
    let exporter = FakeTarget::start(Step::ThenClose(Vec::new())).await;
    let mut run = Run::new();
    run.apply(vec![configured(target(exporter.address), |config| config.scrape_metrics = false)]).await;
    run.until("a failed scrape", |_| true).await;
    run.apply(Vec::new()).await;
    let last = run.until("the last scrape", |scrape| scrape.is_last).await;
    assert_eq!(last.samples(), 0);
    run.manager.shutdown().await;
}
