//! Loading the configuration: what comes out, and the exact words for what is wrong.

use std::path::PathBuf;

use promferry::config::checked::Config;
use promferry::config::{Problems, Source, YAML_VARIABLE, load};

/// Loads `yaml` as `cf push` would hand it in; other variables are those of `variables`.
fn load_text(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment = |name: &str| match name {
        YAML_VARIABLE => Some(yaml.to_owned()),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    };
    load(&Source::Variable, &environment)
}

#[test]
fn a_full_configuration() {
    let config = load_text(include_str!("config/full.yml"), &[("HOST_IP", "10.0.0.9")]);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    eprintln!("{config:#?}");
    let _ = PathBuf::new();
}
