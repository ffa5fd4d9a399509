//! What the admin port shows, gathered from the stages when somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use super::Outputs;
use super::announce::Announcing;
use crate::admin::{
    CertificateSnapshot, DiscoveryProblem, DroppedTarget, FileSnapshot, FileState, Health, MemorySnapshot,
    OutputSnapshot, QueueSnapshot, Readiness, RecentMark, RegistrarSnapshot, ScrapeCounts, ScrapeMark, ServedSnapshot,
    Snapshots, TargetSnapshot, Targets, Trouble,
};
use crate::config::Shown;
use crate::config::checked::{OutputConfig, OutputKind};
use crate::discovery::{FileReport, FileStatus, TargetSet};
use crate::memory::Budget;
use crate::net::authority;
use crate::net::credentials::{Credentials, OwnCertificate};
use crate::output::State;
use crate::output::expose::Served;
use crate::pipeline::recent::Step;
use crate::scrape::{self, Scrapes, Watched};

pub(super) struct Pages {
    pub(super) scrapes: Arc<Scrapes>,
    pub(super) targets: watch::Receiver<Arc<TargetSet>>,
    pub(super) outputs: Arc<Outputs>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) budget: Arc<Budget>,
    pub(super) announcing: Arc<Announcing>,
    pub(super) is_ready: watch::Receiver<bool>,
    pub(super) stands_in_for_prom_scraper: bool,
    pub(super) shown: watch::Receiver<Shown>,
    pub(super) troubles: watch::Receiver<Vec<Trouble>>,
    /// Whether targets are scraped at their intervals, or on request only.
    pub(super) has_intervals: watch::Receiver<bool>,
    pub(super) started_ms: i64,
}

impl Snapshots for Pages {
    fn targets(&self) -> Targets {
        let set = self.targets.borrow().clone();
        let files = set.files.iter().filter_map(|file| match &file.status {
            FileStatus::Broken { problem, consequence } => Some(DiscoveryProblem {
                source: file.path.display().to_string(),
                message: format!("{problem}; {consequence}"),
            }),
            _ => None,
        });
        let others =
            set.problems.iter().map(|problem| DiscoveryProblem { source: String::new(), message: problem.clone() });
        let mut dropped_counts = BTreeMap::new();
        for dropped in &set.dropped {
            *dropped_counts.entry(dropped.job.clone()).or_default() += 1;
        }
        Targets {
            active: self.scrapes.all().iter().map(|watched| target(watched)).collect(),
            dropped: set
                .dropped
                .iter()
                .map(|dropped| DroppedTarget {
                    job: dropped.job.clone(),
                    discovered: dropped.discovered.clone(),
                    reason: dropped.reason.to_string(),
                })
                .collect(),
            dropped_counts,
            problems: files.chain(others).collect(),
        }
    }

    fn histories(&self, ids: &[u64]) -> Vec<Vec<ScrapeMark>> {
        let mark = |mark: scrape::Mark| ScrapeMark { millis: mark.millis, samples: mark.samples };
        let mut found: HashMap<u64, Vec<ScrapeMark>> = HashMap::new();
        for watched in self.scrapes.all().iter().filter(|watched| ids.contains(&watched.target.origin.key)) {
            found.insert(watched.target.origin.key, watched.history().into_iter().map(mark).collect());
        }
        ids.iter().map(|id| found.remove(id).unwrap_or_default()).collect()
    }

    fn files(&self) -> Vec<FileSnapshot> {
        let set = self.targets.borrow().clone();
        let file = |report: &FileReport| FileSnapshot {
            path: report.path.clone(),
            state: match &report.status {
                FileStatus::Good { targets } => FileState::Good(*targets),
                FileStatus::Off(why) => FileState::Off(why),
                FileStatus::Broken { problem, consequence } => {
                    FileState::Broken { problem: problem.clone(), consequence }
                }
            },
        };
        set.files.iter().map(file).collect()
    }

    fn configuration(&self) -> Arc<str> {
        self.shown.borrow().text()
    }

    fn started_ms(&self) -> i64 {
        self.started_ms
    }

    fn outputs(&self) -> Vec<OutputSnapshot> {
        self.outputs.states().into_iter().map(|(config, state)| output(&config, state)).collect()
    }

    fn scrapes(&self) -> ScrapeCounts {
        let totals = self.scrapes.totals();
        ScrapeCounts {
            scrapes: totals.scrapes,
            failures: totals.failures,
            samples: totals.samples,
            body_bytes: totals.body_bytes,
            bad_lines: totals.bad_lines,
            duplicates: totals.duplicates,
            paused: totals.paused,
        }
    }

    fn certificates(&self) -> Vec<CertificateSnapshot> {
        let all = self.credentials.certificates().into_iter();
        all.map(|OwnCertificate { shown_as, file, validity, problem }| CertificateSnapshot {
            shown_as,
            file: file.display().to_string(),
            validity,
            problem,
        })
        .collect()
    }

    fn memory(&self) -> MemorySnapshot {
        MemorySnapshot { used: self.budget.used(), limit: self.budget.limit() }
    }

    fn registrar(&self) -> Option<RegistrarSnapshot> {
        self.announcing.registrar().map(|state| RegistrarSnapshot {
            is_connected: state.is_connected,
            entries: state.entries,
            sent: state.messages.sent,
            failed: state.messages.failed,
        })
    }

    fn readiness(&self) -> Readiness {
        if *self.is_ready.borrow() {
            return Readiness::Ready;
        }
        let all = self.scrapes.all();
        let missing = all.iter().filter(|watched| watched.status().health == scrape::Health::Unknown).count();
        Readiness::Waiting(format!("{missing} of {} targets were not scraped yet", all.len()))
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.troubles.borrow().clone()
    }

    fn on_request(&self) -> Option<usize> {
        (!*self.has_intervals.borrow()).then(|| self.targets.borrow().targets.len())
    }

    fn stands_in_for_prom_scraper(&self) -> bool {
        self.stands_in_for_prom_scraper
    }
}

fn target(watched: &Watched) -> TargetSnapshot {
    let (target, status) = (&watched.target, watched.status());
    let (error, advice) = status.fault.map(|fault| (fault.error, fault.advice)).unwrap_or_default();
    TargetSnapshot {
        id: target.origin.key,
        job: target.config.job_name.clone(),
        discovered: target.discovered.clone(),
        labels: target.origin.labels.clone(),
        url: target.origin.url.clone(),
        health: match status.health {
            scrape::Health::Unknown => Health::Unknown,
            scrape::Health::Up => Health::Up,
            scrape::Health::Down => Health::Down,
        },
        error,
        advice,
        scraped_ms: status.last_scrape_ms,
        duration: status.last_duration,
        samples: status.last.samples_post_relabelling,
        interval: target.interval,
        timeout: target.timeout,
        file: target.file.clone(),
        failures: status.failures,
        certificate: status.certificate,
    }
}

fn output(config: &OutputConfig, state: State) -> OutputSnapshot {
    let (kind, urls) = match &config.kind {
        OutputKind::Elasticsearch(elastic) => {
            ("elasticsearch", elastic.http.urls.iter().map(ToString::to_string).collect())
        }
        OutputKind::SplunkHec(splunk) => ("splunk_hec", splunk.http.urls.iter().map(ToString::to_string).collect()),
        OutputKind::RemoteWrite(write) => ("remote_write", vec![write.shown_url()]),
        OutputKind::Signalfx(ingest) => {
            ("signalfx", ingest.http.urls.iter().map(|url| crate::net::text::escaped(&url.to_string())).collect())
        }
        OutputKind::Dogstatsd(agent) => ("dogstatsd", vec![agent.address.to_string()]),
        OutputKind::Loggregator(agent) => ("loggregator", vec![authority(&agent.host, agent.port)]),
        OutputKind::Otlp(receiver) => ("otlp", receiver.http.urls.iter().map(ToString::to_string).collect()),
        OutputKind::Expose(expose) => {
            // Not the configured one: its port may be 0.
            let listens_on = state.listens_on.unwrap_or(expose.listen);
            ("expose", vec![format!("{listens_on}{}", expose.path)])
        }
        OutputKind::File(file) => {
            let path = file.path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
            ("file", vec![path])
        }
    };
    OutputSnapshot {
        name: config.name.clone(),
        kind,
        urls,
        counts: state.counts,
        recent: state.recent.into_iter().map(|Step { delivered, lost }| RecentMark { delivered, lost }).collect(),
        waited: state.waited,
        queue: state.queued.map(|(samples, bytes, limits)| QueueSnapshot { samples, bytes, limits }),
        disk: state.disk,
        status: state.status,
        served: state.served.map(served),
    }
}

fn served(served: Served) -> ServedSnapshot {
    ServedSnapshot {
        targets: served.targets,
        expositions: served.expositions,
        refused: served.refused,
        samples: served.samples,
        duplicates: served.duplicates,
        duplicates_last: served.duplicates_last,
        type_clashes_last: served.type_clashes_last,
        quoted_names_last: served.quoted_names_last,
    }
}
