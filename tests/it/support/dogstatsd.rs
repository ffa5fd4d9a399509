//! An agent for DogStatsD, written from Datadog's "Datagram format" page and its rules for names: it panics at anything that a
//! real one would misread, and counts as a real one does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::task::JoinHandle;

/// A line of a datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub name: String,
    pub value: f64,
    pub kind: String,
    /// As they came: a name, a colon, and a value that may hold more of them.
    pub tags: Vec<String>,
    /// Seconds since 1970.
    pub at_s: Option<i64>,
}

impl Line {
    /// Name and tags, as a dashboard would show them.
    pub fn series(&self) -> String {
        let mut tags = self.tags.clone();
        tags.sort();
        format!("{}{{{}}}", self.name, tags.join(","))
    }
}

/// Reads a datagram whose lines all end with a line break.
pub fn parse(datagram: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(datagram).expect("UTF-8");
    let text = text.strip_suffix('\n').unwrap_or_else(|| panic!("the last line has no end: {text:?}"));
    text.split('\n').map(line).collect()
}

fn line(text: &str) -> Line {
    assert!(!text.chars().any(|c| c.is_ascii_control()), "{text:?}");
    let mut fields = text.split('|');
    let (name, value) = fields.next().unwrap().split_once(':').unwrap_or_else(|| panic!("no value: {text:?}"));
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_letter), "{text:?}");
    assert!(name.len() <= 200, "{text:?}");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {text:?}"));
    assert!(value.is_finite(), "{text:?}");
    let kind = fields.next().unwrap_or_else(|| panic!("no type: {text:?}")).to_owned();
    assert!(["c", "g"].contains(&kind.as_str()), "{text:?}");
    let (mut tags, mut at_s) = (Vec::new(), None);
    for field in fields {
        if let Some(list) = field.strip_prefix('#') {
            assert!(tags.is_empty(), "two lists of tags: {text:?}");
            tags = list.split(',').map(str::to_owned).collect();
        } else {
            let seconds = field.strip_prefix('T').unwrap_or_else(|| panic!("a field that is none: {text:?}"));
            assert!(at_s.replace(seconds.parse().unwrap()).is_none(), "two times: {text:?}");
        }
    }
    for tag in &tags {
        let (name, _) = tag.split_once(':').unwrap_or_else(|| panic!("{text:?}"));
        assert!(!name.is_empty() && tag.chars().count() <= 200, "{text:?}");
    }
    Line { name: name.to_owned(), value, kind, tags, at_s }
}

/// Where an agent listens.
#[derive(Clone, Debug)]
pub enum Place {
    Udp(SocketAddr),
    Unix(PathBuf),
}

/// An agent that listens until it is dropped.
pub struct Agent {
    pub place: Place,
    datagrams: Arc<Mutex<Vec<Vec<u8>>>>,
    reading: JoinHandle<()>,
}

impl Agent {
    /// Over UDP, at a port of this machine; 0 is any.
    pub async fn udp(port: u16) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
        let place = Place::Udp(socket.local_addr().unwrap());
        let datagrams: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let into = datagrams.clone();
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let length = socket.recv(&mut buffer).await.unwrap();
                // Agents pass over an empty one.
                if length > 0 {
                    into.lock().unwrap().push(buffer[..length].to_vec());
                }
            }
        });
        Self { place, datagrams, reading }
    }

    /// At a Unix socket, which is made anew.
    pub fn unix(path: &Path) -> Self {
        Self::reading(Self::bind(path), path)
    }

    /// A Unix socket that nobody reads yet: see [`reading`](Self::reading).
    pub fn bind(path: &Path) -> UnixDatagram {
        let _ = std::fs::remove_file(path);
        UnixDatagram::bind(path).unwrap()
    }

    /// Reads what comes to a socket.
    pub fn reading(socket: UnixDatagram, path: &Path) -> Self {
        let datagrams: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let into = datagrams.clone();
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let length = socket.recv(&mut buffer).await.unwrap();
                into.lock().unwrap().push(buffer[..length].to_vec());
            }
        });
        Self { place: Place::Unix(path.to_owned()), datagrams, reading }
    }

    /// What came.
    pub fn datagrams(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.datagrams.lock().unwrap()
    }

    /// The lines of it, in order.
    pub fn lines(&self) -> Vec<Line> {
        self.datagrams().iter().flat_map(|datagram| parse(datagram)).collect()
    }

    /// The sum of each count.
    pub fn counts(&self) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        for line in self.lines().iter().filter(|line| line.kind == "c") {
            *counts.entry(line.series()).or_default() += line.value;
        }
        counts
    }

    /// The last value of each gauge.
    pub fn gauges(&self) -> BTreeMap<String, f64> {
        self.lines().iter().filter(|line| line.kind == "g").map(|line| (line.series(), line.value)).collect()
    }

    /// Stops listening, and returns what came until then. A Unix socket's file stays, as that of a killed agent does.
    pub async fn stop(self) -> Vec<Line> {
        let lines = self.lines();
        self.reading.abort();
        let _ = self.reading.await;
        lines
    }
}
