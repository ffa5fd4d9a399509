//! `static_configs`: targets that the configuration itself lists.

use crate::config::checked::StaticGroup;

use super::resolve::{Group, Own};

/// The listed targets as a group.
pub(super) fn group(listed: &StaticGroup) -> Group {
    Group { targets: listed.targets.clone(), labels: listed.labels.clone(), file: None, own: Own::default() }
}
