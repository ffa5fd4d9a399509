//! A native histogram, integer or float, exponential or with custom bounds.
//!
//! The shape of `prometheus/prompb` and of `io.prometheus.client.Histogram` (client_model 0.6), with bucket counts made
//! absolute. No parser here makes one yet; every stage passes it through so that none has to be rebuilt for it.

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the end of the span before, or the index of the first bucket.
    pub offset: i32,
    /// Number of consecutive buckets.
    pub length: u32,
}

/// One observation of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Resolution, −4..=8; −53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations; the stale marker's NaN where the series has ended.
    pub sum: f64,
    /// Whether counts may be fractional (a float histogram).
    pub is_float: bool,
    /// Whether this is a gauge histogram, which may go down.
    pub is_gauge: bool,
    /// Populated buckets above zero.
    pub positive_spans: Box<[Span]>,
    /// Their counts, absolute.
    pub positive_counts: Box<[f64]>,
    /// Populated buckets below zero.
    pub negative_spans: Box<[Span]>,
    /// Their counts, absolute.
    pub negative_counts: Box<[f64]>,
    /// Upper bounds for schema −53.
    pub custom_bounds: Box<[f64]>,
}

impl Histogram {
    /// The marker that ends a native histogram's series: a histogram whose sum is the stale NaN.
    pub fn stale() -> Self {
        Self {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: super::STALE_NAN,
            is_float: false,
            is_gauge: false,
            positive_spans: Box::default(),
            positive_counts: Box::default(),
            negative_spans: Box::default(),
            negative_counts: Box::default(),
            custom_bounds: Box::default(),
        }
    }
}
