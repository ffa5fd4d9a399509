//! `promferry convert`: another program's configuration, or environment, as a configuration of ours on stdout.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::{FAILED, LOSSES, USAGE};
use crate::cloud_foundry::{self, GO_SETTINGS};
use crate::config::quoted;
use crate::convert::{self, Conversion, FILE_BYTES_MAX, SourceFile, Variables, Weight};
use crate::files::{PathGlob, Scan};
use crate::net::text::io_words;

/// Files of a folder, at most.
const FILES_MAX: usize = 1000;

/// Folders in folders, at most.
const DEPTH_MAX: usize = 32;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// Telegraf's configuration: files, and folders such as telegraf.d, of which all *.conf files are read
    ///
    /// The configuration is written to stdout; what could not be carried over is a comment there, and a line on stderr. Exit code 3
    /// says that there was such a thing.
    Telegraf {
        /// telegraf.conf, or a folder
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Prometheus' configuration: prometheus.yml, with the files that its scrape_config_files finds
    ///
    /// What promferry does not do, such as rules and alerts, is named and left to Prometheus. Exit code 3 says that samples would be
    /// missing, or that a credential has to be put into a variable first.
    Prometheus {
        /// prometheus.yml
        #[arg(value_name = "FILE")]
        path: PathBuf,
    },
    /// The environment of Cloud Foundry's metrics-agent: of this process, of a file, or in a bpm.yml
    ///
    /// The result does what "promferry run --metrics-agent" does with the same environment.
    MetricsAgent {
        /// bpm.yml of the job metrics-agent, as it is on a VM
        #[arg(value_name = "FILE", conflicts_with = "env_file")]
        bpm: Option<PathBuf>,
        /// A file with a NAME=VALUE a line, or /proc/PID/environ
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let converted = match &arguments.kind {
        Kind::Telegraf { paths } => {
            read_all(paths).and_then(|files| convert::telegraf(&files).map_err(|problems| problems.to_string()))
        }
        Kind::Prometheus { path } => prometheus(path),
        Kind::MetricsAgent { bpm, env_file } => metrics_agent(bpm.as_deref(), env_file.as_deref()),
    };
    match converted {
        Ok(conversion) => tell(&conversion),
        Err(message) => {
            eprintln!("{message}");
            USAGE
        }
    }
}

fn metrics_agent(bpm: Option<&Path>, env_file: Option<&Path>) -> Result<Conversion, String> {
    let variables = match (bpm, env_file) {
        (Some(path), _) => Variables::of_bpm(&read(path)?).map_err(|problems| problems.to_string())?,
        (None, Some(path)) => Variables::of_lines(&read(path)?).map_err(|problems| problems.to_string())?,
        (None, None) => Variables::of_process(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        ),
    };
    let read = cloud_foundry::metrics_agent::from_environment(&|name| variables.get(name));
    let read = read.map_err(|error| error.to_string())?;
    let weight = |note: &str| match GO_SETTINGS.iter().any(|name| note.starts_with(name)) {
        true => Weight::Remark,
        false => Weight::Loss,
    };
    let notes: Vec<_> = read.notes.iter().map(|note| (note.clone(), weight(note))).collect();
    Ok(convert::metrics_agent(&read.config, &notes, &variables))
}

fn prometheus(path: &Path) -> Result<Conversion, String> {
    let main = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut parts, mut seen) = (Vec::new(), BTreeSet::new());
    for pattern in convert::prometheus_parts(&main).map_err(|problems| problems.to_string())? {
        for path in matching(folder, &pattern)? {
            if seen.insert(path.clone()) {
                parts.push(read(&path)?);
            }
        }
        if parts.len() > FILES_MAX {
            return Err(format!("{}: scrape_config_files finds more than {FILES_MAX} files", name(path)));
        }
    }
    convert::prometheus(&main, &parts).map_err(|problems| problems.to_string())
}

/// The files that a pattern of `scrape_config_files` finds. None is no error, as in Prometheus.
fn matching(folder: &Path, pattern: &str) -> Result<BTreeSet<PathBuf>, String> {
    let wrong = |why: &str| format!("scrape_config_files: {}: {why}", quoted(pattern));
    let joined = folder.join(pattern);
    let glob = PathGlob::new(&joined.to_string_lossy()).map_err(|_| wrong("is not a pattern"))?;
    let mut scan = Scan::default();
    glob.find(&mut scan);
    match scan.unreadable.first_key_value() {
        Some((folder, reason)) => Err(wrong(&format!("cannot be looked for: {}: {reason}", name(folder)))),
        None => Ok(scan.files),
    }
}

fn tell(conversion: &Conversion) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(conversion.yaml.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("stdout: {}", io_words(&error));
            return FAILED;
        }
    }
    conversion.notes.iter().for_each(|note| eprintln!("{note}"));
    match conversion.losses() {
        0 => 0,
        1 => {
            eprintln!("1 thing was not carried over; it is a comment in the configuration");
            LOSSES
        }
        losses => {
            eprintln!("{losses} things were not carried over; they are comments in the configuration");
            LOSSES
        }
    }
}

/// All files that are meant, those of a folder in the order of their names.
fn read_all(paths: &[PathBuf]) -> Result<Vec<SourceFile>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = Vec::new();
            configurations(path, 0, &mut found)?;
            if found.is_empty() {
                return Err(format!("{}: there is no *.conf file in it", name(path)));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    if files.len() > FILES_MAX {
        return Err(format!("{} files; at most {FILES_MAX} are converted at a time", files.len()));
    }
    files.iter().map(|path| read(path)).collect()
}

/// As Telegraf: `*.conf`, folders in folders too, but not those that begin with `..`, which Kubernetes makes.
fn configurations(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error: io::Error| format!("{}: cannot be read: {}", name(folder), io_words(&error));
    let mut entries = fs::read_dir(folder).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, file_name) = (entry.path(), entry.file_name());
        let file_name = file_name.to_string_lossy();
        let is_folder = entry.file_type().map_err(fail)?.is_dir();
        if is_folder && !file_name.starts_with("..") && depth < DEPTH_MAX {
            configurations(&path, depth + 1, found)?;
        } else if !is_folder && file_name.len() > ".conf".len() && file_name.ends_with(".conf") {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files; that many are converted at a time", name(folder)));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<SourceFile, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(SourceFile { name: path.display().to_string(), text }),
        Err(error) => Err(format!("{}: cannot be read: {}", name(path), io_words(&error))),
    }
}

fn name(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
