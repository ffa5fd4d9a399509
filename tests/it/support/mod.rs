//! What the tests share: targets, receivers, and senders between them.

pub mod bulk_server;
pub mod delivery;
pub mod logs;
