//! What is known of a target's series before any value is: under which names each is sent, and as what.

use std::collections::HashMap;

use super::text;
use crate::config::checked::{Mapping, Stat};
use crate::exposition::write;
use crate::model::{MetricType, SeriesRef, part_label};

/// Skipped: a bucket or a quantile, which the configuration leaves out.
pub const DETAIL: &str = "detail";

/// Rejected: the metric's name cannot be one of Datadog's.
pub const NAME: &str = "name";

/// How names and types become those of Datadog.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Stands before each name.
    pub namespace: String,
    /// Each that matches gives a name.
    pub mappings: Vec<Mapping>,
    /// Whether buckets of histograms are sent.
    pub buckets: bool,
    /// Whether quantiles of summaries are sent.
    pub quantiles: bool,
}

/// The series of one target. Series of one name share what is known.
#[derive(Default)]
pub struct Plan {
    series: Vec<u32>,
    meanings: Vec<Meaning>,
    /// By name, type, and whether it is a bucket or quantile.
    by_name: HashMap<(String, MetricType, bool), u32>,
}

/// What samples of a series become.
#[derive(Debug)]
pub enum Meaning {
    /// Lines, and a part of a sum.
    Sent {
        /// One after another.
        lines: Vec<Line>,
        /// What it is added to.
        sum: Option<Line>,
    },
    /// Nothing, for this reason.
    Skipped(&'static str),
    /// Nothing: what is wrong with the name.
    Refused(&'static str),
}

/// A line before its value is known.
#[derive(Debug)]
pub struct Line {
    /// The name and a colon.
    pub head: String,
    /// What it is sent as.
    pub stat: Stat,
    /// The value is multiplied by this.
    pub multiply: f64,
    /// Then this is added; nothing to a count.
    pub add: f64,
}

impl Plan {
    /// What samples of the series with this number become.
    pub fn meaning(&self, series: u32) -> &Meaning {
        &self.meanings[self.series[series as usize] as usize]
    }

    /// Adds the next series.
    pub fn add(&mut self, series: SeriesRef<'_>, naming: &Naming) {
        let kind = series.family().kind;
        let is_part = part_label(kind).is_some_and(|part| series.label(part).is_some());
        let key = (series.name().to_owned(), kind, is_part);
        let number = *self.by_name.entry(key).or_insert_with(|| {
            self.meanings.push(naming.meaning(&series, is_part));
            self.meanings.len() as u32 - 1
        });
        self.series.push(number);
    }
}

impl Naming {
    fn meaning(&self, series: &SeriesRef<'_>, is_part: bool) -> Meaning {
        let stat = match write::text_family(series).1 {
            MetricType::Histogram if is_part && !self.buckets => return Meaning::Skipped(DETAIL),
            MetricType::Summary if is_part && !self.quantiles => return Meaning::Skipped(DETAIL),
            MetricType::Summary if is_part => Stat::Gauge,
            MetricType::Counter | MetricType::Histogram | MetricType::Summary => Stat::Count,
            _ => Stat::Gauge,
        };
        let (mut lines, mut sum) = (Vec::new(), None);
        for mapping in &self.mappings {
            let Some(name) = mapping.rename.apply(series.name()) else { continue };
            match self.line(&name, mapping.stat.unwrap_or(stat), mapping.multiply, mapping.add) {
                Err(wrong) => return Meaning::Refused(wrong),
                Ok(line) if mapping.is_sum => sum = sum.or(Some(Line { stat: Stat::Gauge, ..line })),
                Ok(line) => lines.push(line),
            }
        }
        if lines.is_empty() && sum.is_none() {
            match self.line(series.name(), stat, 1.0, 0.0) {
                Ok(line) => lines.push(line),
                Err(wrong) => return Meaning::Refused(wrong),
            }
        }
        Meaning::Sent { lines, sum }
    }

    fn line(&self, name: &str, stat: Stat, multiply: f64, add: f64) -> Result<Line, &'static str> {
        let head = text::name(&self.namespace, name)? + ":";
        Ok(Line { head, stat, multiply, add })
    }
}

impl Line {
    /// The gauge's value, or the count's, of a sample; `None` for the first of a counter.
    pub fn value(&self, value: f64, rise: Option<f64>) -> Option<f64> {
        match self.stat {
            Stat::Gauge => Some(value * self.multiply + self.add),
            Stat::Count => rise.map(|rise| rise * self.multiply),
        }
    }
}
