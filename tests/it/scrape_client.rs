//! One scrape's request, against targets that behave and targets that do not. Each failure is asserted as the operator
//! reads it.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use promferry::config::checked::Auth;
use promferry::net::credentials::Secret;
use promferry::net::error::Stage;
use promferry::net::tls::TlsSettings;
use promferry::scrape::client::ScrapeError;
use promferry::target::{Header, Target};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::certificates::{Ca, write};
use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};
use crate::support::scraping::{client, configured, failure, scrape, scrape_within, target, tls_target};

const BODY: &str = "up_since 1\n";
/// What Prometheus 3 sends where nothing is configured.
const DEFAULT_ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// Long enough for whatever is to happen before a target falls silent.
const SHORT: Duration = Duration::from_millis(300);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The sentence with which a scrape of 300 ms fails, and its stable word.
async fn late(target: Target) -> (String, &'static str) {
    let error = scrape_within(&mut client(Target { timeout: SHORT, ..target }), SHORT).await.unwrap_err();
    (error.to_string(), error.kind())
}

#[tokio::test]
async fn one_connection_serves_scrape_after_scrape() {
    let server = FakeTarget::start(Step::Answer(ok(BODY))).await;
    let mut client = client(target(server.address));
    for is_reused in [false, true, true] {
        let (head, body) = scrape_within(&mut client, Duration::from_secs(30)).await.unwrap();
        assert_eq!((head.is_reused, body.as_str()), (is_reused, BODY));
        assert_eq!(head.content_type.as_deref(), Some("text/plain; version=0.0.4"));
        assert_eq!(head.received.wire_bytes, 11);
    }
    assert_eq!((server.connections(), server.heads().len()), (1, 3));
}

#[tokio::test]
async fn the_request_says_what_prometheus_says() {
    let server = FakeTarget::start(Step::Answer(ok(BODY))).await;
    let mut client = client(Target { path_and_query: "/m?id=1".into(), timeout: SHORT, ..target(server.address) });
    scrape(&mut client).await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    // On loopback nothing is to be gained from compression: it is not asked for.
    assert_eq!(
        server.heads(),
        [format!(
            "GET /m?id=1 HTTP/1.1\r\nuser-agent: promferry/{version}\r\naccept: {DEFAULT_ACCEPT}\r\n\
             x-prometheus-scrape-timeout-seconds: 0.3\r\nhost: {}\r\n\r\n",
            server.address
        )]
    );
}

#[tokio::test]
async fn credentials_come_from_files_that_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeTarget::start(Step::Answer(ok(BODY))).await;
    let password = Secret::File(write(folder.path(), "password", " first\n"));
    let mut client = client(configured(target(server.address), |config| {
        config.auth = Auth::Basic { username: "me".into(), password };
        config.http_headers = vec![("x-scope".into(), Secret::Inline("tenant".into()))];
    }));
    scrape(&mut client).await.unwrap();
    write(folder.path(), "password", "second");
    scrape(&mut client).await.unwrap();
    let heads = server.heads();
    // "me:first" and "me:second".
    assert!(heads[0].contains("authorization: Basic bWU6Zmlyc3Q=\r\nx-scope: tenant\r\n"), "{}", heads[0]);
    assert!(heads[1].contains("authorization: Basic bWU6c2Vjb25k\r\n"), "{}", heads[1]);
}

#[tokio::test]
async fn headers_of_a_file_cannot_break_the_request() {
    let server = FakeTarget::start(Step::Answer(ok(BODY))).await;
    let with = |name: &str, value: &str| Target {
        headers: vec![Header { name: name.into(), value: value.into() }],
        ..target(server.address)
    };
    for name in ["Host", "content-length", "Transfer-Encoding", "connection"] {
        assert_eq!(
            failure(with(name, "x")).await,
            format!("the header \"{name}\" cannot be sent: it belongs to the connection")
        );
    }
    assert_eq!(
        failure(with("x-a", "1\r\nhost: other")).await,
        "the header \"x-a\" cannot be sent: its value holds a line break or another control character"
    );
    assert_eq!(
        failure(with("x a\n", "1")).await,
        "the header \"x a\\n\" cannot be sent: its name is not a header's name"
    );
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_target_that_is_late_says_how_far_it_came() {
    let silent = FakeTarget::start(Behaviour::Silent).await;
    let address = silent.address;
    let expected = (format!("{address} sent no answer within 300ms"), "timeout");
    assert_eq!(late(target(address)).await, expected);
    let tls = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    let expected = (format!("{address} did not finish the TLS handshake within 300ms"), "timeout");
    assert_eq!(late(tls_target(address, tls)).await, expected);

    let server = FakeTarget::start(Step::ThenHang(b"HTTP/1.1 200 OK\r\ncontent-".to_vec())).await;
    let expected = (format!("{} sent only a part of the answer's header within 300ms", server.address), "timeout");
    assert_eq!(late(target(server.address)).await, expected);

    let mut half = ok(BODY);
    half.truncate(half.len() - 4);
    let server = FakeTarget::start(Step::ThenHang(half)).await;
    let expected = format!("{} did not finish the body within 300ms; 7 bytes of it came", server.address);
    assert_eq!(late(target(server.address)).await, (expected, "timeout"));
}

#[tokio::test]
async fn a_target_that_trickles_is_cut_off_at_the_timeout() {
    let server = FakeTarget::start(Step::Trickle(ok(&BODY.repeat(1000)))).await;
    let (sentence, kind) = late(target(server.address)).await;
    let expected = format!("{} did not finish the body within 300ms; ", server.address);
    assert!(sentence.starts_with(&expected) && sentence.ends_with(" of it came"), "{sentence}");
    assert_eq!(kind, "timeout");
}

/// A listener that never accepts, and whose backlog is full: the kernel drops what knocks.
#[tokio::test]
async fn a_target_that_does_not_accept_is_late_in_connecting() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream);
        assert!(waiting.len() < 16, "the backlog has an end");
    }
    let expected = format!("{address} did not accept a connection within 300ms");
    assert_eq!(late(target(address)).await, (expected, "timeout"));
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(failure(target(address)).await, format!("nothing listens on {address} (connection refused)"));
    let nowhere = Target { host: "nowhere.invalid".into(), port: 9100, ..target(address) };
    let error = scrape_within(&mut client(nowhere), Duration::from_secs(30)).await.unwrap_err();
    // The words after it are the resolver's.
    assert!(error.to_string().starts_with("the name of nowhere.invalid:9100 cannot be resolved: "), "{error}");
    assert!(matches!(error, ScrapeError::Net(net) if net.stage == Stage::Resolve && net.kind() == "resolve"));
}

#[tokio::test]
async fn a_target_that_hangs_up_is_told_by_when() {
    let server = FakeTarget::start(Behaviour::Close).await;
    let sentence = failure(target(server.address)).await;
    // Whether the request was still being sent is the network's timing.
    let without = |verb| format!("{} {verb} the connection without an answer", server.address);
    assert!([without("closed"), without("reset")].contains(&sentence), "{sentence}");

    let server = FakeTarget::start(Step::ThenClose(Vec::new())).await;
    let expected = format!("{} closed the connection without an answer", server.address);
    assert_eq!(failure(target(server.address)).await, expected);

    let server = FakeTarget::start(Step::ThenClose(b"HTTP/1.1 200 OK\r\n".to_vec())).await;
    let expected = format!("{} closed the connection in the middle of the answer's header", server.address);
    assert_eq!(failure(target(server.address)).await, expected);
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_no_body() {
    let head = "HTTP/1.1 200 OK\r\n";
    for cut in [
        format!("{head}content-length: 100\r\n\r\n{BODY}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nb\r\n{BODY}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nb\r\n{BODY}\r\n"),
    ] {
        let server = FakeTarget::start(Step::ThenClose(cut.clone().into_bytes())).await;
        let expected = format!("body of {} cut short after 11 bytes", server.address);
        assert_eq!(failure(target(server.address)).await, expected, "{cut}");
    }
    let bad_chunk = format!("{head}transfer-encoding: chunked\r\n\r\nb\r\n{BODY}\r\nzz\r\n");
    let server = FakeTarget::start(Step::ThenClose(bad_chunk.into_bytes())).await;
    let expected = format!("the body of {} is wrongly framed after 11 bytes", server.address);
    assert_eq!(failure(target(server.address)).await, expected);
    // Without either, a body ends where the connection does.
    let server = FakeTarget::start(Step::ThenClose(format!("{head}\r\n{BODY}").into_bytes())).await;
    assert_eq!(scrape(&mut client(target(server.address))).await.as_deref(), Ok(BODY));
}

#[tokio::test]
async fn over_tls_a_body_without_length_must_end_with_close_notify() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let tls = TlsSettings { ca_file: Some(ca.write_to(folder.path())), ..TlsSettings::default() };
    let open_ended = format!("HTTP/1.1 200 OK\r\n\r\n{BODY}").into_bytes();
    let config = ca.server(&["127.0.0.1"]).server_config(None);
    let polite = FakeTarget::start_tls(config.clone(), Step::ThenClose(open_ended.clone())).await;
    assert_eq!(scrape(&mut client(tls_target(polite.address, tls.clone()))).await.as_deref(), Ok(BODY));
    let cut = FakeTarget::start_tls(config, Step::ThenVanish(open_ended)).await;
    let expected = format!("body of {} cut short after 11 bytes", cut.address);
    assert_eq!(failure(tls_target(cut.address, tls)).await, expected);
}

#[tokio::test]
async fn a_gigabyte_is_stopped_at_the_limit() {
    let limit = |config: &mut promferry::config::checked::ScrapeConfig| config.limits.body_bytes = 1 << 20;
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 30).into_bytes();
    let server = FakeTarget::start(Step::Endless(announced, vec![b'#'; 64 << 10])).await;
    let expected = format!("the body of {} is larger than 1 MiB", server.address);
    assert_eq!(failure(configured(target(server.address), limit)).await, expected);

    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend_from_slice(&[b'#'; 64 << 10]);
    chunk.extend_from_slice(b"\r\n");
    let server = FakeTarget::start(Step::Endless(chunked, chunk)).await;
    let expected = format!("the body of {} is larger than 1 MiB", server.address);
    assert_eq!(failure(configured(target(server.address), limit)).await, expected);
    // What the kernel's buffers take is sent; the rest of the gigabyte never is.
    assert!(server.bytes() < 64 << 20, "{} bytes were sent", server.bytes());
}

#[tokio::test]
async fn a_header_without_end_is_stopped_at_the_limit() {
    let server =
        FakeTarget::start(Step::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: 0123456789\r\n".to_vec())).await;
    let sentence = failure(target(server.address)).await;
    assert_eq!(sentence, format!("the answer of {} has a header larger than 8 KiB", server.address));
}

#[tokio::test]
async fn gzip_is_inflated_as_it_comes_and_checked() {
    let text = BODY.repeat(10_000);
    let packed = gzip(text.as_bytes());
    let server = FakeTarget::start(Step::Answer(answer("200 OK", "content-encoding: gzip\r\n", &packed))).await;
    let mut pieces = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut scraped = client(target(server.address));
    let scraped = scraped.get(deadline).await.unwrap();
    let head = scraped
        .read(|_| {
            pieces += 1;
            true
        })
        .await
        .unwrap();
    assert_eq!((head.received.wire_bytes, head.received.bytes), (packed.len() as u64, text.len() as u64));
    assert!(pieces > 1, "it is not held as a whole");

    let mut damaged = packed.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let cut = packed[..packed.len() - 3].to_vec();
    for body in [damaged, cut] {
        let server = FakeTarget::start(Step::Answer(answer("200 OK", "content-encoding: gzip\r\n", &body))).await;
        let expected =
            format!("the gzip body of {} is damaged or cut short after {} bytes", server.address, body.len());
        assert_eq!(failure(target(server.address)).await, expected);
    }
    let server = FakeTarget::start(Step::Answer(answer("200 OK", "content-encoding: br\r\n", b"x"))).await;
    let expected = format!("{} answers with the content encoding \"br\", which was not asked for", server.address);
    assert_eq!(failure(target(server.address)).await, expected);
}

#[tokio::test]
async fn a_gzip_bomb_is_stopped_at_the_limit() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for _ in 0..1024 {
        encoder.write_all(&[b'#'; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let server = FakeTarget::start(Step::Answer(answer("200 OK", "content-encoding: gzip\r\n", &bomb))).await;
    let mut bytes = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let limited = configured(target(server.address), |config| config.limits.body_bytes = 2 << 20);
    let mut client = client(limited);
    let scraped = client.get(deadline).await.unwrap().read(|piece| {
        bytes += piece.len();
        true
    });
    let error = scraped.await.unwrap_err();
    assert_eq!(error.to_string(), format!("the body of {} inflates to more than 2 MiB", server.address));
    assert_eq!(error.kind(), "body_too_large");
    assert!(bytes <= 2 << 20, "{bytes} bytes were handed on");
}

#[tokio::test]
async fn a_caller_that_has_enough_gets_no_more() {
    let server =
        FakeTarget::start(Step::Answer(answer("200 OK", "content-encoding: gzip\r\n", &gzip(&[b'#'; 1 << 20])))).await;
    let mut pieces = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut client = client(target(server.address));
    let scraped = client.get(deadline).await.unwrap().read(|_| {
        pieces += 1;
        false
    });
    assert!(matches!(scraped.await, Err(ScrapeError::Stopped)));
    assert_eq!(pieces, 1);
}

#[tokio::test]
async fn refusals_show_how_their_body_begins_and_keep_the_connection() {
    let long = "x".repeat(300);
    let server = FakeTarget::start(Behaviour::Steps(vec![
        Step::Answer(answer("401 Unauthorized", "", b"who\nare you?\x1b[31m\n")),
        Step::Answer(answer("503 Service Unavailable", "", long.as_bytes())),
        Step::Answer(answer("404 Not Found", "", b"")),
        Step::Answer(answer("200 OK", "content-type: Text/HTML; charset=utf-8\r\n", b"<html>")),
        Step::Answer(ok(BODY)),
    ]))
    .await;
    let mut client = client(target(server.address));
    let url = format!("http://{}/metrics", server.address);
    for expected in [
        format!("{url} answered 401 Unauthorized: \"who\\nare you?\\u{{1b}}[31m\""),
        format!("{url} answered 503 Service Unavailable: \"{}…\"", "x".repeat(200)),
        format!("{url} answered 404 Not Found"),
        format!("{url} answered with an HTML page (text/html), which is no exposition: \"<html>\""),
    ] {
        assert_eq!(scrape(&mut client).await, Err(expected));
    }
    assert_eq!(scrape(&mut client).await.as_deref(), Ok(BODY));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_named() {
    let server = FakeTarget::start(Behaviour::Babble(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec())).await;
    assert_eq!(failure(target(server.address)).await, format!("{} does not answer in HTTP/1", server.address));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_silently() {
    let server = FakeTarget::start(Step::ThenClose(ok(BODY))).await;
    let mut client = client(target(server.address));
    for _ in 0..3 {
        assert_eq!(scrape(&mut client).await.as_deref(), Ok(BODY));
    }
    assert_eq!((server.connections(), server.heads().len()), (3, 3));
}

/// The server takes the second request and hangs up: it looks as if it had closed an idle connection, and is asked once
/// more, over a new one.
#[tokio::test]
async fn a_request_that_got_no_byte_on_an_old_connection_is_sent_once_more() {
    let steps =
        vec![Step::Answer(ok(BODY)), Step::ThenClose(Vec::new()), Step::ThenClose(Vec::new()), Step::Answer(ok(BODY))];
    let server = FakeTarget::start(Behaviour::Steps(steps)).await;
    let mut client = client(target(server.address));
    assert_eq!(scrape(&mut client).await.as_deref(), Ok(BODY));
    let expected = format!("{} closed the connection without an answer", server.address);
    assert_eq!(scrape(&mut client).await, Err(expected), "the new connection gets no second chance");
    assert_eq!((server.connections(), server.heads().len()), (2, 3));
    assert_eq!(scrape(&mut client).await.as_deref(), Ok(BODY));
}

fn to(location: &str) -> Step {
    Step::Answer(answer("302 Found", &format!("location: {location}\r\n"), b"over there"))
}

#[tokio::test]
async fn a_redirect_on_the_same_server_keeps_connection_and_credentials() {
    let server = FakeTarget::start(Behaviour::Steps(vec![to("/new?x=1"), Step::Answer(ok(BODY))])).await;
    let mut client = client(configured(target(server.address), |config| {
        config.auth = Auth::Header { scheme: "Bearer".into(), credentials: Secret::Inline("t".into()) };
    }));
    let (head, body) = scrape_within(&mut client, Duration::from_secs(30)).await.unwrap();
    assert_eq!(body, BODY);
    assert_eq!(head.redirected_to.unwrap().path_and_query, "/new?x=1");
    let heads = server.heads();
    assert!(heads[1].starts_with("GET /new?x=1 ") && heads[1].contains("authorization: Bearer t\r\n"), "{}", heads[1]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_redirect_to_another_server_takes_nothing_along() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    // The other one accepts client certificates and would see one.
    let other = FakeTarget::start_tls(ca.server(&["localhost"]).server_config(Some(&ca)), Step::Answer(ok(BODY))).await;
    let plain = FakeTarget::start_tls(ca.server(&["localhost"]).server_config(None), Step::Answer(ok(BODY))).await;
    let (cert_file, key_file) = ca.client("secret").write_to(folder.path(), "client");
    let tls = TlsSettings {
        ca_file: Some(ca.write_to(folder.path())),
        cert_file: Some(cert_file),
        key_file: Some(key_file),
        ..TlsSettings::default()
    };
    let redirecting = async |port: u16| {
        let pair = ca.server(&["127.0.0.1"]);
        let step = to(&format!("https://localhost:{port}/m"));
        let server = FakeTarget::start_tls(pair.server_config(Some(&ca)), step).await;
        let own = Target {
            headers: vec![Header { name: "x-secret".into(), value: "s".into() }],
            ..tls_target(server.address, tls.clone())
        };
        let own = configured(own, |config| {
            config.auth = Auth::Basic { username: "me".into(), password: Secret::Inline("p".into()) };
        });
        let scraped = scrape(&mut client(own)).await;
        assert!(server.heads()[0].contains("authorization: ") && server.heads()[0].contains("x-secret: "));
        scraped
    };

    assert_eq!(redirecting(plain.address.port()).await.as_deref(), Ok(BODY));
    let heads = plain.heads();
    assert!(!heads[0].contains("authorization") && !heads[0].contains("x-secret"), "{}", heads[0]);

    assert_eq!(
        redirecting(other.address.port()).await,
        Err(format!(
            "TLS with localhost:{}: the server wants a client certificate, and none is configured (cert_file, key_file)",
            other.address.port()
        ))
    );
}

#[tokio::test]
async fn redirects_that_are_not_followed_say_why() {
    let server = FakeTarget::start(to("/again")).await;
    let address = server.address;
    assert_eq!(
        failure(target(address)).await,
        format!("http://{address}/again redirects to /again, which is not followed: these were 10 redirects already")
    );
    assert_eq!((server.heads().len(), server.connections()), (11, 1));

    let refused = |reason| format!("http://{address}/metrics redirects to /again, which is not followed: {reason}");
    assert_eq!(
        failure(configured(target(address), |config| config.follow_redirects = Some(false))).await,
        refused("follow_redirects is false")
    );
    let announced = || Target { announced: Some(Default::default()), ..target(address) };
    assert_eq!(
        failure(announced()).await,
        refused("redirects of targets that a job announced are followed only with follow_redirects: true")
    );
    let followed = configured(announced(), |config| config.follow_redirects = Some(true));
    assert!(failure(followed).await.contains("10 redirects already"));

    let server = FakeTarget::start(to("gopher://x\x1b/")).await;
    assert_eq!(
        failure(target(server.address)).await,
        format!("{} does not answer in HTTP/1", server.address),
        "a control character in a header is no HTTP"
    );
    let server = FakeTarget::start(to("gopher://x/")).await;
    assert_eq!(
        failure(target(server.address)).await,
        format!(
            "http://{}/metrics redirects to gopher://x/, which is not followed: it is no http or https address",
            server.address
        )
    );
}

#[tokio::test]
async fn a_redirect_never_leads_from_https_to_http() {
    let ca = Ca::new();
    let server =
        FakeTarget::start_tls(ca.server(&["127.0.0.1"]).server_config(None), to("http://127.0.0.1:1/metrics")).await;
    let tls = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    assert_eq!(
        failure(tls_target(server.address, tls)).await,
        format!(
            "https://{}/metrics redirects to http://127.0.0.1:1/metrics, which is not followed: it leads from https to http",
            server.address
        )
    );
}

#[tokio::test]
async fn what_the_answer_says_of_itself_cannot_forge_a_log_line() {
    let server =
        FakeTarget::start(Step::Answer(answer("200 OK", "content-type: text/\u{202e}plain\r\n", b"a 1\n"))).await;
    let (head, _) = scrape_within(&mut client(target(server.address)), Duration::from_secs(30)).await.unwrap();
    assert_eq!(head.content_type.as_deref(), Some("text/\\u{202e}plain"));
}

#[test]
fn a_scrape_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let mut client = client(target("127.0.0.1:1".parse().unwrap()));
    is_send(&async { client.get(tokio::time::Instant::now()).await?.read(|_| true).await });
}
