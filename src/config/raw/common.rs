//! Sections that stand in several places.

use super::super::schema::{Section, Type};
use super::key;

/// `tls_config` towards targets and receivers.
pub static TLS: Section = Section {
    name: "tls_config",
    about: "TLS towards targets and receivers. Files are read again when they change.",
    keys: &[
        key("ca_file", Type::Path, "Certificate authorities to trust, PEM.").otherwise("the system's"),
        key("cert_file", Type::Path, "Client certificate chain, PEM; goes with `key_file`."),
        key("key_file", Type::Path, "Its key, PEM: PKCS#8, PKCS#1 or SEC1."),
        key("server_name", Type::Text, "The name to send and to verify.").otherwise("the host that is connected to"),
        key("min_version", Type::Choice(&["TLS12", "TLS13"]), "The oldest version that is spoken.").default("TLS12"),
        key("insecure_skip_verify", Type::Switch, "Any certificate is taken.").default("false"),
        key(
            "pin_sha256",
            Type::Text,
            "SHA-256 of the server's certificate (DER), hex or base64: that one is trusted as it is.",
        ),
    ],
    foreign: &[
        ("ca", "not supported; write the certificate to a file and name it as \"ca_file\""),
        ("cert", "not supported; write the certificate to a file and name it as \"cert_file\""),
        ("key", "not supported; write the key to a file and name it as \"key_file\""),
        ("ca_ref", "not supported; use \"ca_file\""),
        ("cert_ref", "not supported; use \"cert_file\""),
        ("key_ref", "not supported; use \"key_file\""),
        ("max_version", "not supported; TLS 1.3 is the newest version that is spoken"),
    ],
};

/// `basic_auth`.
pub static BASIC_AUTH: Section = Section {
    name: "basic_auth",
    about: "`Authorization: Basic`.",
    keys: &[
        key("username", Type::Text, "User name.").required(),
        key("password", Type::Text, "Password.").secret().otherwise("empty"),
        key(
            "password_file",
            Type::Path,
            "File that holds the password; read again when it changes. Excludes `password`.",
        ),
    ],
    foreign: &[
        ("username_file", "not supported; write \"username\", which may be a variable"),
        ("username_ref", "not supported; write \"username\", which may be a variable"),
        ("password_ref", "not supported; use \"password_file\""),
    ],
};

/// `authorization`.
pub static AUTHORIZATION: Section = Section {
    name: "authorization",
    about: "`Authorization: TYPE CREDENTIALS`. One of `credentials` and `credentials_file` is needed.",
    keys: &[
        key("type", Type::Text, "The word before the credentials.").default("Bearer"),
        key("credentials", Type::Text, "The credentials.").secret(),
        key("credentials_file", Type::Path, "File that holds the credentials; read again when it changes."),
    ],
    foreign: &[("credentials_ref", "not supported; use \"credentials_file\"")],
};

/// `http_headers.NAME`.
pub static HTTP_HEADER: Section = Section {
    name: "http_headers",
    about: "The values of one header, under its name; each is sent in a line of its own.",
    keys: &[
        key("values", Type::Texts, "Values. They are not shown either: many headers hold credentials.").secret(),
        key("secrets", Type::Texts, "Values that are secret.").secret(),
        key("files", Type::Texts, "Files that hold a value each; read again when they change."),
    ],
    foreign: &[],
};

/// One relabel rule.
pub static RELABEL: Section = Section {
    name: "relabel_configs",
    about: "One rule, as in Prometheus; also of `metric_relabel_configs` and `write_relabel_configs`.",
    keys: &[
        key("source_labels", Type::Texts, "Labels whose values are joined and matched."),
        key("separator", Type::Text, "What joins them.").verbatim().otherwise("`;`"),
        key("target_label", Type::Text, "The label that is written.").verbatim(),
        key("regex", Type::Text, "RE2, matched against the whole of the joined values.").verbatim().otherwise("`(.*)`"),
        key("modulus", Type::Count, "For `hashmod`."),
        key("replacement", Type::Text, "What is written; `$1` is the first group.").verbatim().otherwise("`$1`"),
        key("action", Type::Text, "What is done, in Prometheus' words: replace, keep, drop, labelmap, hashmod, …")
            .otherwise("`replace`"),
    ],
    foreign: &[],
};
