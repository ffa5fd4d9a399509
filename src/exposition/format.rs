//! Which format a body is in, by what the answer says of it.

use std::fmt;

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

/// A protobuf that is not read: its content type is known, and says that it is another message or another framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it says that its protobuf has {name}=\"{}\", and only {name}={expected} can be read", value.escape_debug())]
pub struct ForeignProtobuf {
    name: &'static str,
    value: String,
    expected: &'static str,
}

const PROTOBUF_PARAMETERS: [(&str, &str); 2] =
    [("proto", "io.prometheus.client.MetricFamily"), ("encoding", "delimited")];

impl Format {
    /// What a `Content-Type` says the body is (RFC 9110, 8.3; the media types are those of Prometheus' `textparse.New`).
    /// `None` where it says nothing that is known here: then the configuration's fallback decides.
    ///
    /// The version of a text is not looked at: each format is read as its newest version, which has the older ones in it.
    ///
    /// # Errors
    /// Where it is a protobuf that cannot be read, which no fallback could read either.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Option<Self>, ForeignProtobuf> {
        let content_type = content_type.unwrap_or_default();
        let is = |media_type: &str| is_media_type(content_type, media_type);
        if is("text/plain") {
            Ok(Some(Self::Text))
        } else if is("application/openmetrics-text") {
            Ok(Some(Self::OpenMetrics))
        } else if is("application/vnd.google.protobuf") {
            for (name, expected) in PROTOBUF_PARAMETERS {
                let foreign = |value: &String| !value.eq_ignore_ascii_case(expected);
                if let Some(value) = parameter(content_type, name).filter(foreign) {
                    return Err(ForeignProtobuf { name, value, expected });
                }
            }
            Ok(Some(Self::Protobuf))
        } else {
            Ok(None)
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::OpenMetrics => "OpenMetrics",
            Self::Protobuf => "protobuf",
        })
    }
}

/// Whether a content type is of this media type, whatever its parameters.
pub fn is_media_type(content_type: &str, media_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
}

/// The value of a content type's parameter, without its quotes; the first of that name.
fn parameter(content_type: &str, name: &str) -> Option<String> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (held, after) = rest.split_once('=')?;
        // A part without a value is none, and says nothing.
        let held = held.rsplit(';').next().unwrap_or_default().trim();
        let (value, after) = value(after.trim_start());
        if held.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.split_once(';')?.1;
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str) -> Result<Option<Format>, String> {
        Format::from_content_type(Some(content_type)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_media_type_decides_and_parameters_come_in_any_form() {
        let (text, open, proto) = (Some(Format::Text), Some(Format::OpenMetrics), Some(Format::Protobuf));
        for (content_type, expected) in [
            ("text/plain; version=0.0.4; charset=utf-8; escaping=values", text),
            ("text/plain", text),
            ("Text/Plain;VERSION=1.0.0", text),
            (" text/plain ; charset", text),
            ("text/plain;version=9.9", text),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores", open),
            ("APPLICATION/OPENMETRICS-TEXT; CHARSET=UTF-8; VERSION=\"0.0.1\"", open),
            ("application/openmetrics-text", open),
            ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", proto),
            (
                "application/vnd.google.protobuf;escaping=\"a;b=\\\"c\";Encoding = \"Delimited\" ;PROTO=\"io.prometheus.client.MetricFamily\"",
                proto,
            ),
            // As Prometheus reads it.
            ("application/vnd.google.protobuf", proto),
            ("application/json", None),
            ("text/html", None),
            ("text/plain, text/plain", None),
            ("text", None),
            ("", None),
            (";", None),
        ] {
            assert_eq!(read(content_type), Ok(expected), "{content_type}");
        }
        assert_eq!(Format::from_content_type(None), Ok(None));
    }

    #[test]
    fn another_protobuf_is_told_by_its_parameter() {
        let proto = "application/vnd.google.protobuf";
        for (parameters, expected) in [
            (
                "proto=io.prometheus.client.MetricFamily;encoding=text",
                r#"it says that its protobuf has encoding="text", and only encoding=delimited can be read"#,
            ),
            (
                "x; encoding=delimited; proto=\"some.Other\\\"\x1b\"; proto=io.prometheus.client.MetricFamily",
                r#"it says that its protobuf has proto="some.Other\"\u{1b}", and only proto=io.prometheus.client.MetricFamily can be read"#,
            ),
            ("encoding=", r#"it says that its protobuf has encoding="", and only encoding=delimited can be read"#),
            ("encoding=\"", r#"it says that its protobuf has encoding="", and only encoding=delimited can be read"#),
        ] {
            assert_eq!(read(&format!("{proto}; {parameters}")), Err(expected.to_owned()));
        }
    }
}
