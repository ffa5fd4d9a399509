//! Reads and writes expositions, the text that targets serve and that the aggregate endpoint serves in turn.
//!
//! [`text`] and [`openmetrics`] are the grammars of one line of a text format, strict and readable; [`protobuf`] reads the
//! messages of the binary one. [`Table`] reads whole bodies of one target: it remembers the lines of the last scrape and so
//! meets the grammar only where a body has changed. [`write`] is pure functions the other way round, [`merge`] puts scrapes of several
//! targets together with them. Nothing here does input
//! or output, knows a clock, or logs.

mod as_is;
mod body;
mod context;
mod format;
pub mod json;
pub mod merge;
pub mod openmetrics;
pub mod protobuf;
mod scan;
mod table;
pub mod text;
mod value;
pub mod write;

pub use as_is::AsIs;
pub use body::{BadLine, Counts, Refusal, Settings, Skipped};
pub use format::{ForeignProtobuf, Format, is_media_type};
pub use table::{Admission, Admit, Parsed, Table};
