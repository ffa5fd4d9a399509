//! Samples as each side has them, in one form: what a target said, what a file holds, what a receiver stored.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A name and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    /// A label's value; empty where it is not there.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Values by series and milliseconds since 1970, as text that all sides would write alike.
pub type Samples = BTreeMap<(Series, i64), String>;

/// The lines of a JSON file output; one that is still being written is left out. No sample may come twice.
pub fn of_lines(text: &str) -> Samples {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut samples = Samples::new();
    for line in whole.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let series = series(line["name"].as_str().unwrap(), &line["labels"]);
        let value = canonical(line["value"].as_str().unwrap());
        let is_new = samples.insert((series, line["timestamp_ms"].as_i64().unwrap()), value).is_none();
        assert!(is_new, "twice: {line}");
    }
    samples
}

/// Documents of the `timeseries` shape, a line each, where every other line is an action. No sample may come twice.
pub fn of_bulk<'b>(bodies: impl Iterator<Item = &'b str>) -> Samples {
    let mut samples = Samples::new();
    for line in bodies.flat_map(|body| body.lines().skip(1).step_by(2)) {
        let document: Json = serde_json::from_str(line).unwrap();
        let at: jiff::Timestamp = document["@timestamp"].as_str().unwrap().parse().unwrap();
        // The text of the numbers: serde_json's would be off by a bit.
        let metrics = line.split_once("\"metrics\":{").and_then(|(_, rest)| rest.split_once('}')).unwrap().0;
        for (name, value) in metrics.split(',').filter_map(|pair| pair.split_once(':')) {
            let series = series(name.trim_matches('"'), &document["labels"]);
            let is_new = samples.insert((series, at.as_millisecond()), canonical(value)).is_none();
            assert!(is_new, "twice: {line}");
        }
    }
    samples
}

/// The sample lines of a plain exposition: `name{label="value",…} value`, nothing escaped, no blank in a label's value.
pub fn of_body(body: &str) -> BTreeMap<Series, String> {
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.split_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
        (Series { name: name.to_owned(), labels }, canonical(value))
    };
    lines.map(sample).collect()
}

/// Says where two differ, in a few words: all of both would fill the screen.
pub fn assert_same(left: &Samples, right: &Samples) {
    let of = |a: &Samples, b: &Samples| {
        a.iter().find(|(key, value)| b.get(key) != Some(value)).map(|pair| format!("{pair:?}"))
    };
    let (only_left, only_right) = (of(left, right), of(right, left));
    let counts = (left.len(), right.len());
    assert!(left == right, "{counts:?} samples; left: {only_left:?}; right: {only_right:?}");
}

fn series(name: &str, labels: &Json) -> Series {
    let pair = |(name, value): (&String, &Json)| (name.clone(), value.as_str().unwrap().to_owned());
    Series { name: name.to_owned(), labels: labels.as_object().unwrap().iter().map(pair).collect() }
}

/// The shortest text of the value, whoever wrote it.
pub fn canonical(value: &str) -> String {
    match value {
        "+Inf" => "inf".to_owned(),
        "-Inf" => "-inf".to_owned(),
        value => value.parse::<f64>().unwrap().to_string(),
    }
}
