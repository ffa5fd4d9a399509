//! The messages of `loggregator.v2`, as far as metrics need them.
//!
//! Maps are lists of entries here, which is the same on the wire: nothing is hashed that is read once. Where a key comes
//! twice the last one counts. Logs and events are skipped and not read.

/// What came from a source at one time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// When, in nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// Where from; the tag `origin` where it is empty.
    #[prost(string, tag = "2")]
    pub source_id: String,
    /// Which instance of the source.
    #[prost(string, tag = "8")]
    pub instance_id: String,
    /// Tags of old clients. They win over [`tags`](Self::tags).
    #[prost(message, repeated, tag = "3")]
    pub deprecated_tags: Vec<DeprecatedTag>,
    /// What describes it.
    #[prost(message, repeated, tag = "9")]
    pub tags: Vec<Tag>,
    /// What it says.
    #[prost(oneof = "Message", tags = "4, 5, 6, 7, 10")]
    pub message: Option<Message>,
}

/// An entry of a map of texts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tag {
    /// The key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An entry of a map of values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeprecatedTag {
    /// The key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// A text or a number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Which of them.
    #[prost(oneof = "value::Data", tags = "1, 2, 3")]
    pub data: Option<value::Data>,
}

/// What a [`Value`] may be.
pub mod value {
    /// A text or a number.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        /// A text.
        #[prost(string, tag = "1")]
        Text(String),
        /// A whole number.
        #[prost(int64, tag = "2")]
        Integer(i64),
        /// A number.
        #[prost(double, tag = "3")]
        Decimal(f64),
    }
}

/// What an envelope says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Message {
    /// A line of a log.
    #[prost(message, tag = "4")]
    Log(Nothing),
    /// A counter.
    #[prost(message, tag = "5")]
    Counter(Counter),
    /// Gauges.
    #[prost(message, tag = "6")]
    Gauge(Gauge),
    /// How long something took.
    #[prost(message, tag = "7")]
    Timer(Timer),
    /// Something happened.
    #[prost(message, tag = "10")]
    Event(Nothing),
}

/// A message whose fields are skipped.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Nothing {}

/// A counter: what was added, or all of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Counter {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Since the last envelope.
    #[prost(uint64, tag = "2")]
    pub delta: u64,
    /// Since the source began.
    #[prost(uint64, tag = "3")]
    pub total: u64,
}

/// Values that go up and down.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Gauge {
    /// By name.
    #[prost(message, repeated, tag = "1")]
    pub metrics: Vec<GaugeEntry>,
}

/// An entry of a map of gauges.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GaugeEntry {
    /// The gauge's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value; all zero where it is absent.
    #[prost(message, optional, tag = "2")]
    pub value: Option<GaugeValue>,
}

/// A value with its unit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GaugeValue {
    /// The unit, in any words.
    #[prost(string, tag = "1")]
    pub unit: String,
    /// The value.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// From when to when something took.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timer {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "2")]
    pub start: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "3")]
    pub stop: i64,
}
