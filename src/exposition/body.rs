//! What a table is told about bodies, and what it says of one: limits, counts, and lines that could not be read.

use super::protobuf;
use super::text::LineError;

/// What a table is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest line, in bytes without the line break; a longer one fails the scrape.
    pub line_length_max: usize,
    /// The most samples after relabelling, 0 for no limit; more fail the scrape.
    pub sample_limit: u64,
    /// Bytes that one body may add to what is kept of its target, estimated, with the buckets of its native histograms; more
    /// fail the scrape.
    pub growth_max: usize,
    /// Whether timestamps in the body are taken over.
    pub honor_timestamps: bool,
    /// Whether a series with its own timestamps gets a stale marker too.
    pub track_timestamps_staleness: bool,
    /// Whether native histograms are read; without, one that has no classic buckets is its `+Inf` bucket, sum and count.
    pub native_histograms: bool,
    /// Whether a histogram that is read as a native one gives its classic series too (`always_scrape_classic_histograms`).
    pub classic_histograms_too: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            line_length_max: 1 << 20,
            sample_limit: 0,
            growth_max: usize::MAX,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            native_histograms: false,
            classic_histograms_too: false,
        }
    }
}

/// Why a body is read no further; the scrape must [`fail`](super::Table::fail).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A line is too long.
    #[error("line {line} is longer than the {max} bytes that a line may have")]
    LineTooLong {
        /// The line, from 1.
        line: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// There are too many samples.
    #[error("more than {limit} samples after relabelling (sample_limit)")]
    SampleLimit {
        /// The limit.
        limit: u64,
    },
    /// Too much of the body was never seen before.
    #[error(
        "line {line}: the body has more new series, comments and native buckets than a scrape may add (growth_limit, {max} bytes of memory)"
    )]
    Growth {
        /// The line, from 1.
        line: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// An OpenMetrics body has no end.
    #[error("the body does not end in \"# EOF\", as OpenMetrics must: it may have been cut short")]
    NoEof,
    /// The bytes of a protobuf body are wrong.
    #[error("{0}")]
    Protobuf(#[from] protobuf::Error),
    /// The labels of a line break a limit.
    #[error("line {line}: {reason}")]
    Labels {
        /// The line, from 1.
        line: u64,
        /// What [`Admit`] said.
        reason: String,
    },
}

/// What a body was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Samples, before relabelling dropped any (`scrape_samples_scraped`).
    pub samples_scraped: u64,
    /// Samples after relabelling (`scrape_samples_post_metric_relabeling`), repeated ones included.
    pub samples_post_relabelling: u64,
    /// Series that the last good scrape did not have (`scrape_series_added`).
    pub series_added: u64,
    /// Samples left out because the series has one of that time already (`duplicate_in_scrape`).
    pub duplicates: u64,
    /// Lines, or metrics of a protobuf body, that could not be read, and were skipped.
    pub bad_lines: u64,
    /// The first of them.
    pub first_bad_lines: Vec<Skipped>,
}

impl Counts {
    /// Bad lines of a body that are told in full; the rest are counted.
    pub const BAD_LINES_KEPT: usize = 5;

    /// Whether there was text, and none of it was a sample: not an exposition.
    pub fn has_no_valid_line(&self) -> bool {
        self.bad_lines > 0 && self.samples_scraped == 0
    }
}

/// What was skipped of a body, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    /// A line.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// A metric of a protobuf body.
    #[error(transparent)]
    Metric(#[from] protobuf::Error),
}

/// A line that was skipped, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {found} stands where {expected} was expected")]
pub struct BadLine {
    /// The line, from 1.
    pub line: u64,
    /// The column, in bytes from 1.
    pub column: usize,
    /// What stands there, escaped and cut.
    pub found: String,
    /// What could have stood there.
    pub expected: &'static str,
}

impl BadLine {
    pub(super) fn new(number: u64, line: &[u8], error: LineError) -> Self {
        Self { line: number, column: error.column(), found: error.found(line), expected: error.expected }
    }
}
