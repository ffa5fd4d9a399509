//! The admin port.

mod snapshot;

pub use snapshot::*;
