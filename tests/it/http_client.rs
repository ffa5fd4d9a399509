//! The client of those who deliver: what it keeps, what it reports, and that it never sends twice.

use std::time::Duration;

use bytes::Bytes;
use promferry::net::credentials::Credentials;
use promferry::net::error::NetError;
use promferry::net::http::{Answer, HttpClient};
use promferry::net::tls::TlsSettings;
use promferry::net::{Scheme, Url};

use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer, ok};

fn client() -> HttpClient {
    let tls = Credentials::default().client(&TlsSettings::default());
    HttpClient::new(Duration::from_secs(30), tls, 1 << 20)
}

async fn post(client: &HttpClient, server: &FakeTarget) -> Result<Answer, NetError> {
    let url = Url {
        scheme: Scheme::Http,
        host: server.address.ip().to_string(),
        port: server.address.port(),
        path_and_query: "/_bulk".into(),
    };
    client.send(&url, http::Request::post("/").body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn connections_are_kept_and_any_status_is_an_answer() {
    let steps = vec![
        Step::Answer(ok("1")),
        Step::Answer(answer("429 Too Many Requests", "retry-after: 3\r\n", b"slow down")),
        Step::ThenClose(ok("3")),
        Step::Answer(ok("4")),
    ];
    let server = FakeTarget::start(Behaviour::Steps(steps)).await;
    let client = client();
    let mut met = Vec::new();
    for _ in 0..4 {
        let answer = post(&client, &server).await.unwrap();
        met.push((answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap()));
    }
    let expected = [(200, "1"), (429, "slow down"), (200, "3"), (200, "4")];
    assert_eq!(met, expected.map(|(status, body)| (status, body.to_owned())));
    assert_eq!(server.connections(), 2);
    assert!(server.heads()[0].starts_with("POST /_bulk HTTP/1.1\r\n"), "{}", server.heads()[0]);
}

#[tokio::test]
async fn a_request_without_an_answer_is_reported_and_not_sent_again() {
    let steps = vec![Step::Answer(ok("1")), Step::ThenClose(Vec::new()), Step::ThenClose(b"HTTP/1.1 2".to_vec())];
    let server = FakeTarget::start(Behaviour::Steps(steps)).await;
    let client = client();
    post(&client, &server).await.unwrap();

    let error = post(&client, &server).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} closed the connection without an answer", server.address));
    assert_eq!((error.is_reused, error.received, error.is_unanswered()), (true, 0, true));

    let error = post(&client, &server).await.unwrap_err();
    let expected = format!("{} closed the connection in the middle of the answer's header", server.address);
    assert_eq!(error.to_string(), expected);
    assert_eq!((error.is_reused, error.received, error.is_unanswered()), (false, 10, false));
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn an_answer_has_a_limit_and_must_be_whole() {
    let large = answer("200 OK", "", &vec![b'x'; (1 << 20) + 1]);
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec();
    let server = FakeTarget::start(Behaviour::Steps(vec![Step::ThenClose(large), Step::ThenClose(cut)])).await;
    let client = client();
    let error = post(&client, &server).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the body of {} is larger than 1 MiB", server.address));
    let error = post(&client, &server).await.unwrap_err();
    assert_eq!(error.to_string(), format!("body of {} cut short after 4 bytes", server.address));
    assert!(!error.is_unanswered());
}
