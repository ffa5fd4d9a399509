//! Discovery on real files, in the layout that BOSH makes.
//!
//! No test sleeps: each waits for the set of targets that it expects, with a deadline.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use promferry::config::checked::ScrapeConfig;
use promferry::config::{self, Source};
use promferry::discovery::{Discovery, DropReason, FileStatus, Network, Noticing, TargetSet, discover_files};
use promferry::net::credentials::Credentials;
use promferry::target::Target;
use tokio::sync::watch;

/// For what must happen; whether it happens within a second is measured in one test of its own.
const DEADLINE: Duration = Duration::from_secs(10);

/// `ROOT/jobs/NAME` is a link into `ROOT/data/jobs/NAME/HASH`, as on a BOSH VM.
struct Vm {
    root: tempfile::TempDir,
}

impl Vm {
    fn new() -> Self {
        let vm = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(vm.path("jobs")).unwrap();
        vm
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn file(&self, job: &str) -> PathBuf {
        self.path(&format!("jobs/{job}/config/prom_scraper_config.yml"))
    }

    /// Renders a job's file into a folder of its own and lets the job's link lead there.
    fn deploy(&self, job: &str, hash: &str, content: &str) {
        let rendered = self.path(&format!("data/jobs/{job}/{hash}"));
        fs::create_dir_all(rendered.join("config")).unwrap();
        fs::write(rendered.join("config/prom_scraper_config.yml"), content).unwrap();
        let link = self.path(&format!("jobs/{job}"));
        let new = self.path(&format!("jobs/{job}.new"));
        symlink(&rendered, &new).unwrap();
        fs::rename(&new, &link).unwrap();
    }

    fn configs(&self, sd: &str) -> Vec<Arc<ScrapeConfig>> {
        load(self.root.path(), sd)
    }

    /// A configuration that looks at the files of all jobs.
    fn bosh(&self, refresh_interval: &str) -> Vec<Arc<ScrapeConfig>> {
        self.configs(&format!(
            "prom_scraper_sd_configs:\n      - files: [\"{}/jobs/*/config/prom_scraper_config.yml\"]\n        host: 10.0.16.4\n        refresh_interval: {refresh_interval}",
            self.root.path().display(),
        ))
    }
}

/// The scrape configuration `platform` with these keys, indented by four.
fn load(folder: &Path, keys: &str) -> Vec<Arc<ScrapeConfig>> {
    let text = format!(
        "scrape_configs:\n  - job_name: platform\n    {keys}\noutputs:\n  - name: out\n    file: {{path: \"-\"}}\n"
    );
    let file = folder.join("promferry.yml");
    fs::write(&file, &text).unwrap();
    config::load(&Source::File(file), &|_| None).unwrap_or_else(|problems| panic!("{problems}\n{text}")).scrapes
}

fn network() -> Network {
    Network { credentials: Arc::new(Credentials::new(Duration::ZERO)), runtime: tokio::runtime::Handle::current() }
}

struct Running {
    discovery: Discovery,
    sets: watch::Receiver<Arc<TargetSet>>,
}

impl Running {
    fn start(configs: Vec<Arc<ScrapeConfig>>) -> Self {
        let (discovery, sets) = Discovery::start(configs, Noticing::Events, network()).unwrap();
        Self { discovery, sets }
    }

    fn now(&self) -> Arc<TargetSet> {
        self.sets.borrow().clone()
    }

    async fn wait(&mut self, what: &str, is_there: impl FnMut(&Arc<TargetSet>) -> bool) -> Arc<TargetSet> {
        let waited = tokio::time::timeout(DEADLINE, self.sets.wait_for(is_there)).await;
        match waited.map(|set| set.expect("discovery ended").clone()) {
            Ok(set) => set,
            Err(_) => panic!("not within {DEADLINE:?}: {what}; there is {:#?}", self.now()),
        }
    }

    async fn wait_for_urls(&mut self, expected: &[&str]) -> Arc<TargetSet> {
        self.wait(&format!("{expected:?}"), |set| urls(set) == expected).await
    }
}

fn urls(set: &TargetSet) -> Vec<&str> {
    set.targets.iter().map(|target| target.origin.url.as_str()).collect()
}

fn only(set: &TargetSet) -> &Arc<Target> {
    assert_eq!(set.targets.len(), 1, "{set:#?}");
    &set.targets[0]
}

fn status<'s>(set: &'s TargetSet, path: &Path) -> &'s FileStatus {
    &set.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{}: {set:#?}", path.display())).status
}

#[test]
fn a_job_is_found_with_its_labels() {
    let vm = Vm::new();
    vm.deploy(
        "gorouter",
        "1",
        "\n---\nport: 8443\nsource_id: router\ninstance_id: 7\nscheme: https\nserver_name: gorouter.service.internal\nlabels: {metrics_version: 2.0}",
    );
    let set = discover_files(vm.bosh("15s"));
    let target = only(&set);
    assert_eq!(target.origin.url, "https://10.0.16.4:8443/metrics");
    assert_eq!(
        target.origin.labels.to_string(),
        r#"{instance="10.0.16.4:8443",instance_id="7",job="platform",metrics_version="2.0",source_id="router"}"#
    );
    assert_eq!(target.tls.server_name.as_deref(), Some("gorouter.service.internal"));
    assert!(target.announced.is_some());
    assert_eq!(target.file.as_ref(), Some(&vm.file("gorouter")));
    assert_eq!(target.discovered.get("__meta_prom_scraper_job"), Some("gorouter"));
    assert_eq!(status(&set, &vm.file("gorouter")), &FileStatus::Good { targets: 1 });
}

#[test]
fn what_real_jobs_ship_just_works() {
    let vm = Vm::new();
    vm.deploy("empty", "1", "");
    vm.deploy("newline", "1", "\n");
    vm.deploy("dashes", "1", "---\n");
    vm.deploy("off", "1", "port: 1\nscrape_interval: 0s\n");
    vm.deploy("text-port", "1", "port: \"9101\"\n");
    vm.deploy("no-end", "1", "---\nport: 9102");
    vm.deploy("block", "1", "port: |\n  9103\nsource_id: >\n  block\n");
    vm.deploy("query", "1", "port: 9104\npath: stats?format=prometheus\n");
    vm.deploy("interval", "1", "port: 9105\nscrape_interval: 1m30s\n");
    vm.deploy("own-tls", "1", "port: 9106\nscheme: https\nca_path: /ca\nclient_cert_path: /c\nclient_key_path: /k\n");
    let set = discover_files(vm.bosh("15s"));
    assert_eq!(
        urls(&set),
        [
            "http://10.0.16.4:9103/metrics",
            "http://10.0.16.4:9105/metrics",
            "http://10.0.16.4:9102/metrics",
            "https://10.0.16.4:9106/metrics",
            "http://10.0.16.4:9104/stats?format=prometheus",
            "http://10.0.16.4:9101/metrics",
        ]
    );
    assert_eq!(set.targets[0].origin.labels.get("source_id"), Some("block"));
    assert_eq!(set.targets[1].interval, Duration::from_secs(90));
    assert_eq!(set.targets[3].tls.key_file, Some("/k".into()));
    for job in ["empty", "newline", "dashes"] {
        assert_eq!(status(&set, &vm.file(job)), &FileStatus::Off("the file is empty"));
    }
    assert_eq!(status(&set, &vm.file("off")), &FileStatus::Off("its scrape_interval is zero or less"));
    assert!(set.dropped.is_empty() && set.problems.is_empty(), "{set:#?}");
}

#[test]
fn one_broken_among_many_touches_no_other() {
    let vm = Vm::new();
    for job in 0..20 {
        vm.deploy(&format!("job{job:02}"), "1", &format!("port: {}", 9100 + job));
    }
    vm.deploy("job07", "2", "port: 9107\nscrape_interval: 15x");
    let set = discover_files(vm.bosh("15s"));
    assert_eq!(set.targets.len(), 19);
    assert_eq!(
        status(&set, &vm.file("job07")),
        &FileStatus::Broken {
            problem: format!(
                "{}:2:18: scrape_interval: \"15x\" is not a duration; write a number and a unit, such as \"500ms\", \"15s\" or \"2m\"",
                vm.file("job07").display()
            ),
            consequence: "this file is skipped; there is no good version of it, so its target is not scraped",
        }
    );
}

#[test]
fn files_that_are_none_do_no_harm() {
    let vm = Vm::new();
    for job in ["fifo", "folder", "huge", "bomb", "binary", "good"] {
        vm.deploy(job, "1", "port: 9100");
    }
    let replace = |job: &str| {
        let file = vm.file(job);
        fs::remove_file(&file).unwrap();
        file
    };
    let made = std::process::Command::new("mkfifo").arg(replace("fifo")).status().unwrap();
    assert!(made.success());
    fs::create_dir(replace("folder")).unwrap();
    fs::write(vm.file("huge"), format!("port: 9100\n{}", "#".repeat(1 << 20))).unwrap();
    let bomb: String = ('b'..='k').fold("a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, next| {
        let last = char::from(next as u8 - 1);
        text + &format!(
            "{next}: &{next} [*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last}]\n"
        )
    });
    fs::write(vm.file("bomb"), format!("port: 9100\n{bomb}")).unwrap();
    fs::write(vm.file("binary"), b"port: \xff\xfe\0").unwrap();
    let started = Instant::now();
    let set = discover_files(vm.bosh("15s"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(only(&set).file.as_ref(), Some(&vm.file("good")));
    let problem = |job: &str| match status(&set, &vm.file(job)) {
        FileStatus::Broken { problem, .. } => problem.replace(&vm.file(job).display().to_string(), "F"),
        other => panic!("{job}: {other:?}"),
    };
    assert_eq!(problem("fifo"), "F: it is not a regular file");
    assert_eq!(problem("folder"), "F: it is not a regular file");
    assert_eq!(problem("huge"), "F: it is larger than 1 MiB");
    assert!(problem("bomb").contains("aliases counted in full"), "{}", problem("bomb"));
    assert!(problem("binary").starts_with("F:1:"), "{}", problem("binary"));
}

#[tokio::test]
async fn a_swapped_link_is_noticed_by_an_event() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100");
    vm.deploy("b", "1", "port: 9200");
    let mut running = Running::start(vm.bosh("1h"));
    let first = running.wait_for_urls(&["http://10.0.16.4:9100/metrics", "http://10.0.16.4:9200/metrics"]).await;
    vm.deploy("a", "2", "port: 9101");
    let second = running.wait_for_urls(&["http://10.0.16.4:9101/metrics", "http://10.0.16.4:9200/metrics"]).await;
    assert!(Arc::ptr_eq(&first.targets[1], &second.targets[1]), "what did not change is the same target");
    // The folder behind the new link is watched too.
    fs::write(vm.path("data/jobs/a/2/config/prom_scraper_config.yml"), "port: 9102").unwrap();
    running.wait_for_urls(&["http://10.0.16.4:9102/metrics", "http://10.0.16.4:9200/metrics"]).await;
    // And the old one no longer matters.
    fs::write(vm.path("data/jobs/a/1/config/prom_scraper_config.yml"), "port: 9103").unwrap();
    vm.deploy("b", "2", "port: 9201");
    running.wait_for_urls(&["http://10.0.16.4:9102/metrics", "http://10.0.16.4:9201/metrics"]).await;
}

#[tokio::test]
async fn new_changed_and_removed_files_are_noticed_within_a_second() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100");
    let mut running = Running::start(vm.bosh("1h"));
    let file = vm.file("a");
    let steps: [(&dyn Fn(), &[&str]); 4] = [
        (&|| vm.deploy("b", "1", "port: 9200"), &["http://10.0.16.4:9100/metrics", "http://10.0.16.4:9200/metrics"]),
        (&|| fs::remove_file(vm.path("jobs/b")).unwrap(), &["http://10.0.16.4:9100/metrics"]),
        (&|| fs::write(&file, "port: 9101").unwrap(), &["http://10.0.16.4:9101/metrics"]),
        (&|| fs::remove_file(&file).unwrap(), &[]),
    ];
    for (change, expected) in steps {
        let started = Instant::now();
        change();
        running.wait_for_urls(expected).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{expected:?} took {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_half_written_file_keeps_its_last_good_target() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100\nlabels: {x: \"1\"}\n");
    let mut running = Running::start(vm.bosh("1h"));
    let before = only(&running.now()).clone();
    fs::write(vm.file("a"), "port: 9100\nlabels: {x: \"1").unwrap();
    let broken = running.wait("broken", |set| matches!(status(set, &vm.file("a")), FileStatus::Broken { .. })).await;
    assert!(Arc::ptr_eq(only(&broken), &before));
    let FileStatus::Broken { problem, consequence } = status(&broken, &vm.file("a")) else { unreachable!() };
    assert!(problem.starts_with(&format!("{}:2:", vm.file("a").display())), "{problem}");
    assert_eq!(*consequence, "this file is skipped; its target from the last good version is still being scraped");
    // A deploy that brings another broken version changes nothing either.
    vm.deploy("a", "2", "port: 0");
    let still = running.wait("port 0", |set| {
        matches!(status(set, &vm.file("a")), FileStatus::Broken { problem, .. } if problem.contains("\"0\" is not a port"))
    });
    let still = still.await;
    assert!(Arc::ptr_eq(only(&still), &before));
    vm.deploy("a", "3", "port: 9100\nlabels: {x: \"2\"}\n");
    let after = running.wait("recovered", |set| status(set, &vm.file("a")) == &FileStatus::Good { targets: 1 }).await;
    assert_eq!(only(&after).origin.labels.get("x"), Some("2"));
    // Rendering to nothing is no breakage: the job is switched off.
    vm.deploy("a", "4", "\n");
    running.wait_for_urls(&[]).await;
}

#[tokio::test]
async fn jobs_may_come_after_us() {
    let vm = Vm::new();
    fs::remove_dir(vm.path("jobs")).unwrap();
    let mut running = Running::start(vm.bosh("1h"));
    assert!(running.now().targets.is_empty() && running.now().problems.is_empty());
    fs::create_dir(vm.path("jobs")).unwrap();
    vm.deploy("a", "1", "port: 9100");
    running.wait_for_urls(&["http://10.0.16.4:9100/metrics"]).await;
}

#[tokio::test]
async fn polling_alone_finds_changes() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100");
    let (discovery, sets) = Discovery::start(vm.bosh("1s"), Noticing::Polling, network()).unwrap();
    let mut running = Running { discovery, sets };
    running.wait_for_urls(&["http://10.0.16.4:9100/metrics"]).await;
    vm.deploy("a", "2", "port: 9101");
    vm.deploy("b", "1", "port: 9200");
    running.wait_for_urls(&["http://10.0.16.4:9101/metrics", "http://10.0.16.4:9200/metrics"]).await;
    fs::remove_file(vm.path("jobs/a")).unwrap();
    running.wait_for_urls(&["http://10.0.16.4:9200/metrics"]).await;
}

#[tokio::test]
async fn a_storm_of_events_delays_nothing() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100");
    let mut running = Running::start(vm.bosh("1h"));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (noise, stopped) = (vm.path("jobs/noise"), stop.clone());
    let storm = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            symlink("nowhere", &noise).unwrap();
            fs::remove_file(&noise).unwrap();
        }
    });
    vm.deploy("a", "2", "port: 9101");
    let found = running.wait_for_urls(&["http://10.0.16.4:9101/metrics"]).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    storm.join().unwrap();
    assert!(found.problems.is_empty());
}

#[tokio::test]
async fn a_reload_keeps_targets_and_last_good_states() {
    let vm = Vm::new();
    vm.deploy("a", "1", "port: 9100");
    vm.deploy("b", "1", "port: 9200");
    let mut running = Running::start(vm.bosh("1h"));
    let before = running.now();
    vm.deploy("a", "2", "port: [");
    running.wait("broken", |set| matches!(status(set, &vm.file("a")), FileStatus::Broken { .. })).await;
    let keys = |static_target: &str, more: &str| {
        vm.configs(&format!(
            "prom_scraper_sd_configs:\n      - files: [\"{}/jobs/*/config/*.yml\"]\n        host: 10.0.16.4\n        refresh_interval: 1h\n    static_configs:\n      - targets: [\"{static_target}\"]{more}",
            vm.root.path().display(),
        ))
    };
    running.discovery.reload(keys("one:1", ""));
    let all = ["http://one:1/metrics", "http://10.0.16.4:9100/metrics", "http://10.0.16.4:9200/metrics"];
    let after = running.wait_for_urls(&all).await;
    assert!(Arc::ptr_eq(&before.targets[0], &after.targets[1]), "the broken file's target survives");
    assert!(Arc::ptr_eq(&before.targets[1], &after.targets[2]));
    // What concerns the scrape itself makes other targets.
    running.discovery.reload(keys("one:1", "\n    honor_labels: true"));
    let other = running.wait("honor_labels", |set| set.targets.iter().all(|target| target.config.honor_labels)).await;
    assert_eq!(urls(&other), all);
    assert_eq!(other.targets[1].origin.key, after.targets[1].origin.key);
    running.discovery.reload(Vec::new());
    let none = running.wait_for_urls(&[]).await;
    assert!(none.files.is_empty());
}

#[tokio::test]
async fn file_sd_reads_json_and_yaml_and_keeps_the_last_good() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("one.json"), r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x", "__param_id": "7"}}]"#).unwrap();
    fs::write(at("two.yml"), "- targets: [\"c:3\"]\n  labels: {__scheme__: https}\n").unwrap();
    let configs = load(
        folder.path(),
        "file_sd_configs:\n      - files: [\"one*.json\"]\n        refresh_interval: 1h\n      - files: [\"two.yml\"]\n        refresh_interval: 1h",
    );
    let mut running = Running::start(configs);
    let all = ["http://a:1/metrics?id=7", "http://b:2/metrics?id=7", "https://c:3/metrics"];
    let before = running.wait_for_urls(&all).await;
    assert_eq!(before.targets[0].origin.labels.to_string(), r#"{env="x",instance="a:1",job="platform"}"#);
    assert_eq!(before.targets[0].discovered.get("__meta_filepath"), at("one.json").to_str());
    assert!(before.targets[0].announced.is_none());
    fs::write(at("one.json"), r#"[{"targets": ["a:1""#).unwrap();
    let broken = running.wait("broken", |set| matches!(status(set, &at("one.json")), FileStatus::Broken { .. })).await;
    assert_eq!(urls(&broken), all);
    assert_eq!(
        status(&broken, &at("one.json")),
        &FileStatus::Broken {
            problem: format!("{}:1:19: not JSON: EOF while parsing a list", at("one.json").display()),
            consequence: "this file is skipped; its targets from the last good version are still being scraped",
        }
    );
    // As programs do that write it anew and rename it.
    fs::write(at("tmp"), r#"[{"targets": ["d:4"]}]"#).unwrap();
    fs::rename(at("tmp"), at("one.json")).unwrap();
    running.wait_for_urls(&["http://d:4/metrics", "https://c:3/metrics"]).await;
}

#[test]
fn duplicates_limits_and_faults_are_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("many.yml"), "- targets: [\"x:1\", \"x:2\", \"x:3\"]").unwrap();
    fs::write(folder.path().join("bad.yml"), "- targets: [\"b:1/path\"]").unwrap();
    let configs = load(
        folder.path(),
        "static_configs:\n      - targets: [\"a:1\", \"a:1\"]\n    file_sd_configs:\n      - files: [bad.yml]\n      - files: [many.yml]\n        target_limit: 2",
    );
    let set = discover_files(configs);
    assert_eq!(urls(&set), ["http://a:1/metrics"]);
    assert_eq!(set.dropped_total, 5);
    let told: Vec<String> = set
        .dropped
        .iter()
        .map(|dropped| format!("{} {}", dropped.discovered.get_or_empty("__address__"), dropped.reason))
        .collect();
    let over = "there are 3 targets and target_limit allows 2; none of them is scraped";
    assert_eq!(
        told,
        [
            "b:1/path \"b:1/path\" is not an address: write host:port, without http:// and without a path".to_owned(),
            format!("x:1 {over}"),
            format!("x:2 {over}"),
            format!("x:3 {over}"),
            "a:1 the same labels at http://a:1/metrics are scraped already".to_owned(),
        ]
    );
    assert!(!DropReason::Relabelled.is_fault());
}

#[test]
fn a_target_limit_of_the_whole_configuration_keeps_none() {
    let folder = tempfile::tempdir().unwrap();
    let configs = load(folder.path(), "target_limit: 1\n    static_configs:\n      - targets: [\"a:1\", \"b:1\"]");
    let set = discover_files(configs);
    assert!(set.targets.is_empty());
    assert_eq!(set.dropped_total, 2);
    assert_eq!(set.dropped[0].reason, DropReason::TargetLimit { found: 2, limit: 1 });
}

#[test]
fn relabel_configs_decide_what_is_scraped() {
    let vm = Vm::new();
    vm.deploy("keep", "1", "port: 9100");
    vm.deploy("leave", "1", "port: 9200");
    let configs = vm.configs(&format!(
        "relabel_configs:\n      - {{source_labels: [__meta_prom_scraper_job], regex: keep, action: keep}}\n      - {{source_labels: [__meta_prom_scraper_file], regex: \".*/jobs/([^/]+)/.*\", target_label: bosh_job, replacement: \"job-$1\"}}\n    prom_scraper_sd_configs:\n      - files: [\"{}/jobs/*/config/*.yml\"]\n        host: h",
        vm.root.path().display()
    ));
    let set = discover_files(configs);
    assert_eq!(
        only(&set).origin.labels.to_string(),
        r#"{bosh_job="job-keep",instance="h:9100",job="platform",source_id="keep"}"#
    );
    assert_eq!(set.dropped.len(), 1);
    assert_eq!(set.dropped[0].reason, DropReason::Relabelled);
    assert_eq!(set.dropped[0].file, Some(vm.file("leave")));
}
