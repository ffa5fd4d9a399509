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

#[cfg(test)]
mod tests {
    use super::*;

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
}
