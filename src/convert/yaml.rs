//! The tree of the configuration that is made.
//!
//! What could not be carried over is a [`Note`] in it. It is written as a comment, and [`notes`] lists the same ones: no loss is
//! told in one place alone.

use super::note::Note;
use super::text::Text;
use crate::config::writer;
pub(super) use crate::config::writer::{document, notes, quoted};

/// A value.
pub(super) type Node = writer::Node<Note>;

/// A mapping, with what is said between its keys.
pub(super) type Map = writer::Map<Note>;

impl Node {
    /// A text whose variables are replaced when it is read.
    pub(super) fn text(text: &Text) -> Self {
        Self::Scalar(quoted(&text.typed()))
    }

    /// A list of texts.
    pub(super) fn texts<'t>(texts: impl IntoIterator<Item = &'t Text>) -> Self {
        Self::Scalars(texts.into_iter().map(|text| quoted(&text.typed())).collect())
    }
}
