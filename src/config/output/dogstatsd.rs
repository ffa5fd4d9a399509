//! `outputs[].dogstatsd`.

use std::path::PathBuf;

use super::agent_address;
use crate::config::checked::{Dogstatsd, DogstatsdAddress, Mapping, Stat};
use crate::config::fields::Fields;
use crate::config::problem::quoted;
use crate::config::values::Complaint;
use crate::relabel::Rename;

/// Bytes of a datagram over UDP: one that fits into an Ethernet frame, whatever else is in there. (Datadog, "DogStatsD high
/// throughput".)
const UDP_BYTES: u64 = 1432;

/// Bytes of a datagram over a Unix socket: what an agent's buffer takes.
const UNIX_BYTES: u64 = 8192;

/// Bytes of a socket's path, at most: `sun_path` of unix(7), with the zero behind it.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Mappings, at most.
const MAPPINGS_MAX: usize = 1000;

pub fn dogstatsd(fields: &Fields<'_>) -> Dogstatsd {
    let fallback = DogstatsdAddress::Udp { host: String::new(), port: 0 };
    let address = fields.read_optional("address", address).unwrap_or(fallback);
    let usual = if matches!(address, DogstatsdAddress::Unix(_)) { UNIX_BYTES } else { UDP_BYTES };
    let max_payload = fields.optional_size("max_payload").unwrap_or(usual);
    let is = |name: &str, all: &'static str| fields.choice(name, &[(all, true), ("totals", false)]).unwrap_or(true);
    Dogstatsd {
        address,
        max_payload: usize::try_from(max_payload).unwrap_or(usize::MAX),
        namespace: fields.read_optional("namespace", namespace).unwrap_or_default(),
        tags: tags(fields),
        exclude_labels: fields.texts("exclude_labels").into_iter().map(|placed| placed.text).collect(),
        timestamps: fields.switch("timestamps"),
        buckets: is("histograms", "buckets"),
        quantiles: is("summaries", "quantiles"),
        mappings: mappings(fields),
    }
}

fn address(text: &str) -> Result<DogstatsdAddress, Complaint> {
    if let Some(path) = text.strip_prefix("unix://") {
        return match path {
            _ if !path.starts_with('/') => Err("needs the whole path of a socket: unix:///path".to_owned()),
            _ if path.len() > SOCKET_PATH_BYTES_MAX || path.contains('\0') => {
                Err(format!("is no path of a socket; one has at most {SOCKET_PATH_BYTES_MAX} bytes"))
            }
            _ => Ok(DogstatsdAddress::Unix(PathBuf::from(path))),
        };
    }
    match text.split_once("://") {
        Some(("unixstream", _)) => Err(
            "is a stream socket, which is not supported; write the agent's datagram socket (dogstatsd_socket) as unix:///path"
                .to_owned(),
        ),
        Some(("unixgram", _)) => Err("is Datadog's other word for unix:///path; write that".to_owned()),
        Some(_) => Err("has a scheme that is not known; write host:port for UDP, or unix:///path".to_owned()),
        None => {
            let complaint = "is not an address: write host:port for UDP, such as \"127.0.0.1:8125\", or unix:///path";
            let (host, port) = agent_address(text).map_err(|_| complaint.to_owned())?;
            Ok(DogstatsdAddress::Udp { host, port })
        }
    }
}

/// With its point, so that names can just follow.
fn namespace(text: &str) -> Result<String, Complaint> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    match name {
        "" => Ok(String::new()),
        _ if !is_name || !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Err("is no name: it begins with a letter, and has ASCII letters, digits, _ and . alone".to_owned())
        }
        _ if name.len() > 100 => Err("is longer than 100 characters; a whole name has at most 200".to_owned()),
        _ => Ok(format!("{name}.")),
    }
}

fn tags(fields: &Fields<'_>) -> Vec<(String, String)> {
    let (empty, tags): (Vec<_>, Vec<_>) =
        fields.text_map("tags").into_iter().partition(|placed| placed.key.is_empty() || placed.text.is_empty());
    for placed in empty {
        fields.note_at(placed.at, format!("tags: {} has an empty name or value", quoted(&placed.key)));
    }
    tags.into_iter().map(|placed| (placed.key, placed.text)).collect()
}

fn mappings(fields: &Fields<'_>) -> Vec<Mapping> {
    let mappings: Vec<Mapping> = fields.sections("mappings").iter().filter_map(mapping).collect();
    if mappings.len() > MAPPINGS_MAX {
        fields.note("mappings", format!("more than {MAPPINGS_MAX}"));
    }
    mappings
}

fn mapping(fields: &Fields<'_>) -> Option<Mapping> {
    let stats = [("gauge", Stat::Gauge), ("count", Stat::Count)];
    let stat = fields.choice("type", &stats);
    let is_sum = fields.switch("sum");
    let (multiply, add) = (fields.read_optional("multiply", number), fields.read_optional("add", number));
    if stat == Some(Stat::Count) && is_sum {
        fields.note("sum", "of no use with type: count: the agent adds up counts of one name and tags itself");
    }
    if stat == Some(Stat::Count) && add.is_some_and(|add| add != 0.0) {
        fields.note("add", "of no use with type: count: a rise has no offset");
    }
    let (regex, replacement) = (fields.optional_text("regex"), fields.optional_text("replacement"));
    let (regex, replacement) = (regex?, replacement?);
    if replacement.is_empty() {
        fields
            .note("replacement", "is empty: a metric needs a name; what is not to be sent, write_relabel_configs drop");
    }
    let rename = Rename::new(&regex, &replacement).map_err(|error| fields.note(error.key(), &error)).ok()?;
    Some(Mapping { rename, stat, multiply: multiply.unwrap_or(1.0), add: add.unwrap_or(0.0), is_sum })
}

fn number(text: &str) -> Result<f64, Complaint> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("is not a number, such as -1 or 0.001".to_owned()),
    }
}
