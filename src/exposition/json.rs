//! One sample as a line of JSON: what `promferry parse --json` prints and the file output writes.
//!
//! `{"name":…,"labels":{…},"value":"…","timestamp_ms":…}`, the value as text, as in Prometheus' HTTP API (3.x), because JSON
//! has neither NaN nor infinities; `timestamp_ms` is left out where there is none. A native histogram has `"histogram":{…}`
//! instead of `"value"`: the fields of [`Histogram`], counts absolute and as text, lists left out where they are empty.
//! Exemplars, where there are any, are in `"exemplars":[{"labels":{…},"value":"…","timestamp_ms":…}]`, and the time since
//! which the sample counts is in `"created_ms"`.

use super::text::LineExemplar;
use super::write;
use crate::model::{Chunk, Histogram, HistogramSpan, SeriesRef, Value};

/// Appends a line with its line break. `labels` are without the name.
pub fn line<'l>(
    out: &mut Vec<u8>,
    name: &str,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    value: f64,
    at_ms: Option<i64>,
) {
    sample(out, name, labels, Value::Float(value), at_ms, &Beside::default());
}

/// What a sample may have beside its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// Exemplars.
    pub exemplars: &'a [LineExemplar<'a>],
    /// Since when it counts, in milliseconds since 1970.
    pub created_ms: Option<i64>,
}

/// The same as [`line`] for any value, with what stands beside it.
pub fn sample<'l>(
    out: &mut Vec<u8>,
    name: &str,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    value: Value<'_>,
    at_ms: Option<i64>,
    beside: &Beside<'_>,
) {
    out.extend_from_slice(b"{\"name\":");
    string(out, name);
    out.extend_from_slice(b",\"labels\":");
    object(out, labels);
    value_and_time(out, value, at_ms);
    milliseconds(out, ",\"created_ms\":", beside.created_ms);
    for (at, exemplar) in beside.exemplars.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"exemplars\":[" } else { b"," });
        out.extend_from_slice(b"{\"labels\":");
        object(out, exemplar.labels.iter());
        number(out, ",\"value\":", exemplar.value);
        milliseconds(out, ",\"timestamp_ms\":", exemplar.at_ms);
        out.push(b'}');
    }
    out.extend_from_slice(if beside.exemplars.is_empty() { b"}\n" } else { b"]}\n" });
}

/// Appends what follows the labels of a [`sample`], up to its time.
fn value_and_time(out: &mut Vec<u8>, value: Value<'_>, at_ms: Option<i64>) {
    match value {
        Value::Float(value) => number(out, ",\"value\":", value),
        Value::Histogram(value) => histogram(out, value),
    }
    milliseconds(out, ",\"timestamp_ms\":", at_ms);
}

/// Writes one line after another. What a line has in common with the one before, up to the first label that differs, is
/// copied from there; a label is escaped once for as long as the lines are about series of one chunk.
#[derive(Default)]
pub struct Lines<'s> {
    before: Option<SeriesRef<'s>>,
    labels: Fragments,
    /// Where the last line starts.
    start: usize,
    /// For each of its labels where it ends, from the line's start; the name is the first.
    ends: Vec<usize>,
}

impl<'s> Lines<'s> {
    /// Appends a line, as [`sample`] has it, to what this has written so far; nobody else writes into `out` meanwhile.
    pub fn line(&mut self, out: &mut Vec<u8>, series: SeriesRef<'s>, value: Value<'_>, at_ms: i64) {
        let (start, pairs) = (out.len(), series.pairs());
        // Only series of one chunk share a name's place, and the numbers of labels.
        let before = self.before.filter(|before| std::ptr::eq(before.name(), series.name()));
        let shared = match before {
            Some(before) => {
                let shared = before.pairs().iter().zip(pairs).take_while(|(held, new)| held == new).count();
                out.extend_from_within(self.start..self.start + self.ends[shared]);
                self.ends.truncate(shared + 1);
                shared
            }
            None => {
                out.extend_from_slice(b"{\"name\":");
                string(out, series.name());
                out.extend_from_slice(b",\"labels\":{");
                self.ends.clear();
                self.ends.push(out.len() - start);
                0
            }
        };
        if self.before.is_none_or(|before| !std::ptr::eq(before.chunk(), series.chunk())) {
            self.labels.forget(series.chunk());
        }
        for (at, &pair) in pairs.iter().enumerate().skip(shared) {
            let label = self.labels.of(series.chunk(), pair);
            // The first one goes without its comma.
            out.extend_from_slice(if at == 0 { label.get(1..).unwrap_or_default() } else { label });
            self.ends.push(out.len() - start);
        }
        out.push(b'}');
        value_and_time(out, value, Some(at_ms));
        out.extend_from_slice(b"}\n");
        (self.before, self.start) = (Some(series), start);
    }
}

/// The labels of one chunk as `,"name":"value"`, each made when it is first asked for.
#[derive(Default)]
struct Fragments {
    text: Vec<u8>,
    /// Start and end in `text`, by the label's number; equal where it was not made yet.
    places: Vec<(u32, u32)>,
}

impl Fragments {
    /// Another chunk's labels are asked for from now on.
    fn forget(&mut self, chunk: &Chunk) {
        self.text.clear();
        self.places.clear();
        self.places.resize(chunk.pairs(), (0, 0));
    }

    fn of(&mut self, chunk: &Chunk, pair: u32) -> &[u8] {
        let place = &mut self.places[pair as usize];
        if place.0 == place.1 {
            let (name, value) = chunk.pair(pair);
            place.0 = self.text.len() as u32;
            self.text.push(b',');
            string(&mut self.text, name);
            self.text.push(b':');
            string(&mut self.text, value);
            place.1 = self.text.len() as u32;
        }
        &self.text[place.0 as usize..place.1 as usize]
    }
}

/// Appends a JSON string (RFC 8259), quotes included.
pub fn string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing into a `Vec` does not fail, and neither does a string.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Whether no byte of a text has to be escaped: nearly all names and values. Eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let last = rest.iter().fold(0x2020_2020_2020_2020, |word, &byte| word << 8 | u64::from(byte));
    words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]).fold(0, |found, word| found | to_escape(word)) == 0
}

/// Not zero where a byte of the word is a control character, a double quote or a backslash. Bytes from 0x80 on are none.
fn to_escape(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_blank = word.wrapping_sub(ONES * 0x20) & !word;
    (below_blank | is_zero(word ^ (ONES * 0x22)) | is_zero(word ^ (ONES * 0x5c))) & (ONES * 0x80)
}

fn object<'l>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'l str, &'l str)>) {
    out.push(b'{');
    for (at, (name, value)) in pairs.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

/// A number as text, because it may be none that JSON has.
fn number(out: &mut Vec<u8>, key: &str, value: f64) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    write::float(out, value);
    out.push(b'"');
}

fn integer(out: &mut Vec<u8>, key: &str, value: i64) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn milliseconds(out: &mut Vec<u8>, key: &str, ms: Option<i64>) {
    if let Some(ms) = ms {
        integer(out, key, ms);
    }
}

fn histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    integer(out, ",\"histogram\":{\"schema\":", i64::from(histogram.schema));
    number(out, ",\"count\":", histogram.count);
    number(out, ",\"sum\":", histogram.sum);
    number(out, ",\"zero_threshold\":", histogram.zero_threshold);
    number(out, ",\"zero_count\":", histogram.zero_count);
    spans(out, ",\"positive_spans\":[", &histogram.positive_spans);
    numbers(out, ",\"positive_counts\":[", &histogram.positive_counts);
    spans(out, ",\"negative_spans\":[", &histogram.negative_spans);
    numbers(out, ",\"negative_counts\":[", &histogram.negative_counts);
    numbers(out, ",\"custom_bounds\":[", &histogram.custom_bounds);
    let flags: &[u8] = match (histogram.is_float, histogram.is_gauge) {
        (false, false) => b"}",
        (true, false) => b",\"is_float\":true}",
        (false, true) => b",\"is_gauge\":true}",
        (true, true) => b",\"is_float\":true,\"is_gauge\":true}",
    };
    out.extend_from_slice(flags);
}

fn spans(out: &mut Vec<u8>, key: &str, spans: &[HistogramSpan]) {
    for (at, span) in spans.iter().enumerate() {
        out.extend_from_slice(if at == 0 { key.as_bytes() } else { b"," });
        integer(out, "{\"offset\":", i64::from(span.offset));
        integer(out, ",\"length\":", i64::from(span.length));
        out.push(b'}');
    }
    if !spans.is_empty() {
        out.push(b']');
    }
}

fn numbers(out: &mut Vec<u8>, key: &str, values: &[f64]) {
    for (at, &value) in values.iter().enumerate() {
        number(out, if at == 0 { key } else { "," }, value);
    }
    if !values.is_empty() {
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkBuilder, Family};

    #[test]
    fn lines_that_share_text_are_the_same_as_lines_alone() {
        let mut chunks = [ChunkBuilder::default(), ChunkBuilder::default()];
        for chunk in &mut chunks {
            let family = chunk.family(Family::default());
            for name in ["a", "a", "b\"", ""] {
                for labels in [&[][..], &["x"], &["x", "y"], &["x", "z"], &["x", "z", "é\n"], &["y"], &["x", "z"]] {
                    let labels = labels.iter().enumerate();
                    let labels: Vec<(String, &str)> = labels.map(|(at, value)| (format!("l{at}"), *value)).collect();
                    chunk.push(family, name, labels.iter().map(|(name, value)| (name.as_str(), *value)));
                }
            }
        }
        let chunks = chunks.map(ChunkBuilder::finish);
        let (mut together, mut alone) = (b"something before".to_vec(), b"something before".to_vec());
        let mut lines = Lines::default();
        for (at, series) in chunks.iter().flat_map(|chunk| chunk.iter()).enumerate() {
            let value = Value::Float(at as f64 / 4.0);
            lines.line(&mut together, series, value, at as i64);
            sample(&mut alone, series.name(), series.labels(), value, Some(at as i64), &Beside::default());
        }
        assert_eq!(String::from_utf8(together).unwrap(), String::from_utf8(alone).unwrap());
    }

    #[test]
    fn a_string_is_as_serde_json_has_it() {
        for byte in 0..=255u32 {
            for before in 0..20 {
                for after in [0, 1, 7, 8] {
                    let char = char::from_u32(byte).unwrap();
                    let text = format!("{}{char}{}", "a~ é!".repeat(before), "#[]\u{7f}".repeat(after));
                    let mut out = Vec::new();
                    string(&mut out, &text);
                    assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_line_is_json_whatever_the_text() {
        let mut out = Vec::new();
        line(&mut out, "a\"b", [("l", "x\n\u{1}é")].into_iter(), f64::NEG_INFINITY, Some(-5));
        line(&mut out, "b", std::iter::empty(), 1.5, None);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"name\":\"a\\\"b\",\"labels\":{\"l\":\"x\\n\\u0001é\"},\"value\":\"-Inf\",\"timestamp_ms\":-5}\n\
             {\"name\":\"b\",\"labels\":{},\"value\":\"1.5\"}\n"
        );
    }

    #[test]
    fn a_native_histogram_is_an_object_with_its_exemplars_beside_it() {
        let value = Histogram {
            schema: -1,
            zero_threshold: 0.25,
            count: 3.0,
            sum: f64::NAN,
            is_gauge: true,
            positive_spans: [HistogramSpan { offset: -2, length: 1 }, HistogramSpan { offset: 3, length: 1 }].into(),
            positive_counts: [1.0, 2.0].into(),
            ..Histogram::stale()
        };
        let labels = [("trace_id", "1")].into_iter().collect();
        let exemplars = [
            LineExemplar { labels, value: 0.5, at_ms: Some(7) },
            LineExemplar { labels: Default::default(), value: 2.0, at_ms: None },
        ];
        let mut out = Vec::new();
        let beside = Beside { exemplars: &exemplars, created_ms: Some(5) };
        sample(&mut out, "h", std::iter::empty(), Value::Histogram(&value), None, &beside);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"name\":\"h\",\"labels\":{},\"histogram\":{\"schema\":-1,\"count\":\"3\",\"sum\":\"NaN\",\
             \"zero_threshold\":\"0.25\",\"zero_count\":\"0\",\"positive_spans\":[{\"offset\":-2,\"length\":1},\
             {\"offset\":3,\"length\":1}],\"positive_counts\":[\"1\",\"2\"],\"is_gauge\":true},\"created_ms\":5,\
             \"exemplars\":[{\"labels\":{\"trace_id\":\"1\"},\"value\":\"0.5\",\"timestamp_ms\":7},\
             {\"labels\":{},\"value\":\"2\"}]}\n"
        );
    }
}
