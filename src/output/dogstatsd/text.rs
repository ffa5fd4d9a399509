//! The texts of a line: names, tags, numbers. Whatever comes in, what goes out ends no tag, no line and no datagram.

/// Characters of a metric's name, at most. (Datadog, "Custom metrics": "Naming custom metrics".)
pub const NAME_CHARS_MAX: usize = 200;

/// Characters of a tag, at most: its name, the colon and its value. (Datadog, "Getting started with tags".) Datadog cuts what is
/// longer.
const TAG_CHARS_MAX: usize = 200;

/// Tags by which an agent is told things; a label must not do that.
const INTERNAL: &str = "dd.internal.";

/// A metric's name behind a namespace: ASCII letters and digits, `_` and `.`; other characters become `_`. It begins with a
/// letter: what stands before the first one is left out.
///
/// # Errors
/// What is wrong with a name that cannot be one.
pub fn name(namespace: &str, name: &str) -> Result<String, &'static str> {
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' };
    let whole: String = namespace.chars().chain(name.chars()).map(clean).collect();
    let from = whole.find(|c: char| c.is_ascii_alphabetic()).ok_or("has no letter")?;
    let name = &whole[from..];
    if name.len() > NAME_CHARS_MAX { Err("is longer than 200 characters") } else { Ok(name.to_owned()) }
}

/// Writes a tag: `name:value`.
pub fn tag(out: &mut Vec<u8>, name: &str, value: &str) {
    let start = out.len();
    let is_plain = |byte: &u8| !matches!(byte, ..0x20 | 0x7f | b'|' | b',' | b'#');
    let clean = |byte: u8| if is_plain(&byte) { byte } else { b'_' };
    let name_start = out.len();
    out.extend(name.bytes().map(|byte| if byte == b':' { b'_' } else { clean(byte) }));
    if name.starts_with(INTERNAL) {
        out[name_start + INTERNAL.len() - 1] = b'_';
    }
    out.push(b':');
    if value.as_bytes().iter().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.extend(value.bytes().map(clean));
    }
    if out.len() - start > TAG_CHARS_MAX {
        let end = start + cut(&out[start..]);
        out.truncate(end);
    }
}

/// Where the first characters end. What is counted is where characters begin: the text is UTF-8.
fn cut(tag: &[u8]) -> usize {
    let mut begins = tag.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80).map(|(at, _)| at);
    begins.nth(TAG_CHARS_MAX).unwrap_or(tag.len())
}

/// Writes a finite number with the shortest digits that read back as the same float; whole ones without a point or an exponent.
pub fn number(out: &mut Vec<u8>, value: f64) {
    /// Up to here floats hold every whole number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value == value.trunc() && value.abs() <= EXACT_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag_text(name: &str, value: &str) -> String {
        let mut out = Vec::new();
        tag(&mut out, name, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_ascii_and_begin_with_a_letter() {
        for (namespace, given, expected) in [
            ("", "http_requests_total", Ok("http_requests_total")),
            ("circle.", "nomad:up", Ok("circle.nomad_up")),
            ("", "_:1go_threads", Ok("go_threads")),
            ("", "größe|x\n", Ok("gr__e_x_")),
            ("a.", "_x", Ok("a._x")),
            ("", "_1", Err("has no letter")),
            ("", "", Err("has no letter")),
        ] {
            assert_eq!(name(namespace, given).as_deref(), expected.as_ref().map(|e| *e), "{given:?}");
        }
        assert!(name("", &"a".repeat(200)).is_ok());
        assert_eq!(name("a", &"a".repeat(200)), Err("is longer than 200 characters"));
    }

    #[test]
    fn a_tag_ends_nothing() {
        assert_eq!(tag_text("path", "/v2/{id}:x y"), "path:/v2/{id}:x y");
        assert_eq!(tag_text("a:b|c,d#e", "x|y,z#\n\r\0\u{7f}é"), "a_b_c_d_e:x_y_z_____é");
        assert_eq!(tag_text("dd.internal.entity_id", "none"), "dd.internal_entity_id:none");
        assert_eq!(tag_text("k", &"é".repeat(300)), format!("k:{}", "é".repeat(198)));
        assert_eq!(tag_text("k", &"é".repeat(198)), format!("k:{}", "é".repeat(198)));
    }

    #[test]
    fn numbers_are_read_back_as_they_were() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-3.0, "-3"),
            (1_234_567.0, "1234567"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (0.25, "0.25"),
        ] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for value in [1e300, 5e-324, 0.1 + 0.2, -1e22] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap().parse::<f64>(), Ok(value));
        }
    }
}
