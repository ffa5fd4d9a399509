//! What integration tests share: certificates, targets that misbehave, and the plumbing of one scrape.

pub mod certificates;
pub mod fake_target;
pub mod scraping;
