//! A rule that gives names new names: a regular expression and a replacement, with the meaning that they have in
//! `relabel_configs`.

use super::RelabelError;
use super::re2::Anchored;

/// Which names are meant, and what they become.
#[derive(Clone, Debug)]
pub struct Rename {
    pattern: String,
    regex: Anchored,
    replacement: String,
}

impl PartialEq for Rename {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.replacement) == (&other.pattern, &other.replacement)
    }
}

impl Rename {
    /// A rule for names that `pattern` matches as a whole. `replacement` may hold `$1`, `${1}` and `${name}`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, RelabelError> {
        let regex =
            Anchored::new(pattern).map_err(|reason| RelabelError::BadRegex { regex: pattern.to_owned(), reason })?;
        Ok(Self { pattern: pattern.to_owned(), regex, replacement: replacement.to_owned() })
    }

    /// What a name becomes, or `None` where it is not meant.
    pub fn apply(&self, name: &str) -> Option<String> {
        let groups = self.regex.groups(name)?;
        Some(self.regex.expand(&self.replacement, &groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_become_what_the_replacement_says() {
        let rename = Rename::new("nomad_client_(allocated|unallocated)_(cpu|disk)", "client.$2.${1}").unwrap();
        assert_eq!(rename.apply("nomad_client_allocated_cpu").as_deref(), Some("client.cpu.allocated"));
        assert_eq!(rename.apply("nomad_client_allocated_cpu_total"), None);
        assert!(Rename::new("(", "").is_err());
        assert_eq!(Rename::new("up", "alive").unwrap().apply("up").as_deref(), Some("alive"));
    }
}
