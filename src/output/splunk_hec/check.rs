//! Tries a collector for real: `promferry check --connect`.
//!
//! One event with the metric `promferry.check` goes to each index that is configured, through each URL. Where
//! acknowledgements are wanted, several go on connections of their own, and each is waited for on yet another one: a balancer
//! that does not lead back shows by numbers that repeat, or that nobody acknowledges.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::answer::Route;
use super::{HEALTH_PATH, SplunkHec, answer, classify, unhealthy};
use crate::config::checked::{self, Template};
use crate::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet, wall_ms};
use crate::net::credentials::Credentials;
use crate::net::host::machine_name;
use crate::net::text::duration;
use crate::output::http::all_well;
use crate::pipeline::{Fate, Output, Receipt, Request, Slice, Verdict};

/// The metric that is sent.
const METRIC: &str = "promferry.check";

/// Requests whose acknowledgements are waited for.
const ACKNOWLEDGED: usize = 3;

/// How long one acknowledgement is waited for, and how long between two questions.
const ACK_TIME_MAX: Duration = Duration::from_secs(10);
const ACK_POLL: Duration = Duration::from_millis(500);

/// Tries each URL and index.
///
/// # Errors
/// One sentence for each that does not work.
pub async fn check(settings: &checked::SplunkHec, credentials: &Credentials) -> Result<(), String> {
    let output = SplunkHec::new(settings, credentials);
    let mut complaints = Vec::new();
    for (at, url) in output.urls().iter().enumerate() {
        if let Err(complaint) = check_url(settings, credentials, at).await {
            complaints.push(format!("{url}: {complaint}"));
        }
    }
    all_well(&complaints)
}

async fn check_url(settings: &checked::SplunkHec, credentials: &Credentials, url: usize) -> Result<(), String> {
    let output = SplunkHec::new(settings, credentials);
    let request =
        Request { path_and_query: HEALTH_PATH.to_owned(), headers: Default::default(), body: Default::default() };
    let health = output.receivers.send(url, Method::GET, request).await.map_err(|failure| failure.message)?;
    if let Some(complaint) = unhealthy(&health) {
        return Err(complaint);
    }
    for index in indexes(settings)? {
        let probe =
            SplunkHec::new(&checked::SplunkHec { index, allowed_indexes: Vec::new(), ..settings.clone() }, credentials);
        send(&probe, url).await?;
    }
    match settings.ack_timeout {
        Some(_) => check_acks(settings, credentials, url).await,
        None => Ok(()),
    }
}

/// Each index that events may go to.
fn indexes(settings: &checked::SplunkHec) -> Result<Vec<Template>, String> {
    match settings.index.fixed() {
        Some(_) => Ok(vec![settings.index.clone()]),
        None => settings.allowed_indexes.iter().map(|name| Template::new(name)).collect(),
    }
}

/// Sends one event. Gives the receipt, where acknowledgements are wanted.
async fn send(output: &SplunkHec, url: usize) -> Result<Option<Receipt>, String> {
    let encoded = output.encoder.encode(&mut Default::default(), &[Slice::whole(event())]);
    let request = Request {
        path_and_query: encoded.path_and_query.clone(),
        headers: encoded.headers.clone(),
        body: encoded.body.clone(),
    };
    let answer = output.send(url, request).await.map_err(|failure| failure.message)?;
    let judgement = classify::classify(&output.encoder.layout, output.acks.is_some(), &encoded, &answer);
    match (judgement.verdict, judgement.problem) {
        (Verdict::All(Fate::Delivered), _) => Ok(None),
        (Verdict::Accepted(receipt), _) => Ok(Some(receipt)),
        (_, Some((_, sentence))) => Err(sentence),
        (_, None) => Err(format!("does not take an event ({})", answer::words(&answer))),
    }
}

async fn check_acks(settings: &checked::SplunkHec, credentials: &Credentials, url: usize) -> Result<(), String> {
    // Several connections, one channel.
    let channel = crate::random::guid();
    let connect = || {
        let index = indexes(settings)?.pop().unwrap_or_default();
        let settings = checked::SplunkHec { index, allowed_indexes: Vec::new(), ..settings.clone() };
        Ok::<_, String>(SplunkHec { channel: channel.clone(), ..SplunkHec::new(&settings, credentials) })
    };
    let mut receipts: Vec<Receipt> = Vec::new();
    for _ in 0..ACKNOWLEDGED {
        receipts.extend(send(&connect()?, url).await?);
    }
    let is_repeated = (1..receipts.len()).any(|at| receipts[..at].contains(&receipts[at]));
    if is_repeated {
        return Err(format!("{} (one acknowledgement number was given to two requests)", NOT_STICKY));
    }
    let deadline = Instant::now() + ACK_TIME_MAX;
    let mut missing = 0;
    for receipt in &receipts {
        if !acknowledged(&connect()?, url, receipt, deadline).await? {
            missing += 1;
        }
    }
    let (all, time_max) = (receipts.len(), duration(ACK_TIME_MAX));
    match missing {
        0 => Ok(()),
        _ if missing == all => Err(format!(
            "took {all} events and acknowledged none within {time_max}: indexing is slow or stands still, or {NOT_STICKY}"
        )),
        _ => Err(format!("{NOT_STICKY} (of {all} events, {missing} were not acknowledged within {time_max})")),
    }
}

const NOT_STICKY: &str = "a balancer leads to several indexers and not back to the one that took a request; \
                          acknowledgements need a balancer with cookies, or the indexers' own addresses in urls";

async fn acknowledged(output: &SplunkHec, url: usize, receipt: &Receipt, deadline: Instant) -> Result<bool, String> {
    loop {
        let answers =
            output.ask(url, &[receipt.number], Route::of(&receipt.route)).await.map_err(|failure| failure.message)?;
        if answers == [true] {
            return Ok(true);
        }
        if Instant::now() + ACK_POLL > deadline {
            return Ok(false);
        }
        tokio::time::sleep(ACK_POLL).await;
    }
}

/// A scrape with the one sample.
fn event() -> Arc<Scrape> {
    let labels = Labels::from_iter([("instance", machine_name())]).into_owned();
    let mut chunk = ChunkBuilder::default();
    let family = chunk.family(Family { name: METRIC, kind: MetricType::Gauge, ..Family::default() });
    chunk.push(family, METRIC, labels.iter());
    let mut points = PointsBuilder::default();
    points.push_float(0, 1.0, None);
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 0, labels, url: String::new() }),
        at_ms: wall_ms(),
        series: Arc::new(SeriesSet::new(vec![chunk.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: true,
    })
}
