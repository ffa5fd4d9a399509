//! One call, as the bytes that go over the wire: written by hand from RFC 9113, RFC 7541 and "gRPC over HTTP2".

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use promferry::net::grpc::{Call, Limits, Server, Service, Shape, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Notes what comes, and answers `ok`.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<Bytes>>>);

impl Service for Noting {
    fn begin(&self, path: &str) -> Option<Box<dyn Call>> {
        assert!(path != "/s.S/Panic", "on purpose");
        (path == "/s.S/M").then(|| Box::new(self.clone()) as Box<dyn Call>)
    }
}

impl Call for Noting {
    fn shape(&self) -> Shape {
        Shape::Stream
    }

    fn message(&mut self, message: Bytes) -> Result<(), Status> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<Bytes, Status> {
        Ok(Bytes::from_static(b"ok"))
    }
}

/// A frame: its length, type, flags, stream and contents.
fn frame(kind: u8, flags: u8, stream: u8, contents: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, contents.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(contents);
    frame
}

/// A header field that is in no table, neither before nor after.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x00, name.len() as u8];
    field.extend_from_slice(name.as_bytes());
    field.push(value.len() as u8);
    field.extend_from_slice(value.as_bytes());
    field
}

/// The frames of stream 1, until its end, as (type, contents).
async fn answer(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.unwrap();
        let mut contents = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        stream.read_exact(&mut contents).await.unwrap();
        if header[8] == 1 && header[3] != 8 {
            frames.push((header[3], contents));
            if header[3] == 3 || header[4] & 1 == 1 {
                return frames;
            }
        }
    }
}

/// How a connection begins.
fn preface() -> Vec<u8> {
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend(frame(4, 0, 0, &[]));
    preface
}

async fn ask(server: &Server, path: &str, data: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(server.listens_on()).await.unwrap();
    let mut request = preface();
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "h")];
    let more = [("content-type", "application/grpc"), ("te", "trailers")];
    let block: Vec<u8> = fields.iter().chain(&more).flat_map(|(name, value)| field(name, value)).collect();
    request.extend(frame(1, 4, 1, &block));
    for (at, piece) in data.iter().enumerate() {
        request.extend(frame(0, u8::from(at + 1 == data.len()), 1, piece));
    }
    stream.write_all(&request).await.unwrap();
    answer(&mut stream).await
}

async fn serve(limits: Limits, service: &Noting) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::start(listener, None, limits, Arc::new(service.clone())).unwrap()
}

#[tokio::test]
async fn a_call_is_these_bytes() {
    let service = Noting::default();
    let server = serve(Limits::default(), &service).await;

    // Two messages, the second cut in two.
    let frames = ask(&server, "/s.S/M", &[b"\0\0\0\0\x03one\0\0\0", b"\0\x02tw"]).await;
    assert_eq!(*service.0.lock().unwrap(), [&b"one"[..], b"tw"]);
    let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 0, 1], "header, message, trailers");
    assert_eq!(frames[0].1[0], 0x88, ":status 200, which HPACK's table has");
    assert_eq!(frames[1].1, b"\0\0\0\0\x02ok");
    assert!(frames[2].1.ends_with(&[0x81, 0x07]), "the one trailer's value is 0, as HPACK shortens it");

    // A method that is not there: the header is all, and says so.
    let frames = ask(&server, "/s.S/N", &[b"\0\0\0\0\0"]).await;
    assert_eq!((frames[0].0, frames[0].1[0]), (1, 0x88));
    assert!(frames.iter().all(|(kind, _)| *kind != 0), "no message");

    // What is no gRPC.
    let frames = ask(&server, "/s.S/M", &[b"\x07\0\0\0\0"]).await;
    assert!(frames.iter().all(|(kind, _)| *kind != 0), "no message");
    server.stop(Duration::from_secs(5)).await;
}

/// Whether an answer is a header and no message.
fn is_refused(frames: &[(u8, Vec<u8>)]) -> bool {
    frames[0].0 == 1 && frames.iter().all(|(kind, _)| *kind != 0)
}

#[tokio::test]
async fn what_all_calls_hold_has_a_limit_and_a_panic_costs_its_call() {
    let service = Noting::default();
    let server = serve(Limits { begun_bytes_max: 100, ..Limits::default() }, &service).await;
    let begun = [&b"\0\0\0\0\xc8"[..], &[7; 150]].concat();
    assert!(is_refused(&ask(&server, "/s.S/M", &[&begun, &[7; 50]]).await), "a part of 155 bytes is too much");
    let small = [&b"\0\0\0\0\x5a"[..], &[7; 80]].concat();
    assert_eq!(ask(&server, "/s.S/M", &[&small, &[7; 10]]).await.len(), 3, "the others' room is free again");
    let frames = ask(&server, "/s.S/Panic", &[b"\0\0\0\0\0"]).await;
    assert_eq!(frames.last().unwrap().0, 3, "the stream is reset");
    assert_eq!(ask(&server, "/s.S/M", &[b"\0\0\0\0\0"]).await.len(), 3, "and the server goes on");
}

#[tokio::test]
async fn who_does_nothing_keeps_no_connection() {
    let short = Duration::from_millis(50);
    let limits = Limits { idle_timeout: short, unary_timeout: short, ..Limits::default() };
    let server = serve(limits, &Noting::default()).await;
    let mut silent = TcpStream::connect(server.listens_on()).await.unwrap();
    silent.write_all(&preface()).await.unwrap();
    let mut all = Vec::new();
    let _ = silent.read_to_end(&mut all).await;
    assert!(!all.is_empty(), "it was told that the connection ends, and then it did");
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let server = serve(Limits { connections_max: 1, ..Limits::default() }, &Noting::default()).await;
    // The first one has the only slot: the server accepts it before the next one.
    let first = TcpStream::connect(server.listens_on()).await.unwrap();
    let mut second = TcpStream::connect(server.listens_on()).await.unwrap();
    let mut all = Vec::new();
    let _ = second.read_to_end(&mut all).await;
    assert!(all.is_empty(), "one too many");
    drop(first);
}
