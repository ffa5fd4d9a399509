//! `nomad_sd_configs`: services that are registered with Nomad, as Prometheus finds them.
//!
//! At every refresh interval the list of services is asked for (`/v1/services`), then the instances of each, one request at a
//! time (`/v1/service/NAME`). Source: Nomad's HTTP API, `api-docs/services`.
//!
//! Promises
//! - While there is no list, everything stays as it was. What is wrong with one service costs no other: it stays as it was too.
//! - A service that is no longer listed goes, and so does an instance that is no longer registered.
//!
//! Left out on purpose: redirects, because credentials would go along; blocking queries, which would hold a connection open for
//! each service. `namespace: "*"` asks for all namespaces, then for each service in its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::config::checked::NomadSd;
use crate::config::quoted;
use crate::model::Labels;
use crate::net::authorization::Signature;
use crate::net::credentials::Credentials;
use crate::net::http::HttpClient;
use crate::net::text::escaped;
use crate::net::{Url, authority};

use super::file_sd::json_kind as kind;
use super::remote::{Said, Tell};
use super::request::{Params, path_and_query, segment};
use super::resolve::{Group, Own};

/// A command that looks once waits so long for a whole round.
pub(super) const FIRST_WORD_MAX: Duration = ROUND_TIME_MAX.saturating_add(REQUEST_TIME_MAX);

/// After this time no other request of a round is begun.
const ROUND_TIME_MAX: Duration = Duration::from_secs(30);

/// By how much a service that failed comes later than in its turn, where there is not time for all.
const FAILING_WAITS: Duration = Duration::from_secs(300);

/// One request, from connecting to the last byte of its answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of an answer, before and after inflating: of eight thousand instances of a service, 500 each.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Services that are asked for, at most.
const SERVICES_MAX: usize = 10_000;

/// Instances of all services together, at most.
const INSTANCES_MAX: usize = 100_000;

/// Bytes of the labels of all instances together, at most, each with [`INSTANCE_BYTES`] on top.
const ALL_BYTES_MAX: usize = 32 << 20;

/// Bytes that an instance takes beside its labels, about.
const INSTANCE_BYTES: usize = 256;

/// Services that a problem names, at most.
const NAMED_MAX: usize = 3;

/// Asks at every refresh interval, for ever.
pub(super) async fn run(sd: NomadSd, credentials: &Credentials, tell: Tell) {
    let asking = Asking::new(sd, credentials);
    let (mut known, mut held) = (Known::new(), None);
    let mut ticks = tokio::time::interval(asking.sd.refresh_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let problem = asking.look(&mut known).await;
        let problem = problem.map(|problem| format!("nomad_sd: {}: {problem}", asking.shown));
        let said = Said { groups: known.values().flat_map(|known| &known.groups).cloned().collect(), problem };
        if held.as_ref() != Some(&said) {
            tell.tell(said.clone());
            held = Some(said);
        }
    }
}

/// A service by its names; what Nomad calls it is unique in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    namespace: String,
    name: String,
}

/// What is known of each service.
type Known = BTreeMap<Service, Instances>;

#[derive(Default)]
struct Instances {
    /// As they were when it could last be asked.
    groups: Vec<Group>,
    /// When it was asked last; `None` if it never was.
    asked: Option<Instant>,
    /// Whether that gave no answer.
    is_failing: bool,
}

struct Asking {
    sd: NomadSd,
    /// The server for people.
    shown: String,
    client: HttpClient,
    signature: Signature,
}

impl Asking {
    fn new(sd: NomadSd, credentials: &Credentials) -> Self {
        Self {
            shown: escaped(sd.server.to_string().trim_end_matches('/')),
            client: HttpClient::new(REQUEST_TIME_MAX, credentials.client(&sd.tls), ANSWER_BYTES_MAX),
            signature: Signature {
                authorization: sd.auth.handle(credentials),
                headers: sd.headers.iter().map(|(name, secret)| (name.clone(), credentials.secret(secret))).collect(),
            },
            sd,
        }
    }

    /// Brings `known` up to date as far as Nomad answers. Returns what is wrong.
    async fn look(&self, known: &mut Known) -> Option<String> {
        let begun = Instant::now();
        let services = match self.services().await {
            Ok(services) => services,
            Err(error) if known.values().all(|known| known.groups.is_empty()) => return Some(error),
            Err(error) => return Some(format!("{error}; what it said before stays")),
        };
        let mut before = std::mem::take(known);
        let (mut room, mut problems) = (Room::default(), Vec::new());
        for service in in_order(services, &before) {
            let mut now = before.remove(&service).unwrap_or_default();
            let asked = if begun.elapsed() < ROUND_TIME_MAX {
                now.asked = Some(Instant::now());
                let asked = self.instances(&service).await;
                now.is_failing = asked.is_err();
                asked
            } else {
                Err(format!("was not asked for, because the services before it took {ROUND_TIME_MAX:?}"))
            };
            match asked {
                Ok(groups) => now.groups = groups,
                Err(error) => {
                    let stays = if now.groups.is_empty() { "" } else { "; what was known of it stays" };
                    problems.push(format!("service {}: {error}{stays}", service.shown()));
                }
            }
            if let Err(error) = room.take(&now.groups) {
                problems.push(format!("service {}: {error}", service.shown()));
                now.groups = Vec::new();
            }
            known.insert(service, now);
        }
        summed_up(problems)
    }

    async fn services(&self) -> Result<BTreeSet<Service>, String> {
        let answer = self.get("/v1/services", &self.sd.namespace).await?;
        let services = read_services(&answer).map_err(|error| format!("its answer is no list of services: {error}"))?;
        match services.len() {
            0..=SERVICES_MAX => Ok(services),
            found => Err(format!("it lists {found} services; at most {SERVICES_MAX} are taken")),
        }
    }

    async fn instances(&self, service: &Service) -> Result<Vec<Group>, String> {
        let answer = self.get(&format!("/v1/service/{}", segment(&service.name)), &service.namespace).await?;
        read_instances(&answer, &self.sd.tag_separator)
            .map_err(|error| format!("its answer is no list of instances: {error}"))
    }

    /// The JSON at a path of the API.
    async fn get(&self, path: &str, namespace: &str) -> Result<Value, String> {
        let mut params = Params::new();
        params.insert("namespace".to_owned(), vec![namespace.to_owned()]);
        if !self.sd.region.is_empty() {
            params.insert("region".to_owned(), vec![self.sd.region.clone()]);
        }
        if self.sd.allow_stale {
            params.insert("stale".to_owned(), vec![String::new()]);
        }
        let base = self.sd.server.path_and_query.trim_end_matches('/');
        let url = Url { path_and_query: path_and_query(&format!("{base}{path}"), &params)?, ..self.sd.server.clone() };
        let mut request = Request::new(Bytes::new());
        self.signature.apply(request.headers_mut()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.client.send(&url, request).await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|error| format!("it answered no JSON: {error}"));
        }
        let advice = match answer.status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                let namespace = quoted(namespace);
                format!(
                    "; \"authorization\" must give an ACL token that is valid and allows \"read-job\" in namespace {namespace}"
                )
            }
            status if status.is_redirection() => "; redirects are not followed here".to_owned(),
            _ => String::new(),
        };
        Err(format!("answered {}{}{advice}", answer.status, words(&answer.body)))
    }
}

impl Service {
    /// For people.
    fn shown(&self) -> String {
        match self.namespace.as_str() {
            "" | "default" => quoted(&self.name),
            namespace => format!("{} in namespace {}", quoted(&self.name), quoted(namespace)),
        }
    }
}

/// In which order services are asked, where there may not be time for all: first those that were not asked for longest, so that
/// each has its turn. What failed comes later: it may fail by taking all the time that there is.
fn in_order(services: BTreeSet<Service>, before: &Known) -> Vec<Service> {
    let mut services: Vec<Service> = services.into_iter().collect();
    services.sort_by_key(|service| {
        let known = before.get(service)?;
        let later = if known.is_failing { FAILING_WAITS } else { Duration::ZERO };
        known.asked.map(|asked| asked + later)
    });
    services
}

/// Some of the problems of a round stand for all.
fn summed_up(mut problems: Vec<String>) -> Option<String> {
    let others = problems.len().saturating_sub(NAMED_MAX);
    problems.truncate(NAMED_MAX);
    if others > 0 {
        problems.push(format!("and so on with {others} more"));
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// Nomad explains a refusal in a line of text.
fn words(body: &[u8]) -> String {
    match String::from_utf8_lossy(body).lines().next().map(str::trim) {
        None | Some("") => String::new(),
        Some(line) => format!(" with {}", quoted(line)),
    }
}

/// How much the services together have taken so far.
#[derive(Default)]
struct Room {
    instances: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, groups: &[Group]) -> Result<(), String> {
        let labels = groups.iter().flat_map(|group| group.labels.iter());
        let bytes: usize = labels.map(|(name, value)| name.len() + value.len()).sum();
        let instances = self.instances + groups.len();
        let bytes = self.bytes + bytes + groups.len() * INSTANCE_BYTES;
        if instances > INSTANCES_MAX || bytes > ALL_BYTES_MAX {
            return Err(format!(
                "it is left out: at most {INSTANCES_MAX} instances with {} MiB are taken of all services together",
                ALL_BYTES_MAX >> 20
            ));
        }
        (self.instances, self.bytes) = (instances, bytes);
        Ok(())
    }
}

/// `[{"Namespace": "…", "Services": [{"ServiceName": "…", "Tags": […]}]}]`.
fn read_services(answer: &Value) -> Result<BTreeSet<Service>, String> {
    let mut services = BTreeSet::new();
    for stub in array(answer, "the answer")? {
        let namespace = text(stub, "Namespace")?;
        let Some(listed) = stub.get("Services").filter(|listed| !listed.is_null()) else { continue };
        for service in array(listed, "Services")? {
            match text(service, "ServiceName")? {
                "" => return Err("a service has no ServiceName".to_owned()),
                name => services.insert(Service { namespace: namespace.to_owned(), name: name.to_owned() }),
            };
        }
    }
    Ok(services)
}

/// `[{"Address": "…", "Port": 1, "Datacenter": "…", …}]`. As in Prometheus, what is not there is empty.
fn read_instances(answer: &Value, tag_separator: &str) -> Result<Vec<Group>, String> {
    let instances = array(answer, "the answer")?;
    // Before they are read: each takes far more memory than the few bytes that it may have in the answer.
    if instances.len() > INSTANCES_MAX {
        return Err(format!("it has {} instances, and at most {INSTANCES_MAX} are taken", instances.len()));
    }
    let read = |(at, instance)| {
        read_instance(instance, tag_separator).map_err(|error| format!("instance {}: {error}", at + 1))
    };
    instances.iter().enumerate().map(read).collect()
}

fn read_instance(instance: &Value, tag_separator: &str) -> Result<Group, String> {
    let address = text(instance, "Address")?;
    let port = match instance.get("Port") {
        None | Some(Value::Null) => 0,
        Some(port) => port.as_i64().ok_or_else(|| format!("Port: expected a whole number, found {}", kind(port)))?,
    };
    let mut labels = Labels::new();
    for (label, field) in [
        ("__meta_nomad_address", "Address"),
        ("__meta_nomad_dc", "Datacenter"),
        ("__meta_nomad_namespace", "Namespace"),
        ("__meta_nomad_node_id", "NodeID"),
        ("__meta_nomad_service", "ServiceName"),
        ("__meta_nomad_service_address", "Address"),
        ("__meta_nomad_service_id", "ID"),
    ] {
        labels.set(label, text(instance, field)?.to_owned());
    }
    labels.set("__meta_nomad_service_port", port.to_string());
    let tags = instance.get("Tags").filter(|tags| !tags.is_null());
    let tags = tags.map_or(Ok(&[][..]), |tags| array(tags, "Tags"))?;
    let texts = tags.iter().map(|tag| tag.as_str().ok_or_else(|| format!("Tags: expected texts, found {}", kind(tag))));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    if !texts.is_empty() {
        let joined = texts.join(tag_separator);
        labels.set("__meta_nomad_tags", format!("{tag_separator}{joined}{tag_separator}"));
    }
    // A port that is none is told as the target's problem, with its labels, unless a rule drops it.
    let target = match u16::try_from(port) {
        Ok(port) => authority(address, port),
        Err(_) => format!("{address}:{port}"),
    };
    Ok(Group { targets: vec![target], labels, file: None, own: Own::default() })
}

fn array<'v>(value: &'v Value, what: &str) -> Result<&'v [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{what}: expected a list, found {}", kind(value)))
}

/// A text of an object; empty where it is not there.
fn text<'v>(object: &'v Value, field: &str) -> Result<&'v str, String> {
    let entries = object.as_object().ok_or_else(|| format!("expected an object, found {}", kind(object)))?;
    match entries.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(value) => value.as_str().ok_or_else(|| format!("{field}: expected a text, found {}", kind(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        Service { namespace: "default".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn each_service_has_its_turn_where_there_is_time_for_two_a_round() {
        let names = ["a", "b", "c", "d", "e"];
        let (mut known, mut asked) = (Known::new(), Vec::new());
        let mut now = Instant::now();
        for _ in 0..9 {
            for service in in_order(names.map(service).into(), &known).into_iter().take(2) {
                now += Duration::from_secs(30);
                let is_failing = service.name == "a";
                asked.push(service.name.clone());
                known.insert(service, Instances { asked: Some(now), is_failing, ..Instances::default() });
            }
            for name in names {
                known.entry(service(name)).or_default();
            }
        }
        assert_eq!(asked.concat(), "abcdebcdebcdebacde", "what fails waits, and not for ever");
    }

    #[test]
    fn an_answer_of_very_many_instances_is_not_read() {
        let many = Value::Array(vec![Value::Object(serde_json::Map::new()); INSTANCES_MAX + 1]);
        let told = "it has 100001 instances, and at most 100000 are taken";
        assert_eq!(read_instances(&many, ",").err().as_deref(), Some(told));
    }
}
