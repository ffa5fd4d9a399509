//! What the tests share: certificates, targets that behave and misbehave, receivers, and senders between them.

pub mod bulk_server;
pub mod certificates;
pub mod delivery;
pub mod fake_target;
pub mod elasticsearch;
pub mod logs;
pub mod scraping;
