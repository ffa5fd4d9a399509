//! The documents say what is so: every block of code is checked, by its kind, and every link leads somewhere.
//!
//! A block's kind is the word behind its fence; words behind that are shown by no renderer:
//!
//! | kind | what is checked |
//! |---|---|
//! | `yaml` | a configuration of ours, whole or sections of one, that loads |
//! | `yaml in KEY` | keys of one section of it, which load when they stand there |
//! | `yaml of PROGRAM` | another program's: it is YAML |
//! | `toml`, `hcl` | another program's |
//! | `json` | each line is an object, in a manual with which a test of an encoder compares |
//! | `text exposition` | `promferry parse` reads it |
//! | `text` | a drawing, or words that a test names |
//! | `sh`, `console` | the shell can read it, every command is known, and every `promferry …` has a command line that is one |
//! | `sh run`, `sh background`, `console run` | the same, and it is typed, from top to bottom of the document: see [`walk`] |

mod markdown;
mod shell;
mod troubleshooting;
mod walk;
mod yaml;

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use crate::support::world::command;
use markdown::{Block, documents, root};

/// Other programs whose YAML the documents show.
const FOREIGN_YAML: &[&str] = &["BOSH", "Kubernetes", "Prometheus"];

#[tokio::test]
async fn every_block_is_of_a_known_kind_and_right() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for block in documents().iter().flat_map(|document| &document.blocks) {
        if let Err(error) = check(block).await {
            wrong.push(format!("{}: {error}", block.place));
        }
        seen.insert(block.language.clone());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.contains("yaml") && seen.contains("sh"), "the documents are where they are looked for: {seen:?}");
}

async fn check(block: &Block) -> Result<(), String> {
    let words = block.words.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>();
    match (block.language.as_str(), words.as_slice()) {
        ("yaml", []) => yaml::check_sections(&block.text),
        ("yaml", ["in", section]) => yaml::check_keys(&block.text, section),
        ("yaml", ["of", program]) if FOREIGN_YAML.contains(program) => yaml::check_foreign(&block.text),
        ("toml", []) => toml_is_toml(&block.text),
        // There is no reader of it here: the job that it belongs to is in examples/nomad.
        ("hcl", []) => Ok(()),
        ("json", []) => is_of_an_encoder(block),
        ("text", []) => Ok(()),
        ("text", ["exposition"]) => is_exposition(&block.text).await,
        ("sh", [] | ["run" | "background"] | ["background", "until", ..]) => shell::check(&block.text).await,
        ("console", [] | ["run"]) => shell::check(&shell::typed(&block.text)?).await,
        (language, words) => Err(format!("\"{language} {}\" is no kind of block", words.join(" "))),
    }
}

fn toml_is_toml(text: &str) -> Result<(), String> {
    toml::de::DeTable::parse(text).map(|_| ()).map_err(|error| error.to_string())
}

/// Where the encoders' own tests look for what they write (`…_in_the_manual_are_real`).
const JSON_IN: &[&str] = &["docs/elasticsearch.md", "docs/splunk.md"];

fn is_of_an_encoder(block: &Block) -> Result<(), String> {
    let (document, _) = block.place.rsplit_once(':').unwrap();
    if !JSON_IN.contains(&document) {
        return Err(format!("no encoder's test reads {document}"));
    }
    for line in block.text.lines() {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn is_exposition(text: &str) -> Result<(), String> {
    let mut parse = command(&["parse"]);
    let mut child = parse.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let ended = child.wait_with_output().await.unwrap();
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

/// Code that is only indented has no kind.
#[test]
fn no_code_is_made_by_indentation_alone() {
    let lines = documents().into_iter().flat_map(|document| {
        let path = document.path;
        document.indented.into_iter().map(move |line| format!("{}:{line}", path.display()))
    });
    assert_eq!(lines.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let documents = documents();
    let mut wrong = Vec::new();
    for document in &documents {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for link in &document.links {
            let place = format!("{}:{}: {}", document.path.display(), link.line, link.to);
            if link.to.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.to.split_once('#').unwrap_or((&link.to, ""));
            let path = if file.is_empty() { root().join(&document.path) } else { folder.join(file) };
            let Ok(path) = path.canonicalize() else {
                wrong.push(format!("{place}: there is no such file"));
                continue;
            };
            let other =
                documents.iter().find(|other| root().join(&other.path).canonicalize().is_ok_and(|known| known == path));
            if !anchor.is_empty() && !other.is_some_and(|other| other.anchors.iter().any(|known| known == anchor)) {
                wrong.push(format!("{place}: there is no such heading"));
            }
            // A link to a test shows the test's name.
            let name = link.shown.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            if let Some(name) = name
                && path.extension().is_some_and(|ending| ending == "rs")
                && !name.contains(['/', '.'])
                && !std::fs::read_to_string(&path).unwrap().contains(&format!("fn {name}("))
            {
                wrong.push(format!("{place}: there is no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands in the prose as a command of ours is one.
#[tokio::test]
async fn every_command_that_is_named_in_a_sentence_has_a_command_line() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for (line, span) in &document.spans {
            if span.starts_with("promferry ") || span.starts_with("cargo run ") {
                seen += 1;
                if let Err(error) = shell::check_line(span).await {
                    wrong.push(format!("{}:{line}: `{span}`: {error}", document.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 10, "{seen}");
}

/// Who looks for a room of the source tree finds it in docs/design.md.
#[test]
fn the_design_names_every_room() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
    let (library, design) = (read("src/lib.rs"), read("docs/design.md"));
    let rooms =
        library.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let left_out = rooms.filter(|room| !design.contains(&format!("`{room}`"))).collect::<Vec<_>>();
    assert_eq!(left_out, [""; 0]);
}

#[test]
fn unsafe_code_is_where_the_security_model_says() {
    let mut files = Vec::new();
    markdown::files_below(&root().join("src"), "rs", &mut files);
    let is_unsafe = |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap().contains("unsafe {");
    assert_eq!(files.into_iter().filter(is_unsafe).collect::<Vec<_>>(), [root().join("src/system.rs")]);
}

/// A check that finds nothing wrong in anything would be of no use.
#[tokio::test]
async fn what_is_wrong_is_found() {
    let block = |language: &str, words: &str, text: &str| {
        markdown::read("x.md".as_ref(), &format!("```{language} {words}\n{text}\n```\n")).blocks.remove(0)
    };
    for (language, words, text, said) in [
        ("sh", "", "promferry check --conect", "--conect"),
        ("sh", "", "sudo promferry chek | cat", "chek"),
        ("sh", "", "frobnicate now", "frobnicate"),
        ("sh", "", "tests/rum", "tests/rum"),
        ("sh", "", "echo 'open", "does not understand"),
        ("console", "", "hello", "before the first prompt"),
        ("yaml", "", "outputs: [{name: x, fiel: {path: a}}]", "fiel"),
        ("yaml", "", "output: []", "output"),
        ("yaml", "in dogstatsd", "mapings: []", "mapings"),
        ("yaml", "of Nobody", "a: b", "no kind of block"),
        ("yaml", "of BOSH", "a: [b", "block:"),
        ("json", "", "{}", "x.md"),
        ("text", "exposition", "a b c", "a number"),
        ("toml", "", "a =", "x.md"),
        ("", "", "a", "no kind of block"),
    ] {
        let Err(error) = check(&block(language, words, text)).await else { panic!("{language} {words}: {text}") };
        let is_said = error.contains(said) || said == "x.md";
        assert!(is_said, "{language} {words}: {text}: {error}");
    }
}

/// Who reads the table of contents finds every chapter.
#[test]
fn the_table_of_contents_names_every_chapter() {
    let documents = documents();
    let contents = documents.iter().find(|document| document.path.ends_with("docs/README.md")).expect("docs/README.md");
    let named = |name: &str| contents.links.iter().any(|link| link.to.split('#').next() == Some(name));
    let chapters = documents.iter().filter_map(|document| document.path.strip_prefix("docs").ok()?.to_str());
    let left_out = chapters.filter(|name| *name != "README.md" && !named(name)).collect::<Vec<_>>();
    assert_eq!(left_out, [""; 0]);
}
