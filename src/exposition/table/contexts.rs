//! What comments say, and the contexts that they lead to.
//!
//! A context is the family that the comments so far describe, in one format: its seed is mixed into the key of every line
//! under it, so that no line answers for one that means something else. Texts are kept once, in one piece of memory.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::super::format::Format;
use super::keys::Keys;
use crate::model::{Family, MetricType, room, same};

/// No context, no comment.
pub(super) const NONE: u32 = u32::MAX;

/// Which text of a family is hashed.
const NAME: u64 = 0;
const HELP: u64 = 1;
const UNIT: u64 = 2;

/// What a comment says about a family, or a header that says all of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect<'a> {
    Help {
        name: &'a str,
        text: &'a str,
    },
    Type {
        name: &'a str,
        kind: MetricType,
    },
    Unit {
        name: &'a str,
        unit: &'a str,
    },
    /// All at once: what was said before does not matter.
    Family(Family<'a>),
}

impl<'a> Effect<'a> {
    /// The family's name.
    pub(super) fn name(&self) -> &'a str {
        match *self {
            Self::Help { name, .. } | Self::Type { name, .. } | Self::Unit { name, .. } => name,
            Self::Family(Family { name, .. }) => name,
        }
    }
}

/// A piece of `Contexts::text`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    start: u32,
    len: u32,
}

impl Text {
    fn of(self, text: &str) -> &str {
        &text[self.start as usize..(self.start + self.len) as usize]
    }

    /// The same as bytes, which takes no look at where characters begin.
    #[inline]
    fn bytes(self, text: &str) -> &[u8] {
        &text.as_bytes()[self.start as usize..(self.start + self.len) as usize]
    }
}

#[derive(Clone, Copy)]
struct Metadata {
    name: Text,
    help: Text,
    unit: Text,
    kind: MetricType,
    format: Format,
}

impl Metadata {
    /// What is known before any comment.
    fn of(format: Format) -> Self {
        let none = Text::default();
        Self { name: none, help: none, unit: none, kind: MetricType::Unknown, format }
    }

    /// Whether these say the same.
    fn is(self, other: Self, text: &str) -> bool {
        let texts = [(self.name, other.name), (self.help, other.help), (self.unit, other.unit)];
        (self.kind, self.format) == (other.kind, other.format)
            && texts.iter().all(|&(one, other)| one == other || one.bytes(text) == other.bytes(text))
    }
}

#[derive(Clone, Copy)]
enum Part {
    Help(Text),
    Type(MetricType),
    Unit(Text),
    Family { help: Text, unit: Text, kind: MetricType },
}

#[derive(Clone, Copy)]
struct Context {
    metadata: Metadata,
    /// The seed of the lines under it, which makes the context a part of every line's key.
    seed: u64,
}

struct Comment {
    name: Text,
    part: Part,
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
    text: String,
}

impl Contexts {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, contexts: Vec::new(), index: HashTable::new(), comments: Vec::new(), text: String::new() }
    }

    /// How many contexts and comments are remembered.
    pub(super) fn len(&self) -> usize {
        self.contexts.len() + self.comments.len()
    }

    /// How many comments are.
    pub(super) fn comments(&self) -> usize {
        self.comments.len()
    }

    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        self.contexts.capacity() * size_of::<Context>()
            + self.comments.capacity() * size_of::<Comment>()
            + self.index.allocation_size()
            + self.text.capacity()
    }

    /// Bytes of the texts that it has, of which there may be 4 GiB.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    #[inline]
    pub(super) fn seed(&self, context: u32) -> u64 {
        self.contexts[context as usize].seed
    }

    /// What a sample under this context may belong to.
    pub(super) fn family(&self, context: u32) -> Family<'_> {
        let Metadata { name, help, unit, kind, .. } = self.contexts[context as usize].metadata;
        Family { name: self.get(name), help: self.get(help), kind, unit: self.get(unit) }
    }

    /// The name and type of that family.
    pub(super) fn name_and_kind(&self, context: u32) -> (&[u8], MetricType) {
        let Metadata { name, kind, .. } = self.contexts[context as usize].metadata;
        (name.bytes(&self.text), kind)
    }

    /// The context before the first comment of a body.
    pub(super) fn start(&mut self, format: Format) -> u32 {
        let metadata = Metadata::of(format);
        self.intern(metadata, self.seed_of(metadata))
    }

    /// Remembers a comment met in `context`, and returns its number.
    pub(super) fn add(&mut self, effect: Effect<'_>, context: u32) -> u32 {
        let near = self.contexts[context as usize].metadata;
        let (name, part) = match effect {
            Effect::Help { name, text } => (name, Part::Help(self.keep(text, near.help))),
            Effect::Type { name, kind } => (name, Part::Type(kind)),
            Effect::Unit { name, unit } => (name, Part::Unit(self.keep(unit, near.unit))),
            Effect::Family(Family { name, help, kind, unit }) => {
                let (help, unit) = (self.keep(help, near.help), self.keep(unit, near.unit));
                (name, Part::Family { help, unit, kind })
            }
        };
        let name = self.keep(name, near.name);
        self.comments.push(Comment { name, part, from: NONE, to: NONE });
        (self.comments.len() - 1) as u32
    }

    /// The context after `comment`, met in `context`.
    #[inline]
    pub(super) fn after(&mut self, comment: u32, context: u32) -> u32 {
        let held = &self.comments[comment as usize];
        if held.from == context { held.to } else { self.find_after(comment, context) }
    }

    fn find_after(&mut self, comment: u32, context: u32) -> u32 {
        let Comment { name, part, .. } = self.comments[comment as usize];
        let Context { mut metadata, mut seed } = self.contexts[context as usize];
        if metadata.name != name && metadata.name.bytes(&self.text) != name.bytes(&self.text) {
            metadata = Metadata { name, ..Metadata::of(metadata.format) };
            seed = self.seed_of(metadata);
        }
        let before = metadata;
        match part {
            Part::Help(help) => metadata.help = help,
            Part::Type(kind) => metadata.kind = kind,
            Part::Unit(unit) => metadata.unit = unit,
            Part::Family { help, unit, kind } => metadata = Metadata { help, unit, kind, ..metadata },
        }
        // What the comment does not change is not hashed again.
        for (old, new, which) in [(before.help, metadata.help, HELP), (before.unit, metadata.unit, UNIT)] {
            if old != new {
                seed = seed.wrapping_sub(self.text_seed(old, which)).wrapping_add(self.text_seed(new, which));
            }
        }
        seed = seed.wrapping_sub(self.kind_seed(before.kind)).wrapping_add(self.kind_seed(metadata.kind));
        let to = self.intern(metadata, seed);
        let held = &mut self.comments[comment as usize];
        (held.from, held.to) = (context, to);
        to
    }

    /// The context of these metadata, whose seed is known.
    fn intern(&mut self, metadata: Metadata, seed: u64) -> u32 {
        let Self { contexts, index, text, .. } = self;
        let is_it = |&held: &u32| contexts[held as usize].metadata.is(metadata, text);
        match index.entry(seed, is_it, |&held| contexts[held as usize].seed) {
            Entry::Occupied(held) => *held.get(),
            Entry::Vacant(place) => {
                let context = contexts.len() as u32;
                place.insert(context);
                contexts.push(Context { metadata, seed });
                context
            }
        }
    }

    /// The seed of a context: a sum of keyed hashes, one of each thing that is known of the family, so that a comment changes
    /// its own alone. Contexts that a table made twice agree in it, so that lines stay valid.
    fn seed_of(&self, metadata: Metadata) -> u64 {
        let Metadata { name, help, unit, kind, format } = metadata;
        let texts = [(name, NAME), (help, HELP), (unit, UNIT)];
        let seed = self.keys.join(self.keys.seed(), format as u64).wrapping_add(self.kind_seed(kind));
        texts.iter().fold(seed, |seed, &(text, which)| seed.wrapping_add(self.text_seed(text, which)))
    }

    /// What a text adds to the seed of a context.
    fn text_seed(&self, text: Text, which: u64) -> u64 {
        if text.len == 0 {
            return 0;
        }
        let hash = self.keys.hash(self.keys.seed(), text.bytes(&self.text));
        self.keys.join(hash, u64::from(text.len) << 2 | which)
    }

    fn kind_seed(&self, kind: MetricType) -> u64 {
        self.keys.join(!self.keys.seed(), kind as u64)
    }

    fn get(&self, text: Text) -> &str {
        text.of(&self.text)
    }

    /// Keeps a text, which may be the same as one that is there already.
    fn keep(&mut self, text: &str, near: Text) -> Text {
        if same(near.bytes(&self.text), text.as_bytes()) {
            return near;
        }
        let kept = Text { start: self.text.len() as u32, len: text.len() as u32 };
        self.text.push_str(text);
        kept
    }

    /// Makes room for so many comments that were never seen, of so many bytes.
    pub(super) fn make_room(&mut self, comments: usize, bytes: usize) {
        room::in_list(&mut self.comments, comments);
        room::in_list(&mut self.contexts, comments);
        room::in_table(&mut self.index, comments, |&held| self.contexts[held as usize].seed);
        self.text.reserve(bytes);
    }

    /// Gives memory back that is not used.
    pub(super) fn shrink(&mut self) {
        self.contexts.shrink_to_fit();
        self.comments.shrink_to_fit();
        self.text.shrink_to_fit();
        self.index.shrink_to_fit(|&held| self.contexts[held as usize].seed);
    }

    /// Forgets all contexts, and all comments but those for which `keep` holds; gives the new number of each.
    pub(super) fn compact(&mut self, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut kept = Self::new(self.keys);
        let mut near = kept.start(Format::Text);
        let number = |at: usize| {
            if !keep(at as u32) {
                return NONE;
            }
            let Comment { name, part, .. } = self.comments[at];
            let name = self.get(name);
            let effect = match part {
                Part::Help(text) => Effect::Help { name, text: self.get(text) },
                Part::Type(kind) => Effect::Type { name, kind },
                Part::Unit(unit) => Effect::Unit { name, unit: self.get(unit) },
                Part::Family { help, unit, kind } => {
                    Effect::Family(Family { name, help: self.get(help), kind, unit: self.get(unit) })
                }
            };
            let comment = kept.add(effect, near);
            // Only so that texts are shared: what really comes before it is seen when it comes.
            near = kept.after(comment, near);
            comment
        };
        let numbers = (0..self.comments.len()).map(number).collect();
        *self = kept;
        numbers
    }
}
