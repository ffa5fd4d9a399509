//! What the tests share: certificates, targets that behave and misbehave, receivers, and senders between them.

pub mod bulk_server;
pub mod certificates;
pub mod delivery;
pub mod elasticsearch;
pub mod fake_target;
pub mod logs;
pub mod scraping;
