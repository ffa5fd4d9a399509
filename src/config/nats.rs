//! `nats_sd_configs`, `register` and `targets_file`.

use super::checked::{NatsSd, Register, TargetsFile, TargetsFileFormat};
use super::common::name_text;
use super::fields::Fields;
use super::http::{host, is_visible, secret, split_authority, token};
use super::problem::quoted;
use super::scrape::globs;
use super::tls::{client_tls, listener};
use super::values::Complaint;
use crate::net::credentials::Secret;
use crate::net::nats::protocol::is_subject;
use crate::net::nats::{Auth, DEFAULT_PORT, Server, Settings};

/// One entry of `nats_sd_configs`.
pub fn nats_sd(fields: &Fields<'_>) -> NatsSd {
    NatsSd {
        nats: settings(fields),
        subject: subject(fields),
        expiry: fields.duration("expiry"),
        target_limit: fields.count("target_limit"),
    }
}

/// `register`; `outputs` are those of the configuration.
pub fn register(root: &Fields<'_>, outputs: &[Fields<'_>]) -> Option<Register> {
    let fields = root.section("register")?;
    let register = Register {
        nats: settings(&fields),
        subject: subject(&fields),
        interval: fields.duration("interval"),
        address: fields.read_optional("address", host),
        instance_id: fields.read_optional("instance_id", name_text),
        files: if fields.texts("files").is_empty() { Vec::new() } else { globs(&fields) },
    };
    // The drop-in for metrics-agent has an address of its own.
    if !root.has("metrics_agent") && !fields.has("address") {
        let listens = |output: &Fields<'_>| Some(listener(&output.section("expose")?).0.ip());
        let is_unreachable =
            |output: &&Fields<'_>| listens(output).is_some_and(|ip| ip.is_unspecified() || ip.is_loopback());
        if let Some(output) = outputs.iter().find(is_unreachable) {
            let name = quoted(&output.optional_text("name").unwrap_or_default());
            let message = format!("is missing; others cannot be sent to what the output {name} listens on");
            fields.note("address", message);
        }
    }
    Some(register)
}

/// `targets_file`; `scrapes` are the entries of `scrape_configs`.
pub fn targets_file(root: &Fields<'_>, scrapes: &[Fields<'_>]) -> Option<TargetsFile> {
    let fields = root.section("targets_file")?;
    let jobs: Vec<String> = scrapes.iter().filter_map(|scrape| scrape.optional_text("job_name")).collect();
    fields.refuse_empty_list("jobs");
    let formats = [("json", TargetsFileFormat::Json), ("yaml", TargetsFileFormat::Yaml)];
    let format = fields.choice("format", &formats).unwrap_or_default();
    let ending = match format {
        TargetsFileFormat::Json => ".json",
        TargetsFileFormat::Yaml => ".yml",
    };
    let path = fields.read_optional("path", |path| match path.ends_with(ending) {
        true => Ok(fields.join(path)),
        false if format == TargetsFileFormat::Yaml && path.ends_with(".yaml") => Ok(fields.join(path)),
        false => Err(format!("does not end in {ending}, by which Prometheus tells what it is")),
    });
    let named = fields.texts("jobs").into_iter().filter(|job| {
        let is_known = jobs.contains(&job.text);
        if !is_known {
            fields.note_at(job.at, format!("jobs: {} is no job_name of scrape_configs", quoted(&job.text)));
        }
        is_known
    });
    Some(TargetsFile { path: path.unwrap_or_default(), format, jobs: named.map(|job| job.text).collect() })
}

fn settings(fields: &Fields<'_>) -> Settings {
    fields.refuse_empty_list("servers");
    let texts = fields.texts("servers");
    let mut servers = Vec::new();
    for placed in &texts {
        for text in placed.text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match server(text) {
                Ok(server) => servers.push(server),
                Err(complaint) => fields.note_at(placed.at, format!("servers: a server (not shown) {complaint}")),
            }
        }
        if placed.text.trim_matches([',', ' ']).is_empty() {
            fields.note_at(placed.at, "servers: a text without a server");
        }
    }
    Settings { servers, auth: auth(fields), tls: fields.has("tls_config").then(|| client_tls(fields)) }
}

fn auth(fields: &Fields<'_>) -> Auth {
    fields.at_most_one_of(&["username", "token", "token_file"]);
    let name = fields.read_optional("username", name_text);
    let password = secret(fields, ["password", "password_file"], |text| Ok(text.to_owned()));
    let given = secret(fields, ["token", "token_file"], token);
    if let Some(key) = ["password", "password_file"].iter().find(|key| fields.has(key) && !fields.has("username")) {
        fields.note(key, "username is missing; a password needs it");
    }
    match (name, given) {
        (Some(name), _) => Auth::User { name, password: password.unwrap_or(Secret::Inline(String::new())) },
        (None, Some(token)) => Auth::Token(token),
        (None, None) => Auth::None,
    }
}

fn subject(fields: &Fields<'_>) -> String {
    let read = fields.read_optional("subject", |text| match is_subject(text) {
        true => Ok(text.to_owned()),
        false => Err("is not a subject; write words with dots between them, without wildcards".to_owned()),
    });
    read.unwrap_or_default()
}

/// `[nats://|tls://][USER:PASSWORD@]HOST[:PORT]`. The complaint repeats nothing of it: it may hold credentials.
fn server(text: &str) -> Result<Server, Complaint> {
    let (wants_tls, rest) = match text.split_once("://") {
        None | Some(("nats", _)) => (false, text.strip_prefix("nats://").unwrap_or(text)),
        Some(("tls", rest)) => (true, rest),
        Some(_) => return Err("has another scheme than nats:// and tls://".to_owned()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, address) = match rest.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, rest),
    };
    let wrong = || "has no valid host and port, such as \"nats://nats.service.cf.internal:4222\"".to_owned();
    let (host, port) = Some(address).filter(|text| is_visible(text)).and_then(split_authority).ok_or_else(wrong)?;
    let auth = match login.map(|login| login.split_once(':').ok_or(login)) {
        None => Auth::None,
        Some(Ok((name, password))) => {
            Auth::User { name: percent_decoded(name)?, password: Secret::Inline(percent_decoded(password)?) }
        }
        Some(Err(token)) => Auth::Token(Secret::Inline(percent_decoded(token)?)),
    };
    Ok(Server { host: host.to_owned(), port: port.unwrap_or(DEFAULT_PORT), wants_tls, auth })
}

/// `%XX` is a byte; anything else stands for itself, also `+`.
fn percent_decoded(text: &str) -> Result<String, Complaint> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let byte = part.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or("has a % in its credentials without two hex digits behind it; write %25")?);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| "has credentials that are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_with_and_without_credentials() {
        let user =
            |name: &str, password: &str| Auth::User { name: name.into(), password: Secret::Inline(password.into()) };
        for (text, host, port, wants_tls, auth) in [
            ("nats.service.cf.internal", "nats.service.cf.internal", 4222, false, Auth::None),
            ("nats://10.0.0.1:4224/", "10.0.0.1", 4224, false, Auth::None),
            ("tls://[::1]:1", "::1", 1, true, Auth::None),
            ("nats://nats:p%40s+%25@host:2", "host", 2, false, user("nats", "p@s+%")),
            ("user:p@ss:w/rd@host", "host", 4222, false, user("user", "p@ss:w/rd")),
            ("nats://t%6Fken@host", "host", 4222, false, Auth::Token(Secret::Inline("token".into()))),
        ] {
            assert_eq!(server(text), Ok(Server { host: host.into(), port, wants_tls, auth }), "{text}");
        }
        for text in ["", "http://a", "nats://", "a:0", "a:70000", "a b", "u:%4@a", "u:%+1@a", "u:%ff@a", "u:p@", "[::1"]
        {
            assert!(server(text).is_err_and(|complaint| !complaint.contains("u:")), "{text}");
        }
    }
}
