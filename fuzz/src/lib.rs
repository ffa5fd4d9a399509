//! What the targets share: bodies in a row, the plain reading of each, and the table's.

use std::collections::HashMap;
use std::sync::LazyLock;

use promferry::exposition::{
    Admission, Admit, BadLine, Counts, Format, Parsed, Settings, Table, openmetrics, protobuf, text,
};
use promferry::model::{Exemplar, FamilyRef, Histogram, Labels, METRIC_NAME, Value};
use promferry::relabel::{Rule, RuleSpec, Rules};

/// When every scrape is.
pub const AT_MS: i64 = 1_700_000_000_000;

/// A line has at most so many bytes.
pub const LINE_LENGTH_MAX: usize = 4096;

/// A body, how it is cut, and what is to be read of it.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    pub format: Format,
    /// Bytes of a piece.
    pub piece: usize,
    pub bytes: &'a [u8],
}

/// Two bytes that stand in no text and hardly ever in protobuf.
const MARKER: &[u8] = &[0xfe, 0xfe];

/// The bodies of an input: between markers, each with a byte before it that says its format and how it is cut.
pub fn bodies(mut data: &[u8]) -> Vec<Body<'_>> {
    const BODIES_MAX: usize = 6;
    let mut bodies = Vec::new();
    while bodies.len() < BODIES_MAX {
        let end = data.windows(2).position(|pair| pair == MARKER);
        let (one, rest) = data.split_at(end.unwrap_or(data.len()));
        if let Some((&control, bytes)) = one.split_first() {
            let format = [Format::Text, Format::OpenMetrics, Format::Protobuf][usize::from(control % 3)];
            let piece = [usize::MAX, 1, 2, 3, 7, 16, 61, 1000][usize::from(control / 3 % 8)];
            bodies.push(Body { format, piece, bytes });
        }
        if rest.is_empty() {
            break;
        }
        data = &rest[MARKER.len()..];
    }
    bodies
}

/// Settings for all of what can be read.
pub fn settings() -> Settings {
    Settings {
        line_length_max: LINE_LENGTH_MAX,
        native_histograms: true,
        classic_histograms_too: true,
        ..Settings::default()
    }
}

/// Rules as a job has them: some series go, labels go, names change, and label sets become one.
pub struct Relabel;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let rule = |action: &str, source: &[&str], regex: &str, target: Option<&str>, replacement: Option<&str>| {
        let spec = RuleSpec {
            source_labels: source.iter().map(|&name| name.to_owned()).collect(),
            regex: Some(regex.to_owned()),
            target_label: target.map(str::to_owned),
            replacement: replacement.map(str::to_owned),
            action: Some(action.to_owned()),
            ..RuleSpec::default()
        };
        Rule::new(spec).expect("a rule that works")
    };
    Rules::new(vec![
        rule("drop", &["__name__"], "go_(gc|memstats)_.*", None, None),
        rule("drop", &["le"], "0\\.0.*", None, None),
        rule("labeldrop", &[], "uid|pod_.*", None, None),
        rule("replace", &["path"], "/([a-z]+)/.*", Some("path"), Some("/$1")),
        rule("replace", &["__name__"], "http_(.*)", Some("__name__"), Some("web_$1")),
        rule("labelmap", &[], "meta_(.+)", None, Some("$1")),
        rule("replace", &["code"], "([0-9])..", Some("class"), Some("${1}xx")),
        rule("labeldrop", &[], "code", None, None),
    ])
});

impl Admit for Relabel {
    fn admit<'l>(&'l self, labels: &mut Labels<'l>) -> Admission {
        if !RULES.apply(labels) {
            return Admission::Drop;
        }
        labels.set("instance", "one");
        Admission::Keep
    }
}

/// Keeps what there is.
pub struct KeepAll;

impl Admit for KeepAll {
    fn admit<'l>(&'l self, _: &mut Labels<'l>) -> Admission {
        Admission::Keep
    }
}

/// A sample after relabelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub labels: String,
    pub value: String,
    pub own_ms: Option<i64>,
    /// Name, help, type and unit; empty where relabelling gave another name.
    pub family: String,
}

/// A body as it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub lines: Vec<Line>,
    /// Each with the labels of its series. Only where no sample is left out.
    pub exemplars: Vec<String>,
    pub created: Vec<(String, i64)>,
    pub samples: u64,
    pub bad: u64,
    pub duplicates: u64,
}

impl Reading {
    fn add(&mut self, admit: &impl Admit, sample: Plain<'_>, family: FamilyRef<'_>) {
        self.samples += 1;
        let mut labels = sample.labels.clone();
        let name = labels.get_or_empty(METRIC_NAME).to_owned();
        if admit.admit(&mut labels) == Admission::Drop {
            return;
        }
        let is_renamed = labels.get_or_empty(METRIC_NAME) != name;
        let family = if is_renamed { String::new() } else { family_text(family) };
        let labels = labels.to_string();
        self.exemplars.extend(sample.exemplars.into_iter().map(|exemplar| format!("{labels} {exemplar}")));
        self.created.extend(sample.created_ms.map(|ms| (labels.clone(), ms)));
        self.lines.push(Line { labels, value: value_text(sample.value), own_ms: sample.own_ms, family });
    }

    /// Of samples of one series and one time the first stays; the rest of a series comes in the order of time.
    fn settle(&mut self) {
        let mut by_series: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, line) in self.lines.iter().enumerate() {
            by_series.entry(line.labels.clone()).or_default().push(at);
        }
        let mut settled: Vec<Option<Line>> = self.lines.iter().cloned().map(Some).collect();
        for places in by_series.into_values().filter(|places| places.len() > 1) {
            let mut times: Vec<(i64, usize)> =
                places.iter().map(|&at| (self.lines[at].own_ms.unwrap_or(AT_MS), at)).collect();
            times.sort();
            times.dedup_by_key(|(ms, _)| *ms);
            for (nth, &place) in places.iter().enumerate() {
                // The series is that of its first sample, under which all are known.
                let family = self.lines[places[0]].family.clone();
                settled[place] = times.get(nth).map(|&(_, at)| Line { family, ..self.lines[at].clone() });
            }
        }
        let before = self.lines.len();
        self.lines = settled.into_iter().flatten().collect();
        self.duplicates = (before - self.lines.len()) as u64;
        self.finish();
    }

    fn finish(&mut self) {
        if self.duplicates > 0 {
            self.exemplars.clear();
            self.created.clear();
        }
        self.exemplars.sort();
        self.created.sort();
        self.created.dedup();
    }
}

struct Plain<'a> {
    labels: Labels<'a>,
    value: Value<'a>,
    own_ms: Option<i64>,
    exemplars: Vec<String>,
    created_ms: Option<i64>,
}

impl<'a> Plain<'a> {
    fn of_line(sample: &'a text::Sample<'_>) -> Self {
        let labels = sample.labels.clone();
        let exemplars = sample.exemplar.iter().map(exemplar_text).collect();
        Self { labels, value: Value::Float(sample.value), own_ms: sample.own_ms, exemplars, created_ms: None }
    }
}

fn exemplar_text(exemplar: &text::LineExemplar<'_>) -> String {
    format!("{} {:?} {:?}", exemplar.labels, exemplar.value, exemplar.at_ms)
}

pub fn family_text(family: FamilyRef<'_>) -> String {
    format!("{} {:?} {:?} {:?}", family.kind.as_openmetrics(), family.name, family.help, family.unit)
}

pub fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Float(value) => format!("{value:?}"),
        Value::Histogram(value) => format!("{value:?}"),
    }
}

/// Reads a body by itself; `None` where it is refused as a whole.
pub fn plain(body: Body<'_>, settings: &Settings, admit: &impl Admit) -> Option<Reading> {
    let mut reading = Reading::default();
    let mut last_expected = "";
    let each = |read: Result<(&text::Sample<'_>, FamilyRef<'_>), BadLine>| match read {
        Ok((sample, family)) => reading.add(admit, Plain::of_line(sample), family),
        Err(bad) => {
            last_expected = bad.expected;
            reading.bad += 1;
        }
    };
    match body.format {
        Format::Text => text::parse_all(body.bytes, settings.line_length_max, each).ok()?,
        Format::OpenMetrics => {
            openmetrics::parse_all(body.bytes, settings.line_length_max, each).ok()?;
            // A text that does not say where it ends is refused.
            if last_expected == "\"# EOF\"" {
                return None;
            }
        }
        Format::Protobuf => {
            let each = |read: Result<(&protobuf::Sample<'_>, FamilyRef<'_>), protobuf::Error>| match read {
                Ok((sample, family)) => {
                    let exemplars = sample.exemplars.iter().map(exemplar_text).collect();
                    let labels = sample.labels.clone();
                    let (value, own_ms, created_ms) = (sample.value(), sample.own_ms, sample.created_ms);
                    reading.add(admit, Plain { labels, value, own_ms, exemplars, created_ms }, family);
                }
                Err(error) => {
                    assert!(error.problem.is_of_one_metric());
                    reading.bad += 1;
                }
            };
            protobuf::parse_all(Pieces(body), settings, each).ok()?;
        }
    }
    reading.settle();
    Some(reading)
}

/// A body that comes in its pieces.
struct Pieces<'a>(Body<'a>);

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.piece.min(into.len()).min(self.0.bytes.len());
        let (head, tail) = self.0.bytes.split_at(len);
        into[..len].copy_from_slice(head);
        self.0.bytes = tail;
        Ok(len)
    }
}

/// A table with these rules.
pub fn table(settings: Settings, admit: impl Admit + Send + 'static) -> Table {
    Table::new(settings, Box::new(admit), Labels::new())
}

/// Scrapes a body; `None` where it is refused as a whole.
pub fn scrape(table: &mut Table, body: Body<'_>) -> Option<(Counts, Parsed)> {
    table.begin(AT_MS);
    table.read_as(body.format);
    let fed = body.bytes.chunks(body.piece).try_for_each(|bytes| table.feed(bytes));
    match fed.and_then(|()| table.finish_body()) {
        Ok(counts) => {
            table.accept();
            Some((counts, table.take()))
        }
        Err(_) => {
            table.fail();
            table.take();
            None
        }
    }
}

/// What a table has read of one body, without what depends on the bodies before.
pub fn of_table(counts: &Counts, parsed: &Parsed) -> Reading {
    let labels_of = |series: u32| {
        let series = parsed.series.get(series);
        series.labels().chain([(METRIC_NAME, series.name())]).collect::<Labels<'_>>().to_string()
    };
    let mut reading = Reading {
        samples: counts.samples_scraped,
        bad: counts.bad_lines,
        duplicates: counts.duplicates,
        ..Reading::default()
    };
    for point in parsed.points.iter().filter(|point| !point.value.is_stale()) {
        let family = family_text(parsed.series.get(point.series).family());
        let (labels, value, own_ms) = (labels_of(point.series), value_text(point.value), point.own_ms);
        reading.lines.push(Line { labels, value, own_ms, family });
    }
    let exemplar = |exemplar: &Exemplar| {
        let Exemplar { series, labels, value, at_ms } = exemplar;
        format!("{} {labels} {value:?} {at_ms:?}", labels_of(*series))
    };
    reading.exemplars = parsed.exemplars.iter().map(exemplar).collect();
    reading.created = parsed.created.iter().map(|created| (labels_of(created.series), created.at_ms)).collect();
    reading.finish();
    reading
}

/// Forgets the families that the plain reading does not know.
pub fn forget_families(of_table: &mut Reading, plain: &Reading) {
    for (line, known) in of_table.lines.iter_mut().zip(&plain.lines) {
        if known.family.is_empty() {
            line.family.clear();
        }
    }
}

/// Whether a histogram is within its limits, and makes sense to whoever reads it.
pub fn check(histogram: &Histogram) {
    let sides = [
        (&histogram.positive_spans, &histogram.positive_counts),
        (&histogram.negative_spans, &histogram.negative_counts),
    ];
    for (spans, counts) in sides {
        assert!(spans.len() <= protobuf::SPANS_MAX && counts.len() <= protobuf::BUCKETS_MAX);
        assert_eq!(spans.iter().map(|span| span.length as usize).sum::<usize>(), counts.len());
        assert!(spans.iter().skip(1).all(|span| span.offset >= 0));
        assert!(!counts.iter().any(|&count| count < 0.0));
        spans
            .iter()
            .fold(0i32, |end, span| end.checked_add(span.offset).unwrap().checked_add_unsigned(span.length).unwrap());
    }
    assert!(matches!(histogram.schema, -4..=8 | -53));
}
