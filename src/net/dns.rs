//! A stub resolver: addresses and services of a name, asked of the servers that the system names or of given ones.
//!
//! The system's own lookup has no services and does not tell "no such name" from "no answer". Messages are read and written by
//! the `domain` crate (RFC 1035, RFC 2782); here are the servers, the search list and the waiting. An answer that was cut for
//! UDP is asked for again over TCP.
//!
//! Left out on purpose: caches (whoever asks does so at an interval), EDNS, DNSSEC, DNS over TLS, `/etc/hosts`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ParsedName, Question};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::text::io_words;
use crate::random;

/// Where the system says whom to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// One server has so long for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Servers that are asked, at most; as many as the system's own resolver takes.
const SERVERS_MAX: usize = 3;
/// Rounds over all servers: a packet may get lost.
const ROUNDS: usize = 2;
/// Bytes of an answer over UDP without EDNS are 512; some servers do not know.
const UDP_BYTES_MAX: usize = 4096;
/// Records of an answer that are looked at.
const RECORDS_MAX: usize = 10_000;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Hosts with ports.
    Srv,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// Of an A or AAAA record.
    Address(IpAddr),
    /// Of an SRV record.
    Service {
        /// A host name, without the dot at its end.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Whom to ask, and how names are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with so many dots is tried as it stands first.
    dots: usize,
}

/// A server answered, and had nothing.
enum Nothing {
    /// There is no such name.
    NoName,
    /// The name has no such records.
    NoRecords,
}

impl Resolver {
    /// The system's, as its file says now.
    ///
    /// # Errors
    /// One sentence, when the file cannot be read.
    pub fn system() -> Result<Self, String> {
        let text = std::fs::read_to_string(Path::new(RESOLV_CONF));
        Ok(Self::parse(&text.map_err(|error| format!("{RESOLV_CONF} cannot be read: {}", io_words(&error)))?))
    }

    /// These servers; names are taken as they stand.
    pub fn of(servers: Vec<SocketAddr>) -> Self {
        Self { servers, search: Vec::new(), dots: 0 }
    }

    /// `resolv.conf(5)`. What is not known there is passed over, as the system does.
    fn parse(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines().map(|line| line.split(['#', ';']).next().unwrap_or("")) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`fe80::1%eth0`) is more than can be had here.
                    let address = words.next().and_then(|text| text.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|ip| SocketAddr::new(ip, 53)));
                }
                // The root (`search .`, as systemd-resolved writes it) adds nothing.
                Some("search" | "domain") => {
                    let suffixes = words.map(|suffix| suffix.trim_matches('.')).filter(|suffix| !suffix.is_empty());
                    resolver.search = suffixes.map(str::to_owned).collect();
                }
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok());
                    resolver.dots = dots.fold(resolver.dots, |_, dots| dots.min(15));
                }
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        resolver.servers.truncate(SERVERS_MAX);
        resolver
    }

    /// What a name has, sorted. Empty where a server says that there is no such name, or that it has no such records.
    ///
    /// # Errors
    /// One sentence, when no server could say.
    pub async fn lookup(&self, name: &str, record: Record) -> Result<Vec<Found>, String> {
        if let Err(error) = Name::<Vec<u8>>::from_str(name) {
            return Err(format!("it is not a name: {error}"));
        }
        let mut failure = None;
        for candidate in self.candidates(name) {
            // With that suffix it is too long.
            let Ok(name) = Name::<Vec<u8>>::from_str(&candidate) else { continue };
            match self.ask_all(&name, record).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(Nothing::NoName | Nothing::NoRecords)) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(Vec::new()), Err)
    }

    /// The names that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let whole = format!("{name}.");
        let mut all: Vec<_> = self.search.iter().map(|suffix| format!("{name}.{suffix}.")).collect();
        let first = if name.matches('.').count() >= self.dots { 0 } else { all.len() };
        all.insert(first, whole);
        all
    }

    async fn ask_all(&self, name: &Name<Vec<u8>>, record: Record) -> Result<Result<Vec<Found>, Nothing>, String> {
        let mut failure = "there is no server to ask".to_owned();
        for server in std::iter::repeat_n(&self.servers, ROUNDS).flatten() {
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, ask(*server, name, record)).await;
            match answer.unwrap_or_else(|_| Err("does not answer".to_owned())) {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = format!("server {server} {error}"),
            }
        }
        Err(failure)
    }
}

/// Asks one server, over TCP where its answer does not fit.
async fn ask(server: SocketAddr, name: &Name<Vec<u8>>, record: Record) -> Result<Result<Vec<Found>, Nothing>, String> {
    let question = question(name, record);
    let cannot = |error: io::Error| format!("cannot be asked: {}", io_words(&error));
    let answer = over_udp(server, &question).await.map_err(cannot)?;
    let answer = match answer.header().tc() {
        false => answer,
        true => over_tcp(server, &question).await.map_err(cannot)?,
    };
    read(&answer, record)
}

type Asked = Message<Vec<u8>>;

fn question(name: &Name<Vec<u8>>, record: Record) -> Asked {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(random::number());
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let kind = match record {
        Record::A => Rtype::A,
        Record::Aaaa => Rtype::AAAA,
        Record::Srv => Rtype::SRV,
    };
    // A vector takes what it is given.
    let _ = builder.push(Question::new(name, kind, Class::IN));
    builder.into_message()
}

async fn over_udp(server: SocketAddr, question: &Asked) -> io::Result<Asked> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From now on nobody else is heard.
    socket.connect(server).await?;
    socket.send(question.as_slice()).await?;
    let mut bytes = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let received = Message::from_octets(bytes.get(..length).unwrap_or_default().to_vec());
        // What answers something else is not for us: it may be late, or forged.
        if let Ok(answer) = received
            && is_answer(&answer, question)
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Asked) -> io::Result<Asked> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = question.as_slice();
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let answer = Message::from_octets(answer).ok().filter(|answer| is_answer(answer, question));
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is to another question"))
}

fn is_answer(answer: &Asked, question: &Asked) -> bool {
    let header = answer.header();
    let same = answer.first_question().is_some_and(|asked| question.first_question() == Some(asked));
    header.qr() && header.id() == question.header().id() && same
}

/// What an answer says.
fn read(answer: &Asked, record: Record) -> Result<Result<Vec<Found>, Nothing>, String> {
    match answer.header().rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Ok(Err(Nothing::NoName)),
        other => return Err(format!("says {other}")),
    }
    let damaged = |error| format!("gives an answer that cannot be read: {error}");
    let records = answer.answer().map_err(damaged)?.limit_to::<AllRecordData<&[u8], ParsedName<&[u8]>>>();
    let mut found = Vec::new();
    for one in records.take(RECORDS_MAX) {
        let one = one.map_err(damaged)?;
        found.extend(match (record, one.data()) {
            (Record::A, AllRecordData::A(a)) => Some(Found::Address(a.addr().into())),
            (Record::Aaaa, AllRecordData::Aaaa(a)) => Some(Found::Address(a.addr().into())),
            (Record::Srv, AllRecordData::Srv(srv)) => service(&srv.target().to_string(), srv.port()),
            // An alias on the way.
            _ => None,
        });
    }
    found.sort();
    found.dedup();
    Ok(if found.is_empty() { Err(Nothing::NoRecords) } else { Ok(found) })
}

/// A target of `.` says that the service is not there (RFC 2782).
fn service(target: &str, port: u16) -> Option<Found> {
    let host = target.trim_end_matches('.');
    (!host.is_empty()).then(|| Found::Service { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_file_is_read_as_the_system_does() {
        let read = Resolver::parse(
            "# a comment\nnameserver 169.254.0.2\nnameserver fe80::1%eth0\nnameserver ::1 ; BOSH\n\
             domain old.example\nsearch a.example b.example.\noptions timeout:1 ndots:2 rotate\nsortlist 1.2.3.4\nwhat ever",
        );
        assert_eq!(read.servers, ["169.254.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(read.candidates("x"), ["x.a.example.", "x.b.example.", "x."]);
        assert_eq!(read.candidates("x.y.z"), ["x.y.z.", "x.y.z.a.example.", "x.y.z.b.example."]);
        assert_eq!(read.candidates("x."), ["x."]);
        assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(Resolver::of(Vec::new()).candidates("x"), ["x."]);
    }

    #[test]
    fn a_search_list_that_names_the_root_adds_nothing() {
        let read = Resolver::parse("nameserver 127.0.0.53\nsearch .\n");
        assert_eq!(read.candidates("x"), ["x."]);
        assert_eq!(read.candidates("x.y"), ["x.y."]);
    }

    #[tokio::test]
    async fn a_suffix_that_makes_a_name_too_long_is_passed_over() {
        let label = "a".repeat(60);
        let long = [label.as_str(); 3].join(".");
        let mut resolver = Resolver::of(Vec::new());
        resolver.search = vec![long.clone()];
        resolver.dots = 1;
        let told = resolver.lookup(&long, Record::A).await.unwrap_err();
        assert_eq!(told, "there is no server to ask");
        let told = resolver.lookup("a..b", Record::A).await.unwrap_err();
        assert!(told.starts_with("it is not a name: "), "{told}");
    }
}
