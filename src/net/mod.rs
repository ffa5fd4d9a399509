//! What scrapes, outputs and servers share of the network: addresses, TLS, credentials, connections, servers.

pub mod certificate;
pub mod credentials;
pub mod text;
pub mod tls;
mod url;
pub mod verify;
mod watched;

pub use url::{Scheme, Url};
