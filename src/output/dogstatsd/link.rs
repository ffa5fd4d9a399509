//! The socket to an agent, and how lines are put into datagrams.
//!
//! Promises
//! - An item is in one datagram, whole; a datagram has as many as fit.
//! - A socket that is gone is opened anew: at the next send after a failure, and at once where an agent has only started again.
//! - Over UDP, at most [`BURST_DATAGRAMS`] go in a row: an agent that is slower than the loopback loses what its buffer cannot
//!   hold, and nobody says so. In the pause behind them it comes out whether somebody listens. A Unix socket makes the sender
//!   wait, and knows at once.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::Instant;

use super::encode::INNER_BREAK;
use crate::config::checked::DogstatsdAddress as Address;

/// Datagrams that go without a pause. The buffer of a socket is 208 KiB by default on Linux, which counts a datagram of 1432
/// bytes as 2304: a fifth of it.
const BURST_DATAGRAMS: u32 = 16;

/// The pause behind them: 16,000 datagrams a second at most.
const PAUSE: Duration = Duration::from_millis(1);

/// An agent that reads nothing for so long is as good as gone.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// For looking a host's name up.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// A host's name is looked up again after so long.
const RESOLVE_AFTER: Duration = Duration::from_secs(60);

/// Addresses of one name, at most.
const ADDRESSES_MAX: usize = 16;

/// A socket, opened when it is needed.
#[derive(Debug)]
pub struct Link {
    address: Address,
    open: Option<Open>,
    /// Which of a name's addresses is tried: the next one after each failure.
    turn: usize,
    in_a_row: u32,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    since: Instant,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket, SocketAddr),
    Unix(UnixDatagram),
}

/// Why a datagram was not taken.
#[derive(Debug)]
pub struct Trouble {
    /// A short, stable word.
    pub kind: &'static str,
    /// What is wrong, without the address.
    pub message: String,
    /// The agent may have it all the same.
    pub is_maybe_received: bool,
    /// It may be about datagrams before this one, since the last time that it was [confirmed](Link::confirm) that all is well.
    pub is_of_before: bool,
    /// It is larger than the kernel takes.
    pub is_too_large: bool,
}

impl Link {
    /// To an agent at this address.
    pub fn new(address: Address) -> Self {
        Self { address, open: None, turn: 0, in_a_row: 0 }
    }

    /// Looks whether somebody listens.
    ///
    /// # Errors
    /// Why nobody does, as far as the kernel knows.
    pub async fn look(&mut self) -> Result<(), Trouble> {
        match self.address {
            Address::Udp { .. } => {
                self.send(&Datagram { text: Cow::Borrowed(b""), bytes: 0 }).await?;
                self.confirm().await
            }
            // That this works is all there is to know.
            Address::Unix(_) => self.opened().await.map(|_| ()).map_err(|error| self.trouble(&error)),
        }
    }

    /// Hands a datagram to the kernel.
    ///
    /// # Errors
    /// Why it did not take it.
    pub async fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), Trouble> {
        self.in_a_row += 1;
        let was_open = self.open.is_some();
        let sent = match self.try_send(&datagram.text).await {
            // The agent that was there is gone; there may be another by now.
            Err(error) if was_open && matches!(self.address, Address::Unix(_)) && !is_too_large(&error) => {
                self.open = None;
                self.try_send(&datagram.text).await
            }
            sent => sent,
        };
        sent.map_err(|error| self.failed(&error))
    }

    /// Whether so many datagrams went in a row that it is time to [`confirm`](Self::confirm).
    pub fn is_due(&self) -> bool {
        self.in_a_row >= BURST_DATAGRAMS
    }

    /// Over UDP, gives the agent time, and then asks the kernel whether a datagram was refused meanwhile.
    ///
    /// # Errors
    /// That one was.
    pub async fn confirm(&mut self) -> Result<(), Trouble> {
        self.in_a_row = 0;
        if matches!(self.address, Address::Unix(_)) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        let refused = match &self.open {
            Some(Open { socket: Socket::Udp(socket, _), .. }) => socket.take_error().unwrap_or_else(Some),
            _ => None,
        };
        refused.map_or(Ok(()), |error| Err(self.failed(&error)))
    }

    /// What an error means. The next datagram needs a new socket, unless this one was too large.
    fn failed(&mut self, error: &io::Error) -> Trouble {
        let trouble = self.trouble(error);
        if !trouble.is_too_large {
            self.open = None;
            self.turn = self.turn.wrapping_add(1);
        }
        trouble
    }

    async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = self.opened().await?;
        let send = async {
            match socket {
                Socket::Udp(socket, _) => {
                    socket.send(bytes).await?;
                    // That nobody listens on a port of this machine is mostly known by now.
                    socket.take_error()?.map_or(Ok(()), Err)
                }
                Socket::Unix(socket) => socket.send(bytes).await.map(|_| ()),
            }
        };
        tokio::time::timeout(SEND_TIME_MAX, send).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn opened(&mut self) -> io::Result<&Socket> {
        if self.open.as_ref().is_some_and(|open| self.address.is_name() && open.since.elapsed() > RESOLVE_AFTER) {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => Open { socket: self.connect().await?, since: Instant::now() },
        };
        Ok(&self.open.insert(open).socket)
    }

    async fn connect(&self) -> io::Result<Socket> {
        match &self.address {
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
            Address::Udp { host, port } => {
                let looked =
                    tokio::time::timeout(LOOKUP_TIME_MAX, tokio::net::lookup_host((host.as_str(), *port))).await;
                let slow = |_| io::Error::other("nobody says within 5s which address the name has");
                let found: Vec<SocketAddr> = looked.map_err(slow)??.take(ADDRESSES_MAX).collect();
                let Some(&peer) = found.get(self.turn % found.len().max(1)) else {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
                };
                let any: IpAddr =
                    if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(peer).await?;
                Ok(Socket::Udp(socket, peer))
            }
        }
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        let (kind, message) = match &self.address {
            _ if is_too_large(error) => ("too_large", "the kernel takes no datagram of this size".to_owned()),
            Address::Unix(path) => unix_trouble(path, error),
            Address::Udp { .. } if refused => ("refused", "nobody listens on this port".to_owned()),
            Address::Udp { .. } => ("send", error.to_string()),
        };
        // From afar, the refusal may be of a datagram before.
        let is_far = match &self.open {
            Some(Open { socket: Socket::Udp(_, peer), .. }) => !peer.ip().is_loopback(),
            _ => false,
        };
        Trouble {
            kind,
            message,
            is_maybe_received: refused && is_far,
            // Whatever it is, a host on the way may have said it of any datagram since the last pause: a firewall, that the
            // host cannot be reached.
            is_of_before: matches!(self.address, Address::Udp { .. }) && !is_too_large(error),
            is_too_large: is_too_large(error),
        }
    }
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn unix_trouble(path: &Path, error: &io::Error) -> (&'static str, String) {
    match error.kind() {
        io::ErrorKind::NotFound => ("missing", "there is no such socket; is the agent running?".to_owned()),
        io::ErrorKind::ConnectionRefused if path.is_file() => ("no_socket", "this is a file, and no socket".to_owned()),
        io::ErrorKind::ConnectionRefused => ("refused", "nobody listens on this socket".to_owned()),
        io::ErrorKind::PermissionDenied => ("denied", "the socket's permissions do not let us write to it".to_owned()),
        io::ErrorKind::TimedOut => ("timeout", "the agent has read nothing for 5s".to_owned()),
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            ("stream", "this is a stream socket; the agent's datagram socket is needed (dogstatsd_socket)".to_owned())
        }
        _ => ("send", error.to_string()),
    }
}

/// A part of a body that goes in one datagram.
pub struct Datagram<'b> {
    text: Cow<'b, [u8]>,
    bytes: usize,
}

impl Datagram<'_> {
    /// Bytes of the body that it is made of.
    pub fn len(&self) -> usize {
        self.bytes
    }
}

/// The datagrams of a body: whole items, as many in each as fit.
pub struct Datagrams<'b> {
    rest: &'b [u8],
    bytes_max: usize,
}

impl<'b> Datagrams<'b> {
    /// Of a body whose items end with line breaks.
    pub fn new(body: &'b [u8], bytes_max: usize) -> Self {
        Self { rest: body, bytes_max }
    }
}

impl<'b> Iterator for Datagrams<'b> {
    type Item = Datagram<'b>;

    fn next(&mut self) -> Option<Datagram<'b>> {
        let window = &self.rest[..self.rest.len().min(self.bytes_max)];
        // No item is longer than the window: the encoder has seen to that.
        let end = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', self.rest));
        let (text, rest) = self.rest.split_at(end.map_or(self.rest.len(), |at| at + 1));
        self.rest = rest;
        let lines = match memchr::memchr(INNER_BREAK, text) {
            None => Cow::Borrowed(text),
            Some(_) => text.iter().map(|&byte| if byte == INNER_BREAK { b'\n' } else { byte }).collect(),
        };
        (!text.is_empty()).then_some(Datagram { bytes: text.len(), text: lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(body: &str, bytes_max: usize) -> Vec<String> {
        let datagrams = Datagrams::new(body.as_bytes(), bytes_max);
        datagrams.map(|datagram| String::from_utf8(datagram.text.into_owned()).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_the_kernel_tells_late_is_of_datagrams_before() {
        let peer: SocketAddr = "192.0.2.1:8125".parse().unwrap();
        let mut link = Link::new(Address::Udp { host: peer.ip().to_string(), port: peer.port() });
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        link.open = Some(Open { socket: Socket::Udp(socket, peer), since: Instant::now() });
        // A firewall that rejects, which a host on the way says in an ICMP message.
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ECONNREFUSED, libc::ENOPROTOOPT] {
            let trouble = link.trouble(&io::Error::from_raw_os_error(code));
            assert!(trouble.is_of_before, "{trouble:?}");
        }
        assert!(!link.trouble(&io::Error::from_raw_os_error(libc::EMSGSIZE)).is_of_before);
    }

    #[test]
    fn datagrams_are_filled_with_whole_items() {
        assert_eq!(packed("a\nbb\nccc\n", 5), ["a\nbb\n", "ccc\n"]);
        assert_eq!(packed("a\nbb\nccc\n", 4), ["a\n", "bb\n", "ccc\n"]);
        assert_eq!(packed("a\nbb\nccc\n", 100), ["a\nbb\nccc\n"]);
        assert_eq!(packed("a\nb\0b\nc\n", 5), ["a\n", "b\nb\n", "c\n"], "an item of two lines stays together");
        assert_eq!(packed("", 5), [""; 0]);
    }
}
