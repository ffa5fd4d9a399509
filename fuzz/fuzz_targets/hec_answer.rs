//! A collector's answer to a request with events: whatever it is, each event has one fate, none counts as delivered without
//! its word, and what is said about it is short and printable.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use promferry::config::checked::{self, Auth, HttpOutput, Template};
use promferry::net::credentials::Credentials;
use promferry::net::tls::TlsSettings;
use promferry::output::splunk_hec::SplunkHec;
use promferry::pipeline::{Answer, Attempt, Compression, Encoded, Fate, Item, Next, Output, Reasons, Verdict};

/// Bytes of all that may be said about one answer.
const SAID_BYTES_MAX: usize = 8 << 10;

static PLAIN: LazyLock<SplunkHec> = LazyLock::new(|| output(None));
static ACKNOWLEDGING: LazyLock<SplunkHec> = LazyLock::new(|| output(Some(Duration::from_secs(60))));

fn output(ack_timeout: Option<Duration>) -> SplunkHec {
    let http = HttpOutput {
        urls: Vec::new(),
        tls: TlsSettings::default(),
        auth: Auth::None,
        headers: Vec::new(),
        timeout: Duration::from_secs(1),
        gzip: false,
    };
    let settings = checked::SplunkHec {
        http,
        index: Template::default(),
        allowed_indexes: Vec::new(),
        sourcetype: Template::default(),
        source: Template::default(),
        host: Template::default(),
        multi_metric: true,
        rename_reserved: false,
        ack_timeout,
    };
    SplunkHec::new(&settings, &Credentials::default())
}

/// A request of so many events.
fn request(events: usize) -> Encoded {
    let (mut body, mut items) = (Vec::new(), Vec::new());
    for _ in 0..events {
        body.extend_from_slice(b"{\"time\":1.000,\"event\":\"metric\",\"fields\":{\"a\":\"1\",\"metric_name:m\":1}}\n");
        items.push(Item { end: body.len(), samples: 1, mark: 0 });
    }
    Encoded {
        path_and_query: String::new(),
        headers: HeaderMap::new(),
        body: body.into(),
        items,
        points: (0..events as u32).collect(),
        skipped: Reasons::new(),
        rejected: Vec::new(),
        compression: Compression::None,
    }
}

fuzz_target!(|data: &[u8]| {
    let [events, mode, status, body @ ..] = data else { return };
    // Mostly 400: that is where bodies are read.
    let statuses = [200, 201, 302, 401, 403, 404, 413, 429, 500, 503];
    let status = StatusCode::from_u16(statuses.get(usize::from(*status)).copied().unwrap_or(400)).unwrap();
    let encoded = request(usize::from(*events % 8) + 1);
    let answer = Answer { status, headers: HeaderMap::new(), body: body.to_vec().into() };
    let is_acknowledging = mode % 2 == 1;
    let output = if is_acknowledging { &*ACKNOWLEDGING } else { &*PLAIN };

    let judgement = output.classify(&encoded, Attempt::default(), &answer);
    match &judgement.verdict {
        Verdict::All(fate) => {
            assert!(*fate != Fate::Delivered || (status.is_success() && !is_acknowledging));
            assert!(*fate != Fate::Retry || judgement.next != Next::Now, "it would be asked again and again");
        }
        Verdict::Each(fates) => {
            assert_eq!(fates.len(), encoded.items.len());
            let settled = fates.iter().filter(|fate| **fate != Fate::Retry).count();
            assert!(settled > 0, "{fates:?}");
        }
        Verdict::Accepted(_) => assert!(status.is_success() && is_acknowledging),
        Verdict::TooLarge => {}
    }
    if let Some((kind, said)) = judgement.problem {
        assert!(!kind.is_empty() && said.len() <= SAID_BYTES_MAX, "{} bytes", said.len());
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
});
