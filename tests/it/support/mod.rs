//! What the tests share: certificates, targets that misbehave, the plumbing of one scrape, receivers, and senders between
//! them.

pub mod bulk_server;
pub mod certificates;
pub mod delivery;
pub mod fake_target;
pub mod logs;
pub mod scraping;
