//! A port that is listened on: connections up to a number, each a task, all of which end with the port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// A listener at work.
pub(super) struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Serves each connection by what `serve` makes of it, `connections_max` at a time; one more is closed at once. `stop` becomes
    /// true when they shall end. What a connection fails with is worth a line only to whoever looks for it.
    pub(super) fn start<F>(
        listener: TcpListener,
        connections_max: usize,
        stop: watch::Sender<bool>,
        serve: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, connections_max, stop.subscribe(), serve));
        Ok(Self { address, stop, task })
    }

    /// The address that it has, the port among it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, gives the sign to stop, and cuts off what did not end within `grace`.
    pub(super) async fn stop(self, grace: Duration) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(grace, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept<F>(
    listener: TcpListener,
    connections_max: usize,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        // Costs a little time where it fails, and nothing else.
        let _ = stream.set_nodelay(true);
        let serving = serve(stream, peer);
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = serving.await {
                tracing::debug!(%peer, error, "a client's connection ended early");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
