//! What scrapes, outputs and servers share of the network: addresses, TLS, credentials, connections, servers.

pub mod credentials;
pub mod tls;
mod url;

pub use url::{Scheme, Url};
