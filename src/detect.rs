//! Labels from the surroundings: looks for what [`config::detect`](crate::config::detect) names, and adds it to the configuration.
//!
//! Looking happens once for each load of the configuration, so at the start and at a reload. It asks nobody over the network.
//!
//! Promises
//! - What `external_labels` names stays as it is there; what samples and targets have already wins, as over external labels.
//! - Surroundings that are not there, and a value that cannot be a label's, are told, and cost no other.
//!
//! What is read is the platform's, not ours: files are read within [`FILE_BYTES_MAX`], values within [`VALUE_BYTES_MAX`].

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::config::Environment;
use crate::config::checked::Config;
use crate::config::detect::Surroundings;
use crate::model::Labels;

/// Bytes of a file that holds one name, at most.
const FILE_BYTES_MAX: u64 = 4096;

/// Bytes of a label's value, at most.
const VALUE_BYTES_MAX: usize = 1024;

/// Bytes of `VCAP_APPLICATION`, at most.
const VCAP_BYTES_MAX: usize = 256 << 10;

/// The variables in which the BOSH job tells what bpm hides begin so.
const BOSH_VARIABLES: &str = "PROMFERRY_BOSH_";

/// Where BOSH's agent writes the names of an instance.
const BOSH_FOLDER: &str = "var/vcap/instance";

/// The namespace of a pod, which Kubernetes mounts beside a service account's token.
const NAMESPACE_FILE: &str = "var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Where is looked.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    /// Variables.
    pub environment: Environment<'p>,
    /// The folder that paths of files start from: `/`, but in tests.
    pub root: &'p Path,
}

/// Adds the labels of the surroundings that `global.detect` names to the external labels. Returns what somebody should know: a
/// sentence for each of them that is not there, and for each value that cannot be taken.
pub fn apply(config: &mut Config, place: Place<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let mut found = Labels::new();
    for surroundings in config.global.detect.surroundings.clone() {
        let mut looking = Looking { place, surroundings, found: &mut found, notes: &mut notes, has_any: false };
        looking.look();
    }
    found.retain(|name, _| !config.global.detect.decided.iter().any(|decided| decided == name));
    if !found.is_empty() {
        add(&mut config.global.external_labels, &found);
        for scrape in &mut config.scrapes {
            add(&mut Arc::make_mut(scrape).external_labels, &found);
        }
    }
    notes
}

fn add(labels: &mut Labels<'static>, found: &Labels<'static>) {
    for (name, value) in found.iter() {
        labels.set(name.to_owned(), value.to_owned());
    }
}

struct Looking<'l> {
    place: Place<'l>,
    surroundings: Surroundings,
    found: &'l mut Labels<'static>,
    notes: &'l mut Vec<String>,
    has_any: bool,
}

impl Looking<'_> {
    fn look(&mut self) {
        let looked_for = match self.surroundings {
            Surroundings::Bosh => self.bosh(),
            Surroundings::CloudFoundry => self.cloud_foundry(),
            Surroundings::Nomad => self.nomad(),
            Surroundings::Kubernetes => self.kubernetes(),
            Surroundings::Host => self.host(),
        };
        if !self.has_any {
            self.note(format!("nothing of it is here, so it gives no labels: {looked_for}"));
        }
    }

    fn bosh(&mut self) -> &'static str {
        let parts = [
            ("bosh_deployment", Some("deployment"), "DEPLOYMENT"),
            ("bosh_instance_group", Some("name"), "INSTANCE_GROUP"),
            ("bosh_instance_id", Some("id"), "ID"),
            ("bosh_instance_index", None, "INDEX"),
            ("bosh_instance_ip", None, "IP"),
            ("bosh_az", Some("az"), "AZ"),
        ];
        for (label, file, variable) in parts {
            let is_found = file.is_some_and(|file| self.file(label, &format!("{BOSH_FOLDER}/{file}")));
            if !is_found {
                self.variable(label, &format!("{BOSH_VARIABLES}{variable}"));
            }
        }
        "there are no names in /var/vcap/instance, and no variables PROMFERRY_BOSH_…, which the BOSH job sets"
    }

    fn cloud_foundry(&mut self) -> &'static str {
        if let Some(text) = (self.place.environment)("VCAP_APPLICATION").filter(|text| !text.is_empty()) {
            self.vcap_application(&text);
        }
        self.variable("cloudfoundry_app_instance_id", "CF_INSTANCE_INDEX");
        self.variable("cloudfoundry_app_instance_guid", "CF_INSTANCE_GUID");
        self.variable("cloudfoundry_app_instance_ip", "CF_INSTANCE_IP");
        "neither VCAP_APPLICATION nor CF_INSTANCE_… is set"
    }

    fn vcap_application(&mut self, text: &str) {
        let parsed = match text.len() {
            0..=VCAP_BYTES_MAX => serde_json::from_str::<Value>(text).ok(),
            _ => None,
        };
        let Some(Value::Object(parsed)) = parsed else {
            self.note(format!(
                "VCAP_APPLICATION is no JSON object of at most {} KiB; what it should tell is left out",
                VCAP_BYTES_MAX >> 10
            ));
            return;
        };
        for (label, key) in [
            ("cloudfoundry_app_name", "application_name"),
            ("cloudfoundry_app_id", "application_id"),
            ("cloudfoundry_space_name", "space_name"),
            ("cloudfoundry_space_id", "space_id"),
            ("cloudfoundry_org_name", "organization_name"),
            ("cloudfoundry_org_id", "organization_id"),
            ("cloudfoundry_process_type", "process_type"),
            ("cloudfoundry_process_id", "process_id"),
        ] {
            match parsed.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => drop(self.take(label, &format!("{key} in VCAP_APPLICATION"), text)),
                Some(_) => self.note(format!("{key} in VCAP_APPLICATION is not a text; {label} is left out")),
            }
        }
    }

    fn nomad(&mut self) -> &'static str {
        for (label, variable) in [
            ("nomad_job_name", "NOMAD_JOB_NAME"),
            ("nomad_group_name", "NOMAD_GROUP_NAME"),
            ("nomad_task_name", "NOMAD_TASK_NAME"),
            ("nomad_alloc_id", "NOMAD_ALLOC_ID"),
            ("nomad_alloc_index", "NOMAD_ALLOC_INDEX"),
            ("nomad_datacenter", "NOMAD_DC"),
            ("nomad_region", "NOMAD_REGION"),
            ("nomad_namespace", "NOMAD_NAMESPACE"),
        ] {
            self.variable(label, variable);
        }
        "no variable NOMAD_… is set that names a job, an allocation or where they run"
    }

    /// The variables are ours to name, because the downward API gives none by itself: each is its label in capitals.
    fn kubernetes(&mut self) -> &'static str {
        for attribute in self.surroundings.attributes() {
            let is_found = self.variable(attribute.label, &attribute.label.to_ascii_uppercase());
            if !is_found && attribute.label == "k8s_namespace_name" {
                self.file(attribute.label, NAMESPACE_FILE);
            }
        }
        "no variable K8S_… is set; a pod gets them by the downward API, as docs/detect.md shows"
    }

    fn host(&mut self) -> &'static str {
        self.file("host_name", "proc/sys/kernel/hostname");
        self.take("host_arch", "the architecture", architecture());
        self.take("os_type", "the system", operating_system());
        "the system does not tell"
    }

    /// Takes what a variable holds; returns whether it is the label's value now.
    fn variable(&mut self, label: &'static str, name: &str) -> bool {
        let value = (self.place.environment)(name);
        value.is_some_and(|value| self.take(label, name, &value))
    }

    /// Takes what a file holds, where it can be read; returns whether it is the label's value now.
    fn file(&mut self, label: &'static str, below_root: &str) -> bool {
        match read(&self.place.root.join(below_root)) {
            None => false,
            Some(Ok(text)) => self.take(label, &format!("/{below_root}"), &text),
            Some(Err(reason)) => {
                self.note(format!("/{below_root} {reason}; {label} is not taken from it"));
                false
            }
        }
    }

    fn take(&mut self, label: &'static str, source: &str, text: &str) -> bool {
        let text = text.trim();
        let reason = match text.len() {
            0 => return false,
            bytes if bytes > VALUE_BYTES_MAX => format!("has {bytes} bytes, and a label has at most {VALUE_BYTES_MAX}"),
            _ if text.contains(char::is_control) => "holds a control character".to_owned(),
            _ => {
                self.found.set(label, text.to_owned());
                self.has_any = true;
                return true;
            }
        };
        self.note(format!("{source} {reason}; {label} is not taken from it"));
        false
    }

    fn note(&mut self, sentence: String) {
        self.notes.push(format!("detect: {}: {sentence}", self.surroundings.word()));
    }
}

/// The text of a small file; `None` where there is none that we may read.
fn read(path: &Path) -> Option<Result<String, String>> {
    // A pipe under that name must not make us wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return Some(Err("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Some(Err(format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    Some(String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()))
}

/// In OpenTelemetry's words, which are Go's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "powerpc" => "ppc32",
        other => other,
    }
}

/// In OpenTelemetry's words.
fn operating_system() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}
