//! `promferry run --scrape URL --to KIND=WHERE`: a configuration made of flags, with no file at all.
//!
//! The flags are written as the configuration that says the same, which the usual reader reads: so they mean what the keys
//! mean, `--print-config` shows it, and what is wrong is told in the reader's words, with the flag instead of a line that nobody
//! has seen. Credentials are named as files: what stands on a command line is seen by everybody on the machine.
//!
//! Left out on purpose: everything else that a configuration can say. Who needs more prints it and goes on from there.

mod build;

use std::path::PathBuf;

use super::endpoint::TlsArguments;
use crate::config::checked::Config;
use crate::config::yaml::{self, Entry, Kind, Node};
use crate::config::{self, NamedFile, Problem, Shown, Source, YAML_VARIABLE};
use crate::discovery::discover_files;
use crate::net::Scheme;
use crate::net::credentials::check_client;
use crate::net::tls::TlsSettings;

#[derive(clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Options without a configuration")]
pub(super) struct Arguments {
    /// What to scrape, such as https://10.0.0.5:14726/metrics; repeatable
    #[arg(long, value_name = "URL")]
    scrape: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// Time between two scrapes of a target [default: 15s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    /// Where it goes; repeatable: elasticsearch=URL, splunk_hec=URL, remote_write=URL, otlp=URL, signalfx=REALM,
    /// dogstatsd=ADDRESS, expose=:PORT (on loopback, as all addresses without a host), file=PATH or stdout
    #[arg(long, value_name = "KIND=WHERE")]
    to: Vec<String>,
    /// Certificate authorities of the outputs; the system's otherwise
    #[arg(long, value_name = "FILE")]
    to_ca: Option<PathBuf>,
    /// User name, for elasticsearch, remote_write or otlp
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with its password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// File with a token, for splunk_hec or signalfx, else for remote_write or otlp
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with an API key, for elasticsearch
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Where the status page listens, such as :9698; "off" for none [default: 127.0.0.1:9698]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Print the configuration that says the same, and end
    #[arg(long)]
    print_config: bool,
}

/// What `--admin` says for none.
const OFF: &str = "off";

impl Arguments {
    /// The first of the flags that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let all = [
            ("--scrape", !self.scrape.is_empty()),
            ("--to", !self.to.is_empty()),
            ("--interval", self.interval.is_some()),
            ("--to-ca", self.to_ca.is_some()),
            ("--username", self.username.is_some()),
            ("--token-file", self.token_file.is_some()),
            ("--api-key-file", self.api_key_file.is_some()),
            ("--admin", self.admin.is_some()),
            ("--print-config", self.print_config),
        ];
        all.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag).or(self.tls.given())
    }

    /// Whether the configuration is only printed.
    pub(super) fn is_print(&self) -> bool {
        self.print_config
    }
}

/// The configuration that flags are.
pub(super) struct Quick {
    text: String,
    /// The flags of each entry of `scrape_configs`, and of `outputs`.
    scrapes: Vec<String>,
    outputs: Vec<String>,
    /// As it was typed.
    to_ca: Option<PathBuf>,
}

impl Quick {
    /// Writes it.
    ///
    /// # Errors
    /// What is wrong with a flag.
    pub(super) fn new(arguments: &Arguments) -> Result<Self, String> {
        build::quick(arguments)
    }

    /// Whether an error of the start is that the admin port is taken.
    pub(super) fn is_admin_taken(&self, error: &str) -> bool {
        let admin = self.load().ok().and_then(|config| config.admin);
        admin.is_some_and(|admin| error.contains(&format!(" {}: another process", admin.listen)))
    }

    /// The YAML.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Reads it, as a file is read.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub(super) fn load(&self) -> Result<Config, String> {
        self.read().map(|(config, _)| config)
    }

    /// Reads it, and looks whether the files that it names can be used: somebody sits there and waits.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub(super) fn load_and_look(&self) -> Result<Config, String> {
        let (config, files) = self.read()?;
        let unreadable: Vec<_> = files.iter().filter_map(super::check::unreadable).map(|it| self.line(&it)).collect();
        if !unreadable.is_empty() {
            return Err(unreadable.join("\n"));
        }
        let to_ca = TlsSettings { ca_file: self.to_ca.clone(), ..TlsSettings::default() };
        let of_scrapes = config.scrapes.iter().find(|scrape| scrape.scheme == Scheme::Https).map(|scrape| &scrape.tls);
        let of_outputs = self.to_ca.is_some().then_some(&to_ca);
        for (flag, tls) in [("--scrape", of_scrapes), ("--to-ca", of_outputs)] {
            if let Some(Err(error)) = tls.map(check_client) {
                return Err(format!("promferry: {flag}: {error}"));
            }
        }
        Ok(config)
    }

    fn read(&self) -> Result<(Config, Vec<NamedFile>), String> {
        let environment = |name: &str| (name == YAML_VARIABLE).then(|| self.text.clone());
        let loaded = config::load_with_files(&Source::Variable, &environment);
        let (config, files) = loaded.map_err(|problems| {
            let lines: Vec<String> = problems.0.iter().map(|problem| self.line(problem)).collect();
            lines.join("\n")
        })?;
        let set = discover_files(config.scrapes.clone());
        if !set.dropped.is_empty() {
            let lines = set.dropped.iter().map(|dropped| format!("promferry: --scrape: {}", dropped.reason));
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        // Its first line is the name of the text.
        let shown = config.shown.text();
        let typed = shown.split_once('\n').map_or("", |(_, rest)| rest);
        let shown = Shown::new(format!("# Made of the flags of the command line.\n{typed}"));
        Ok((Config { shown, ..config }, files))
    }

    /// A problem, with the flag that it comes from.
    fn line(&self, problem: &Problem) -> String {
        // Lines are of a text that nobody sees.
        let message = problem.message.split("; the first is on line ").next().unwrap_or_default();
        let remedy = if message.starts_with("token is missing") { "; give --token-file FILE" } else { "" };
        format!("promferry: {}: {message}{remedy}", self.flag(problem))
    }

    fn flag(&self, problem: &Problem) -> String {
        let key = problem.message.split(':').next().unwrap_or_default();
        let tree = yaml::parse(&problem.file, self.text.as_bytes(), &yaml::MAIN_FILE).ok().flatten();
        let sections = tree.as_ref().map(entries).unwrap_or_default();
        let within = sections.iter().rev().find(|entry| entry.at <= problem.at);
        let item = |flags: &[String]| {
            let Kind::Sequence(items) = &within?.value.kind else { return None };
            let nth = items.iter().rposition(|item| item.at <= problem.at)?;
            flags.get(nth).cloned()
        };
        let of_file =
            |pairs: &[(&str, &str)]| pairs.iter().find(|(name, _)| *name == key).map(|(_, flag)| (*flag).to_owned());
        let flag = match within.map(|entry| entry.key.as_str()) {
            Some("global") => Some("--interval".to_owned()),
            Some("scrape_configs") => of_file(&[
                ("ca_file", "--ca"),
                ("cert_file", "--cert"),
                ("key_file", "--key"),
                ("server_name", "--server-name"),
            ])
            .or(item(&self.scrapes)),
            Some("outputs") => of_file(&[
                ("ca_file", "--to-ca"),
                ("username", "--username"),
                ("password_file", "--password-file"),
                ("credentials_file", "--token-file"),
                ("token_file", "--token-file"),
                ("api_key_file", "--api-key-file"),
            ])
            .or(item(&self.outputs)),
            Some("admin") => Some("--admin".to_owned()),
            _ => None,
        };
        flag.unwrap_or_else(|| "the flags".to_owned())
    }
}

fn entries(node: &Node) -> &[Entry] {
    match &node.kind {
        Kind::Mapping(entries) => entries,
        _ => &[],
    }
}
