//! Scraping: from a target to a scrape.

pub mod client;
mod redirect;
