//! What scrapes, outputs and servers share of the network: addresses, TLS, credentials, connections, servers.

pub mod accept;
mod advice;
pub mod authorization;
pub mod body;
pub mod bpm;
pub mod certificate;
pub mod connect;
pub mod connection;
pub mod credentials;
pub mod dns;
pub mod error;
pub mod grpc;
pub mod host;
pub mod http;
mod listen;
pub mod nats;
pub mod server;
pub mod text;
pub mod tls;
pub mod trace;
mod url;
pub mod vcap;
pub mod verify;
mod watched;

pub use url::{HIDDEN, Scheme, Url, authority, form_decoded, is_secret_parameter, without_secrets};
