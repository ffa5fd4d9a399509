//! docs/config.md lists every key, and says of it what the code says.

use std::fmt::Write as _;
use std::path::Path;

use promferry::config::raw::{GLOBAL, PROM_SCRAPER_FILES, PROM_SCRAPER_SD, ROOT, SECTIONS};
use promferry::config::schema::{Absent, Key, Section, Type};
use promferry::config::values;

/// What stands above is written by hand, what stands below by [`tables`].
const MARK: &str =
    "<!-- From here on this file is written from src/config/raw: WRITE_DOCS=1 cargo test --test it docs -->\n";

#[test]
fn docs_list_every_key_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let text = std::fs::read_to_string(&path).expect("docs/config.md");
    let (by_hand, written) = text.split_once(MARK).expect("the mark in docs/config.md");
    let tables = tables();
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{by_hand}{MARK}{tables}")).expect("docs/config.md");
        return;
    }
    let difference = written.lines().zip(tables.lines()).find(|(docs, code)| docs != code);
    assert_eq!(difference, None, "docs/config.md and src/config/raw differ");
    assert_eq!(written.lines().count(), tables.lines().count());
}

fn tables() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        write!(out, "\n## {}\n\n{}\n\n", heading(section), section.about).unwrap();
        out += "| key | value | default | bounds | meaning |\n|---|---|---|---|---|\n";
        for key in section.keys {
            let (value, default, bounds) = (value(key), default(key), bounds(key));
            writeln!(out, "| `{}` | {value} | {default} | {bounds} | {} |", key.name, key.about).unwrap();
        }
    }
    out += "\n## Keys that are not supported\n\nEach is an error with these words.\n\n| section | key | |\n|---|---|---|\n";
    for section in SECTIONS {
        for (key, sentence) in section.foreign {
            writeln!(out, "| {} | `{key}` | {sentence} |", section.name).unwrap();
        }
    }
    out
}

fn heading(section: &Section) -> String {
    match section.name {
        "configuration" => "The whole file".to_owned(),
        "listener tls_config" => "`tls_config` of a listener".to_owned(),
        name => format!("`{name}`"),
    }
}

fn value(key: &Key) -> String {
    let mut text = match key.kind {
        Type::Text => "text".to_owned(),
        Type::Path => "path".to_owned(),
        Type::Address => "address:port".to_owned(),
        Type::Switch => "true or false".to_owned(),
        Type::Count => "number".to_owned(),
        Type::Duration => "duration".to_owned(),
        Type::Size => "size".to_owned(),
        Type::PercentOrSize => "percentage or size".to_owned(),
        Type::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Type::Choices(words) => {
            format!("list of {}", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
        Type::Texts => "list of texts".to_owned(),
        Type::TextMap => "name: text".to_owned(),
        Type::TextsMap => "name: list of texts".to_owned(),
        Type::Section(section) => heading(section),
        Type::Sections(section) => format!("list of {}", heading(section)),
        Type::SectionMap(section) => format!("name: {}", heading(section)),
    };
    if key.is_secret {
        text += ", secret";
    }
    if key.is_verbatim {
        text += ", no variables";
    }
    text
}

fn default(key: &Key) -> String {
    match key.absent {
        Absent::Error => "**required**".to_owned(),
        Absent::None => "none".to_owned(),
        Absent::Default(text) => format!("`{text}`"),
        Absent::Described(words) => words.to_owned(),
    }
}

fn bounds(key: &Key) -> String {
    match key.bounds {
        ("", "") => String::new(),
        (min, "") => format!("≥ {min}"),
        ("", max) => format!("≤ {max}"),
        (min, max) => format!("{min} to {max}"),
    }
}

/// A default or bound that its own reader refuses would silently be none.
#[test]
fn every_default_and_bound_can_be_read() {
    for section in SECTIONS {
        for key in section.keys {
            let default = if let Absent::Default(text) = key.absent { text } else { "" };
            for text in [default, key.bounds.0, key.bounds.1].into_iter().filter(|text| !text.is_empty()) {
                let is_readable = match key.kind {
                    Type::Duration => values::duration(text).is_ok(),
                    Type::Size => values::size(text).is_ok(),
                    Type::PercentOrSize => values::percent_or_size(text).is_ok(),
                    Type::Count => values::count(text).is_ok(),
                    Type::Switch => values::switch(text).is_ok(),
                    Type::Choice(words) => words.contains(&text),
                    Type::Address => text.parse::<std::net::SocketAddr>().is_ok(),
                    Type::Text | Type::Path => true,
                    _ => false,
                };
                assert!(is_readable, "{}.{}: {text}", section.name, key.name);
            }
        }
    }
    let files = PROM_SCRAPER_SD.key("files").map(|key| key.absent);
    let Some(Absent::Described(words)) = files else { panic!("{files:?}") };
    assert!(PROM_SCRAPER_FILES.iter().all(|file| words.contains(file)));
}

/// A section that is not in the list is not in the docs.
#[test]
fn every_section_is_listed_once() {
    fn reach(section: &'static Section, found: &mut Vec<&'static str>) {
        if found.contains(&section.name) {
            return;
        }
        found.push(section.name);
        for key in section.keys {
            if let Type::Section(inner) | Type::Sections(inner) | Type::SectionMap(inner) = key.kind {
                reach(inner, found);
            }
        }
    }
    let mut reached = Vec::new();
    reach(&ROOT, &mut reached);
    let mut listed: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    reached.sort_unstable();
    listed.sort_unstable();
    assert_eq!(reached, listed);
    // Not a key and a foreign key at once.
    for section in SECTIONS {
        assert!(section.foreign.iter().all(|(name, _)| section.key(name).is_none()), "{}", section.name);
    }
    assert!(GLOBAL.key("scrape_interval").is_some());
}
