//! The port that takes envelopes: service `loggregator.v2.Ingress` over gRPC with mutual TLS.
//!
//! Promises
//! - What a batch holds is folded in when the batch has come: its answer, where it has one, means that.
//! - A batch that is no protobuf is refused as a whole and nothing of it is folded in; an envelope in it that cannot be read is
//!   lost alone, and counted.
//! - The streams `Sender` and `BatchSender` last until their client ends them; both are answered then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Collected;
use crate::net::credentials::ListenerCredentials;
use crate::net::grpc::{Call, Code, Limits, Server, Service, Shape, Status};
use crate::net::server;

/// The port at work.
pub struct Ingress {
    server: Server,
    sweeping: JoinHandle<()>,
}

impl Ingress {
    /// Listens, folds what comes into `collected`, and lets go of what has expired.
    ///
    /// # Errors
    /// When the port cannot be had; one sentence that names the address.
    pub async fn start(
        listen: SocketAddr,
        tls: ListenerCredentials,
        collected: Arc<Collected>,
    ) -> Result<Self, String> {
        let listener = server::Server::bind(listen).await?;
        let service = Arc::new(Methods { collected: collected.clone() });
        let server = Server::start(listener, Some(tls), Limits::default(), service)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        Ok(Self { server, sweeping: tokio::spawn(sweep(collected)) })
    }

    /// The address that it has, the port among it.
    pub fn listens_on(&self) -> SocketAddr {
        self.server.listens_on()
    }

    /// Takes no more connections, ends streams with `UNAVAILABLE`, lets calls of `Send` end within `grace`, and closes the
    /// rest.
    pub async fn stop(self, grace: Duration) {
        self.server.stop(grace).await;
        self.sweeping.abort();
    }
}

async fn sweep(collected: Arc<Collected>) {
    let mut ticks = tokio::time::interval(collected.settings().expiration_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        collected.sweep();
    }
}

struct Methods {
    collected: Arc<Collected>,
}

impl Service for Methods {
    fn begin(&self, path: &str) -> Option<Box<dyn Call>> {
        let (shape, is_batch) = match path {
            "/loggregator.v2.Ingress/Sender" => (Shape::Stream, false),
            "/loggregator.v2.Ingress/BatchSender" => (Shape::Stream, true),
            "/loggregator.v2.Ingress/Send" => (Shape::Unary, true),
            _ => return None,
        };
        Some(Box::new(Sending { collected: self.collected.clone(), shape, is_batch }))
    }
}

/// A call of one of the three methods. Their answers are messages without fields.
struct Sending {
    collected: Arc<Collected>,
    shape: Shape,
    /// Whether a message is a batch; else it is an envelope.
    is_batch: bool,
}

impl Call for Sending {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn message(&mut self, message: Bytes) -> Result<(), Status> {
        if self.is_batch {
            if !self.collected.fold_batch(&message) {
                return Err(Status::new(Code::InvalidArgument, "the message is no EnvelopeBatch of loggregator.v2"));
            }
        } else {
            self.collected.fold_encoded(std::iter::once(&message[..]));
        }
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<Bytes, Status> {
        Ok(Bytes::new())
    }
}
