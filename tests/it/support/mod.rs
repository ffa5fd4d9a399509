//! What integration tests share: certificates, targets and receivers that misbehave, and the plumbing between them.

pub mod bench;
pub mod bulk_server;
pub mod certificates;
pub mod delivery;
pub mod exporter;
pub mod fake_target;
pub mod logs;
pub mod samples;
pub mod scraping;
pub mod world;
