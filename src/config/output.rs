//! `outputs` and `admin`.

mod splunk_hec;

use super::checked::{
    Admin, Auth, Batch, BulkAction, Disk, DocumentShape, Elasticsearch, Expose, FileFormat, FileOutput, HttpOutput,
    OnFull, Order, OutputConfig, OutputKind, Queue,
};
use super::common::{name_text, rules};
use super::fields::Fields;
use super::http::{auth, plain_headers, secret, token, url, url_path};
use super::schema::listed;
use super::tls::client_tls;
use super::tls::listener;

/// One entry of `outputs`; `None` where it cannot be told which kind it is. Then a problem was noted.
pub fn output(fields: &Fields<'_>) -> Option<OutputConfig> {
    let name = fields.read_optional("name", name_text).unwrap_or_default();
    let kind = kind(fields);
    if let Some(OutputKind::Expose(_)) = kind {
        for key in ["batch", "queue"].iter().filter(|key| fields.has(key)) {
            fields.note(key, "not used by expose, which serves the latest scrapes; leave it out");
        }
    }
    // Read also where the kind is not known: all problems are told at once.
    let (batch, queue, write_relabel) =
        (batch(fields, kind.as_ref()), queue(fields, kind.as_ref()), rules(fields, "write_relabel_configs"));
    Some(OutputConfig { name, kind: kind?, batch, queue, write_relabel })
}

const KINDS: [&str; 4] = ["elasticsearch", "splunk_hec", "expose", "file"];

fn kind(fields: &Fields<'_>) -> Option<OutputKind> {
    if !KINDS.iter().any(|kind| fields.has(kind)) {
        // `expose:` with nothing behind it is the endpoint with its defaults.
        if fields.is_null("expose") {
            return Some(OutputKind::Expose(expose(&fields.section_or_defaults("expose"))));
        }
        if !fields.has_foreign() {
            fields.missing(&format!("one of {}", listed(&KINDS)));
        }
        return None;
    }
    fields.at_most_one_of(&KINDS);
    let elasticsearch = fields.section("elasticsearch").map(|f| OutputKind::Elasticsearch(elasticsearch(&f)));
    let splunk = fields.section("splunk_hec").map(|f| OutputKind::SplunkHec(splunk_hec::splunk_hec(&f)));
    let expose = fields.section("expose").map(|f| OutputKind::Expose(expose(&f)));
    let file = fields.section("file").map(|f| OutputKind::File(file(&f)));
    elasticsearch.or(splunk).or(expose).or(file)
}

/// Bytes of a body. Splunk Cloud takes 5 MiB at most, and says of more that its data are invalid.
const BODY_BYTES: u64 = 5 << 20;
const SPLUNK_BODY_BYTES: u64 = 2 << 20;

fn batch(fields: &Fields<'_>, kind: Option<&OutputKind>) -> Batch {
    let usual_bytes = match kind {
        Some(OutputKind::SplunkHec(_)) => SPLUNK_BODY_BYTES,
        _ => BODY_BYTES,
    };
    let fields = fields.section_or_defaults("batch");
    Batch {
        max_samples: fields.count("max_samples"),
        max_bytes: to_usize(fields.optional_size("max_bytes").unwrap_or(usual_bytes)),
        flush_interval: fields.duration("flush_interval"),
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

fn elasticsearch(fields: &Fields<'_>) -> Elasticsearch {
    let shapes = [
        ("timeseries", DocumentShape::TimeSeries),
        ("telegraf", DocumentShape::Telegraf),
        ("telegraf_v1", DocumentShape::TelegrafV1),
    ];
    let actions = [("create", BulkAction::Create), ("index", BulkAction::Index)];
    let index = fields.read_optional("index", index_name).unwrap_or_default();
    let usual_action = if index.contains('%') { BulkAction::Index } else { BulkAction::Create };
    Elasticsearch {
        http: HttpOutput {
            urls: urls(fields),
            tls: client_tls(fields),
            auth: elasticsearch_auth(fields),
            headers: plain_headers(fields),
            timeout: fields.duration("timeout"),
            gzip: fields.switch("gzip"),
        },
        action: fields.choice("action", &actions).unwrap_or(usual_action),
        index,
        shape: fields.choice("shape", &shapes).unwrap_or(DocumentShape::TimeSeries),
    }
}

fn elasticsearch_auth(fields: &Fields<'_>) -> Auth {
    fields.at_most_one_of(&["basic_auth", "authorization", "api_key", "api_key_file"]);
    let other = auth(fields);
    match secret(fields, ["api_key", "api_key_file"], token) {
        Some(credentials) => Auth::Header { scheme: "ApiKey".to_owned(), credentials },
        None => other,
    }
}

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

/// Parts of the sample's time that an index name may hold.
const DATE_PARTS: &str = "YymdHV";

/// Bytes of an index name in Elasticsearch, at most; a part of the time is at most 4.
const INDEX_BYTES_MAX: usize = 255;

/// An index template: a prefix of its own, then anything that Elasticsearch takes in a name.
///
/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create>, "Path parameters".
fn index_name(text: &str) -> Result<String, String> {
    let mut parts = text.split('%');
    let prefix = parts.next().unwrap_or("");
    if text.contains("{{") || text.contains("}}") {
        return Err("has a tag in braces, which is not supported; only parts of the time are".to_owned());
    }
    if prefix.is_empty() {
        return Err("does not begin with a text of its own, such as \"metrics-%Y.%m.%d\"".to_owned());
    }
    if parts.any(|part| !part.starts_with(|c| DATE_PARTS.contains(c))) {
        return Err("has a % that is not one of %Y %y %m %d %H %V".to_owned());
    }
    let literal: String = text.split('%').enumerate().map(|(i, part)| if i == 0 { part } else { &part[1..] }).collect();
    if literal.chars().any(char::is_uppercase) {
        return Err("has a capital letter; names of indices are lowercase".to_owned());
    }
    if literal.chars().any(|c| c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:".contains(c)) {
        return Err(r#"has a character that Elasticsearch refuses: a blank or one of \ / * ? " < > | , # :"#.to_owned());
    }
    if text.starts_with(['-', '_', '+']) || text == "." || text == ".." {
        return Err("begins with -, _ or +, or is only dots; Elasticsearch refuses such names".to_owned());
    }
    if text.len() + 2 * text.matches('%').count() > INDEX_BYTES_MAX {
        return Err(format!("is longer than {INDEX_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
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
    Some(Admin { listen, tls })
}
