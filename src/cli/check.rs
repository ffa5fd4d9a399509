//! `promferry check`: everything that is wrong with a configuration, in one go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{FAILED, USAGE, source};
use crate::config::checked::{Config, OutputConfig};
use crate::config::{NamedFile, Problem, quoted};
use crate::discovery::{FileStatus, TargetSet, discover_files, discover_once};
use crate::net::bpm;
use crate::net::credentials::Credentials;
use crate::net::text::io_words;
use crate::net::vcap;
use crate::output;
use crate::scrape::{Found, probe};
use crate::target::Target;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: source::Arguments,
    /// Also try each target that is found now and each output, once
    #[arg(long)]
    connect: bool,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let (config, files) = match arguments.source.load_with_files() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut code = 0;
    for problem in files.iter().filter_map(unreadable) {
        eprintln!("{problem}");
        code = USAGE;
    }
    let (scrapes, outputs) = (config.scrapes.len(), config.outputs.len());
    let verdict =
        if code == 0 { "nothing is wrong with them" } else { "well formed, but they name files that cannot be read" };
    println!("scrape_configs: {scrapes}, outputs: {outputs}: {verdict}");
    if bpm::is_there() {
        hidden_files(&discover_files(config.scrapes.clone())).iter().for_each(|line| eprintln!("{line}"));
    }
    if arguments.connect { code.max(super::block_on(connect(config))) } else { code }
}

/// What is wrong with a file that the configuration names.
pub(super) fn unreadable(named: &NamedFile) -> Option<Problem> {
    let path = quoted(&named.path.display().to_string());
    let message = match vcap::reference(&named.path) {
        Some(reference) => format!("{}: {path}: {}", named.key, vcap::read(reference).err()?),
        None => {
            let read = File::open(&named.path).and_then(|mut file| file.read(&mut [0]));
            let reason = match read {
                // A pre-start script sees more than the process will.
                _ if bpm::hides(&named.path) => bpm::REMEDY.to_owned(),
                Ok(_) => return None,
                Err(error) => io_words(&error),
            };
            format!("{}: {path} cannot be read: {reason}", named.key)
        }
    };
    Some(Problem { file: named.file.clone(), at: named.at, message })
}

/// Files of announced targets that bpm will not show: a line each. They cost their targets and nothing else, so none of it is
/// an error.
fn hidden_files(set: &TargetSet) -> Vec<String> {
    let line = |target: &Target, key: &str, path: &Option<PathBuf>| {
        let path = path.as_ref().filter(|path| bpm::hides(path))?;
        let (url, path) = (&target.origin.url, quoted(&path.display().to_string()));
        Some(format!(
            "{url}: {key} {path} is {}; until then this target cannot be scraped, the others can",
            bpm::REMEDY
        ))
    };
    let of_target = |target: &Arc<Target>| {
        let tls = &target.tls;
        let files = [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)];
        files.into_iter().filter_map(|(key, path)| line(target, key, path)).collect::<Vec<_>>()
    };
    // What is the configuration's own was named above.
    set.targets.iter().filter(|target| target.tls != target.config.tls).flat_map(of_target).collect()
}

/// Targets and outputs that are tried at a time.
const TRIED_AT_ONCE: usize = 16;

/// Tries each target and output, a line each in the order of the configuration; says what failed.
async fn connect(config: Config) -> u8 {
    let credentials = Arc::new(Credentials::new(Duration::ZERO));
    let set = discover_once(config.scrapes, credentials.clone()).await;
    let faults = discovery_faults(&set);
    faults.iter().for_each(|fault| println!("{fault}"));
    let targets = set.targets.iter().map(|target| try_target(target.clone(), credentials.clone()));
    let targets = in_order(targets).await;
    let outputs = config.outputs.iter().map(|output| try_output(output.clone(), credentials.clone()));
    let outputs = in_order(outputs).await;
    let failed = |tried: &[Tried]| tried.iter().filter(|tried| tried.is_failed).count();
    let (bad_targets, bad_outputs) = (failed(&targets), failed(&outputs));
    println!("targets: {}, failed: {bad_targets}; outputs: {}, failed: {bad_outputs}", targets.len(), outputs.len());
    if bad_targets + bad_outputs + faults.len() > 0 { FAILED } else { 0 }
}

/// What came of one try.
struct Tried {
    line: String,
    is_failed: bool,
}

/// Runs some at a time, and prints the line of each as soon as those before it are printed.
async fn in_order<T>(trying: impl Iterator<Item = T>) -> Vec<Tried>
where
    T: Future<Output = Tried> + Send + 'static,
{
    let (mut trying, mut running) = (trying.enumerate(), JoinSet::new());
    let (mut early, mut done) = (BTreeMap::new(), Vec::new());
    loop {
        while running.len() < TRIED_AT_ONCE
            && let Some((number, one)) = trying.next()
        {
            running.spawn(async move { (number, one.await) });
        }
        let Some(ended) = running.join_next().await else { return done };
        let (number, tried) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        early.insert(number, tried);
        while let Some(tried) = early.remove(&done.len()) {
            println!("{}", tried.line);
            done.push(tried);
        }
    }
}

async fn try_target(target: Arc<Target>, credentials: Arc<Credentials>) -> Tried {
    let url = &target.origin.url;
    match probe(&target, &credentials).await.outcome {
        Ok(Found { counts, .. }) => {
            let bad = match counts.first_bad_lines.first() {
                Some(first) => format!(", {} lines that cannot be read; {first}", counts.bad_lines),
                None => String::new(),
            };
            Tried { line: format!("{url}: {} samples{bad}", counts.samples_scraped), is_failed: false }
        }
        Err(error) => Tried { line: format!("{url}: {error}"), is_failed: true },
    }
}

async fn try_output(output: Arc<OutputConfig>, credentials: Arc<Credentials>) -> Tried {
    let disk = output.queue.disk.as_ref().and_then(|disk| refuses_files(&disk.path));
    let ready = output::try_once(&output, &credentials).await;
    let errors: Vec<String> = ready.err().into_iter().chain(disk).collect();
    let said = if errors.is_empty() { "ready".to_owned() } else { errors.join("; ") };
    Tried { line: format!("output {}: {said}", output.name), is_failed: !errors.is_empty() }
}

/// Why no files can be made in the folder of a disk queue. A folder that is not there is not made: then the one that it would
/// be made in is tried.
fn refuses_files(folder: &Path) -> Option<String> {
    let there = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.symlink_metadata().is_ok())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let file = there.join(format!(".promferry-check-{}", std::process::id()));
    let error = match File::create_new(&file).and_then(|_| fs::remove_file(&file)) {
        Ok(()) => return None,
        Err(error) => error,
    };
    let (path, place) = (quoted(&folder.display().to_string()), quoted(&there.display().to_string()));
    let user = "the user that promferry runs as must be able to write there";
    Some(match folder == there {
        true => format!("queue.disk.path {path} cannot be written: {}; {user}", io_words(&error)),
        false => format!("queue.disk.path {path} cannot be made: {place}: {}; {user}", io_words(&error)),
    })
}

/// What announces targets and cannot be used: a line each.
fn discovery_faults(set: &TargetSet) -> Vec<String> {
    let dropped = set.dropped.iter().filter(|dropped| dropped.reason.is_fault());
    let files = set.files.iter().filter_map(|file| match &file.status {
        FileStatus::Broken { problem, .. } => Some(problem.to_string()),
        _ => None,
    });
    let dropped = dropped.map(|dropped| format!("not scraped: {}", dropped.reason));
    dropped.chain(files).chain(set.problems.iter().cloned()).collect()
}
