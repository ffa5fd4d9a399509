//! Shell commands in the documents: the shell reads them, each program is known, and ours takes the command line.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::markdown::root;
use crate::support::world::outcome;

/// Programs that the documents name and this test does not run, and why. Blocks that are `run` type even these.
const NOT_RUN: &[(&str, &str)] = &[
    ("bosh", "needs a BOSH director"),
    ("cf", "needs a Cloud Foundry"),
    ("curl", "asks servers that are not here"),
    ("git", "the test runs in a tree that is cloned already"),
    ("jq", "makes files of credentials that are not here"),
    ("nomad", "needs a Nomad cluster"),
    ("telegraf", "tests/run brings it along, for tests of their own"),
];

/// Builtins of the shell, and what every system has.
const EVERYWHERE: &[&str] = &[
    "cat", "cd", "cp", "echo", "export", "for", "done", "do", "grep", "head", "kill", "ln", "ls", "mkdir", "mv", "rm",
    "sed", "set", ".", "tail", "umask", "until", "sleep",
];

/// What is behind the prompts of a `console` block, without what is answered.
pub fn typed(text: &str) -> Result<String, String> {
    Ok(dialogue(text)?.into_iter().map(|(typed, _)| typed + "\n").collect())
}

/// What is typed, and what is answered.
pub fn dialogue(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), said.last_mut()) {
            (Some(typed), _) => {
                goes_on = typed.ends_with('\\');
                said.push((typed.to_owned(), Vec::new()));
            }
            (None, Some((typed, _))) if goes_on => {
                goes_on = line.ends_with('\\');
                typed.push('\n');
                typed.push_str(line);
            }
            (None, Some((_, answer))) => answer.push(line.to_owned()),
            (None, None) => return Err(format!("\"{line}\" stands before the first prompt \"$ \"")),
        }
    }
    Ok(said)
}

/// Checks what is typed.
pub async fn check(text: &str) -> Result<(), String> {
    let read = Command::new("bash").args(["-n", "-c", text]).stdin(Stdio::null()).output().expect("bash");
    if !read.status.success() {
        return Err(format!("the shell does not understand it: {}", String::from_utf8_lossy(&read.stderr)));
    }
    for line in lines(text) {
        for words in commands(&line) {
            check_command(&words).await?;
        }
    }
    Ok(())
}

/// Checks one command as it stands in a sentence: with `[…]` around what may be left out.
pub async fn check_line(line: &str) -> Result<(), String> {
    let line = line.replace(['[', ']'], "").replace('|', "-or-");
    let words = commands(&line).into_iter().next().unwrap_or_default();
    check_command(&words).await
}

/// Lines as the shell joins them, without comments and the texts of here documents.
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut lines = Vec::new();
    let mut until: Option<String> = None;
    for line in joined.lines() {
        match &until {
            Some(end) if line.trim() == end => until = None,
            Some(_) => {}
            None => {
                let here =
                    line.replace("<<<", "").split_once("<<").map(|(_, end)| end.trim_start_matches('-').to_owned());
                until = here.and_then(|end| Some(end.split_whitespace().next()?.trim_matches(['\'', '"']).to_owned()));
                lines.push(line.to_owned());
            }
        }
    }
    lines
}

/// The commands of a line, each as its words: divided at `|`, `;` and `&`, without redirections.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let mut quote = None;
    let end_word = |word: &mut String, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if word.is_empty() => break,
            (None, '|' | ';' | '&') => {
                end_word(&mut word, &mut words);
                commands.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => end_word(&mut word, &mut words),
            (None, c) => word.push(c),
        }
    }
    end_word(&mut word, &mut words);
    commands.push(words);
    commands.iter().map(|words| without_redirections(words)).filter(|words| !words.is_empty()).collect()
}

fn without_redirections(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut is_file = false;
    for word in words {
        let redirection = word.trim_start_matches(|c: char| c.is_ascii_digit());
        if is_file {
            is_file = false;
        } else if redirection.starts_with(['<', '>']) {
            is_file = redirection.trim_start_matches(['<', '>']).is_empty();
        } else {
            kept.push(word.clone());
        }
    }
    kept
}

async fn check_command(words: &[String]) -> Result<(), String> {
    let is_assignment = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    let words = words
        .iter()
        .skip_while(is_assignment)
        .skip_while(|word| *word == "sudo")
        .map(String::as_str)
        .collect::<Vec<_>>();
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    if *program == "promferry" || program.ends_with("/promferry") {
        return takes(arguments).await;
    }
    if *program == "cargo" {
        return match arguments {
            ["run", "--release", "--", ours @ ..] => takes(ours).await,
            ["bench", "--bench", name]
                if root().join(format!("benches/{name}.rs")).exists()
                    || root().join(format!("benches/{name}")).exists() =>
            {
                Ok(())
            }
            ["build", "--release"] | ["test", ..] => Ok(()),
            _ => Err(format!("cargo {} is not known here", arguments.join(" "))),
        };
    }
    if program.contains('/') {
        // The quick start types in a folder below.
        let file = std::fs::metadata(root().join(program.trim_start_matches("../")))
            .map_err(|error| format!("{program}: {error}"))?;
        return if file.permissions().mode() & 0o111 == 0 { Err(format!("{program} cannot be run")) } else { Ok(()) };
    }
    let is_known = EVERYWHERE.contains(program) || NOT_RUN.iter().any(|(name, _)| name == program);
    if is_known { Ok(()) } else { Err(format!("\"{program}\" is in no list of tests/it/docs/shell.rs")) }
}

/// Whether our command line takes these arguments. `--help` at their end keeps it from doing what they say.
async fn takes(arguments: &[&str]) -> Result<(), String> {
    let arguments = arguments.iter().filter(|word| **word != "…").chain([&"--help"]).copied().collect::<Vec<_>>();
    let mut help = tokio::process::Command::new(env!("CARGO_BIN_EXE_promferry"));
    let (code, out, err) = outcome(help.args(&arguments).stdin(Stdio::null())).await;
    if code == 0 && out.contains("Usage: promferry") {
        Ok(())
    } else {
        Err(err.lines().next().unwrap_or("no help").to_owned())
    }
}
