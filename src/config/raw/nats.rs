//! What goes over NATS, and what tells others about targets.

use super::super::schema::{Key, Section, Type};
use super::{TARGET_LIMIT, TLS, key};

const SERVERS: Key = key(
    "servers",
    Type::Texts,
    "URLs such as `nats://HOST:4222` or `tls://HOST`, also several in one text with commas between them; they may hold `USER:PASSWORD@` with `%XX` for other characters, and are never shown. All are tried, in random order.",
)
.required()
.secret();
const USERNAME: Key = key("username", Type::Text, "User name, for servers whose URL has none.");
const PASSWORD: Key = key("password", Type::Text, "Its password.").secret();
const PASSWORD_FILE: Key =
    key("password_file", Type::Path, "File that holds the password; read again when it changes. Excludes `password`.");
const TOKEN: Key = key("token", Type::Text, "A token instead of user and password.").secret();
const TOKEN_FILE: Key =
    key("token_file", Type::Path, "File that holds the token; read again when it changes. Excludes `token`.");
const TLS_CONFIG: Key = key(
    "tls_config",
    Type::Section(&TLS),
    "TLS towards the servers, which then have to offer it. Certificates are read again for each connection.",
)
.otherwise("TLS with the system's authorities where a server wants it");
const SUBJECT: Key = key("subject", Type::Text, "The subject.").default("metrics.scrape_targets");
const FOREIGN: &[(&str, &str)] = &[
    (
        "credentials_file",
        "not supported: nkeys and JWT credentials cannot be used; use a user, a token or certificates",
    ),
    ("nkey", "not supported: nkeys and JWT credentials cannot be used; use a user, a token or certificates"),
    ("urls", "not known here; write \"servers\""),
    ("hosts", "not known here; write \"servers\""),
];

/// `nats_sd_configs[]`.
pub static NATS_SD: Section = Section {
    name: "nats_sd_configs",
    about: "Targets that registrars announce over NATS, as Cloud Foundry's do. While there is no connection, what is known stays.",
    keys: &[
        SERVERS,
        USERNAME,
        PASSWORD,
        PASSWORD_FILE,
        TOKEN,
        TOKEN_FILE,
        TLS_CONFIG,
        SUBJECT,
        key("expiry", Type::Duration, "How long a source is kept after its last message; registrars speak every 15 s.")
            .default("45s")
            .within("1s", "24h"),
        TARGET_LIMIT.default("0"),
    ],
    foreign: FOREIGN,
};

/// `register`.
pub static REGISTER: Section = Section {
    name: "register",
    about: "Announces over NATS where this process can be scraped: each `expose` output, or what the drop-in for metrics-agent answers for. It is what metrics-discovery-registrar does.",
    keys: &[
        SERVERS,
        USERNAME,
        PASSWORD,
        PASSWORD_FILE,
        TOKEN,
        TOKEN_FILE,
        TLS_CONFIG,
        SUBJECT,
        key("interval", Type::Duration, "Time between two rounds.").default("15s").within("1s", "1h"),
        key("address", Type::Text, "The host name or address under which others reach the `expose` outputs.")
            .otherwise("what they listen on, where that is one address that others reach"),
        key("instance_id", Type::Text, "What tells this process from others of its kind.")
            .otherwise("the external label `instance_id` or `index`, else the machine's name"),
        key(
            "files",
            Type::Texts,
            "`metric_targets.yml` files of others whose entries are announced too; `*` stands for any part of a name.",
        ),
    ],
    foreign: FOREIGN,
};

/// `targets_file`.
pub static TARGETS_FILE: Section = Section {
    name: "targets_file",
    about: "Keeps a file of the discovered targets for Prometheus' `file_sd_configs`, as scrape-config-generator does. It is whole at every moment, and written only where it is not what it should be, which is looked at when targets change, and every 15 s.",
    keys: &[
        key("path", Type::Text, "The file; its folder has to be there.").required(),
        key("format", Type::Choice(&["json", "yaml"]), "What is written.").default("json"),
        key("jobs", Type::Texts, "The `job_name` of each scrape configuration whose targets are in it.")
            .otherwise("all of them"),
    ],
    foreign: &[],
};
