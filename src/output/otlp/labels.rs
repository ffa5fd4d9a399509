//! What becomes of labels: attributes of a data point, of the resource, or of the scope.

use std::borrow::Cow;
use std::fmt;

use super::fields::key_value;
use super::wire::{Field, Size, Wire};
use crate::model::{Chunk, Origin, SeriesRef};

/// What labels that say something of the instrumentation begin with.
pub(super) const SCOPE_PREFIX: &str = "otel_scope_";

/// Further rules of a receiver that has limits of its own.
pub trait Rules: fmt::Debug + Send + Sync {
    /// Whether a series may not be sent beside so many attributes of its target's `target_info`: the ledger's word for why.
    fn refuses(&self, _series: SeriesRef<'_>, _infos: usize) -> Option<&'static str> {
        None
    }

    /// One sentence about a series that may not be sent.
    fn explain(&self, reason: &'static str, series: SeriesRef<'_>, infos: usize) -> String;

    /// Name and value of an attribute as the receiver takes them; `None` where it is left out.
    fn attribute<'a>(&self, name: &'a str, value: &'a str) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    }
}

/// What a label becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An attribute of the data points.
    Attribute,
    /// One of the resource.
    Resource,
    /// Something of the scope.
    Scope,
}

/// Which labels become what.
#[derive(Clone, Debug)]
pub(super) struct LabelRules {
    /// As the specification wants it: what goes to the resource or the scope is no attribute of a data point.
    pub is_compatible: bool,
    /// Labels that become attributes of the resource, and how these are called; sorted by label.
    pub resource_labels: Vec<(String, String)>,
    /// Attributes that every resource has; they win.
    pub resource_attributes: Vec<(String, String)>,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum AttributeValue {
    Text(String),
    Int(i64),
}

/// Attributes of a resource: each name once.
pub(super) type Attributes = Vec<(String, AttributeValue)>;

/// Adds what is not there yet.
pub(super) fn add(attributes: &mut Attributes, name: &str, value: AttributeValue) {
    if !attributes.iter().any(|(held, _)| held == name) {
        attributes.push((name.to_owned(), value));
    }
}

/// Adds a text that is not there yet.
pub(super) fn add_text(attributes: &mut Attributes, name: &str, value: &str) {
    if !value.is_empty() {
        add(attributes, name, AttributeValue::Text(value.to_owned()));
    }
}

/// Name and value of an attribute as a receiver with these rules takes them; `None` where it is left out.
pub(super) fn taken<'a>(
    rules: Option<&dyn Rules>,
    name: &'a str,
    value: &'a str,
) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    rules.map_or(Some((name.into(), value.into())), |rules| rules.attribute(name, value))
}

impl LabelRules {
    /// What a label becomes.
    pub fn role(&self, name: &str) -> Role {
        if self.resource_attribute(name).is_some() {
            Role::Resource
        } else if self.is_compatible && name.starts_with(SCOPE_PREFIX) {
            Role::Scope
        } else {
            Role::Attribute
        }
    }

    /// Whether a label of this role is an attribute of the data points.
    pub fn stays(&self, role: Role) -> bool {
        role == Role::Attribute || !self.is_compatible
    }

    fn resource_attribute(&self, label: &str) -> Option<&str> {
        let held = self.resource_labels.binary_search_by(|(name, _)| name.as_str().cmp(label)).ok()?;
        Some(&self.resource_labels[held].1)
    }

    /// The attributes of a resource whose series have these labels: the configured ones, those of the labels, and those of the
    /// URL that is scraped.
    pub fn resource<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)>, origin: &Origin) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, value) in &self.resource_attributes {
            add_text(&mut attributes, name, value);
        }
        for (label, value) in labels {
            if let Some(name) = self.resource_attribute(label) {
                add_text(&mut attributes, name, value);
            }
        }
        for (label, name) in [("job", SERVICE_NAME), ("instance", SERVICE_INSTANCE)] {
            add_text(&mut attributes, name, origin.labels.get_or_empty(label));
        }
        if let Some((scheme, authority)) = scheme_and_authority(&origin.url) {
            add_text(&mut attributes, SERVICE_INSTANCE, authority);
            let (host, port) = split_authority(authority);
            add_text(&mut attributes, "server.address", host);
            if let Some(port) = port.or(default_port(scheme)) {
                add(&mut attributes, "server.port", AttributeValue::Int(i64::from(port)));
            }
            add_text(&mut attributes, "url.scheme", scheme);
        }
        attributes
    }
}

/// The attribute that `job` becomes.
pub(in crate::output) const SERVICE_NAME: &str = "service.name";
/// The attribute that `instance` becomes.
pub(in crate::output) const SERVICE_INSTANCE: &str = "service.instance.id";

fn scheme_and_authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    matches!(scheme, "http" | "https").then_some((scheme, authority))
}

/// Host, without brackets, and port.
fn split_authority(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Writes a key and a value as an entry of a list of attributes.
pub(super) fn attribute<W: Wire>(out: &mut Vec<u8>, field: Field, key: &str, value: &AttributeValue) {
    W::entry(out, field, Size::Tiny, |out| match value {
        AttributeValue::Text(text) => pair::<W>(out, key, text),
        AttributeValue::Int(value) => {
            W::text(out, key_value::KEY, key);
            W::message(out, key_value::VALUE, Size::Tiny, |out| W::int(out, key_value::INT, *value));
        }
    });
}

/// Writes what an attribute with a text holds.
pub(super) fn pair<W: Wire>(out: &mut Vec<u8>, key: &str, value: &str) {
    W::text(out, key_value::KEY, key);
    W::message(out, key_value::VALUE, Size::Tiny, |out| W::text(out, key_value::STRING, value));
}

/// The distinct labels of a chunk, each as an attribute that is written already.
#[derive(Debug)]
pub(super) struct ChunkLabels {
    /// The chunk.
    pub chunk: u64,
    /// The number of its first series.
    pub start: u32,
    text: Vec<u8>,
    /// Where each one ends in `text`; empty for one that is no attribute of data points.
    ends: Vec<u32>,
    roles: Vec<Role>,
}

impl ChunkLabels {
    /// Writes all labels of a chunk whose first series has the number `start`.
    pub fn new<W: Wire>(chunk: &Chunk, start: u32, labels: &LabelRules, rules: Option<&dyn Rules>) -> Self {
        let mut made = Self { chunk: chunk.id(), start, text: Vec::new(), ends: Vec::new(), roles: Vec::new() };
        made.ends.reserve_exact(chunk.pairs());
        for number in 0..chunk.pairs() as u32 {
            let (name, value) = chunk.pair(number);
            let role = labels.role(name);
            if let Some((name, value)) = taken(rules, name, value).filter(|_| labels.stays(role)) {
                W::fragment(&mut made.text, |out| pair::<W>(out, &name, &value));
            }
            // A body that this goes into is far below 4 GiB.
            made.ends.push(u32::try_from(made.text.len()).unwrap_or(u32::MAX));
            made.roles.push(role);
        }
        made.text.shrink_to_fit();
        made
    }

    /// The label with this number as an attribute; empty for one that is none.
    #[inline]
    pub fn fragment(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[at] as usize]
    }

    /// What the label with this number becomes.
    pub fn role(&self, number: u32) -> Role {
        self.roles[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn rules() -> LabelRules {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        LabelRules {
            is_compatible: true,
            resource_labels: [("deployment", "bosh.deployment"), ("instance", SERVICE_INSTANCE), ("job", SERVICE_NAME)]
                .map(pair)
                .into(),
            resource_attributes: [("cloud.region", "eu"), ("url.scheme", "other")].map(pair).into(),
        }
    }

    fn made(url: &str, labels: &[(&str, &str)]) -> Vec<String> {
        let target: Labels<'_> = [("job", "cf"), ("instance", "i:1")].into_iter().collect();
        let origin = Origin { key: 1, labels: target.into_owned(), url: url.to_owned() };
        let text = |(name, value): (String, AttributeValue)| match value {
            AttributeValue::Text(value) => format!("{name}={value}"),
            AttributeValue::Int(value) => format!("{name}={value} (int)"),
        };
        rules().resource(labels.iter().copied(), &origin).into_iter().map(text).collect()
    }

    #[test]
    fn a_resource_is_made_of_the_configuration_the_labels_and_the_url() {
        let labels = [("deployment", "d"), ("instance", "i:2"), ("job", "j"), ("other", "o")];
        assert_eq!(
            made("https://10.0.0.1:9100/metrics?a=b", &labels),
            [
                "cloud.region=eu",
                "url.scheme=other",
                "bosh.deployment=d",
                "service.instance.id=i:2",
                "service.name=j",
                "server.address=10.0.0.1",
                "server.port=9100 (int)",
            ]
        );
        let of_target = ["cloud.region=eu", "url.scheme=other", "service.name=cf", "service.instance.id=i:1"];
        assert_eq!(made("", &[]), of_target, "what was not scraped has no server");
        assert_eq!(made("http://[::1]/", &[])[4..], ["server.address=::1", "server.port=80 (int)"]);
    }

    #[test]
    fn labels_have_roles() {
        let roles = ["job", "otel_scope_name", "path"].map(|name| rules().role(name));
        assert_eq!(roles, [Role::Resource, Role::Scope, Role::Attribute]);
        let plain = LabelRules { is_compatible: false, ..rules() };
        assert_eq!(plain.role("otel_scope_name"), Role::Attribute);
        assert!(plain.stays(Role::Resource) && !rules().stays(Role::Resource));
    }
}
