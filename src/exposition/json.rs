//! One sample as a line of JSON: what `promferry parse --json` prints and the file output writes.
//!
//! `{"name":…,"labels":{…},"value":"…","timestamp_ms":…}`, the value as text, as in Prometheus' HTTP API (3.x), because JSON
//! has neither NaN nor infinities; `timestamp_ms` is left out where there is none.

use super::write;

/// Appends a line with its line break. `labels` are without the name.
pub fn line<'l>(
    out: &mut Vec<u8>,
    name: &str,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    value: f64,
    at_ms: Option<i64>,
) {
    out.extend_from_slice(b"{\"name\":");
    string(out, name);
    out.extend_from_slice(b",\"labels\":{");
    for (at, (name, value)) in labels.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.extend_from_slice(b"},\"value\":\"");
    write::float(out, value);
    out.push(b'"');
    if let Some(ms) = at_ms {
        out.extend_from_slice(b",\"timestamp_ms\":");
        out.extend_from_slice(itoa::Buffer::new().format(ms).as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a JSON string (RFC 8259), quotes included.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Writing into a `Vec` does not fail, and neither does a string.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
