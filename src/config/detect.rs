//! `global.detect`: the surroundings that are asked for labels, and the labels that each has.
//!
//! Owns the names. A label is the name of an OpenTelemetry resource attribute with `_` for `.`: it is what Prometheus makes of
//! that attribute, so a sample has the same labels whichever way it travels, and its prefix says whose word it is. A short name,
//! such as `id` or `namespace`, would be mixed up with the labels of samples, which win. Where OpenTelemetry has no attribute the
//! name is ours. Looking for the values is not done here: the room `detect` does it.
//!
//! Sources: OpenTelemetry's semantic conventions for resources (`cloudfoundry`, `k8s`, `host`, `os`, `cloud`); for BOSH they say
//! only what `spec.id` and the zone are called, for Nomad nothing.

/// What a process runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// A VM that BOSH manages.
    Bosh,
    /// An app on Cloud Foundry.
    CloudFoundry,
    /// A task of Nomad's.
    Nomad,
    /// A container of a pod.
    Kubernetes,
    /// The machine, or the container that takes itself for one.
    Host,
}

/// Their words in the configuration, in the order of [`CHOICES`].
pub const WORDS: [&str; 5] = ["bosh", "cloud_foundry", "nomad", "kubernetes", "host"];

/// The surroundings by their words.
pub const CHOICES: [(&str, Surroundings); 5] = [
    ("bosh", Surroundings::Bosh),
    ("cloud_foundry", Surroundings::CloudFoundry),
    ("nomad", Surroundings::Nomad),
    ("kubernetes", Surroundings::Kubernetes),
    ("host", Surroundings::Host),
];

/// A label, and the resource attribute of OpenTelemetry that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The label's name.
    pub label: &'static str,
    /// The attribute's name.
    pub attribute: &'static str,
}

impl Surroundings {
    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        CHOICES.iter().find(|(_, surroundings)| *surroundings == self).map_or("", |(word, _)| word)
    }

    /// The labels that it may have, no two alike, in whatever surroundings.
    pub fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::Bosh => BOSH,
            Self::CloudFoundry => CLOUD_FOUNDRY,
            Self::Nomad => NOMAD,
            Self::Kubernetes => KUBERNETES,
            Self::Host => HOST,
        }
    }
}

/// What `global.detect` says, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detect {
    /// Who is asked, each once.
    pub surroundings: Vec<Surroundings>,
    /// Labels that `external_labels` decides about, be it to leave them out.
    pub decided: Vec<String>,
}

impl Detect {
    /// The labels that may be found, with what OpenTelemetry calls them.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        self.surroundings.iter().flat_map(|surroundings| surroundings.attributes()).copied()
    }
}

const fn pair(label: &'static str, attribute: &'static str) -> Attribute {
    Attribute { label, attribute }
}

const BOSH: &[Attribute] = &[
    pair("bosh_deployment", "bosh.deployment"),
    pair("bosh_instance_group", "bosh.instance_group"),
    pair("bosh_instance_id", "cloudfoundry.system.instance.id"),
    pair("bosh_instance_index", "bosh.instance.index"),
    pair("bosh_instance_ip", "bosh.instance.ip"),
    pair("bosh_az", "cloud.availability_zone"),
];

const CLOUD_FOUNDRY: &[Attribute] = &[
    pair("cloudfoundry_app_name", "cloudfoundry.app.name"),
    pair("cloudfoundry_app_id", "cloudfoundry.app.id"),
    pair("cloudfoundry_space_name", "cloudfoundry.space.name"),
    pair("cloudfoundry_space_id", "cloudfoundry.space.id"),
    pair("cloudfoundry_org_name", "cloudfoundry.org.name"),
    pair("cloudfoundry_org_id", "cloudfoundry.org.id"),
    pair("cloudfoundry_process_type", "cloudfoundry.process.type"),
    pair("cloudfoundry_process_id", "cloudfoundry.process.id"),
    // The index, as in Loggregator's envelopes; the GUID has no attribute.
    pair("cloudfoundry_app_instance_id", "cloudfoundry.app.instance.id"),
    pair("cloudfoundry_app_instance_guid", "cloudfoundry.app.instance.guid"),
    pair("cloudfoundry_app_instance_ip", "cloudfoundry.app.instance.ip"),
];

const NOMAD: &[Attribute] = &[
    pair("nomad_job_name", "nomad.job.name"),
    pair("nomad_group_name", "nomad.group.name"),
    pair("nomad_task_name", "nomad.task.name"),
    pair("nomad_alloc_id", "nomad.alloc.id"),
    pair("nomad_alloc_index", "nomad.alloc.index"),
    pair("nomad_datacenter", "nomad.datacenter"),
    pair("nomad_region", "nomad.region"),
    pair("nomad_namespace", "nomad.namespace"),
];

const KUBERNETES: &[Attribute] = &[
    pair("k8s_namespace_name", "k8s.namespace.name"),
    pair("k8s_pod_name", "k8s.pod.name"),
    pair("k8s_pod_uid", "k8s.pod.uid"),
    pair("k8s_pod_ip", "k8s.pod.ip"),
    pair("k8s_container_name", "k8s.container.name"),
    pair("k8s_node_name", "k8s.node.name"),
    pair("k8s_cluster_name", "k8s.cluster.name"),
];

const HOST: &[Attribute] =
    &[pair("host_name", "host.name"), pair("host_arch", "host.arch"), pair("os_type", "os.type")];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_labels_and_no_two_attributes_are_alike_and_labels_need_no_quotes() {
        let all: Vec<_> = CHOICES.iter().flat_map(|(_, surroundings)| surroundings.attributes()).collect();
        let labels: BTreeSet<_> = all.iter().map(|one| one.label).collect();
        let attributes: BTreeSet<_> = all.iter().map(|one| one.attribute).collect();
        assert_eq!((labels.len(), attributes.len()), (all.len(), all.len()));
        for label in labels {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        }
        assert!(CHOICES.iter().map(|(word, _)| *word).eq(WORDS));
    }
}
