//! A text of a Telegraf configuration, with the variables in it.
//!
//! Telegraf replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?error}` and `${NAME?error}`; `$$` is
//! a dollar. (compose-go's `template`, which Telegraf 1.37 uses.) What has a form of ours stays a variable. `${NAME:+other}`,
//! what is nested and a dollar right before a variable have none.

/// Pieces of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Literal(String),
    Variable { name: String, default: Option<String> },
}

/// The first of the characters that stand for variables in [`Text::opaque`]: Unicode's private use area.
const FIRST_MARK: u32 = 0xE000;
const MARKS: usize = 6400;

/// A form of a variable that has none of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OddVariable;

impl Text {
    /// A text without variables.
    pub(super) fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(if text.is_empty() { Vec::new() } else { vec![Piece::Literal(text)] })
    }

    /// A variable alone.
    pub(super) fn variable(name: impl Into<String>) -> Self {
        Self(vec![Piece::Variable { name: name.into(), default: None }])
    }

    /// One text after another.
    pub(super) fn joined<'t>(texts: impl IntoIterator<Item = &'t Self>) -> Self {
        let mut out = Vec::new();
        for piece in texts.into_iter().flat_map(|text| &text.0) {
            match (out.last_mut(), piece) {
                (Some(Piece::Literal(last)), Piece::Literal(text)) => last.push_str(text),
                _ => out.push(piece.clone()),
            }
        }
        Self(out)
    }

    /// Reads what stands in a Telegraf configuration.
    pub(super) fn read(raw: &str) -> Result<Self, OddVariable> {
        let (mut out, mut literal, mut rest) = (Vec::new(), String::new(), raw);
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(behind) = after.strip_prefix('$') {
                literal.push('$');
                rest = behind;
                continue;
            }
            match variable(after)? {
                // A dollar in front of a variable cannot be typed in our configuration: the three are read as a literal `${`.
                Some(_) if literal.ends_with('$') => return Err(OddVariable),
                Some((piece, behind)) => {
                    if !literal.is_empty() {
                        out.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    out.push(piece);
                    rest = behind;
                }
                None => {
                    literal.push('$');
                    rest = after;
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            out.push(Piece::Literal(literal));
        }
        Ok(Self(out))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its text, where no variable is in it.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The name of the variable that it is, and whether that has a default.
    pub(super) fn lone_variable(&self) -> Option<(&str, bool)> {
        match self.0.as_slice() {
            [Piece::Variable { name, default }] => Some((name, default.as_ref().is_some_and(|text| !text.is_empty()))),
            _ => None,
        }
    }

    /// As it is typed in our configuration.
    pub(super) fn typed(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.replace("${", "$${"),
            Piece::Variable { name, default: None } => format!("${{{name}}}"),
            Piece::Variable { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
        };
        self.0.iter().map(piece).collect()
    }

    /// What it comes to where variables cannot stand: defaults, else the names themselves; and whether any is in it.
    pub(super) fn resolved(&self) -> (String, bool) {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Variable { name, default } => default.clone().unwrap_or_else(|| name.to_lowercase()),
        };
        (self.0.iter().map(piece).collect(), self.fixed().is_none())
    }

    /// The text with one character for each variable, so that it can be taken apart; [`Self::cleared`] brings them back.
    pub(super) fn opaque(&self) -> Option<String> {
        let mut marks = FIRST_MARK..;
        let is_clean = |text: &str| !text.chars().any(|c| ('\u{E000}'..='\u{F8FF}').contains(&c));
        if self.0.len() > MARKS {
            return None;
        }
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) if is_clean(text) => out.push_str(text),
                Piece::Literal(_) => return None,
                Piece::Variable { .. } => out.push(char::from_u32(marks.next()?)?),
            }
        }
        Some(out)
    }

    /// A part of [`Self::opaque`] with its variables.
    pub(super) fn cleared(&self, part: &str) -> Self {
        let variables: Vec<_> = self.0.iter().filter(|piece| matches!(piece, Piece::Variable { .. })).collect();
        let (mut out, mut literal) = (Vec::new(), String::new());
        for c in part.chars() {
            let number = u32::from(c).checked_sub(FIRST_MARK).and_then(|number| variables.get(number as usize));
            match number {
                Some(variable) => {
                    if !literal.is_empty() {
                        out.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    out.push((*variable).clone());
                }
                None => literal.push(c),
            }
        }
        if !literal.is_empty() {
            out.push(Piece::Literal(literal));
        }
        Self(out)
    }
}

/// Whether a character stands for a variable in [`Text::opaque`].
pub(super) fn is_mark(c: char) -> bool {
    ('\u{E000}'..='\u{F8FF}').contains(&c)
}

/// The variable that begins behind a dollar, and what follows it; `None` where the dollar is only a dollar.
fn variable(text: &str) -> Result<Option<(Piece, &str)>, OddVariable> {
    let name_end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let is_name = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let named = |name: &str, default: Option<&str>| Piece::Variable {
        name: name.to_owned(),
        default: default.map(str::to_owned),
    };
    let Some(inside) = text.strip_prefix('{') else {
        let (name, behind) = text.split_at(name_end(text));
        return Ok(is_name(name).then(|| (named(name, None), behind)));
    };
    let (name, after) = inside.split_at(name_end(inside));
    if !is_name(name) {
        return Ok(None);
    }
    let Some((operator, behind)) = after.split_once('}') else { return Ok(None) };
    if operator.contains('$') {
        return Err(OddVariable);
    }
    let default = |text: &str| operator.strip_prefix(text).map(str::to_owned);
    if operator.is_empty() || default(":?").is_some() || default("?").is_some() {
        return Ok(Some((named(name, None), behind)));
    }
    match default(":-").or_else(|| default("-")) {
        Some(default) => Ok(Some((named(name, Some(&default)), behind))),
        None if operator.starts_with([':', '+']) => Err(OddVariable),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_telegraf_become_ours() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$HOST:80", "${HOST}:80"),
            ("${HOST}/a", "${HOST}/a"),
            ("${HOST:-10.0.0.1}", "${HOST:-10.0.0.1}"),
            ("${HOST-10.0.0.1}x", "${HOST:-10.0.0.1}x"),
            ("${HOST:?is missing}", "${HOST}"),
            ("a$$b", "a$b"),
            ("$${HOST}", "$${HOST}"),
            ("$$$${HOST}", "$$${HOST}"),
            ("^a$", "^a$"),
            ("${1}-$2", "$${1}-$2"),
            ("${HOST", "$${HOST"),
            ("é$É", "é$É"),
        ];
        for (raw, typed) in cases {
            assert_eq!(Text::read(raw).map(|text| text.typed()), Ok(typed.to_owned()), "{raw}");
        }
        for raw in ["${A:+b}", "${A+b}", "${A:-${B}}", "$$${A}", "a$$$A"] {
            assert_eq!(Text::read(raw), Err(OddVariable), "{raw}");
        }
    }

    #[test]
    fn a_text_is_taken_apart_with_its_variables() {
        let text = Text::read("https://${HOST:-a:b/c}:1/$PATH").unwrap();
        let opaque = text.opaque().unwrap();
        let (_, rest) = opaque.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        assert_eq!(text.cleared(authority).typed(), "${HOST:-a:b/c}:1");
        assert_eq!(text.cleared(path).typed(), "${PATH}");
        assert_eq!(Text::literal("\u{E000}").opaque(), None);
    }
}
