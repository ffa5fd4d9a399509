//! Targets for scripts. Keys are those of docs/tools.md and stay; new ones may come.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::discovery::{Dropped, FileReport, FileStatus, TargetSet};
use crate::model::Labels;
use crate::target::Target;

/// Everything that was found.
pub(super) fn set(set: &TargetSet) -> Value {
    json!({
        "targets": set.targets.iter().map(|found| target(found)).collect::<Vec<_>>(),
        "dropped": set.dropped.iter().map(dropped).collect::<Vec<_>>(),
        "dropped_total": set.dropped_total,
        "files": set.files.iter().map(file).collect::<Vec<_>>(),
        "problems": set.problems,
    })
}

/// One target.
pub(super) fn target(target: &Target) -> Value {
    json!({
        "url": target.origin.url,
        "job": target.config.job_name,
        "labels": labels(&target.origin.labels),
        "discovered_labels": labels(&target.discovered),
        "interval_seconds": target.interval.as_secs_f64(),
        "timeout_seconds": target.timeout.as_secs_f64(),
        "file": target.file.as_deref().map(path),
    })
}

fn dropped(dropped: &Dropped) -> Value {
    json!({
        "job": dropped.job,
        "discovered_labels": labels(&dropped.discovered),
        "file": dropped.file.as_deref().map(path),
        "reason": dropped.reason.to_string(),
        "fault": dropped.reason.is_fault(),
    })
}

fn file(file: &FileReport) -> Value {
    let path = path(&file.path);
    match &file.status {
        FileStatus::Good { targets } => json!({"path": path, "status": "good", "targets": targets}),
        FileStatus::Off(why) => json!({"path": path, "status": "off", "reason": why}),
        FileStatus::Broken { problem, consequence } => {
            json!({"path": path, "status": "broken", "reason": problem, "consequence": consequence})
        }
    }
}

fn labels(labels: &Labels<'_>) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
