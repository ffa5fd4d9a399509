//! Which format a body is in.

/// A format that is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format 0.0.4, with the quoted UTF-8 names of 1.0.0.
    #[default]
    Text,
    /// OpenMetrics text 1.0.0, and 0.0.1.
    OpenMetrics,
    /// Delimited protobuf, `io.prometheus.client.MetricFamily`.
    Protobuf,
}
