//! What the process keeps in memory, and how much it may.
//!
//! Everything whose size targets and receivers decide is charged to one of a few accounts when it is made, and taken off when
//! it goes: the samples and series of scrapes (what five outputs share is charged once), the tables that read targets, and the
//! bodies of requests. A charge is one atomic addition a scrape, chunk or request; nothing is counted by the sample.
//!
//! The accounts are an estimate of the resident memory, not a reading of it: what was given back to the allocator may stay
//! resident for a while, and shedding more would not change that. [`Budget`] adds what has no account.
//!
//! Left out on purpose: what to do above the limit, which is the pipeline's.

use std::fmt;
use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Values of scrapes, while a queue, a request or an endpoint keeps them.
    #[default]
    Samples,
    /// Label sets and metadata.
    Series,
    /// What is kept of each target so that its next body can be read fast.
    Tables,
    /// Bodies of requests until they are answered.
    Bodies,
}

static ACCOUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Some bytes on an account, for as long as the value lives.
#[derive(Debug, Default)]
pub struct Charge {
    kind: Kind,
    bytes: usize,
}

impl Charge {
    /// Charges `bytes`.
    pub fn new(kind: Kind, bytes: usize) -> Self {
        ACCOUNTS[kind as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        Self { kind, bytes }
    }

    /// From now on it is so many bytes.
    pub fn resize(&mut self, bytes: usize) {
        if bytes != self.bytes {
            // Wraps around below zero as it should: the account holds at least what is taken off.
            let change = (bytes as u64).wrapping_sub(self.bytes as u64);
            ACCOUNTS[self.kind as usize].fetch_add(change, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// Bytes by account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// See [`Kind::Samples`].
    pub samples: u64,
    /// See [`Kind::Series`].
    pub series: u64,
    /// See [`Kind::Tables`].
    pub tables: u64,
    /// See [`Kind::Bodies`].
    pub bodies: u64,
}

impl Accounts {
    /// What is charged now.
    pub fn now() -> Self {
        let held = |kind: Kind| ACCOUNTS[kind as usize].load(Ordering::Relaxed);
        Self {
            samples: held(Kind::Samples),
            series: held(Kind::Series),
            tables: held(Kind::Tables),
            bodies: held(Kind::Bodies),
        }
    }

    fn sum(&self) -> u64 {
        self.samples + self.series + self.tables + self.bodies
    }
}

/// What the process uses now, estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// What is charged.
    pub accounts: Accounts,
    /// The executable and its libraries, connections and their buffers, and what the allocator needs beside the accounts.
    pub rest: u64,
}

impl Used {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.accounts.sum() + self.rest
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Accounts { samples, series, tables, bodies } = self.accounts;
        let rest = self.rest;
        write!(
            f,
            "samples {samples}, series {series}, tables {tables}, bodies {bodies}, the program itself {rest} bytes"
        )
    }
}

// How these were got: x86-64 Linux, glibc, an Elasticsearch output, targets over mutual TLS. In the
// release build the estimate was 95.3 MB where 91.7 MB were resident (200 targets of 1000 series), and 21.2 where 23.1 were
// (10, after an outage). In a debug build, with its pages taken
// for 10 MiB, the estimate was 77 % of the resident memory with 10 targets of 1000 series, 90 % with 100 of 100, 79 % with 50 of
// 1000 and 88 % with 150; with 50 and a receiver that was down, 123 %.

/// What a process uses that has no account: 10 MiB of pages of the executable and the C library, 2 MiB of threads and runtime,
/// and 4 MiB that the allocator keeps of the bodies of requests.
const BASE_BYTES: u64 = 16 << 20;

/// A target's connection: TLS, buffers, its task.
const TARGET_BYTES: u64 = 64 << 10;

/// What the allocator needs beside the bytes that are asked of it, in eighths of them.
const ALLOCATOR_EIGHTHS: u64 = 2;

/// How much the process may use, and how much it does.
pub struct Budget {
    /// `u64::MAX` for no limit.
    limit: AtomicU64,
    targets: AtomicU64,
    accounts: Box<dyn Fn() -> Accounts + Send + Sync>,
}

impl Budget {
    /// A budget of so many bytes, or without a limit.
    pub fn new(limit: Option<u64>) -> Arc<Self> {
        Self::measured_by(limit, Accounts::now)
    }

    /// A budget with accounts of its own.
    pub fn measured_by(limit: Option<u64>, accounts: impl Fn() -> Accounts + Send + Sync + 'static) -> Arc<Self> {
        let budget = Self { limit: AtomicU64::default(), targets: AtomicU64::default(), accounts: Box::new(accounts) };
        budget.set_limit(limit);
        Arc::new(budget)
    }

    /// From now on it is so many bytes, or without a limit.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many targets are scraped.
    pub fn set_targets(&self, targets: usize) {
        self.targets.store(targets as u64, Ordering::Relaxed);
    }

    /// The limit in bytes, if there is one.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|&limit| limit < u64::MAX)
    }

    /// What is used now.
    pub fn used(&self) -> Used {
        let accounts = (self.accounts)();
        let connections = self.targets.load(Ordering::Relaxed) * TARGET_BYTES;
        Used { accounts, rest: BASE_BYTES + connections + accounts.sum() / 8 * ALLOCATOR_EIGHTHS }
    }

    /// Whether more is used than may be.
    pub fn is_exceeded(&self) -> bool {
        self.limit().is_some_and(|limit| self.used().total() > limit)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit()).finish_non_exhaustive()
    }
}

/// The memory that the process' control group allows, in bytes: the smallest limit of its own group and of those above it, of
/// either version; `None` where there is none.
///
/// `root` is `/`. See `memory.max` in the kernel's Documentation/admin-guide/cgroup-v2.rst, and `memory.limit_in_bytes` in
/// cgroup-v1/memory.rst.
pub fn cgroup_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        // NUMBER:CONTROLLERS:PATH, where version 2 has no controllers.
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        smallest_limit(&root.join(mount), path, file)
    });
    limits.min()
}

/// Version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT_MIN: u64 = 1 << 62;

/// Of a group and those above it. A group that is not there is looked for above: in a container, the group is seen as the root.
fn smallest_limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut folder = mount.to_path_buf();
    let names = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    let folders: Vec<_> = std::iter::once(mount.to_path_buf())
        .chain(names.map(|name| {
            folder.push(name);
            folder.clone()
        }))
        .collect();
    let limits = folders.iter().filter_map(|folder| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok().filter(|&bytes: &u64| bytes < NO_LIMIT_MIN)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it_counts() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/system.slice/promferry.service\n"),
            ("sys/fs/cgroup/system.slice/promferry.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
        ]);
        assert_eq!(cgroup_limit(root.path()), Some(256 << 20));
        fs::write(root.path().join("sys/fs/cgroup/system.slice/promferry.service/memory.max"), "1048576\n").unwrap();
        assert_eq!(cgroup_limit(root.path()), Some(1 << 20));
    }

    #[test]
    fn version_1_has_a_number_for_no_limit() {
        let root = machine(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/garden/abc\n1:name=systemd:/a\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/garden/abc/memory.limit_in_bytes", "67108864\n"),
        ]);
        assert_eq!(cgroup_limit(root.path()), Some(64 << 20));
        fs::remove_file(root.path().join("sys/fs/cgroup/memory/garden/abc/memory.limit_in_bytes")).unwrap();
        assert_eq!(cgroup_limit(root.path()), None);
    }

    #[test]
    fn in_a_container_the_group_is_the_root() {
        let root = machine(&[("proc/self/cgroup", "0::/../../x\n"), ("sys/fs/cgroup/memory.max", "67108864\n")]);
        assert_eq!(cgroup_limit(root.path()), Some(64 << 20));
        for cgroup in ["", "0::/\n", "nonsense\n\n::\n"] {
            let root = machine(&[("proc/self/cgroup", cgroup), ("sys/fs/cgroup/memory.max", "max\n")]);
            assert_eq!(cgroup_limit(root.path()), None, "{cgroup}");
        }
        assert_eq!(cgroup_limit(&root.path().join("nowhere")), None);
    }

    #[test]
    fn a_budget_adds_what_has_no_account() {
        let accounts = Accounts { samples: 8 << 20, series: 4 << 20, tables: 3 << 20, bodies: 1 << 20 };
        let budget = Budget::measured_by(Some(36 << 20), move || accounts);
        assert_eq!((budget.used().total(), budget.is_exceeded()), (36 << 20, false));
        budget.set_targets(1);
        assert!(budget.is_exceeded());
        budget.set_limit(None);
        assert_eq!((budget.limit(), budget.is_exceeded()), (None, false));
    }
}
