//! A proxy on loopback that stands between promferry and a receiver, and goes wrong at random: in the same way at every run.
//!
//! It knows where a request ends, and nothing of answers: what comes before the next request is one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bulk_server::answer;
use super::random::Random;

/// What is done about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection is closed when the head is there: the receiver sees nothing.
    CutBefore,
    /// The receiver gets the head and half of the body, and both connections are closed.
    CutWithin,
    /// The receiver has processed the request, and its answer goes nowhere.
    Swallow,
    /// Half of the answer's first bytes go through, and the connection is closed.
    Truncate,
    /// The request is held back for a moment, and then goes its way.
    Delay,
    /// The request is held back until the client has given up, and then goes to the receiver all the same.
    Late,
    /// 429, with or without `Retry-After`. The receiver sees nothing.
    Busy(bool),
    /// 503, likewise.
    Unavailable(bool),
}

impl Fault {
    /// All that there are.
    pub const ALL: [Fault; 10] = [
        Fault::CutBefore,
        Fault::CutWithin,
        Fault::Swallow,
        Fault::Truncate,
        Fault::Delay,
        Fault::Late,
        Fault::Busy(false),
        Fault::Busy(true),
        Fault::Unavailable(false),
        Fault::Unavailable(true),
    ];

    /// Faults of which each costs seconds happen a few times only.
    fn times_max(self) -> usize {
        match self {
            Fault::Late | Fault::Busy(true) | Fault::Unavailable(true) => 3,
            _ => usize::MAX,
        }
    }
}

/// The proxy. It ends with the test's runtime.
pub struct Proxy {
    /// Where it listens: `host:port`.
    pub address: String,
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    /// Faults that are left; then it is transparent.
    left: usize,
    done: BTreeMap<Fault, usize>,
}

impl Proxy {
    /// Stands before `upstream`. Of two `_bulk` requests one goes wrong, until there were so many `faults`.
    pub async fn start(upstream: &str, seed: u64, faults: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = State { random: Random::new(seed), left: faults, done: BTreeMap::new() };
        let state = Arc::new(Mutex::new(state));
        tokio::spawn({
            let (upstream, state) = (upstream.to_owned(), state.clone());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(&upstream).await.expect("the receiver");
                    tokio::spawn(serve(client, server, state.clone()));
                }
            }
        });
        Self { address, state }
    }

    /// How often it did what.
    pub fn done(&self) -> BTreeMap<Fault, usize> {
        self.state.lock().expect("nothing panics while it is held").done.clone()
    }
}

impl State {
    /// What to do about the next request, and for how many milliseconds where that is a delay.
    fn next(&mut self) -> (Option<Fault>, u64) {
        if self.left == 0 || self.random.below(2) == 0 {
            return (None, 0);
        }
        let fault = loop {
            let fault = Fault::ALL[self.random.below(Fault::ALL.len() as u64) as usize];
            if self.done.get(&fault).is_none_or(|times| *times < fault.times_max()) {
                break fault;
            }
        };
        self.left -= 1;
        *self.done.entry(fault).or_default() += 1;
        (Some(fault), self.random.below(100))
    }
}

/// Serves one connection, which has one of its own to the receiver. Returning closes both.
async fn serve(mut client: TcpStream, mut server: TcpStream, state: Arc<Mutex<State>>) {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    loop {
        // The answer to the request before goes through until the next one comes.
        while sent.is_empty() {
            tokio::select! {
                read = client.read_buf(&mut sent) => if !matches!(read, Ok(1..)) { return },
                read = server.read_buf(&mut received) => {
                    if !matches!(read, Ok(1..)) || client.write_all(&received).await.is_err() {
                        return;
                    }
                    received.clear();
                }
            }
        }
        let Some(head) = read_head(&mut client, &mut sent).await else { return };
        let is_bulk = memchr::memmem::find(&sent[..head.bytes], b"/_bulk?").is_some();
        let (fault, delay_ms) =
            if is_bulk { state.lock().expect("nothing panics while it is held").next() } else { (None, 0) };
        if fault == Some(Fault::CutBefore) || read_body(&mut client, &mut sent, &head).await.is_none() {
            return;
        }
        let request = sent.split_off(0);
        if act(fault, delay_ms, &request, &head, &mut client, &mut server).await.is_none() {
            return;
        }
    }
}

/// Does what is to be done about a whole request. `None` where the connection ends with it.
async fn act(
    fault: Option<Fault>,
    delay_ms: u64,
    request: &[u8],
    head: &Head,
    client: &mut TcpStream,
    server: &mut TcpStream,
) -> Option<()> {
    let status = match fault {
        Some(Fault::Busy(is_asking)) => Some((429, is_asking)),
        Some(Fault::Unavailable(is_asking)) => Some((503, is_asking)),
        _ => None,
    };
    if let Some((status, is_asking)) = status {
        let retry_after = if is_asking { "retry-after: 1\r\n" } else { "" };
        return client.write_all(&answer(status, retry_after, "")).await.ok();
    }
    match fault {
        Some(Fault::CutWithin) => {
            let half = head.bytes + head.body_bytes / 2;
            let _ = server.write_all(&request[..half]).await;
            return None;
        }
        Some(Fault::Delay) => tokio::time::sleep(Duration::from_millis(delay_ms)).await,
        // It sends nothing more: this returns when it has closed.
        Some(Fault::Late) => drop(client.read_u8().await),
        _ => {}
    }
    server.write_all(request).await.ok()?;
    match fault {
        Some(Fault::Swallow | Fault::Truncate | Fault::Late) => {
            let mut first = Vec::new();
            server.read_buf(&mut first).await.ok()?;
            if fault == Some(Fault::Truncate) {
                let _ = client.write_all(&first[..first.len() / 2]).await;
            }
            None
        }
        _ => Some(()),
    }
}

struct Head {
    /// With the empty line.
    bytes: usize,
    body_bytes: usize,
}

async fn read_head(client: &mut TcpStream, sent: &mut Vec<u8>) -> Option<Head> {
    loop {
        if let Some(at) = memchr::memmem::find(sent, b"\r\n\r\n") {
            let text = std::str::from_utf8(&sent[..at]).expect("ASCII").to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let body_bytes = length.map_or(0, |length| length.trim().parse().expect("a number"));
            return Some(Head { bytes: at + 4, body_bytes });
        }
        if !matches!(client.read_buf(sent).await, Ok(1..)) {
            return None;
        }
    }
}

async fn read_body(client: &mut TcpStream, sent: &mut Vec<u8>, head: &Head) -> Option<()> {
    while sent.len() < head.bytes + head.body_bytes {
        if !matches!(client.read_buf(sent).await, Ok(1..)) {
            return None;
        }
    }
    Some(())
}
