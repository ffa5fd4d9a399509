//! What a reader of the result has to know, and where it was said before.

use std::fmt;
use std::rc::Rc;

/// A line of a file that is converted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Rc<str>,
    /// The line, from 1; 0 where there are none.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.escape_debug()),
            line => write!(f, "{}:{line}", self.file.escape_debug()),
        }
    }
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Something was not carried over, or somebody has to do something before it works as before.
    Loss,
    /// It works as before; a person will want to know how.
    Remark,
}

/// One sentence about one setting. It never holds a credential, nor a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where the setting is.
    pub place: Place,
    /// The setting, and what became of it.
    pub text: String,
    /// How much it matters.
    pub weight: Weight,
}

impl Note {
    /// A [`Weight::Loss`].
    pub fn loss(place: &Place, text: impl Into<String>) -> Self {
        Self { place: place.clone(), text: text.into(), weight: Weight::Loss }
    }

    /// A [`Weight::Remark`].
    pub fn remark(place: &Place, text: impl Into<String>) -> Self {
        Self { place: place.clone(), text: text.into(), weight: Weight::Remark }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.weight {
            Weight::Loss => "not carried over: ",
            Weight::Remark => "",
        };
        write!(f, "{}: {word}{}", self.place, self.text)
    }
}
