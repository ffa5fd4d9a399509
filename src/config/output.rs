//! `outputs` and `admin`.

mod dogstatsd;
mod elasticsearch;
mod loggregator;
mod otlp;
mod remote_write;
mod signalfx;
mod splunk_hec;

use std::time::Duration;

use super::checked::{
    Admin, Batch, Disk, Expose, FileFormat, FileOutput, OnFull, Order, OutputConfig, OutputKind, Queue,
};
use super::common::{name_text, rules};
use super::fields::Fields;
use super::http::{url, url_path};
use super::schema::listed;
use super::tls::listener;

pub use loggregator::address as agent_address;

/// One entry of `outputs`; `None` where it cannot be told which kind it is. Then a problem was noted.
pub fn output(fields: &Fields<'_>) -> Option<OutputConfig> {
    let name = fields.read_optional("name", name_text).unwrap_or_default();
    let mut kind = kind(fields);
    if let Some(OutputKind::Expose(_)) = kind {
        for key in ["batch", "queue"].iter().filter(|key| fields.has(key)) {
            fields.note(key, "not used by expose, which serves the latest scrapes; leave it out");
        }
    }
    // Read also where the kind is not known: all problems are told at once.
    let (batch, queue, write_relabel) =
        (batch(fields, kind.as_ref()), queue(fields, kind.as_ref()), rules(fields, "write_relabel_configs"));
    if let Some(OutputKind::Elasticsearch(elasticsearch)) = &mut kind {
        elasticsearch.max_age = queue.max_age;
    }
    Some(OutputConfig { name, kind: kind?, batch, queue, write_relabel })
}

const KINDS: [&str; 9] =
    ["elasticsearch", "splunk_hec", "remote_write", "otlp", "signalfx", "loggregator", "dogstatsd", "expose", "file"];

fn kind(fields: &Fields<'_>) -> Option<OutputKind> {
    if !KINDS.iter().any(|kind| fields.has(kind)) {
        // `expose:` with nothing behind it is the endpoint with its defaults.
        if fields.is_null("expose") {
            return Some(OutputKind::Expose(expose(&fields.section_or_defaults("expose"))));
        }
        // So is `dogstatsd:` the agent of this machine.
        if fields.is_null("dogstatsd") {
            let defaults = dogstatsd::dogstatsd(&fields.section_or_defaults("dogstatsd"));
            return Some(OutputKind::Dogstatsd(Box::new(defaults)));
        }
        if !fields.has_foreign() {
            fields.missing(&format!("one of {}", listed(&KINDS)));
        }
        return None;
    }
    fields.at_most_one_of(&KINDS);
    let elasticsearch =
        fields.section("elasticsearch").map(|f| OutputKind::Elasticsearch(Box::new(elasticsearch::elasticsearch(&f))));
    let splunk = fields.section("splunk_hec").map(|f| OutputKind::SplunkHec(Box::new(splunk_hec::splunk_hec(&f))));
    let remote_write =
        fields.section("remote_write").map(|f| OutputKind::RemoteWrite(Box::new(remote_write::remote_write(&f))));
    let loggregator =
        fields.section("loggregator").map(|f| OutputKind::Loggregator(Box::new(loggregator::loggregator(&f))));
    let dogstatsd = fields.section("dogstatsd").map(|f| OutputKind::Dogstatsd(Box::new(dogstatsd::dogstatsd(&f))));
    let otlp = fields.section("otlp").map(|f| OutputKind::Otlp(Box::new(otlp::otlp(&f))));
    let signalfx = fields.section("signalfx").map(|f| OutputKind::Signalfx(Box::new(signalfx::signalfx(&f))));
    let expose = fields.section("expose").map(|f| OutputKind::Expose(expose(&f)));
    let file = fields.section("file").map(|f| OutputKind::File(file(&f)));
    elasticsearch.or(splunk).or(remote_write).or(loggregator).or(dogstatsd).or(otlp).or(signalfx).or(expose).or(file)
}

/// Bytes of a body. Splunk Cloud takes 5 MiB at most, and says of more that its data are invalid.
const BODY_BYTES: u64 = 5 << 20;
const SPLUNK_BODY_BYTES: u64 = 2 << 20;
/// Compressed, that stays below the 1 MB that Amazon's Prometheus takes.
const REMOTE_WRITE_BODY_BYTES: u64 = 4 << 20;
/// An agent takes messages of 10 MiB, and has a buffer of ten thousand envelopes: what comes faster than it reads is lost there.
const LOGGREGATOR_BODY_BYTES: u64 = 1 << 20;
const LOGGREGATOR_SAMPLES: usize = 1000;
/// Few enough that a batch is encoded where it is: beyond `LONG_WORK_SAMPLES` of the sender that is done on a thread of its own, whose
/// memory stays with the process (17 MiB instead of 13, with ten targets of a thousand samples).
const SAMPLES: usize = 4_000;

/// What gRPC's servers take by default, and what OTLP's specification recommends.
const OTLP_BODY_BYTES: u64 = 4 << 20;
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
/// As Prometheus' `batch_send_deadline`: what is queried there is no older than it would be from a Prometheus.
const REMOTE_WRITE_FLUSH_INTERVAL: Duration = Duration::from_secs(5);

fn batch(fields: &Fields<'_>, kind: Option<&OutputKind>) -> Batch {
    let (usual_samples, usual_bytes) = match kind {
        Some(OutputKind::SplunkHec(_)) => (SAMPLES, SPLUNK_BODY_BYTES),
        Some(OutputKind::RemoteWrite(_)) => (SAMPLES, REMOTE_WRITE_BODY_BYTES),
        Some(OutputKind::Otlp(_) | OutputKind::Signalfx(_)) => (SAMPLES, OTLP_BODY_BYTES),
        Some(OutputKind::Loggregator(_) | OutputKind::Dogstatsd(_)) => (LOGGREGATOR_SAMPLES, LOGGREGATOR_BODY_BYTES),
        _ => (SAMPLES, BODY_BYTES),
    };
    let usual_interval = match kind {
        Some(OutputKind::RemoteWrite(_)) => REMOTE_WRITE_FLUSH_INTERVAL,
        _ => FLUSH_INTERVAL,
    };
    let fields = fields.section_or_defaults("batch");
    Batch {
        max_samples: fields.optional_count("max_samples").unwrap_or(usual_samples),
        max_bytes: to_usize(fields.optional_size("max_bytes").unwrap_or(usual_bytes)),
        flush_interval: fields.optional_duration("flush_interval").unwrap_or(usual_interval),
        flush_jitter: fields.duration("flush_jitter"),
    }
}

fn queue(fields: &Fields<'_>, kind: Option<&OutputKind>) -> Queue {
    let fields = fields.section_or_defaults("queue");
    let on_full = [("drop_oldest", OnFull::DropOldest), ("drop_newest", OnFull::DropNewest)];
    Queue {
        max_samples: fields.count("max_samples"),
        max_bytes: to_usize(fields.size("max_bytes")),
        max_age: fields.duration("max_age"),
        on_full: fields.choice("on_full", &on_full).unwrap_or_default(),
        order: order(&fields, kind),
        disk: disk(&fields, kind),
    }
}

fn order(fields: &Fields<'_>, kind: Option<&OutputKind>) -> Order {
    let orders = [("fresh_first", Order::FreshFirst), ("oldest_first", Order::OldestFirst)];
    let is_free = kind.is_none_or(OutputKind::takes_any_order);
    let order = fields.choice("order", &orders);
    if order == Some(Order::FreshFirst) && !is_free {
        fields
            .note("order", "fresh_first would mix up the order of samples, which this output must keep; leave it out");
    }
    order.unwrap_or(if is_free { Order::FreshFirst } else { Order::OldestFirst })
}

fn disk(fields: &Fields<'_>, kind: Option<&OutputKind>) -> Option<Disk> {
    let disk = fields.section("disk")?;
    if let Some(OutputKind::File(_)) = kind {
        fields.note("disk", "not used by file, which writes to a disk itself; leave it out");
    }
    Some(Disk {
        path: disk.optional_text("path").map(|path| disk.join(&path)).unwrap_or_default(),
        max_bytes: disk.size("max_bytes"),
        is_synced: disk.choice("fsync", &[("batch", true), ("never", false)]).unwrap_or(true),
    })
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// `urls`: at least one.
fn urls(fields: &Fields<'_>) -> Vec<crate::net::Url> {
    fields.refuse_empty_list("urls");
    let texts = fields.texts("urls");
    let urls = texts.iter().filter_map(|placed| match url(&placed.text) {
        Ok(url) => Some(url),
        Err(message) => {
            fields.note_at(placed.at, format!("urls: {message}"));
            None
        }
    });
    urls.collect()
}

fn expose(fields: &Fields<'_>) -> Expose {
    let (listen, tls) = listener(fields);
    let path = fields.read_optional("path", |path| match path {
        "/-/healthy" | "/-/ready" => Err("is taken by the health checks".to_owned()),
        _ => url_path(path),
    });
    Expose { listen, path: path.unwrap_or_default(), tls, timestamps: fields.switch("timestamps") }
}

fn file(fields: &Fields<'_>) -> FileOutput {
    let path = match fields.optional_text("path").as_deref() {
        Some("-") => None,
        Some("") => {
            fields.note_value("path", "", "is not the path of a file; - is stdout");
            None
        }
        path => path.map(|path| fields.join(path)),
    };
    let formats = [("json", FileFormat::Json), ("text", FileFormat::Text)];
    let output = FileOutput {
        path,
        format: fields.choice("format", &formats).unwrap_or(FileFormat::Json),
        rotate_bytes: fields.size("rotate_size"),
        rotate_keep: fields.count("rotate_keep"),
    };
    if output.path.is_none() && output.rotate_bytes > 0 && fields.has("path") {
        fields.note("rotate_size", "stdout cannot be rotated; leave it out");
    }
    output
}

/// `admin`: on with its defaults where it is absent, off where it is `null`.
pub fn admin(root: &Fields<'_>) -> Option<Admin> {
    if root.is_null("admin") {
        return None;
    }
    let (listen, tls) = listener(&root.section_or_defaults("admin"));
    Some(Admin { listen, tls, stands_in_for_prom_scraper: false })
}
