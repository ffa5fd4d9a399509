//! `outputs[].remote_write`.

use std::time::Duration;

use crate::config::checked::{HttpOutput, RemoteWrite, WriteMessage};
use crate::config::fields::Fields;
use crate::config::http::{auth, plain_headers, url_with_query};
use crate::config::raw::MESSAGES;
use crate::config::tls::client_tls;

/// Headers that the protocol sets, and that nobody else may. (Remote-Write 2.0, "Protocol".)
const PROTOCOL_HEADERS: [&str; 2] = ["x-prometheus-remote-write-version", "user-agent"];

pub fn remote_write(fields: &Fields<'_>) -> RemoteWrite {
    fields.at_most_one_of(&["basic_auth", "authorization"]);
    let headers = plain_headers(fields);
    for (name, _) in headers.iter().filter(|(name, _)| PROTOCOL_HEADERS.contains(&name.as_str())) {
        fields.note("headers", format!("{name} cannot be set: it is a part of the protocol"));
    }
    let messages = [(MESSAGES[0], WriteMessage::V1), (MESSAGES[1], WriteMessage::V2)];
    let message = fields.choice("protobuf_message", &messages).unwrap_or_default();
    RemoteWrite {
        http: HttpOutput {
            urls: fields.read_optional("url", url_with_query).into_iter().collect(),
            tls: client_tls(fields),
            auth: auth(fields),
            headers,
            timeout: fields.duration("remote_timeout"),
            gzip: false,
        },
        message,
        send_exemplars: fields.switch("send_exemplars"),
        send_native_histograms: fields.optional_switch("send_native_histograms").unwrap_or(message == WriteMessage::V2),
        metadata_interval: metadata_interval(fields),
        lanes: fields.count("lanes"),
    }
}

fn metadata_interval(fields: &Fields<'_>) -> Option<Duration> {
    let metadata = fields.section_or_defaults("metadata_config");
    let (is_sent, interval) = (metadata.switch("send"), metadata.duration("send_interval"));
    is_sent.then_some(interval)
}
