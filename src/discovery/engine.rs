//! One look at everything: scan, read, resolve, compare with the look before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::checked::ScrapeConfig;
use crate::target::Target;

use super::last_good::{FileKind, Files, Said};
use super::remote::{Remote, Remotes, Said as RemoteSaid};
use super::resolve::{DropReason, Dropped, Group, discovered, for_people, resolve};
use super::{DROPPED_MAX, TargetSet, shard, static_sd};
use crate::files::{Part, PathGlob, Scan};

/// What is known from the looks before.
pub(super) struct Engine {
    configs: Vec<Arc<ScrapeConfig>>,
    sources: Vec<Source>,
    remotes: Remotes,
    /// What is asked for over the network, with the index of its configuration, and what it said at the last look.
    asked: Vec<(usize, Remote, Option<Arc<RemoteSaid>>)>,
    files: Files,
    watches: BTreeMap<PathBuf, Vec<Part>>,
    set: Arc<TargetSet>,
    /// The configurations changed, or nothing was looked at yet.
    is_new: bool,
}

/// One entry of `file_sd_configs` or `prom_scraper_sd_configs`.
#[derive(Debug)]
struct Source {
    /// Index of its configuration, and its own index there.
    config: usize,
    entry: usize,
    kind: FileKind,
    globs: Vec<PathGlob>,
    /// Globs that are none.
    problems: Vec<String>,
    /// What the last scan found.
    found: BTreeSet<PathBuf>,
}

impl Engine {
    pub(super) fn new(configs: Vec<Arc<ScrapeConfig>>, remotes: Remotes) -> Self {
        let mut engine = Self {
            configs: Vec::new(),
            sources: Vec::new(),
            remotes,
            asked: Vec::new(),
            files: Files::default(),
            watches: BTreeMap::new(),
            set: Arc::default(),
            is_new: true,
        };
        engine.reload(configs);
        engine
    }

    /// Goes over to another configuration; the next scan shows what comes of it.
    pub(super) fn reload(&mut self, configs: Vec<Arc<ScrapeConfig>>) {
        // An unchanged configuration stays the very same value, so that its targets compare equal at once.
        let known =
            |config: Arc<ScrapeConfig>| self.configs.iter().find(|held| **held == config).cloned().unwrap_or(config);
        self.configs = configs.into_iter().map(known).collect();
        self.sources = self.configs.iter().enumerate().flat_map(|(at, config)| Source::of(at, config)).collect();
        let remotes = self.configs.iter().enumerate();
        let remotes = remotes.flat_map(|(at, config)| Remote::all(config).into_iter().map(move |remote| (at, remote)));
        self.asked = remotes.map(|(at, remote)| (at, remote, None)).collect();
        self.remotes.apply(self.asked.iter().map(|(_, remote, _)| remote.clone()).collect());
        self.is_new = true;
    }

    /// Waits until what is asked over the network has answered, or had its time.
    pub(super) async fn first_words(&self) {
        self.remotes.first_words().await;
    }

    pub(super) fn set(&self) -> Arc<TargetSet> {
        self.set.clone()
    }

    /// Folders to watch, as of the last scan.
    pub(super) fn watches(&self) -> BTreeMap<PathBuf, Vec<Part>> {
        self.watches.clone()
    }

    /// The shortest of all; `None` where no files are looked at.
    pub(super) fn refresh_interval(&self) -> Option<Duration> {
        let file_sd = self.configs.iter().flat_map(|c| c.discovery.files.iter().map(|sd| sd.refresh_interval));
        let prom = self.configs.iter().flat_map(|c| c.discovery.prom_scraper.iter().map(|sd| sd.refresh_interval));
        file_sd.chain(prom).min().map(|interval| interval.max(super::DEBOUNCE))
    }

    /// Looks at all files and brings the set up to date. Returns whether a file was left alone because it is still being
    /// written; `may_put_off` says whether that is wanted.
    pub(super) fn rescan(&mut self, may_put_off: bool) -> bool {
        let mut problems: Vec<String> = self.sources.iter().flat_map(|source| source.problems.clone()).collect();
        let mut has_changed = std::mem::take(&mut self.is_new);
        self.watches.clear();
        let mut scans = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            let mut scan = Scan::default();
            source.globs.iter().for_each(|glob| glob.find(&mut scan));
            problems.extend(problems_of(&scan));
            for (folder, parts) in std::mem::take(&mut scan.watches) {
                self.watches.entry(folder).or_default().extend(parts);
            }
            scans.push((source.kind, scan));
        }
        let borrowed: Vec<_> = scans.iter().map(|(kind, scan)| (*kind, scan)).collect();
        let outcome = self.files.update(&borrowed, may_put_off);
        for (source, (_, mut scan)) in self.sources.iter_mut().zip(scans) {
            // What is below a folder that cannot be looked into now is taken to be there still.
            let hidden = |path: &&PathBuf| scan.unreadable.keys().any(|folder| path.starts_with(folder));
            let kept: Vec<_> = source.found.iter().filter(hidden).cloned().collect();
            scan.files.extend(kept);
            has_changed |= source.found != scan.files;
            source.found = scan.files;
        }
        has_changed |= self.listen();
        problems.extend(self.remote_problems());
        problems.sort();
        problems.dedup();
        if has_changed || outcome.has_changed || problems != self.set.problems {
            self.publish(problems);
        }
        outcome.is_unsettled
    }

    /// Takes along what is said over the network. Returns whether any of it is new.
    fn listen(&mut self) -> bool {
        let mut has_changed = false;
        for (_, remote, held) in &mut self.asked {
            let said = self.remotes.said(remote);
            has_changed |= said.as_ref().map(Arc::as_ptr) != held.as_ref().map(Arc::as_ptr);
            *held = said;
        }
        has_changed
    }

    fn remote_problems(&self) -> impl Iterator<Item = String> + '_ {
        let has_network = self.remotes.has_network();
        self.asked.iter().filter_map(move |(at, _, said)| {
            let problem = match said {
                Some(said) => said.problem.clone()?,
                None if has_network => return None,
                None => "what it finds over the network is not asked for here".to_owned(),
            };
            let job = self.configs.get(*at).map_or("", |config| config.job_name.as_str());
            Some(format!("job {}: {problem}", job.escape_debug()))
        })
    }

    fn publish(&mut self, problems: Vec<String>) {
        let mut next = self.resolve_all();
        next.files = self.files.reports();
        next.problems = problems;
        if next == *self.set {
            return;
        }
        tell_edges(&self.set, &next);
        self.set = Arc::new(next);
    }

    fn resolve_all(&self) -> TargetSet {
        let known: HashMap<u64, &Arc<Target>> =
            self.set.targets.iter().map(|target| (target.origin.key, target)).collect();
        let mut set = TargetSet::default();
        let mut keys = HashMap::new();
        for (at, config) in self.configs.iter().enumerate() {
            let (made, dropped) = self.resolve_config(at, config);
            dropped.into_iter().for_each(|dropped| set.push_dropped(dropped));
            for target in made {
                if keys.insert(target.origin.key, ()).is_some() {
                    let url = target.origin.url.clone();
                    set.push_dropped(drop_target(target, DropReason::Duplicate { url }));
                    continue;
                }
                let same = known.get(&target.origin.key).filter(|held| ****held == target);
                set.targets.push(same.map_or_else(|| Arc::new(target), |held| Arc::clone(held)));
            }
        }
        set
    }

    fn resolve_config(&self, at: usize, config: &Arc<ScrapeConfig>) -> (Vec<Target>, Vec<Dropped>) {
        let (mut made, mut dropped) = (Vec::new(), Vec::new());
        let listed: Vec<Group> = config.discovery.static_groups.iter().map(static_sd::group).collect();
        resolve_groups(config, &listed, 0, &mut made, &mut dropped);
        for source in self.sources.iter().filter(|source| source.config == at) {
            let (groups, limit) = self.groups(config, source);
            resolve_groups(config, &groups, limit, &mut made, &mut dropped);
        }
        for (_, remote, said) in self.asked.iter().filter(|(config, ..)| *config == at) {
            let groups = said.as_ref().map_or(&[][..], |said| &said.groups);
            resolve_groups(config, groups, remote.target_limit(), &mut made, &mut dropped);
        }
        if let Some(shard) = &config.shard {
            let others = made.extract_if(.., |target| !shard::owns(shard, target.origin.key));
            dropped.extend(others.map(|target| drop_target(target, DropReason::Shard)));
        }
        let limit = config.limits.targets;
        if limit > 0 && made.len() > limit {
            let found = made.len();
            let over = |target| drop_target(target, DropReason::TargetLimit { found, limit });
            dropped.extend(made.drain(..).map(over));
        }
        (made, dropped)
    }

    /// What the files of a source say, and its limit.
    fn groups(&self, config: &ScrapeConfig, source: &Source) -> (Vec<Group>, usize) {
        let said = source.found.iter().filter_map(|path| Some((path, self.files.said(source.kind, path)?)));
        match source.kind {
            FileKind::FileSd => {
                let groups = said.filter_map(|(_, said)| match said {
                    Said::Groups(groups) => Some(groups.clone()),
                    Said::Announcement(_) => None,
                });
                let limit = config.discovery.files.get(source.entry).map_or(0, |sd| sd.target_limit);
                (groups.flatten().collect(), limit)
            }
            FileKind::PromScraper => {
                let Some(sd) = config.discovery.prom_scraper.get(source.entry) else { return (Vec::new(), 0) };
                let groups = said.filter_map(|(path, said)| match said {
                    Said::Announcement(said) => Some(said.endpoint(sd.ignores_interval)?.group(sd, path)),
                    Said::Groups(_) => None,
                });
                (groups.collect(), sd.target_limit)
            }
        }
    }
}

impl Source {
    /// The sources of a configuration.
    fn of(config: usize, checked: &ScrapeConfig) -> Vec<Self> {
        let file_sd = checked.discovery.files.iter().map(|sd| (FileKind::FileSd, &sd.files)).enumerate();
        let prom = checked.discovery.prom_scraper.iter().map(|sd| (FileKind::PromScraper, &sd.files)).enumerate();
        file_sd
            .chain(prom)
            .map(|(entry, (kind, texts))| {
                let (mut globs, mut problems) = (Vec::new(), Vec::new());
                for text in texts {
                    match PathGlob::new(text) {
                        Ok(glob) => globs.push(glob),
                        Err(problem) => problems.push(format!("job {}: {problem}", checked.job_name.escape_debug())),
                    }
                }
                Self { config, entry, kind, globs, problems, found: BTreeSet::new() }
            })
            .collect()
    }
}

impl TargetSet {
    fn push_dropped(&mut self, dropped: Dropped) {
        self.dropped_total += 1;
        if self.dropped.len() < DROPPED_MAX {
            self.dropped.push(dropped);
        }
    }
}

/// Resolves the groups of one source; a `limit` of 0 is none.
fn resolve_groups(
    config: &Arc<ScrapeConfig>,
    groups: &[Group],
    limit: usize,
    made: &mut Vec<Target>,
    dropped: &mut Vec<Dropped>,
) {
    let found = groups.iter().map(|group| group.targets.len()).sum();
    for group in groups {
        for address in &group.targets {
            let labels = discovered(config, group, address);
            if limit > 0 && found > limit {
                let reason = DropReason::TargetLimit { found, limit };
                let job = config.job_name.clone();
                dropped.push(Dropped { job, discovered: for_people(labels), file: group.file.clone(), reason });
                continue;
            }
            match resolve(config, &group.own, group.file.as_ref(), labels) {
                Ok(target) => made.push(target),
                Err(refused) => dropped.push(refused),
            }
        }
    }
}

fn drop_target(target: Target, reason: DropReason) -> Dropped {
    Dropped { job: target.config.job_name.clone(), discovered: target.discovered, file: target.file, reason }
}

fn problems_of(scan: &Scan) -> Vec<String> {
    let unreadable = scan.unreadable.iter().map(|(folder, reason)| {
        let folder = folder.to_string_lossy();
        format!("{}: this folder cannot be looked into: {reason}; what was known in it stays", folder.escape_debug())
    });
    let cut = scan.is_cut.then(|| "the globs find more than 10,000 files; the rest is left out".to_owned());
    unreadable.chain(cut).collect()
}

/// Logs what is wrong now and was not before, and that the set is another.
fn tell_edges(before: &TargetSet, now: &TargetSet) {
    for problem in now.problems.iter().filter(|problem| !before.problems.contains(problem)) {
        warn!(problem, "discovery is incomplete");
    }
    for problem in before.problems.iter().filter(|problem| !now.problems.contains(problem)) {
        info!(problem, "a problem of discovery is over");
    }
    // A limit concerns all targets of a source at once and is told once.
    let told = |dropped: &Dropped| match &dropped.reason {
        reason @ DropReason::TargetLimit { .. } => (dropped.job.clone(), String::new(), reason.to_string()),
        reason => (dropped.job.clone(), dropped.discovered.get_or_empty("__address__").to_owned(), reason.to_string()),
    };
    let faults = |set: &TargetSet| -> BTreeSet<_> {
        set.dropped.iter().filter(|dropped| dropped.reason.is_fault()).map(told).collect()
    };
    for (job, address, reason) in faults(now).difference(&faults(before)) {
        let (job, address) = (job.escape_debug(), address.escape_debug());
        warn!(%job, %address, reason, "a discovered target is not scraped");
    }
    if now.targets != before.targets {
        info!(targets = now.targets.len(), not_scraped = now.dropped_total, "targets changed");
    }
}

#[cfg(test)]
mod tests;
