//! Credentials of services that are bound to a Cloud Foundry app: `vcap:SERVICE/KEY` in the place of a file's path.
//!
//! `VCAP_SERVICES` is a JSON object: for each label a list of bound services with `name` and `credentials`. The platform has
//! put in what references to CredHub stand for before the app starts; one that is still there is told. The variable does
//! not change while the process runs.

use std::path::Path;

use serde_json::Value;

/// How a path begins that is none.
pub const PREFIX: &str = "vcap:";

const VARIABLE: &str = "VCAP_SERVICES";

/// The reference that a path is, `SERVICE/KEY`, where it is one.
pub fn reference(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(PREFIX)
}

/// What a reference stands for in the environment of this process.
///
/// # Errors
/// One sentence's end, without any credentials.
pub fn read(reference: &str) -> Result<Vec<u8>, String> {
    let services =
        std::env::var(VARIABLE).map_err(|_| format!("{VARIABLE} is not set; is this an app on Cloud Foundry?"))?;
    find(&services, reference).map(String::into_bytes)
}

fn find(services: &str, reference: &str) -> Result<String, String> {
    // The parser's words may quote what it read.
    let all: Value = serde_json::from_str(services).map_err(|_| format!("{VARIABLE} is not JSON"))?;
    let (name, keys) = reference.split_once('/').ok_or("it names no credential; write vcap:SERVICE/KEY")?;
    let services: Vec<&Value> =
        all.as_object().into_iter().flat_map(|labels| labels.values()).filter_map(Value::as_array).flatten().collect();
    let called = |service: &Value, key: &str| service.get(key).and_then(Value::as_str) == Some(name);
    let service = services
        .iter()
        .find(|service| ["name", "binding_name", "instance_name"].iter().any(|key| called(service, key)));
    let service = service.ok_or_else(|| {
        let bound: Vec<_> = services.iter().filter_map(|service| service.get("name")?.as_str()).collect();
        match bound.as_slice() {
            [] => format!("no service is bound in {VARIABLE}"),
            bound => format!("no service of this name is bound; there are {}", bound.join(", ").escape_debug()),
        }
    })?;
    let credentials = service.get("credentials").unwrap_or(&Value::Null);
    if is_reference_to_credhub(credentials) {
        return Err(UNRESOLVED.to_owned());
    }
    let found = keys.split('/').try_fold(credentials, |value, key| value.get(key));
    match found {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value) if is_reference_to_credhub(value) => Err(UNRESOLVED.to_owned()),
        Some(_) => Err("this credential of the service is not a text".to_owned()),
        None => {
            let keys: Vec<_> =
                credentials.as_object().into_iter().flat_map(|keys| keys.keys()).map(String::as_str).collect();
            Err(format!("the service has no such credential; it has {}", keys.join(", ").escape_debug()))
        }
    }
}

const UNRESOLVED: &str = "it is a reference to CredHub that the platform has not resolved";

fn is_reference_to_credhub(value: &Value) -> bool {
    value.get("credhub-ref").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = r#"{
        "user-provided": [{"label": "user-provided", "name": "scrape", "tags": [], "credentials":
            {"cert": "-----BEGIN", "tls": {"key": "k"}, "port": 1}}],
        "credhub": [{"name": "es", "binding_name": "search", "credentials": {"credhub-ref": "/c/x"}}]
    }"#;

    #[test]
    fn a_reference_names_a_service_and_a_credential() {
        let found = |reference: &str| find(SERVICES, reference).unwrap();
        assert_eq!(found("scrape/cert"), "-----BEGIN");
        assert_eq!(found("scrape/tls/key"), "k");
        let resolved = SERVICES.replace(r#"{"credhub-ref": "/c/x"}"#, r#"{"api_key": "a"}"#);
        assert_eq!(find(&resolved, "search/api_key").unwrap(), "a");
        assert_eq!(reference(Path::new("vcap:scrape/cert")), Some("scrape/cert"));
        assert_eq!(reference(Path::new("/vcap:scrape/cert")), None);
    }

    #[test]
    fn what_is_not_there_is_told_without_what_is_secret() {
        for (reference, expected) in [
            ("scrape", "it names no credential; write vcap:SERVICE/KEY"),
            ("scarpe/cert", "no service of this name is bound; there are es, scrape"),
            ("scrape/ca", "the service has no such credential; it has cert, port, tls"),
            ("scrape/port", "this credential of the service is not a text"),
            ("search/api_key", UNRESOLVED),
        ] {
            assert_eq!(find(SERVICES, reference).unwrap_err(), expected, "{reference}");
        }
        assert_eq!(find("{}", "a/b").unwrap_err(), "no service is bound in VCAP_SERVICES");
        assert_eq!(find("{\"p\": s3cret", "a/b").unwrap_err(), "VCAP_SERVICES is not JSON");
    }
}
