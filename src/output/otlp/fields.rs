//! The fields of OTLP's messages. (opentelemetry-proto, `metrics.proto`, `common.proto`, `resource.proto`,
//! `metrics_service.proto`.)

use super::wire::{Field, field};

pub const RESOURCE_METRICS: Field = field(1, "resourceMetrics");

pub mod resource_metrics {
    use super::*;
    pub const RESOURCE: Field = field(1, "resource");
    pub const SCOPE_METRICS: Field = field(2, "scopeMetrics");
}

pub mod resource {
    use super::*;
    pub const ATTRIBUTES: Field = field(1, "attributes");
}

pub mod scope_metrics {
    use super::*;
    pub const SCOPE: Field = field(1, "scope");
    pub const METRICS: Field = field(2, "metrics");
    pub const SCHEMA_URL: Field = field(3, "schemaUrl");
}

pub mod scope {
    use super::*;
    pub const NAME: Field = field(1, "name");
    pub const VERSION: Field = field(2, "version");
    pub const ATTRIBUTES: Field = field(3, "attributes");
}

pub mod key_value {
    use super::*;
    pub const KEY: Field = field(1, "key");
    pub const VALUE: Field = field(2, "value");
    pub const STRING: Field = field(1, "stringValue");
    pub const INT: Field = field(3, "intValue");
}

pub mod metric {
    use super::*;
    pub const NAME: Field = field(1, "name");
    pub const DESCRIPTION: Field = field(2, "description");
    pub const UNIT: Field = field(3, "unit");
    pub const GAUGE: Field = field(5, "gauge");
    pub const SUM: Field = field(7, "sum");
    pub const HISTOGRAM: Field = field(9, "histogram");
    pub const EXPONENTIAL_HISTOGRAM: Field = field(10, "exponentialHistogram");
    pub const SUMMARY: Field = field(11, "summary");
    pub const METADATA: Field = field(12, "metadata");
}

/// Of a gauge, a sum, a histogram of either kind, a summary.
pub mod data {
    use super::*;
    pub const POINTS: Field = field(1, "dataPoints");
    pub const TEMPORALITY: Field = field(2, "aggregationTemporality");
    pub const IS_MONOTONIC: Field = field(3, "isMonotonic");
}

/// What data points of all kinds have.
pub mod point {
    use super::*;
    pub const START: Field = field(2, "startTimeUnixNano");
    pub const TIME: Field = field(3, "timeUnixNano");
    pub const COUNT: Field = field(4, "count");
    pub const SUM: Field = field(5, "sum");
}

pub mod number_point {
    use super::*;
    pub const DOUBLE: Field = field(4, "asDouble");
    pub const EXEMPLARS: Field = field(5, "exemplars");
    pub const ATTRIBUTES: Field = field(7, "attributes");
    pub const FLAGS: Field = field(8, "flags");
}

pub mod histogram_point {
    use super::*;
    pub const BUCKET_COUNTS: Field = field(6, "bucketCounts");
    pub const EXPLICIT_BOUNDS: Field = field(7, "explicitBounds");
    pub const EXEMPLARS: Field = field(8, "exemplars");
    pub const ATTRIBUTES: Field = field(9, "attributes");
    pub const FLAGS: Field = field(10, "flags");
}

pub mod exponential_point {
    use super::*;
    pub const ATTRIBUTES: Field = field(1, "attributes");
    pub const SCALE: Field = field(6, "scale");
    pub const ZERO_COUNT: Field = field(7, "zeroCount");
    pub const POSITIVE: Field = field(8, "positive");
    pub const NEGATIVE: Field = field(9, "negative");
    pub const FLAGS: Field = field(10, "flags");
    pub const EXEMPLARS: Field = field(11, "exemplars");
    pub const ZERO_THRESHOLD: Field = field(14, "zeroThreshold");
    pub const OFFSET: Field = field(1, "offset");
    pub const COUNTS: Field = field(2, "bucketCounts");
}

pub mod summary_point {
    use super::*;
    pub const QUANTILES: Field = field(6, "quantileValues");
    pub const ATTRIBUTES: Field = field(7, "attributes");
    pub const FLAGS: Field = field(8, "flags");
    pub const QUANTILE: Field = field(1, "quantile");
    pub const VALUE: Field = field(2, "value");
}

pub mod exemplar {
    use super::*;
    pub const TIME: Field = field(2, "timeUnixNano");
    pub const DOUBLE: Field = field(3, "asDouble");
    pub const SPAN_ID: Field = field(4, "spanId");
    pub const TRACE_ID: Field = field(5, "traceId");
    pub const ATTRIBUTES: Field = field(7, "filteredAttributes");
}

/// `AGGREGATION_TEMPORALITY_DELTA`.
pub const DELTA: u32 = 1;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
pub const CUMULATIVE: u32 = 2;
/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
pub const NO_RECORDED_VALUE: u32 = 1;
