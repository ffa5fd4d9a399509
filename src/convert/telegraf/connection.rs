//! What inputs and outputs share: TLS, credentials, headers.

use super::options::{Options, Taken};
use crate::convert::note::Place;
use crate::convert::secret::{is_secret, variable_name};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

/// Headers that a client makes itself.
const OWN_HEADERS: [&str; 8] = [
    "content-type",
    "content-encoding",
    "content-length",
    "user-agent",
    "accept",
    "x-splunk-request-channel",
    "x-prometheus-remote-write-version",
    "connection",
];

/// Options of Telegraf's HTTP clients that have no counterpart.
pub(super) const NO_CLIENT: [(&str, &str); 19] = [
    ("tls_key_pwd", "keys that need a password cannot be read; write the key without one, with mode 0600"),
    ("tls_cipher_suites", "the cipher suites cannot be chosen; only those that are held to be secure are used"),
    ("tls_renegotiation_method", "TLS is never renegotiated"),
    ("use_system_proxy", "proxies are not supported; targets and receivers are connected to directly"),
    ("http_proxy_url", "proxies are not supported; targets and receivers are connected to directly"),
    ("client_id", "OAuth 2.0 is not supported; use basic_auth or authorization"),
    ("client_secret", "OAuth 2.0 is not supported; use basic_auth or authorization"),
    ("token_url", "OAuth 2.0 is not supported; use basic_auth or authorization"),
    ("audience", "OAuth 2.0 is not supported; use basic_auth or authorization"),
    ("scopes", "OAuth 2.0 is not supported; use basic_auth or authorization"),
    ("cookie_auth_url", "logging in for a cookie is not supported; use basic_auth or authorization"),
    ("cookie_auth_method", "logging in for a cookie is not supported"),
    ("cookie_auth_username", "logging in for a cookie is not supported"),
    ("cookie_auth_password", "logging in for a cookie is not supported"),
    ("cookie_auth_headers", "logging in for a cookie is not supported"),
    ("cookie_auth_body", "logging in for a cookie is not supported"),
    ("cookie_auth_renewal", "logging in for a cookie is not supported"),
    ("metricpass", "expressions of CEL are not supported; write relabel rules"),
    ("startup_error_behavior", "an endpoint that cannot be reached is tried again, at the start too"),
];

/// Options that change nothing that arrives.
pub(super) const HARMLESS: [&str; 6] =
    ["idle_conn_timeout", "max_idle_conn", "max_idle_conn_per_host", "log_level", "alias", "tls_enable"];

/// `tls_config` of a client.
pub(super) fn client_tls(options: &Options<'_>) -> Map {
    let mut map = Map::default();
    let is_off = options.switch("tls_enable").is_some_and(|taken| !taken.value);
    let path = |keys: &[&str]| options.text(options.any(keys)).filter(|_| !is_off);
    let ca = path(&["tls_ca", "ssl_ca"]);
    let (cert, key) = (path(&["tls_cert", "ssl_cert"]), path(&["tls_key", "ssl_key"]));
    map.add_some("ca_file", ca.map(|ca| Node::text(&ca.value)));
    match (cert, key) {
        (Some(cert), Some(key)) => {
            map.add("cert_file", Node::text(&cert.value));
            map.add("key_file", Node::text(&key.value));
        }
        (Some(one), None) => options.remark(&one.place, "tls_cert: of no use without tls_key, as in Telegraf"),
        (None, Some(one)) => options.remark(&one.place, "tls_key: of no use without tls_cert, as in Telegraf"),
        (None, None) => {}
    }
    map.add_some("server_name", options.text("tls_server_name").map(|name| Node::text(&name.value)));
    if let Some(version) = options.fixed("tls_min_version") {
        match version.value.as_str() {
            "TLS12" => {}
            "TLS13" => map.add("min_version", Node::word("TLS13")),
            _ => options.lose(&version.place, "tls_min_version: TLS 1.2 is the oldest version that is spoken"),
        }
    }
    if options.switch(options.any(&["insecure_skip_verify", "ssl_skip_verify"])).is_some_and(|taken| taken.value) {
        map.add("insecure_skip_verify", Node::word(true));
    }
    if let Some(method) = options.fixed("tls_renegotiation_method").filter(|method| method.value != "never") {
        options.lose(&method.place, "tls_renegotiation_method: TLS is never renegotiated");
    }
    options.tell(&mut map);
    map
}

/// A secret: a variable stays one, what is in the clear is not repeated.
pub(super) struct Secrets<'o, 't> {
    pub(super) options: &'o Options<'t>,
    /// What variables are named after.
    pub(super) owner: &'o str,
}

impl Secrets<'_, '_> {
    /// The text to write for a secret. `key` is the option that holds it, `use_for` the end of the variable's name, `file`
    /// what may be written instead.
    pub(super) fn safe(&self, secret: &Taken<Text>, key: &str, use_for: &str, file: Option<&str>) -> Text {
        if let Some((name, has_default)) = secret.value.lone_variable() {
            if has_default {
                let text = format!("{key}: the default of the variable {name} was left out, for it is a credential");
                self.options.lose(&secret.place, text);
            }
            return Text::variable(name);
        }
        let name = variable_name(self.owner, use_for);
        let store = secret.value.fixed().is_some_and(|text| text.starts_with("@{") && text.ends_with('}'));
        let what = if store { "from a secret store" } else { "in the clear" };
        let instead = file.map(|file| format!(", or into a file and write {file}")).unwrap_or_default();
        let text = format!("{key}: {what}; put it into the variable {name}{instead}");
        self.options.lose(&secret.place, text);
        Text::variable(name)
    }

    /// `basic_auth`.
    pub(super) fn basic(&self, user: Option<&Taken<Text>>, password: Option<&Taken<Text>>) -> Option<Map> {
        let is_stored = |text: &&Taken<Text>| text.value.fixed().is_some_and(|text| text.starts_with("@{"));
        let user = match user {
            None => return None,
            Some(user) if is_stored(&user) => self.safe(user, "username", "USERNAME", None),
            Some(user) => user.value.clone(),
        };
        let mut map = Map::default();
        map.add("username", Node::text(&user));
        let password = password.map(|password| self.safe(password, "password", "PASSWORD", Some("password_file")));
        map.add_some("password", password.as_ref().map(Node::text));
        Some(map)
    }

    /// Headers that are passed on, and the credentials of `Authorization`.
    pub(super) fn headers(&self, key: &str) -> (Vec<(String, Text)>, Option<Taken<Text>>) {
        let (mut headers, mut authorization) = (Vec::new(), None);
        for (name, value) in self.header_values(key) {
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                "authorization" => authorization = Some(value),
                "host" => self.options.lose(&value.place, format!("{key}: the header Host cannot be set")),
                _ if OWN_HEADERS.contains(&lower.as_str()) => {}
                _ if is_secret(&name) => {
                    let use_for = header_use(&name);
                    let value = self.safe(&value, &format!("{key}: {}", name.escape_debug()), &use_for, None);
                    headers.push((name, value));
                }
                _ => headers.push((name, value.value)),
            }
        }
        (headers, authorization)
    }

    /// Names and values of headers; `outputs.elasticsearch` takes lists, and texts with commas between values.
    fn header_values(&self, key: &str) -> Vec<(String, Taken<Text>)> {
        let Some(section) = self.options.section(key) else { return Vec::new() };
        let mut pairs = Vec::new();
        for name in section.keys() {
            let mut values = section.texts(name);
            if let [_, second, ..] = values.as_slice() {
                self.options.lose(&second.place, format!("{key}: {}: only its first value", name.escape_debug()));
                values.truncate(1);
            }
            pairs.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        }
        self.options.absorb(&section);
        pairs
    }

    /// `authorization`, from the value of the header.
    pub(super) fn header_credentials(&self, value: &Taken<Text>) -> Option<Map> {
        let (word, credentials) = split_word(value);
        match word.to_ascii_lowercase().as_str() {
            "basic" => {
                self.options.lose(&value.place, "Authorization: write basic_auth: {username: …, password: ${…}}");
                None
            }
            "" => {
                self.options.lose(
                    &value.place,
                    "Authorization: of a kind that is not known; write basic_auth or authorization",
                );
                None
            }
            _ => Some(self.authorization(word, &credentials)),
        }
    }

    /// `authorization`.
    pub(super) fn authorization(&self, word: &str, credentials: &Taken<Text>) -> Map {
        let mut map = Map::default();
        if !word.is_empty() && !word.eq_ignore_ascii_case("bearer") {
            map.add("type", Node::verbatim(word));
        }
        let safe = self.safe(credentials, "Authorization", "TOKEN", Some("credentials_file"));
        map.add("credentials", Node::text(&safe));
        map
    }
}

/// What the variable of a header is for. A header that is called as another credential of its owner has another variable.
fn header_use(name: &str) -> String {
    let taken = ["_API_KEY", "_PASSWORD", "_TOKEN", "_URL", "_USERNAME"];
    if taken.contains(&variable_name("", name).as_str()) { format!("header_{name}") } else { name.to_owned() }
}

/// The word of an `Authorization` header, and what is behind it.
pub(super) fn split_word(value: &Taken<Text>) -> (&'static str, Taken<Text>) {
    let place: &Place = &value.place;
    let words = ["Bearer", "Splunk", "ApiKey", "Basic", "Token"];
    let opaque = value.value.opaque().unwrap_or_default();
    let found = opaque
        .trim()
        .split_once(' ')
        .and_then(|(word, rest)| Some((*words.iter().find(|known| known.eq_ignore_ascii_case(word))?, rest.trim())));
    match found {
        Some((word, rest)) => (word, Taken { value: value.value.cleared(rest), place: place.clone() }),
        None => ("", value.clone()),
    }
}

/// `headers` as a mapping of names and texts.
pub(super) fn plain_headers(headers: &[(String, Text)]) -> Map {
    let mut map = Map::default();
    headers.iter().for_each(|(name, value)| map.add(name.clone(), Node::text(value)));
    map
}

#[cfg(test)]
mod tests {
    use crate::convert::{SourceFile, telegraf};

    #[test]
    fn no_two_credentials_share_a_variable() {
        let text = r#"
            [[inputs.prometheus]]
              urls = ["http://a:1/metrics?token=one&token=two"]
              http_headers = {Token = "three", Authorization = "Bearer four"}
            [[outputs.elasticsearch]]
              urls = ["http://b:1"]
              index_name = "m"
              username = "u"
              password = "five"
              headers = {Password = "six"}
        "#;
        let converted = telegraf(&[SourceFile { name: "a.conf".into(), text: text.into() }]).unwrap();
        let lines = converted.yaml.lines().filter(|line| !line.trim_start().starts_with('#'));
        let mut names: Vec<_> =
            lines.flat_map(|line| line.split("${").skip(1)).map(|rest| rest.split('}').next()).collect();
        names.retain(|name| *name != Some("HOSTNAME"));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all), (6, 6), "{}", converted.yaml);
    }
}
