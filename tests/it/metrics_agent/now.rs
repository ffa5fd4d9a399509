//! Scrapes on request, without the exporter around them.

use std::sync::Arc;
use std::time::Duration;

use promferry::model::{Labels, Origin};
use promferry::net::credentials::Credentials;
use promferry::scrape::{CONCURRENT_SCRAPES_MAX, ScrapeNow, Targets};
use promferry::target::Target;
use tokio::sync::watch;

use crate::support::fake_target::{Behaviour, FakeTarget, Step, ok};
use crate::support::scraping::target;
use crate::support::world::until;

/// A target of this source.
fn source(source_id: &str, server: &FakeTarget) -> Arc<Target> {
    source_within(source_id, server, Duration::from_secs(30))
}

/// The same with this timeout.
fn source_within(source_id: &str, server: &FakeTarget, timeout: Duration) -> Arc<Target> {
    let target = target(server.address);
    let mut labels = Labels::clone(&target.origin.labels);
    labels.set("source_id", source_id.to_owned());
    let origin = Origin { labels, ..Origin::clone(&target.origin) };
    Arc::new(Target { origin: Arc::new(origin), announced: Some(Labels::default()), timeout, ..target })
}

fn now(targets: &watch::Sender<Targets>, admits: bool) -> Arc<ScrapeNow> {
    let credentials = Arc::new(Credentials::new(Duration::ZERO));
    ScrapeNow::new(targets.subscribe(), credentials, Arc::new(move || admits), Arc::default())
}

#[tokio::test]
async fn who_asks_while_a_scrape_is_under_way_gets_its_outcome() {
    let server = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    let targets = watch::Sender::new(Targets::from([source("a", &server)]));
    let now = now(&targets, true);
    // All of them have asked before the first byte is sent: there is one thread, and nobody waits until then.
    let (one, two, three) = tokio::join!(now.scrape("a"), now.scrape("a"), now.scrape("a"));
    let [one, two, three] = [one, two, three].map(|asked| asked.unwrap().unwrap());
    assert!(Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&two, &three));
    assert_eq!(server.heads().len(), 1);
    assert!(!Arc::ptr_eq(&one, &now.scrape("a").await.unwrap().unwrap()), "the next one scrapes anew");
    assert_eq!((server.heads().len(), server.connections()), (2, 1));
    assert!(now.scrape("b").await.is_none());
    let theirs = Target { announced: None, ..Arc::into_inner(source("b", &server)).unwrap() };
    targets.send_replace(Targets::from([source("a", &server), Arc::new(theirs)]));
    assert!(now.scrape("b").await.is_none(), "only what a job of this machine announced is served");
    assert_eq!(now.failures(), [("a".into(), 0)]);
}

#[tokio::test]
async fn a_changed_target_keeps_its_count_and_one_that_is_gone_is_forgotten() {
    let closed = FakeTarget::start(Step::ThenVanish(Vec::new())).await;
    let server = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    let targets = watch::Sender::new(Targets::from([source("a", &closed)]));
    let now = now(&targets, true);
    assert!(now.scrape("a").await.unwrap().is_err());
    targets.send_replace(Targets::from([source("a", &closed), source("a", &server)]));
    assert!(now.scrape("a").await.unwrap().is_ok(), "of two the last one is scraped");
    assert_eq!(now.failures(), [("a".into(), 1)]);
    targets.send_replace(Targets::from([]));
    assert!(now.scrape("a").await.is_none());
    assert!(now.failures().is_empty());
}

#[tokio::test]
async fn one_scrape_too_many_waits_for_its_timeout_and_fails() {
    let silent = FakeTarget::start(Behaviour::Silent).await;
    let names: Vec<String> = (0..CONCURRENT_SCRAPES_MAX).map(|number| format!("slow-{number}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| source(name, &silent)).collect();
    all.push(source_within("late", &silent, Duration::from_millis(50)));
    let targets = watch::Sender::new(all.into());
    let now = now(&targets, true);
    let slow = names.into_iter().map(|name| {
        let now = now.clone();
        tokio::spawn(async move { now.scrape(&name).await.is_some() })
    });
    let slow: Vec<_> = slow.collect();
    until("all places are taken", async || (silent.connections() == CONCURRENT_SCRAPES_MAX as u64).then_some(())).await;
    let reason = now.scrape("late").await.unwrap().unwrap_err();
    assert_eq!(&*reason, "32 scrapes are under way, and none ended within 50ms");
    assert_eq!(silent.connections(), CONCURRENT_SCRAPES_MAX as u64, "it was not even connected to");
    slow.iter().for_each(|slow| slow.abort());
}

#[tokio::test]
async fn nothing_is_scraped_while_memory_is_short() {
    let server = FakeTarget::start(Step::Answer(ok("a 1\n"))).await;
    let targets = watch::Sender::new(Targets::from([source("a", &server)]));
    let reason = now(&targets, false).scrape("a").await.unwrap().unwrap_err();
    assert_eq!(&*reason, "memory is short, and targets are not scraped until it is not");
    assert_eq!(server.connections(), 0);
}
