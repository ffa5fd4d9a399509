//! What Cloud Foundry's jobs tell their processes: variables of the environment, read all at once.
//!
//! One that is set to nothing is not set. All that is wrong is told at once.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::checked::Config;
use crate::config::{Environment, Problems, Shown, load_text, quoted, values};
use crate::net::text::duration;
use crate::net::tls::ServerTls;

/// The longest time that a variable may say.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Settings of Go's runtime, which mean nothing here.
pub const GO_SETTINGS: [&str; 2] = ["DEBUG_METRICS", "PPROF_PORT"];

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentError {
    /// Whose environment it is.
    job: &'static str,
    missing: Vec<&'static str>,
    wrong: Vec<String>,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = (!self.missing.is_empty()).then(|| {
            let names = self.missing.join(", ");
            format!("missing required environment variables: {names}; set them as {}'s job does", self.job)
        });
        let sentences: Vec<&str> = missing.iter().chain(&self.wrong).map(String::as_str).collect();
        f.write_str(&sentences.join("\n"))
    }
}

impl std::error::Error for EnvironmentError {}

/// A configuration made of the environment.
#[derive(Debug)]
pub struct FromEnvironment {
    /// All of it.
    pub config: Config,
    /// What was left out of it, one sentence each.
    pub notes: Vec<String>,
}

/// Reads variables, and collects what is wrong with them.
pub(super) struct Reader<'e> {
    environment: Environment<'e>,
    error: EnvironmentError,
    pub notes: Vec<String>,
}

impl<'e> Reader<'e> {
    /// Of the environment of this job.
    pub fn new(job: &'static str, environment: Environment<'e>) -> Self {
        Self { environment, error: EnvironmentError { job, ..EnvironmentError::default() }, notes: Vec::new() }
    }

    /// What was made of the environment, with the configuration that says what it is silent about.
    pub fn finish(self, config: Config) -> Result<FromEnvironment, EnvironmentError> {
        if self.error.missing.is_empty() && self.error.wrong.is_empty() {
            let shown = format!("# All of it comes from the environment, as {}'s job sets it.\n", self.error.job);
            Ok(FromEnvironment { config: Config { shown: Shown::new(shown), ..config }, notes: self.notes })
        } else {
            Err(self.error)
        }
    }

    /// A configuration that the program brings along.
    pub fn base(&self, name: &str, text: &str) -> Result<Config, EnvironmentError> {
        let wrong = |problems: Problems| vec![problems.to_string()];
        load_text(name, text).map_err(|problems| EnvironmentError { wrong: wrong(problems), ..self.error.clone() })
    }

    /// A value that may be absent; without white space around it.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A value that must be there; empty where it is not.
    pub fn required(&mut self, name: &'static str) -> String {
        let value = self.optional(name);
        if value.is_none() {
            self.error.missing.push(name);
        }
        value.unwrap_or_default()
    }

    /// A path that must be there.
    pub fn path(&mut self, name: &'static str) -> PathBuf {
        self.required(name).into()
    }

    /// Something that goes into a label or an address: printable, without blanks.
    pub fn word(&mut self, name: &'static str) -> String {
        let value = self.required(name);
        if !value.chars().all(|c| c.is_ascii_graphic()) {
            self.wrong(name, &value, "holds a blank, a control character or one that is not ASCII");
        }
        value
    }

    /// The files of a listener's TLS, which must be there.
    pub fn server_tls(&mut self, cert: &'static str, key: &'static str, ca: &'static str) -> ServerTls {
        ServerTls { cert_file: self.path(cert), key_file: self.path(key), client_ca_file: Some(self.path(ca)) }
    }

    /// A port.
    pub fn port(&mut self, name: &'static str, usual: u16) -> u16 {
        let Some(value) = self.optional(name) else { return usual };
        u16::from_str(&value).unwrap_or_else(|_| {
            self.wrong(name, &value, "is not a port; write a whole number from 1 to 65535");
            usual
        })
    }

    /// A time that is not shorter than `least`.
    pub fn time(&mut self, name: &'static str, usual: Duration, least: Duration) -> Duration {
        let Some(value) = self.optional(name) else { return usual };
        let read = values::duration(&value).and_then(|time| match (least..=LONGEST).contains(&time) {
            true => Ok(time),
            false => Err(format!("is out of range; it is from {} to 24h", duration(least))),
        });
        read.unwrap_or_else(|complaint| {
            self.wrong(name, &value, &complaint);
            usual
        })
    }

    /// Yes or no, as Go reads it; no where there is nothing.
    pub fn switch(&mut self, name: &'static str) -> bool {
        match self.optional(name).as_deref() {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(other) => {
                self.wrong(name, other, "is neither true nor false");
                false
            }
        }
    }

    /// What stands between commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let value = self.optional(name).unwrap_or_default();
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Notes that a value is wrong.
    pub fn wrong(&mut self, name: &str, value: &str, complaint: &str) {
        self.error.wrong.push(format!("{name}: {} {complaint}", quoted(value)));
    }

    /// Notes what is set and has no meaning here.
    pub fn tell_what_means_nothing(&mut self) {
        let is_on = |name: &&str| self.optional(name).is_some_and(|value| value != "false");
        let names: Vec<&str> = GO_SETTINGS.into_iter().filter(is_on).collect();
        if !names.is_empty() {
            self.notes.push(format!("{}: these are settings of Go's runtime, and mean nothing here", names.join(", ")));
        }
    }
}
