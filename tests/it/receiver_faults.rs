//! An Elasticsearch that goes wrong, for the running program.
//!
//! In each case: scrapes go on, the aggregate endpoint and the file have every sample; the ledgers add up at every look, and in
//! the end this output's says exactly what the receiver counted; one line says why, however often it failed; and the program
//! has at most 16 MiB more than it had before. How each answer is understood is `elasticsearch_faults`' matter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::bench::Bench;
use crate::support::bulk_server::{Act, BulkServer, Request, Step, Store, answer, step, well};
use crate::support::world::{Ended, World, until};

/// Requests that go wrong; all is well after them.
const FAULTS: usize = 3;

/// What one case came to.
struct Outcome {
    ended: Ended,
    /// Samples that the receiver has.
    stored: u64,
    /// What was complained of, without addresses.
    complaints: Vec<String>,
}

impl Outcome {
    fn count(&self, field: &str) -> u64 {
        self.ended.count("search", field)
    }

    fn reasons(&self) -> BTreeMap<String, u64> {
        let drained = self.ended.log.of("drained").into_iter().find(|line| line["output"] == "search").unwrap();
        let reasons = drained["reasons"].as_str().unwrap().split(", ").filter_map(|one| one.rsplit_once(' '));
        reasons.map(|(reason, samples)| (reason.to_owned(), samples.parse().unwrap())).collect()
    }

    /// In the end the receiver has all of it, and one line said what was wrong in the meantime.
    fn assert_recovered(&self, sentence: &str) {
        let told = format!("output cannot deliver; samples wait and are sent again: {sentence}");
        assert_eq!(self.complaints, [told]);
        assert_eq!(self.ended.log.of("output delivers again").len(), 1);
        assert_eq!(self.stored, self.count("offered"));
        assert_eq!(self.stored, self.count("delivered") + self.count("duplicate"));
        assert!(self.reasons().keys().all(|reason| reason == "duplicate resend"), "{:?}", self.reasons());
    }
}

/// So many requests are answered by `fault`, once the program has found its pace; all others well.
async fn run(faults: usize, fault: impl Fn(&mut Store, &Request) -> Act + Clone + Send + 'static) -> Outcome {
    let left = Arc::new(AtomicUsize::new(0));
    let act = || {
        let (left, fault) = (left.clone(), fault.clone());
        step(move |store, request| {
            let is_wrong = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if is_wrong { fault(store, request) } else { well(store, request) }
        })
    };
    let script: Vec<Step> = (0..1000).map(|_| act()).collect();
    let search = BulkServer::start(script).await;
    let address = search.address.to_string();
    let bench = Bench::start(World::new(), "scrape_interval: 1s", search, ", timeout: 1s").await;
    left.store(faults, Ordering::SeqCst);
    let requests = || bench.search.store().requests.len();
    let before = requests();
    until("the receiver goes wrong, and takes what comes after that", async || {
        bench.promferry.outputs().await;
        (requests() >= before + faults + 2).then_some(())
    })
    .await;
    bench.until_healthy_was_scraped(2).await;
    let (ended, lines, search) = bench.finish().await;
    assert_eq!(ended.count("search", "offered"), lines.len() as u64);
    let stored = search.store().samples();
    let complaints = ended.log.complaints().into_iter().map(|told| told.replace(&address, "SERVER")).collect();
    Outcome { ended, stored, complaints }
}

/// The server stores everything, and then does something else than saying so.
fn stores(
    act: impl Fn(Vec<u8>) -> Act + Clone + Send + 'static,
) -> impl Fn(&mut Store, &Request) -> Act + Clone + Send + 'static {
    move |store, request| {
        let said = store.bulk(request, |_| None).to_string();
        act(answer(200, "", &said))
    }
}

#[tokio::test]
async fn a_busy_receiver() {
    let busy = r#"{"error":{"reason":"rejected execution of coordinating operation"}}"#;
    let outcome = run(FAULTS, move |_, _| Act::Answer(answer(429, "", busy))).await;
    outcome.assert_recovered("http://SERVER/: is busy (429): rejected execution of coordinating operation");
}

#[tokio::test]
async fn an_unavailable_receiver() {
    let outcome = run(FAULTS, |_, _| Act::Answer(answer(503, "", "no master"))).await;
    outcome.assert_recovered("http://SERVER/: cannot take requests now (503): no master");
}

#[tokio::test]
async fn a_receiver_that_takes_only_small_requests() {
    let limited = |store: &mut Store, request: &Request| match request.body.len() > 3000 {
        true => Act::Answer(answer(413, "", "")),
        false => well(store, request),
    };
    let outcome = run(10, limited).await;
    assert_eq!((outcome.stored, outcome.count("delivered")), (outcome.count("offered"), outcome.count("offered")));
    assert_eq!(outcome.complaints, [""; 0], "a matter of course");
}

#[tokio::test]
async fn a_receiver_that_takes_no_request() {
    let outcome = run(10, |_, _| Act::Answer(answer(413, "", ""))).await;
    let lost = outcome.count("rejected");
    assert!(lost > 0);
    assert_eq!(outcome.reasons(), BTreeMap::from([("rejected too_large".to_owned(), lost)]));
    assert_eq!(outcome.stored, outcome.count("offered") - lost);
    let sentence = "http://SERVER/: refuses a request of this size; see its http.max_content_length (413)";
    assert_eq!(outcome.complaints, [format!("samples rejected: {sentence}")]);
}

#[tokio::test]
async fn a_receiver_that_is_too_busy_for_some_documents() {
    let some =
        |at: usize| at.is_multiple_of(3).then_some((429, "es_rejected_execution_exception", "rejected execution"));
    let busy = move |store: &mut Store, request: &Request| {
        Act::Answer(answer(200, "", &store.bulk(request, some).to_string()))
    };
    let outcome = run(FAULTS, busy).await;
    assert_eq!(outcome.complaints.len(), 1, "{:?}", outcome.complaints);
    let documents = outcome.complaints[0].split("http://SERVER/: ").nth(1).unwrap();
    let counts = documents.split(" documents").next().unwrap();
    outcome.assert_recovered(&format!(
        "http://SERVER/: {counts} documents: the receiver is busy; they are sent again (429 \
         es_rejected_execution_exception: rejected execution)"
    ));
}

#[tokio::test]
async fn a_receiver_that_refuses_some_documents() {
    let some =
        |at: usize| (at == 0).then_some((400, "document_parsing_exception", "failed to parse field [metrics.up]"));
    let refuse = move |store: &mut Store, request: &Request| {
        Act::Answer(answer(200, "", &store.bulk(request, some).to_string()))
    };
    let outcome = run(FAULTS, refuse).await;
    let lost = outcome.count("rejected");
    assert!(lost >= FAULTS as u64);
    assert_eq!(outcome.reasons(), BTreeMap::from([("rejected mapping".to_owned(), lost)]));
    assert_eq!((outcome.stored, outcome.count("delivered")), (outcome.count("offered") - lost, outcome.stored));
    let [told] = outcome.complaints.as_slice() else { panic!("{:?}", outcome.complaints) };
    assert!(told.starts_with("samples rejected: http://SERVER/: 1 of "), "{told}");
    let ends = "documents: a value does not fit the mapping of its field; correct the index template and roll over (400 \
                document_parsing_exception: failed to parse field [metrics.up])";
    assert!(told.ends_with(ends), "{told}");
}

#[tokio::test]
async fn a_receiver_that_closes() {
    let outcome = run(FAULTS, |_, _| Act::Close(Vec::new())).await;
    outcome.assert_recovered("http://SERVER/: SERVER closed the connection without an answer");
}

#[tokio::test]
async fn a_receiver_that_hangs() {
    let outcome = run(1, |_, _| Act::Hang).await;
    outcome.assert_recovered("http://SERVER/: SERVER sent no answer within 1s");
}

#[tokio::test]
async fn a_receiver_that_promises_a_longer_answer_than_it_gives() {
    let lie = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        Act::Close(text.replace("content-length: ", "content-length: 9").into_bytes())
    };
    let outcome = run(FAULTS, stores(lie)).await;
    let [told] = outcome.complaints.as_slice() else { panic!("{:?}", outcome.complaints) };
    let bytes = told.rsplit("cut short after ").next().unwrap();
    outcome.assert_recovered(&format!("http://SERVER/: body of SERVER cut short after {bytes}"));
    assert!(outcome.count("duplicate") > 0, "what was stored is not counted as delivered twice");
}

#[tokio::test]
async fn a_receiver_that_gives_a_longer_answer_than_it_promises() {
    let lie = |bytes: Vec<u8>| {
        let body = bytes.len() - memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() - 4;
        let text = String::from_utf8(bytes).unwrap();
        Act::Close(text.replace(&format!("content-length: {body}"), "content-length: 40").into_bytes())
    };
    let outcome = run(FAULTS, stores(lie)).await;
    let [told] = outcome.complaints.as_slice() else { panic!("{:?}", outcome.complaints) };
    assert!(
        told.contains("http://SERVER/: gives an answer that is not JSON; is this Elasticsearch? (200): "),
        "{told}"
    );
    assert_eq!(outcome.stored, outcome.count("offered"));
    assert_eq!(outcome.stored, outcome.count("delivered") + outcome.count("duplicate"));
}

#[tokio::test]
async fn a_receiver_that_answers_without_an_end() {
    let endless = |_: &mut Store, _: &Request| {
        // No length is announced: it shows only when it comes.
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(answer.len() + (20 << 20), b' ');
        Act::Close(answer)
    };
    let outcome = run(1, endless).await;
    outcome.assert_recovered("http://SERVER/: the body of SERVER is larger than 8 MiB");
}
