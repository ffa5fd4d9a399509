//! What the tests share: certificates, targets that behave and misbehave, receivers, and the program between them.

pub mod bench;
pub mod bulk_server;
pub mod certificates;
pub mod collector;
pub mod delivery;
pub mod dogstatsd;
pub mod elasticsearch;
pub mod exporter;
pub mod fake_target;
pub mod hec_server;
pub mod loggregator_client;
pub mod logs;
pub mod nats_server;
pub mod nomad_server;
pub mod prometheus;
pub mod protobuf;
pub mod proxy;
pub mod random;
pub mod remote_write;
pub mod samples;
pub mod scraping;
pub mod signalfx;
pub mod terminal;
pub mod world;
