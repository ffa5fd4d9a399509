//! The admission of what is passed on as its writer has it.

use super::{Admission, Admit};
use crate::model::Labels;

/// Keeps every series, and every label of it.
#[derive(Debug, Default)]
pub struct AsIs(Labels<'static>);

impl Admit for AsIs {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        Admission::Keep
    }

    fn only_adds(&self) -> Option<&Labels<'static>> {
        Some(&self.0)
    }
}
