//! `${NAME}` and `${NAME:-default}` in the values of the main configuration.
//!
//! A name is `[A-Za-z_][A-Za-z0-9_]*`; so `${1}` of a relabel rule is none. `$${` is a literal `${`. Any other `$` stays.
//! What a variable holds is not expanded again.

use std::borrow::Cow;

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The name of a variable that is not set and has no default.
#[derive(Debug, PartialEq)]
pub struct Unset<'t>(pub &'t str);

/// `text` with its variables replaced. As in a shell, a default also stands in for a variable that is set to nothing.
pub fn expand<'t>(text: &'t str, environment: Environment<'_>) -> Result<Cow<'t, str>, Unset<'t>> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(Reference { name, default, after }) = Reference::read(rest) {
            match (environment(name), default) {
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => out.push_str(default),
                (None, None) => return Err(Unset(name)),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
    after: &'t str,
}

impl<'t> Reference<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let (inside, after) = text.strip_prefix("${")?.split_once('}')?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(Self { name, default, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_references_are_replaced() {
        let environment = |name: &str| match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        };
        let cases = [
            ("${HOST}:80", Ok("10.0.0.1:80")),
            ("${NONE:-a}${HOST:-b}", Ok("a10.0.0.1")),
            ("${EMPTY}|${EMPTY:-c}", Ok("|c")),
            ("${NONE:-}", Ok("")),
            ("${NONE:-a:-b}", Ok("a:-b")),
            ("${NESTED}", Ok("${HOST}")),
            ("$${HOST}", Ok("${HOST}")),
            ("$$${HOST}", Ok("$${HOST}")),
            ("$${1}-$2", Ok("${1}-$2")),
            ("${1}-$2-$HOST-$$", Ok("${1}-$2-$HOST-$$")),
            ("${HO ST}${}${HOST", Ok("${HO ST}${}${HOST")),
            ("é${HOST}é", Ok("é10.0.0.1é")),
            ("${HOST}${NONE}", Err(Unset("NONE"))),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &environment).as_deref(), expected.as_ref().map(|text| *text), "{text}");
        }
    }
}
