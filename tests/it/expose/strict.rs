//! A reader that takes nothing amiss silently: what is wrong with an exposition, by the letter of its format.
//!
//! Text format 0.0.4 and OpenMetrics 1.0. The grammar of a line is the product's own parser's; the order of lines, names,
//! types and groups is judged here.

use std::collections::{BTreeMap, HashSet};

use promferry::exposition::openmetrics::parse_strict;

/// A sample: name, labels, value, and in OpenMetrics its exemplar, all as text.
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: String,
    pub exemplar: Option<String>,
}

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    has_samples: bool,
    metrics: HashSet<BTreeMap<String, String>>,
    metric: Option<BTreeMap<String, String>>,
    last_bound: Option<f64>,
    is_infinity_seen: bool,
}

struct Reader {
    is_openmetrics: bool,
    problems: Vec<String>,
    families: HashSet<String>,
    claimed: HashSet<String>,
    series: HashSet<(String, BTreeMap<String, String>)>,
    family: Option<Family>,
    samples: Vec<Sample>,
}

fn suffixes(is_openmetrics: bool, kind: &str) -> &'static [&'static str] {
    match (kind, is_openmetrics) {
        ("counter", true) => &["_total", "_created"],
        ("histogram", true) => &["_bucket", "_sum", "_count", "_created"],
        ("histogram", false) => &["_bucket", "_sum", "_count"],
        ("gaugehistogram", true) => &["_bucket", "_gsum", "_gcount"],
        ("summary", true) => &["", "_sum", "_count", "_created"],
        ("summary", false) => &["", "_sum", "_count"],
        ("info", true) => &["_info"],
        _ => &[""],
    }
}

/// Reads an exposition; panics with all problems where there is one.
pub fn read(is_openmetrics: bool, text: &str) -> Vec<Sample> {
    let mut reader = Reader {
        is_openmetrics,
        problems: Vec::new(),
        families: HashSet::new(),
        claimed: HashSet::new(),
        series: HashSet::new(),
        family: None,
        samples: Vec::new(),
    };
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    let mut is_ended = false;
    for line in text.lines() {
        if is_ended {
            reader.problem(line, "a line after # EOF");
        }
        match line.strip_prefix("# ") {
            Some("EOF") if is_openmetrics => is_ended = true,
            Some(comment) => reader.comment(comment),
            None => reader.sample(line),
        }
    }
    reader.end_family();
    if is_openmetrics && !is_ended {
        reader.problem("", "no # EOF");
    }
    if is_openmetrics {
        parse_strict(text.as_bytes(), text.len(), |line| {
            // Labels are served as targets have them, also where their names begin with an underscore.
            let is_ours = |bad: &String| !bad.contains("they are reserved");
            reader.problems.extend(line.err().map(|bad| bad.to_string()).filter(is_ours));
        })
        .unwrap();
    }
    assert!(reader.problems.is_empty(), "{}\nin\n{text}", reader.problems.join("\n"));
    reader.samples
}

impl Reader {
    fn problem(&mut self, line: &str, what: &str) {
        self.problems.push(format!("{what}: {line}"));
    }

    fn comment(&mut self, comment: &str) {
        let (word, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        // A quoted name has no blank in these tests.
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = name.trim_matches('"').to_owned();
        if self.family.as_ref().is_none_or(|family| family.name != name) {
            self.end_family();
            if !self.families.insert(name.clone()) {
                self.problem(comment, "a family comes twice");
            }
            self.family = Some(Family { name: name.clone(), ..Family::default() });
        } else if self.family.as_ref().is_some_and(|family| family.has_samples) {
            self.problem(comment, "metadata after samples");
        }
        match word {
            "TYPE" => {
                let had = self.family.as_mut().map(|family| std::mem::replace(&mut family.kind, text.to_owned()));
                if had.is_some_and(|had| !had.is_empty()) {
                    self.problem(comment, "a second TYPE");
                }
                self.claim(&name, text);
            }
            "UNIT" if self.is_openmetrics && !name.ends_with(&format!("_{text}")) => {
                self.problem(comment, "a unit that the name does not end in");
            }
            "HELP" | "UNIT" => {}
            _ => self.problem(comment, "an unknown comment"),
        }
    }

    /// No two families may lay claim to one name.
    fn claim(&mut self, name: &str, kind: &str) {
        let names: HashSet<String> =
            suffixes(self.is_openmetrics, kind).iter().chain(&[""]).map(|suffix| format!("{name}{suffix}")).collect();
        for name in names {
            if !self.claimed.insert(name.clone()) {
                self.problem(&name, "two families claim a name");
            }
        }
    }

    fn end_family(&mut self) {
        if let Some(family) = &mut self.family {
            let is_histogram = family.kind.contains("histogram");
            if !family.has_samples || (is_histogram && !family.is_infinity_seen) {
                let what = format!("family {} has no samples, or a metric without its +Inf bucket", family.name);
                self.problems.push(what);
            }
        }
    }

    fn sample(&mut self, line: &str) {
        // No value of a label has this in it in these tests.
        let (line, exemplar) = match line.split_once(" # ") {
            Some((line, exemplar)) if self.is_openmetrics => (line, Some(exemplar.to_owned())),
            _ => (line, None),
        };
        let parsed = match promferry::exposition::text::parse_line(line.as_bytes()) {
            Ok(promferry::exposition::text::Line::Sample(sample)) => sample,
            _ => return self.problem(line, "no sample"),
        };
        let name = parsed.name.clone().into_owned();
        let labels: BTreeMap<String, String> =
            parsed.labels.iter().filter(|(key, _)| *key != "__name__").map(|(k, v)| (k.into(), v.into())).collect();
        if !self.series.insert((name.clone(), labels.clone())) {
            self.problem(line, "a series comes twice");
        }
        let value = line.rsplit(' ').next().unwrap_or_default().to_owned();
        if let Err(what) = self.place(&name, &labels) {
            self.problem(line, what);
        }
        if let Some(exemplar) = &exemplar {
            self.exemplar(&name, &labels, exemplar);
        }
        self.samples.push(Sample { name, labels, value, exemplar });
    }

    fn exemplar(&mut self, name: &str, labels: &BTreeMap<String, String>, exemplar: &str) {
        let kind = self.family.as_ref().map(|family| family.kind.as_str()).unwrap_or_default();
        let is_bucket = kind.ends_with("histogram") && name.ends_with("_bucket");
        let may_have = is_bucket || kind == "counter" && name.ends_with("_total");
        let bound = labels.get("le").filter(|_| is_bucket).and_then(|le| le.parse::<f64>().ok());
        let (own, rest) = exemplar.split_at(exemplar.rfind('}').map_or(0, |at| at + 1));
        let value = rest.split(' ').nth(1).and_then(|value| value.parse::<f64>().ok());
        let is_within = match (value, bound) {
            (Some(value), Some(bound)) => value <= bound,
            (value, None) => value.is_some(),
            _ => false,
        };
        if !may_have || !is_within || !own.starts_with('{') {
            self.problem(exemplar, "an exemplar that may not be here");
        }
    }

    fn place(&mut self, name: &str, labels: &BTreeMap<String, String>) -> Result<(), &'static str> {
        let family = self.family.as_mut().ok_or("a sample without a family")?;
        family.has_samples = true;
        let suffix = name.strip_prefix(family.name.as_str()).ok_or("a sample of another family")?;
        if !suffixes(self.is_openmetrics, &family.kind).contains(&suffix) {
            return Err("a name that does not fit the family's type");
        }
        let is_bucket = suffix == "_bucket" && family.kind.contains("histogram");
        let is_quantile = suffix.is_empty() && family.kind == "summary";
        let inner = if is_bucket { "le" } else { "quantile" };
        let mut metric = labels.clone();
        let bound = if is_bucket || is_quantile { metric.remove(inner) } else { None };
        if family.metric.as_ref() != Some(&metric) {
            if family.kind.contains("histogram") && family.metric.is_some() && !family.is_infinity_seen {
                return Err("the metric before has no +Inf bucket");
            }
            if !family.metrics.insert(metric.clone()) {
                return Err("a metric's samples are not together");
            }
            (family.metric, family.last_bound, family.is_infinity_seen) = (Some(metric), None, false);
        }
        if is_bucket || is_quantile {
            let bound: f64 = bound.ok_or("no bound")?.parse().map_err(|_| "a bound that is no number")?;
            if family.last_bound.is_some_and(|last| last >= bound) {
                return Err("bounds do not rise");
            }
            family.last_bound = Some(bound);
            family.is_infinity_seen |= bound == f64::INFINITY;
        }
        Ok(())
    }
}
