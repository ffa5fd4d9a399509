//! What an operator reads, and how often. Public behaviour on real files is in `tests/it/discovery.rs`.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::{self, Source as ConfigSource};
use crate::discovery::testing::logged;

fn engine(folder: &Path, keys: &str) -> Engine {
    let file = folder.join("promferry.yml");
    let text =
        format!("scrape_configs:\n  - job_name: job\n    {keys}\noutputs:\n  - name: out\n    file: {{path: \"-\"}}\n");
    fs::write(&file, text).unwrap();
    let config = config::load(&ConfigSource::File(file), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    Engine::new(config.scrapes, Remotes::new(None, Arc::new(|| {})))
}

fn scraper(folder: &Path) -> Engine {
    engine(
        folder,
        &format!("prom_scraper_sd_configs:\n      - files: [\"{}/*/p.yml\"]\n        host: h", folder.display()),
    )
}

fn announce(folder: &Path, job: &str, text: &str) {
    fs::create_dir_all(folder.join(job)).unwrap();
    fs::write(folder.join(job).join("p.yml"), text).unwrap();
}

#[test]
fn each_edge_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (root, shown) = (folder.path(), folder.path().display());
    announce(root, "a", "port: 9100");
    announce(root, "b", "port: 9200");
    let mut engine = scraper(root);
    let mut after = |text: &str| {
        announce(root, "a", text);
        // Many looks, one line.
        logged(|| (0..3).for_each(|_| assert!(!engine.rescan(false))))
    };
    assert_eq!(after("port: 9100"), ["INFO targets changed targets=2 not_scraped=0"]);
    assert_eq!(after("port: 9100"), [""; 0]);
    assert_eq!(
        after("port: 70000"),
        [format!(
            "WARN this file is skipped; its target from the last good version is still being scraped problem={shown}/a/p.yml:1:7: port: \"70000\" is not a port; write a whole number from 1 to 65535"
        )]
    );
    assert_eq!(
        after("port: 9100\nscheme: ftp"),
        [format!(
            "WARN this file is skipped; its target from the last good version is still being scraped problem={shown}/a/p.yml:2:9: scheme: \"ftp\" is not a scheme; write \"http\" or \"https\""
        )],
        "a changed cause is told"
    );
    assert_eq!(after("port: 9100"), [format!("INFO the file is good again file={shown}/a/p.yml")]);
    assert_eq!(after(""), ["INFO targets changed targets=1 not_scraped=0"]);
    assert_eq!(
        after("port: 1\nunknown: 2"),
        [
            format!("DEBUG unknown keys are left alone file={shown}/a/p.yml keys=unknown"),
            "INFO targets changed targets=2 not_scraped=0".to_owned(),
        ]
    );
}

#[test]
fn what_cannot_be_looked_into_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (root, shown) = (folder.path(), folder.path().display());
    announce(root, "a", "port: 9100");
    let mut engine = scraper(root);
    engine.rescan(false);
    let before = engine.set();
    fs::remove_dir_all(root.join("a")).unwrap();
    // A link that leads to itself is neither there nor gone.
    std::os::unix::fs::symlink("a", root.join("a")).unwrap();
    let problem = format!(
        "{shown}/a: this folder cannot be looked into: Too many levels of symbolic links (os error 40); what was known in it stays"
    );
    let shown_problem = format!("problem={:?}", problem);
    assert_eq!(
        logged(|| (0..3).for_each(|_| assert!(!engine.rescan(false)))),
        [format!("WARN discovery is incomplete {shown_problem}")]
    );
    assert_eq!(engine.set().problems, [problem]);
    assert!(Arc::ptr_eq(&engine.set().targets[0], &before.targets[0]));
    fs::remove_file(root.join("a")).unwrap();
    assert_eq!(
        logged(|| assert!(!engine.rescan(false))),
        [
            format!("INFO a problem of discovery is over {shown_problem}"),
            "INFO targets changed targets=0 not_scraped=0".to_owned(),
        ]
    );
}

#[test]
fn a_name_that_a_job_chose_cannot_write_into_the_log() {
    let folder = tempfile::tempdir().unwrap();
    announce(folder.path(), "a\n\u{1b}[31mERROR", "port: \"\\e[32m\"");
    let lines = logged(|| assert!(!scraper(folder.path()).rescan(false)));
    assert_eq!(
        lines,
        [format!(
            "WARN this file is skipped; there is no good version of it, so its target is not scraped problem={}/a\\n\\u{{1b}}[31mERROR/p.yml:1:7: port: \"\\u{{1b}}[32m\" is not a port; write a whole number from 1 to 65535",
            folder.path().display()
        )]
    );
}

#[test]
fn a_target_that_cannot_be_scraped_and_a_limit_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yml"), "- targets: [\"a:0\"]").unwrap();
    fs::write(folder.path().join("u.yml"), "- targets: [\"a:1\", \"a:2\"]").unwrap();
    let keys = "file_sd_configs:\n      - files: [t.yml]\n      - files: [u.yml]\n        target_limit: 1";
    let mut engine = engine(folder.path(), keys);
    assert_eq!(
        logged(|| (0..3).for_each(|_| assert!(!engine.rescan(false)))),
        [
            "WARN a discovered target is not scraped job=job address= reason=\"there are 2 targets and target_limit allows 1; none of them is scraped\"",
            "WARN a discovered target is not scraped job=job address=a:0 reason=\"\\\"a:0\\\" is not an address: a port is a whole number from 1 to 65535\"",
        ]
    );
}

#[test]
fn a_file_that_is_being_written_is_left_alone_but_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    announce(folder.path(), "a", "port: 9100");
    let mut engine = scraper(folder.path());
    engine.rescan(false);
    let ports = |engine: &Engine| engine.set().targets.iter().map(|target| target.port).collect::<Vec<_>>();
    assert_eq!(ports(&engine), [9100], "who looks only once takes what is there");
    // Its writer emptied it and goes on writing.
    let looks = (0..20).take_while(|at| {
        announce(folder.path(), "a", &"#".repeat(*at));
        let is_unsettled = engine.rescan(true);
        assert_eq!(ports(&engine).is_empty(), !is_unsettled);
        is_unsettled
    });
    assert_eq!(looks.count(), 4);
    announce(folder.path(), "a", "port: 9101");
    let file = fs::File::options().write(true).open(folder.path().join("a/p.yml")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(1)).unwrap();
    assert!(!engine.rescan(true));
    assert_eq!(ports(&engine), [9101]);
}
