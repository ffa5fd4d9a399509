//! A text in which `{{label}}` stands for a label's value.

use super::values::Complaint;

/// A template, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Stands for itself.
    Text(String),
    /// Stands for the value of the label with this name.
    Label(String),
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for nothing else.
    ///
    /// # Errors
    /// The end of a sentence that begins with the text.
    pub fn new(text: &str) -> Result<Self, Complaint> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else {
                return Err("has a {{ without its }}".to_owned());
            };
            let name = name.trim();
            if name.is_empty() || name.contains(['{', '}']) {
                return Err("has no label's name between {{ and }}".to_owned());
            }
            if before.contains("}}") {
                return Err("has a }} without its {{".to_owned());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Label(name.to_owned()));
            rest = behind;
        }
        if rest.contains("}}") {
            return Err("has a }} without its {{".to_owned());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Its text, where that is the same for everything.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends its text. `value` gives a label's; an empty one where there is no such label.
    pub fn fill<'v>(&self, out: &mut String, value: impl Fn(&str) -> &'v str) {
        for part in &self.0 {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Label(name) => value(name),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let mut out = String::new();
        let value = |name: &str| if name == "job" { "app" } else { "" };
        Template::new(text).unwrap_or_else(|complaint| panic!("{complaint}")).fill(&mut out, value);
        out
    }

    #[test]
    fn labels_are_filled_in() {
        let cases =
            [("", ""), ("a", "a"), ("{{job}}", "app"), ("m_{{ job }}_{{x}}{{job}}!", "m_app_app!"), ("{a}", "{a}")];
        for (template, expected) in cases {
            assert_eq!(filled(template), expected, "{template}");
        }
        assert_eq!(Template::new("a").unwrap().fixed(), Some("a"));
        assert_eq!(Template::default().fixed(), Some(""));
        assert_eq!(Template::new("{{a}}").unwrap().fixed(), None);
    }

    #[test]
    fn what_is_no_template_is_said() {
        for text in ["{{", "{{}}", "{{ }}", "}}", "a}}b{{c}}", "{{a}}}}", "{{a{{b}}", "{{a}"] {
            assert!(Template::new(text).is_err(), "{text}");
        }
    }
}
