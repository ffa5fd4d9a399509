//! The comment block in force: which family a sample belongs to, and what a `# HELP` or `# TYPE` line makes of it.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

use crate::model::{Family, MetricType};

/// Hashes text with a secret of this process.
///
/// Foldhash spreads well and is keyed by 64 random bits a process and 64 more a table, so that a target cannot choose text
/// that collides. Two given texts collide with a probability of about 2⁻⁶⁴: a target with 100,000 lines that are all new at
/// every scrape, every second, would see one line mistaken for another about once in ten thousand years.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    shared: &'static SharedSeed,
    seed: u64,
}

impl Keys {
    pub(super) fn new() -> Self {
        use std::hash::BuildHasher;
        let seed = foldhash::quality::RandomState::default().hash_one(0u8);
        Self { shared: SharedSeed::global_random(), seed }
    }

    #[inline]
    pub(super) fn hash(&self, seed: u64, bytes: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(seed, self.shared);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The seed of what depends on no context.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
}

/// A family as the comments so far describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    name: String,
    kind: MetricType,
    help: String,
}

impl Metadata {
    /// A `# HELP` line; the type stays when it is about the same family.
    pub(super) fn set_help(&mut self, name: &str, help: &str) {
        self.enter(name);
        help.clone_into(&mut self.help);
    }

    /// A `# TYPE` line; the help stays when it is about the same family.
    pub(super) fn set_kind(&mut self, name: &str, kind: MetricType) {
        self.enter(name);
        self.kind = kind;
    }

    fn enter(&mut self, name: &str) {
        if self.name != name {
            *self = Self { name: name.to_owned(), ..Self::default() };
        }
    }

    /// The family that a sample belongs to: this one, or an untyped one of the sample's own name.
    pub(super) fn family_of<'a>(&'a self, sample: &'a str) -> Family<'a> {
        match sample.strip_prefix(self.name.as_str()) {
            Some(suffix) if !self.name.is_empty() && self.has_part(suffix) => {
                Family { name: &self.name, help: &self.help, kind: self.kind, unit: "" }
            }
            _ => Family { name: sample, ..Family::default() },
        }
    }

    fn has_part(&self, suffix: &str) -> bool {
        let parts: &[&str] = match self.kind {
            MetricType::Histogram => &["_bucket", "_sum", "_count", "_created"],
            MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
            MetricType::Summary => &["_sum", "_count", "_created"],
            MetricType::Counter => &["_total", "_created"],
            MetricType::Info => &["_info"],
            MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[],
        };
        suffix.is_empty() || parts.contains(&suffix)
    }

    fn hash(&self, keys: &Keys) -> u64 {
        let mut hasher = FoldHasher::with_seed(keys.seed, keys.shared);
        hasher.write(self.name.as_bytes());
        hasher.write(self.help.as_bytes());
        hasher.write_u8(self.kind as u8);
        hasher.finish()
    }
}

/// What a comment says.
#[derive(Debug)]
pub(super) enum Effect {
    Help { name: Box<str>, text: Box<str> },
    Type { name: Box<str>, kind: MetricType },
}

struct Context {
    metadata: Metadata,
    /// The seed of the lines under it, which makes the context a part of every line's key.
    seed: u64,
}

struct Comment {
    effect: Effect,
    /// The context that it was last met in, and the one that it led to: nearly always the same again.
    from: u32,
    to: u32,
}

/// The contexts and comments that a table has met.
pub(super) struct Contexts {
    keys: Keys,
    contexts: Vec<Context>,
    index: HashTable<u32>,
    comments: Vec<Comment>,
    /// Bytes of the names and texts that contexts and comments hold.
    text_bytes: usize,
}

impl Contexts {
    /// The context before the first comment.
    pub(super) const START: u32 = 0;

    pub(super) fn new(keys: Keys) -> Self {
        let mut contexts =
            Self { keys, contexts: Vec::new(), index: HashTable::new(), comments: Vec::new(), text_bytes: 0 };
        contexts.intern(Metadata::default());
        contexts
    }

    /// How many contexts and comments are remembered.
    pub(super) fn len(&self) -> usize {
        self.contexts.len() + self.comments.len()
    }

    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        self.contexts.capacity() * size_of::<Context>()
            + self.comments.capacity() * size_of::<Comment>()
            + self.index.allocation_size()
            + self.text_bytes
    }

    pub(super) fn seed(&self, context: u32) -> u64 {
        self.contexts[context as usize].seed
    }

    pub(super) fn metadata(&self, context: u32) -> &Metadata {
        &self.contexts[context as usize].metadata
    }

    /// Remembers a comment and returns its number.
    pub(super) fn add(&mut self, effect: Effect) -> u32 {
        self.text_bytes += match &effect {
            Effect::Help { name, text } => name.len() + text.len(),
            Effect::Type { name, .. } => name.len(),
        };
        self.comments.push(Comment { effect, from: u32::MAX, to: Self::START });
        (self.comments.len() - 1) as u32
    }

    /// The context after `comment`, met in `context`.
    #[inline]
    pub(super) fn after(&mut self, comment: u32, context: u32) -> u32 {
        let held = &self.comments[comment as usize];
        if held.from == context { held.to } else { self.find_after(comment, context) }
    }

    fn find_after(&mut self, comment: u32, context: u32) -> u32 {
        let mut metadata = self.metadata(context).clone();
        match &self.comments[comment as usize].effect {
            Effect::Help { name, text } => metadata.set_help(name, text),
            Effect::Type { name, kind } => metadata.set_kind(name, *kind),
        }
        let to = self.intern(metadata);
        let held = &mut self.comments[comment as usize];
        (held.from, held.to) = (context, to);
        to
    }

    fn intern(&mut self, metadata: Metadata) -> u32 {
        let hash = metadata.hash(&self.keys);
        if let Some(&held) = self.index.find(hash, |&held| self.contexts[held as usize].metadata == metadata) {
            return held;
        }
        let context = self.contexts.len() as u32;
        self.text_bytes += metadata.name.len() + metadata.help.len();
        // The seed is the hash itself: contexts that a table made twice agree, so that its lines stay valid.
        self.contexts.push(Context { metadata, seed: hash });
        self.index.insert_unique(hash, context, |&held| self.contexts[held as usize].seed);
        context
    }

    /// Forgets all contexts, and all comments but those for which `keep` holds; gives the new number of each.
    pub(super) fn compact(&mut self, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut kept = Self::new(self.keys);
        let comments = std::mem::take(&mut self.comments).into_iter().enumerate();
        let numbers =
            comments.map(|(at, comment)| if keep(at as u32) { kept.add(comment.effect) } else { u32::MAX }).collect();
        *self = kept;
        numbers
    }
}
