//! Targets that go wrong, beside a healthy one, in the running program.
//!
//! In each case: the healthy target's scrapes go on and all of its samples are at every output; of the other one nothing
//! arrives but that it is down; the ledgers add up at every look; one line says why, however often it failed; and the program
//! has at most 16 MiB more than it had before.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::date_time_ymd;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::bench::{Bench, tls};
use crate::support::bulk_server::BulkServer;
use crate::support::certificates::Ca;
use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};
use crate::support::samples;
use crate::support::world::World;

/// The faulty target's job by default: with the platform's certificates. All of a scrape has 400 ms: enough where nothing hangs, also on
/// a machine that is busy.
const PLATFORM: &str = "scrape_interval: 400ms
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}";
/// The same, for what sends more than it should.
const LIMITED: &str = "scrape_interval: 400ms
    scheme: https
    tls_config: {ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}
    body_size_limit: 1MiB";
const PLAIN: &str = "scrape_interval: 400ms";

/// The faulty target fails three times beside the healthy one, and the one line about it has this sentence; a sentence that
/// ends in `…` may go on.
async fn assert_told_once(world: World, job: &str, address: SocketAddr, sentence: &str) {
    let bench = Bench::start(world, job, BulkServer::start(Vec::new()).await, "").await;
    let folder = bench.world.folder().display().to_string();
    bench.announce(address);
    tokio::join!(bench.until_up_was("0", 3), bench.until_healthy_was_scraped(2));
    let served = bench.promferry.aggregate("everything").await;
    let down = served.iter().filter(|(series, value)| series.name == "up" && *value == "0").count();
    assert_eq!(down, 1, "the aggregate endpoint says that it is down");
    let (ended, lines, search) = bench.finish().await;

    let store = search.store();
    samples::assert_same(&samples::of_bulk(store.requests.iter().map(|request| request.body.as_str())), &lines);
    assert_eq!(store.samples(), ended.count("search", "delivered"));
    let faulty = lines.keys().filter(|(series, _)| series.label("job") == "faulty");
    for (series, _) in faulty {
        assert!(series.name == "up" || series.name.starts_with("scrape_"), "a part of a failed scrape: {series:?}");
    }
    let complaints = ended.log.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    let told = complaints[0].replace(&address.to_string(), "TARGET").replace(&folder, "FOLDER");
    let is_it = match sentence.strip_suffix('…') {
        Some(beginning) => told.starts_with(&format!("target is down: {beginning}")),
        None => told == format!("target is down: {sentence}"),
    };
    assert!(is_it, "{told}");
}

/// A target with the platform's TLS that does this.
async fn target(world: &World, behaviour: impl Into<Behaviour>) -> FakeTarget {
    FakeTarget::start_tls(tls(world), behaviour).await
}

fn well() -> Step {
    Step::Answer(ok("fine 1\n"))
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    let (world, other) = (World::new(), Ca::named("other_ca"));
    let target = FakeTarget::start_tls(other.server(&["127.0.0.1"]).server_config(None), well()).await;
    let sentence = "TLS with TARGET: the server's certificate \"127.0.0.1\" was issued by \"CN=other_ca\", and ca_file \
                    FOLDER/ca.crt holds only \"CN=metric_scraper_ca\"";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_certificate_that_expired() {
    let world = World::new();
    let expired = world.ca.server_with(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2025, 3, 4));
    let target = FakeTarget::start_tls(expired.server_config(None), well()).await;
    let sentence = "TLS with TARGET: the server's certificate \"127.0.0.1\" expired at 2025-03-04T00:00:00Z";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let world = World::new();
    let target = FakeTarget::start_tls(world.ca.server(&["uaa_metrics"]).server_config(None), well()).await;
    let sentence = "TLS with TARGET: the server's certificate is for \"uaa_metrics\", not for \"127.0.0.1\"; set \
                    server_name to a name that it has";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn no_certificate_for_a_server_that_wants_one() {
    let world = World::new();
    let target = target(&world, well()).await;
    let job = "scrape_interval: 400ms
    scheme: https
    tls_config: {ca_file: ca.crt}";
    let sentence =
        "TLS with TARGET: the server wants a client certificate, and none is configured (cert_file, key_file)";
    assert_told_once(world, job, target.address, sentence).await;
}

#[tokio::test]
async fn a_certificate_that_the_server_does_not_trust() {
    let (world, other) = (World::new(), Ca::named("other_ca"));
    let target = FakeTarget::start_tls(world.ca.server(&["127.0.0.1"]).server_config(Some(&other)), well()).await;
    let sentence = "TLS with TARGET: the server does not trust who issued our client certificate \"metric_scraper\": \
                    \"CN=metric_scraper_ca\"";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_hangs_in_connect() {
    // A listener that accepts nobody, with a queue of connections that is full: the system answers no more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    let sentence = "TARGET did not accept a connection within 400ms";
    assert_told_once(World::new(), PLATFORM, address, sentence).await;
}

#[tokio::test]
async fn a_target_that_hangs_in_the_handshake() {
    let world = World::new();
    let target = target(&world, Behaviour::Silent).await;
    let sentence = "TARGET did not finish the TLS handshake within 400ms";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_sends_no_answer() {
    let world = World::new();
    let target = target(&world, Step::ThenHang(Vec::new())).await;
    assert_told_once(world, PLATFORM, target.address, "TARGET sent no answer within 400ms").await;
}

#[tokio::test]
async fn a_target_that_hangs_in_the_header() {
    let world = World::new();
    let target = target(&world, Step::ThenHang(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec())).await;
    let sentence = "TARGET sent only a part of the answer's header within 400ms";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_hangs_in_the_body() {
    let world = World::new();
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nfine 1\nfin".to_vec();
    let target = target(&world, Step::ThenHang(begun)).await;
    let sentence = "TARGET did not finish the body within 400ms; 10 bytes of it came";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_trickles() {
    let world = World::new();
    let target = target(&world, Step::Trickle(ok(&"fine 1\n".repeat(1000)))).await;
    let sentence = "TARGET did not finish the body within 400ms; …";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_announces_a_gigabyte() {
    let world = World::new();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
    let target = target(&world, Step::Endless(head, "fine 1\n".repeat(1000).into_bytes())).await;
    assert_told_once(world, PLATFORM, target.address, "the body of TARGET is larger than 64 MiB").await;
}

#[tokio::test]
async fn a_target_that_sends_without_an_end() {
    let world = World::new();
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    // Long lines: it is the limit that is to be met, and not the timeout.
    let lines = format!("fine{{padding=\"{}\"}} 1\n", "x".repeat(10_000)).repeat(10);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len()).into_bytes();
    let target = target(&world, Step::Endless(head, chunk)).await;
    assert_told_once(world, LIMITED, target.address, "the body of TARGET is larger than 1 MiB").await;
}

#[tokio::test]
async fn a_target_that_sends_one_line_without_an_end() {
    let world = World::new();
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let target = target(&world, Step::Endless(head, vec![b'a'; 7000])).await;
    let job = LIMITED.replace("1MiB", "4MiB");
    let sentence = "line 1 is longer than the 1048576 bytes that a line may have";
    assert_told_once(world, &job, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_sends_new_series_without_an_end() {
    let world = World::new();
    let body: String = (0..200_000).map(|series| format!("series_{series} 1\n")).collect();
    let target = target(&world, Step::Answer(ok(&body))).await;
    let job = format!("{}\n    sample_limit: 1000", LIMITED.replace("1MiB", "4MiB"));
    let sentence = "more than 1000 samples after relabelling (sample_limit)";
    assert_told_once(world, &job, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_sends_more_new_series_than_its_table_may_grow_by() {
    let world = World::new();
    let lines: Vec<String> = (0..200_000).map(|series| format!("series_{series} 1\n")).collect();
    let target = target(&world, Step::Answer(ok(&lines.concat()))).await;
    let job = format!("{}\n    growth_limit: 4MiB", LIMITED.replace("1MiB", "8MiB"));
    // What the target gives to each of its series (instance, job, source_id) is new once.
    let mut grown = 3 * 96;
    let last = lines.iter().position(|line| {
        grown += 320 + line.len() - 1;
        grown > 4 << 20
    });
    let sentence = format!(
        "line {}: the body has more new series, comments, native buckets and lines that come again than a scrape may add (growth_limit, 4194304 bytes of memory)",
        last.unwrap() + 1
    );
    assert_told_once(world, &job, target.address, &sentence).await;
}

#[tokio::test]
async fn a_target_that_sends_a_bomb() {
    let world = World::new();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        gzip.write_all(&b"fine 1\n".repeat(100_000)).unwrap();
    }
    let bomb = answer("200 OK", "content-encoding: gzip\r\n", &gzip.finish().unwrap());
    let target = target(&world, Step::Answer(bomb)).await;
    assert_told_once(world, LIMITED, target.address, "the body of TARGET inflates to more than 1 MiB").await;
}

#[tokio::test]
async fn a_target_that_sends_garbage() {
    let world = World::new();
    let garbage: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let target = target(&world, Step::Answer(answer("200 OK", "content-type: text/plain\r\n", &garbage))).await;
    let sentence = "the body is no exposition: none of its lines is a sample; …";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_sends_a_page() {
    let world = World::new();
    let page = answer("200 OK", "content-type: text/html\r\n", b"<h1>Log in</h1>");
    let target = target(&world, Step::Answer(page)).await;
    let sentence =
        "https://TARGET/metrics answered with an HTML page (text/html), which is no exposition: \"<h1>Log in</h1>\"";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_cuts_its_body_short() {
    let world = World::new();
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nfine 1\nfin".to_vec();
    let target = target(&world, Step::ThenClose(short)).await;
    assert_told_once(world, PLATFORM, target.address, "body of TARGET cut short after 10 bytes").await;
}

#[tokio::test]
async fn a_target_that_closes_in_the_handshake() {
    let world = World::new();
    let target = target(&world, Behaviour::Babble(Vec::new())).await;
    let sentence = "TARGET closed the connection in the TLS handshake; does it speak TLS?";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_closes_at_once() {
    let world = World::new();
    // Whether that is seen as closed or as reset is a matter of moments: it is one cause all the same.
    let target = target(&world, Behaviour::Close).await;
    assert_told_once(world, PLATFORM, target.address, "TARGET …").await;
}

#[tokio::test]
async fn a_target_that_closes_without_an_answer() {
    let world = World::new();
    let target = target(&world, Step::ThenClose(Vec::new())).await;
    assert_told_once(world, PLATFORM, target.address, "TARGET closed the connection without an answer").await;
}

#[tokio::test]
async fn a_target_that_refuses() {
    let world = World::new();
    let target = target(&world, Step::Answer(answer("503 Service Unavailable", "", b"starting"))).await;
    let sentence = "https://TARGET/metrics answered 503 Service Unavailable: \"starting\"";
    assert_told_once(world, PLATFORM, target.address, sentence).await;
}

#[tokio::test]
async fn a_target_that_redirects_in_a_loop() {
    let target = FakeTarget::start(Step::Answer(answer("302 Found", "location: /metrics\r\n", b""))).await;
    let sentence =
        "http://TARGET/metrics redirects to /metrics, which is not followed: these were 10 redirects already";
    assert_told_once(World::new(), PLAIN, target.address, sentence).await;
    // The last scrape may be given up on its way.
    assert!(target.heads().len() >= 11, "ten are followed");
}

#[tokio::test]
async fn a_target_that_redirects_to_another_host_gets_nothing_of_ours_there() {
    let world = World::new();
    let elsewhere = FakeTarget::start(Step::Answer(answer("401 Unauthorized", "", b"who are you?"))).await;
    let location = format!("location: http://{}/other\r\n", elsewhere.address);
    let target = FakeTarget::start(Step::Answer(answer("307 Temporary Redirect", &location, b""))).await;
    let job = format!(
        "{PLAIN}\n    authorization: {{credentials: hidden}}\n    http_headers: {{X-Key: {{values: [hidden]}}}}"
    );
    let sentence = format!("http://{}/other …", elsewhere.address);
    assert_told_once(world, &job, target.address, &sentence).await;
    assert!(target.heads().iter().all(|head| head.contains("authorization: Bearer hidden")));
    let heads = elsewhere.heads();
    assert!(heads.len() >= 3 && heads.iter().all(|head| !head.contains("hidden")), "{heads:?}");
}

#[tokio::test]
async fn a_target_that_redirects_out_of_tls() {
    let world = World::new();
    let elsewhere = FakeTarget::start(well()).await;
    let location = format!("location: http://{}/metrics\r\n", elsewhere.address);
    let target = target(&world, Step::Answer(answer("302 Found", &location, b""))).await;
    let sentence = format!(
        "https://TARGET/metrics redirects to http://{}/metrics, which is not followed: it leads from https to http",
        elsewhere.address
    );
    assert_told_once(world, PLATFORM, target.address, &sentence).await;
    assert_eq!(elsewhere.connections(), 0);
}
