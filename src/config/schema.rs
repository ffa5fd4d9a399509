//! Which keys there are: the words for a table of them, and the suggestion for a word that is none.
//!
//! A [`Section`] drives the reader ([`Fields`](super::fields::Fields)): its defaults and bounds are the ones that count,
//! not copies of them. docs/config.md is written from the same tables.

/// The keys of one mapping.
#[derive(Debug)]
pub struct Section {
    /// How messages and docs call it: the key that it stands under.
    pub name: &'static str,
    /// What it is for; a sentence or two.
    pub about: &'static str,
    /// The keys, in the order of the docs.
    pub keys: &'static [Key],
    /// Keys that users bring along from elsewhere and that are not supported: the key, and what to know or to use.
    pub foreign: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is typed.
    pub name: &'static str,
    /// What its value is.
    pub kind: Type,
    /// What holds when it is absent.
    pub absent: Absent,
    /// Smallest and largest value, as they would be typed; an empty text is no bound.
    pub bounds: (&'static str, &'static str),
    /// Its value is never shown.
    pub is_secret: bool,
    /// Variables in it are not expanded: it has a use of its own for `$`, or is a template.
    pub is_verbatim: bool,
    /// What it means; one line.
    pub about: &'static str,
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Any text.
    Text,
    /// The path of a file, relative to the configuration's folder.
    Path,
    /// An address to listen on.
    Address,
    /// true or false.
    Switch,
    /// A whole number.
    Count,
    /// Such as 15s.
    Duration,
    /// Such as 64MiB.
    Size,
    /// Such as 80%, or such as 64MiB.
    PercentOrSize,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of some of these words, at least one, none twice.
    Choices(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A mapping of names to texts.
    TextMap,
    /// A mapping of names to lists of texts.
    TextsMap,
    /// A mapping with keys of its own.
    Section(&'static Section),
    /// A list of such mappings.
    Sections(&'static Section),
    /// A mapping of names to such mappings.
    SectionMap(&'static Section),
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// That is an error.
    Error,
    /// There is none, or the section says elsewhere.
    None,
    /// As if this had been typed.
    Default(&'static str),
    /// Something that no value can be typed for; in words, for the docs.
    Described(&'static str),
}

impl Key {
    /// An optional key.
    pub const fn new(name: &'static str, kind: Type, about: &'static str) -> Self {
        Self { name, kind, absent: Absent::None, bounds: ("", ""), is_secret: false, is_verbatim: false, about }
    }

    /// It must be there.
    pub const fn required(mut self) -> Self {
        self.absent = Absent::Error;
        self
    }

    /// The value when it is absent, as it would be typed.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.absent = Absent::Default(text);
        self
    }

    /// What holds when it is absent, in words.
    pub const fn otherwise(mut self, words: &'static str) -> Self {
        self.absent = Absent::Described(words);
        self
    }

    /// The smallest and the largest value, as they would be typed; `""` is no bound.
    pub const fn within(mut self, min: &'static str, max: &'static str) -> Self {
        self.bounds = (min, max);
        self
    }

    /// Its value is never shown.
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Variables in it are not expanded.
    pub const fn verbatim(mut self) -> Self {
        self.is_verbatim = true;
        self
    }
}

impl Section {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Why `name`, which is none of the keys, is refused, and what to write.
    pub fn complaint(&self, name: &str) -> String {
        if let Some((_, sentence)) = self.foreign.iter().find(|(key, _)| *key == name) {
            return (*sentence).to_owned();
        }
        let names: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        format!("no such key in {}{}", self.name, advice(name, &names))
    }
}

/// Words that are few enough to be listed in a message.
const LISTED_MAX: usize = 8;

/// The end of a message about `word`, which is none of `words`: the closest one, or all of them where they are few.
pub fn advice(word: &str, words: &[&str]) -> String {
    let closest = words.iter().map(|known| (distance(word, known), known)).min();
    match closest {
        Some((distance, known)) if distance <= 1.max(word.chars().count() / 3) => {
            format!("; did you mean \"{known}\"?")
        }
        _ if words.len() > LISTED_MAX => String::new(),
        _ => format!("; {} {}", if words.len() == 1 { "there is only" } else { "choices are" }, listed(words)),
    }
}

/// `"a", "b" and "c"`.
pub fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// Characters to insert, delete, replace or swap with their neighbour to make one word of the other. Words beyond 64
/// characters are far from everything.
fn distance(a: &str, b: &str) -> usize {
    const CHARS_MAX: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(CHARS_MAX + 1).collect(), b.chars().collect());
    if a.len() > CHARS_MAX {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_closest_word_or_the_few_there_are() {
        assert_eq!(advice("jsno", &["json", "text"]), "; did you mean \"json\"?");
        assert_eq!(advice("xml", &["json", "text"]), "; choices are \"json\" and \"text\"");
        assert_eq!(advice("xml", &["json"]), "; there is only \"json\"");
        assert_eq!(advice("xml", &["a", "b", "c", "d", "e", "f", "g", "h", "i"]), "");
        assert_eq!(advice(&"x".repeat(10_000), &["json"]), "; there is only \"json\"");
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("interval", "intervall", 1), ("a", "xyz", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
