//! A receiver's answer to a bulk request: whatever it is, each document has one fate, none counts as delivered without a
//! success, and what is said about it is short and printable.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use promferry::config::checked::{self, Auth, BulkAction, DocumentShape, HttpOutput, Lifecycle};
use promferry::net::credentials::Credentials;
use promferry::net::tls::TlsSettings;
use promferry::output::elasticsearch::Elasticsearch;
use promferry::pipeline::{Answer, Attempt, Compression, Encoded, Fate, Item, Output, Reasons, Verdict};

/// Bytes of all that may be said about one answer: some sentences for each reason, and each has a limit.
const SAID_BYTES_MAX: usize = 64 << 10;

static OUTPUT: LazyLock<Elasticsearch> = LazyLock::new(|| {
    let http = HttpOutput {
        urls: Vec::new(),
        tls: TlsSettings::default(),
        auth: Auth::None,
        headers: Vec::new(),
        timeout: Duration::from_secs(1),
        gzip: false,
    };
    let settings = checked::Elasticsearch {
        http,
        index: "m".into(),
        max_indexes: 100,
        action: BulkAction::Create,
        shape: DocumentShape::TimeSeries,
        has_ids: true,
        pipeline: None,
        routing: None,
        require_data_stream: false,
        manages_template: false,
        lifecycle: Lifecycle::None,
        max_age: Duration::from_secs(7200),
    };
    Elasticsearch::new(&settings, &Credentials::default())
});

/// A request of so many documents, every other one with a time of its own.
fn request(documents: usize) -> Encoded {
    let (mut body, mut items) = (Vec::new(), Vec::new());
    for at in 0..documents {
        body.extend_from_slice(b"{\"create\":{}}\n{\"labels\":{\"a\":\"1\"},\"metrics\":{\"m\":1.0}}\n");
        items.push(Item { end: body.len(), samples: 1, mark: at as u32 % 2 });
    }
    Encoded {
        path_and_query: String::new(),
        headers: HeaderMap::new(),
        body: body.into(),
        items,
        points: (0..documents as u32).collect(),
        skipped: Reasons::new(),
        rejected: Vec::new(),
        compression: Compression::None,
    }
}

fuzz_target!(|data: &[u8]| {
    let [documents, attempts, status, body @ ..] = data else { return };
    // Mostly 200: that is where bodies are read.
    let statuses = [200, 201, 302, 400, 401, 404, 413, 429, 500, 503];
    let status = StatusCode::from_u16(statuses.get(usize::from(*status)).copied().unwrap_or(200)).unwrap();
    let encoded = request(usize::from(*documents % 8) + 1);
    let attempt = Attempt { number: u32::from(attempts / 2), is_maybe_resend: attempts % 2 == 1 };
    let answer = Answer { status, headers: HeaderMap::new(), body: body.to_vec().into() };

    let judgement = OUTPUT.classify(&encoded, attempt, &answer);
    let is_taken = |fate: &Fate| matches!(fate, Fate::Delivered | Fate::Duplicate(_));
    match &judgement.verdict {
        Verdict::All(fate) => assert!(!is_taken(fate) || status.is_success()),
        Verdict::Each(fates) => {
            assert!(status.is_success());
            assert_eq!(fates.len(), encoded.items.len());
        }
        Verdict::Accepted(_) => panic!("an answer is final"),
        Verdict::TooLarge => assert!(matches!(status.as_u16(), 413 | 429)),
    }
    if judgement.verdict != Verdict::All(Fate::Delivered)
        && !matches!(&judgement.verdict, Verdict::Each(fates) if fates.iter().all(is_taken))
    {
        let (kind, said) = judgement.problem.expect("what is not taken is explained");
        assert!(!kind.is_empty() && said.len() <= SAID_BYTES_MAX, "{} bytes", said.len());
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
});
