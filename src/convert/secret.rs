//! What is a credential, and the variable that it is moved to.

/// Parts of names of headers and parameters that hold credentials.
const PARTS: [&str; 8] = ["auth", "token", "key", "secret", "passw", "cookie", "credential", "signature"];

/// Names that are too short to be looked for in others: `sig` is that of a signed URL at Azure.
const WHOLE: [&str; 4] = ["sig", "sas", "pass", "pwd"];

/// Whether a header or a parameter of this name is taken for a credential.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || WHOLE.contains(&name.as_str())
}

/// The name of a variable for what `owner` has for this use.
pub(super) fn variable_name(owner: &str, use_for: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = format!("{owner}_{use_for}").chars().map(upper).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_known_and_others_are_not() {
        let secret = ["X-Api-Key", "Proxy-Authorization", "access_token", "sig", "PWD", "pass"];
        let plain = ["X-Scope-OrgID", "design", "format", "bypass", "target"];
        assert!(secret.into_iter().all(is_secret));
        assert!(!plain.into_iter().any(is_secret));
    }
}
