//! As much of Markdown as the documents use: fenced blocks, headings, links and spans of code.

use std::path::{Path, PathBuf};

/// A document of the repository.
pub struct Document {
    /// Its path in the repository.
    pub path: PathBuf,
    /// What is in fences, in the order of the text.
    pub blocks: Vec<Block>,
    /// The anchors that its headings make.
    pub anchors: Vec<String>,
    /// Where links and pictures point, and the text that is shown for it.
    pub links: Vec<Link>,
    /// Spans of code in the prose, with their line.
    pub spans: Vec<(usize, String)>,
    /// Lines that are code by their indentation alone.
    pub indented: Vec<usize>,
}

/// A fenced block.
#[derive(Clone)]
pub struct Block {
    /// The document, and the line of the opening fence.
    pub place: String,
    /// The first word behind the fence.
    pub language: String,
    /// The heading of the second level that it stands under.
    pub part: String,
    /// What stands behind that word; no renderer shows it.
    pub words: String,
    /// Its lines, without the indentation of the fence.
    pub text: String,
}

pub struct Link {
    pub line: usize,
    pub shown: String,
    pub to: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents of the repository.
pub fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    files_below(root(), "md", &mut found);
    found.sort();
    found.iter().map(|path| read(path.strip_prefix(root()).unwrap(), &std::fs::read_to_string(path).unwrap())).collect()
}

/// Files with this ending, but for those in folders that builds and tests fill.
pub fn files_below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let is_made = ["target", "corpus", "certs"].iter().any(|made| name == *made);
        if entry.file_type().unwrap().is_dir() {
            if !is_made && !name.to_string_lossy().starts_with('.') {
                files_below(&path, ending, found);
            }
        } else if path.extension().is_some_and(|its| its == ending) {
            found.push(path);
        }
    }
}

pub fn read(path: &Path, text: &str) -> Document {
    let mut document = Document {
        path: path.to_owned(),
        blocks: Vec::new(),
        anchors: Vec::new(),
        links: Vec::new(),
        spans: Vec::new(),
        indented: Vec::new(),
    };
    let mut open: Option<(usize, Block)> = None;
    let mut part = String::new();
    let (mut is_in_list, mut was_blank) = (false, true);
    for (at, line) in (1..).zip(text.lines()) {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if let Some((depth, mut block)) = open.take() {
            if body.trim_end() == "```" {
                document.blocks.push(block);
                was_blank = true;
                continue;
            }
            block.text.push_str(line.get(depth.min(indent)..).unwrap_or_default());
            block.text.push('\n');
            open = Some((depth, block));
            continue;
        }
        if let Some(info) = body.strip_prefix("```") {
            let (language, words) = info.split_once(' ').unwrap_or((info, ""));
            let place = format!("{}:{at}", path.display());
            let (language, words, part) = (language.to_owned(), words.trim().to_owned(), part.clone());
            let block = Block { place, language, words, part, text: String::new() };
            open = Some((indent, block));
            continue;
        }
        if indent == 0 && !body.is_empty() {
            let number = body.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            is_in_list = body.starts_with("- ") || number || (is_in_list && !was_blank);
        }
        if indent >= 4 && was_blank && !is_in_list && !body.is_empty() {
            document.indented.push(at);
        }
        was_blank = body.is_empty();
        if let Some(heading) = line.strip_prefix("## ") {
            part = heading.trim().to_owned();
        }
        if let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')) {
            let anchor = anchor(heading.trim());
            let again = document.anchors.iter().filter(|known| **known == anchor).count();
            document.anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
        }
        prose(&mut document, at, line);
    }
    assert!(open.is_none(), "{}: a fence is never closed", path.display());
    document
}

/// The anchor of a heading, as GitHub and its like make it.
fn anchor(heading: &str) -> String {
    // A link in a heading counts with its text alone.
    let mut plain = String::new();
    let mut rest = heading;
    while let Some((before, link)) = rest.split_once('[') {
        let (shown, behind) = link.split_once(']').unwrap_or((link, ""));
        plain += before;
        plain += shown;
        rest = behind.strip_prefix('(').and_then(|to| to.split_once(')')).map_or(behind, |(_, behind)| behind);
    }
    plain += rest;
    let kept = plain.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Spans of code, and links outside of them.
fn prose(document: &mut Document, at: usize, line: &str) {
    let mut without_code = String::new();
    for (index, piece) in line.split('`').enumerate() {
        if index % 2 == 1 {
            document.spans.push((at, piece.replace("\\|", "|")));
            // A link's text may be code.
            without_code.push_str(&format!("`{}`", piece.replace(['[', ']', '(', ')'], "_")));
        } else {
            without_code.push_str(piece);
        }
    }
    let mut rest = without_code.as_str();
    while let Some((before, behind)) = rest.split_once("](") {
        let (to, behind) = behind.split_once(')').unwrap_or((behind, ""));
        let shown = before.rsplit_once('[').map_or(before, |(_, shown)| shown);
        document.links.push(Link { line: at, shown: shown.to_owned(), to: to.to_owned() });
        rest = behind;
    }
}
