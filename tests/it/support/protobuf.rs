//! Protobuf messages, field by field: what a target would write, and what none should.

use std::io::Write;

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    /// A `uint64`, `int64` or enum.
    pub fn uint(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        varint(&mut self.0, value);
        self
    }

    /// A `sint32` or `sint64`.
    pub fn sint(self, field: u32, value: i64) -> Self {
        self.uint(field, zigzag(value))
    }

    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, 1);
        self.raw(&value.to_le_bytes())
    }

    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.tag(field, 2);
        varint(&mut self.0, bytes.len() as u64);
        self.raw(bytes)
    }

    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u32, message: Message) -> Self {
        self.bytes(field, &message.0)
    }

    /// Packed `repeated sint64`.
    pub fn packed_sints(self, field: u32, values: &[i64]) -> Self {
        let mut packed = Vec::new();
        values.iter().for_each(|&value| varint(&mut packed, zigzag(value)));
        self.bytes(field, &packed)
    }

    /// Packed `repeated double`.
    pub fn packed_doubles(self, field: u32, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }

    /// Any bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `LabelPair` as field 1.
    pub fn label(self, name: &str, value: &str) -> Self {
        self.message(1, Message::new().text(1, name).text(2, value))
    }

    /// A `BucketSpan`.
    pub fn span(self, field: u32, offset: i32, length: u32) -> Self {
        self.message(field, Message::new().sint(1, i64::from(offset)).uint(2, u64::from(length)))
    }

    /// A `google.protobuf.Timestamp`.
    pub fn time_ms(self, field: u32, ms: u64) -> Self {
        self.message(field, Message::new().uint(1, ms / 1000).uint(2, ms % 1000 * 1_000_000))
    }

    /// The message with its length before it.
    pub fn delimited(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, self.0.len() as u64);
        out.write_all(&self.0).expect("memory takes all");
        out
    }

    fn tag(&mut self, field: u32, wire: u64) {
        varint(&mut self.0, u64::from(field) << 3 | wire);
    }
}

/// The types of families.
pub const COUNTER: u64 = 0;
pub const GAUGE: u64 = 1;
pub const SUMMARY: u64 = 2;
pub const UNTYPED: u64 = 3;
pub const HISTOGRAM: u64 = 4;
pub const GAUGE_HISTOGRAM: u64 = 5;

/// A `MetricFamily` with a name and a type.
pub fn family(name: &str, kind: u64) -> Message {
    Message::new().text(1, name).text(2, "Help.").uint(3, kind)
}

/// A body of one family with one metric without labels; `field` is where its type's message goes.
pub fn body(kind: u64, field: u32, content: Message) -> Vec<u8> {
    family("m", kind).message(4, Message::new().message(field, content)).delimited()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}
