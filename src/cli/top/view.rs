//! From what was seen to lines: what is wrong first, each line cut to the terminal's width, nothing in it that a terminal obeys.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use super::ask::{Asked, Health, Output, Seen, Target};
use super::screen::Key;
use crate::cli::style::Style;
use crate::net::text::{self, escaped};

/// Columns of a name.
const NAME_WIDTH_MAX: usize = 24;
/// Characters of a filter.
const FILTER_CHARS_MAX: usize = 200;

/// What comes first among the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// Those that are down
    Health,
    /// Those whose last scrape took longest
    Duration,
    /// Those with the most samples
    Samples,
    /// By URL
    Url,
}

/// What is shown, and how.
pub(super) struct View {
    address: String,
    sort: Sort,
    filter: String,
    is_typing: bool,
    style: Style,
    seen: Seen,
    /// Samples that each output delivered a second, between the last two looks.
    rates: HashMap<String, f64>,
    /// Samples that were scraped a second.
    scrape_rate: Option<f64>,
    /// Why the last look failed.
    problem: Option<String>,
}

impl View {
    pub(super) fn new(address: String, sort: Sort, filter: String, style: Style, seen: Seen) -> Self {
        let is_typing = false;
        let rates = HashMap::new();
        Self { address, sort, filter, is_typing, style, seen, rates, scrape_rate: None, problem: None }
    }

    /// Whether keys are text for the filter.
    pub(super) fn is_typing(&self) -> bool {
        self.is_typing
    }

    /// What the latest look said. Where it failed, what was seen before stays.
    pub(super) fn note(&mut self, asked: Asked) {
        let seen = match asked {
            Ok(seen) => seen,
            Err(problem) => {
                self.problem = Some(problem);
                return;
            }
        };
        let seconds = seen.at.duration_since(self.seen.at).as_secs_f64().max(f64::MIN_POSITIVE);
        // A process that was started anew counts from zero.
        let rate = |now: u64, before: u64| now.checked_sub(before).map(|more| more as f64 / seconds);
        let before: HashMap<&str, u64> =
            self.seen.outputs.iter().map(|output| (output.name.as_str(), output.delivered)).collect();
        let rates = seen.outputs.iter().filter_map(|output| {
            Some((output.name.clone(), rate(output.delivered, *before.get(output.name.as_str())?)?))
        });
        self.rates = rates.collect();
        let scraped = seen.samples_scraped.zip(self.seen.samples_scraped);
        self.scrape_rate = scraped.and_then(|(now, before)| rate(now, before));
        (self.seen, self.problem) = (seen, None);
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: Key) {
        match key {
            Key::Char(c) if self.is_typing => {
                if self.filter.chars().count() < FILTER_CHARS_MAX {
                    self.filter.push(c);
                }
            }
            Key::Backspace if self.is_typing => {
                self.filter.pop();
            }
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Char('/') => self.is_typing = true,
            Key::Char('s') => {
                self.sort = match self.sort {
                    Sort::Health => Sort::Duration,
                    Sort::Duration => Sort::Samples,
                    Sort::Samples => Sort::Url,
                    Sort::Url => Sort::Health,
                }
            }
            Key::Quit | Key::Char(_) | Key::Backspace => {}
        }
    }

    /// All of it, in so many columns and lines. Where `height` is not bounded there are no keys to tell of.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let mut lines = Lines { style: self.style, width, lines: Vec::new() };
        self.head(&mut lines);
        lines.plain("");
        self.outputs(&mut lines);
        lines.plain("");
        let footer = usize::from(height != usize::MAX);
        let room = height.saturating_sub(lines.lines.len() + footer);
        self.targets(&mut lines, room);
        if footer > 0 {
            let at_foot = height.saturating_sub(1);
            lines.lines.resize(at_foot, String::new());
            let filter = match self.is_typing {
                true => format!("filter: {}_  (Enter keeps it, Esc clears it)", self.filter),
                false if self.filter.is_empty() => "/ filter".to_owned(),
                false => format!("/ filter: \"{}\"", self.filter),
            };
            lines.faint(&format!("q quit   s sort: {}   {filter}", self.sort.word()));
        }
        lines.lines
    }

    fn head(&self, lines: &mut Lines) {
        let seen = &self.seen;
        let version = seen.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        let up = seen.started.map(|started| format!(", up {}", ago(started, seen.time))).unwrap_or_default();
        let waiting = seen.waiting_for.as_deref().map(|what| format!(", not ready: {what}")).unwrap_or_default();
        let time = seen.time.strftime("%H:%M:%SZ");
        lines.strong(&format!("promferry{version} at {}{up}{waiting}; {time}", self.address));
        if let Some(problem) = &self.problem {
            lines.bad(&format!("{problem}; what stands here is of {time}"));
        }
        let (up, down) = (seen.count(Health::Up), seen.count(Health::Down));
        let failing = seen.outputs.iter().filter(|output| output.failing.is_some()).count();
        match &seen.headline {
            Some((severity, text)) => match severity.as_str() {
                "ok" => lines.good(text),
                "critical" => lines.bad(text),
                _ => lines.warning(text),
            },
            None if down + failing > 0 => {
                lines.warning(&format!("targets that are down: {down}; outputs that fail: {failing}"));
            }
            None => lines.good("no target is down, and no output fails"),
        }
        let mut facts = vec![format!("targets: {up} up, {down} down, {} not scraped yet", seen.count(Health::Unknown))];
        facts.extend(seen.dropped.map(|dropped| format!("{dropped} left out")));
        facts.extend(self.scrape_rate.map(|rate| format!("scraped: {} samples/s", number(rate))));
        facts.extend(seen.memory.map(|(used, limit)| {
            let limit = limit.map(|limit| format!(" of {}", mebibytes(limit))).unwrap_or_default();
            format!("memory: {}{limit}", mebibytes(used))
        }));
        lines.plain(&facts.join("; "));
    }

    fn outputs(&self, lines: &mut Lines) {
        let outputs = &self.seen.outputs;
        let name = name_width("OUTPUT", outputs.iter().map(|output| output.name.as_str()));
        let kind = name_width("KIND", outputs.iter().map(|output| output.kind.as_str()));
        let row = |cells: [&str; 8]| {
            let [a, b, c, d, e, f, g, h] = cells;
            let (a, b) = (cell(a, name), cell(b, kind));
            format!("{a}  {b}  {c:<7}  {d:>9}  {e:>11}  {f:>6}  {g:>6}  {h:>9}")
        };
        lines.faint(&row(["OUTPUT", "KIND", "STATE", "SAMPLES/S", "WAITING", "QUEUE", "LAG", "LOST"]));
        for output in outputs {
            let state = if output.failing.is_some() { "failing" } else { "fine" };
            let rate = self.rate(output).map(number).unwrap_or_else(unknown);
            let fill = output.fill_percent.map(|percent| format!("{percent}%")).unwrap_or_else(unknown);
            let lag = output.lag_seconds.and_then(|lag| Duration::try_from_secs_f64(lag).ok());
            let lag = lag.map(brief).unwrap_or_else(unknown);
            let (waiting, lost) = (grouped(output.waiting), grouped(output.lost));
            let line = row([&output.name, &output.kind, state, &rate, &waiting, &fill, &lag, &lost]);
            match &output.failing {
                Some(failing) => {
                    lines.bad(&line);
                    lines.plain(&format!("    {failing}"));
                }
                None if output.lost > 0 => lines.warning(&line),
                None => lines.plain(&line),
            }
        }
    }

    /// Between the last two looks, or else in the last step that the process itself has counted.
    fn rate(&self, output: &Output) -> Option<f64> {
        self.rates.get(&output.name).copied().or(output.recent_rate)
    }

    fn targets(&self, lines: &mut Lines, room: usize) {
        let shown = self.chosen();
        let source = name_width("SOURCE", shown.iter().map(|target| target.source.as_str()));
        let row = |cells: [&str; 6]| {
            let [a, b, c, d, e, f] = cells;
            format!("{a:<7}  {b:>5}  {c:>7}  {d:>9}  {}  {f}", cell(e, source))
        };
        lines.faint(&row(["STATE", "AGO", "TOOK", "SAMPLES", "SOURCE", "TARGET"]));
        let first = lines.lines.len();
        for (at, target) in shown.iter().enumerate() {
            let left = shown.len() - at;
            let height = 1 + usize::from(!target.error.is_empty()) + usize::from(target.advice.is_some());
            // The last line says how many there are still.
            let reserved = usize::from(left > 1);
            if lines.lines.len() - first + height + reserved + 1 > room && room != usize::MAX {
                lines.faint(&format!("and {left} more"));
                return;
            }
            let health = match target.health {
                Health::Down => "down",
                Health::Unknown => "unknown",
                Health::Up => "up",
            };
            let scraped = target.scraped.map(|scraped| ago(scraped, self.seen.time)).unwrap_or_else(unknown);
            let took = target.scraped.map(|_| text::duration(target.took)).unwrap_or_else(unknown);
            let samples = target.samples.map(grouped).unwrap_or_else(unknown);
            let line = row([health, &scraped, &took, &samples, &target.source, &target.url]);
            match target.health {
                Health::Down => lines.bad(&line),
                Health::Unknown => lines.warning(&line),
                Health::Up => lines.plain(&line),
            }
            if !target.error.is_empty() {
                lines.plain(&format!("    {}", target.error));
            }
            if let Some(advice) = &target.advice {
                lines.faint(&format!("    {advice}"));
            }
        }
        if shown.is_empty() {
            let all = self.seen.targets.len();
            let said = if all == 0 { "no targets".to_owned() } else { format!("none of {all} has the filter's text") };
            lines.faint(&said);
        }
    }

    /// Those that the filter leaves, in order.
    fn chosen(&self) -> Vec<&Target> {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let is_chosen = |target: &&Target| {
            wanted.is_empty()
                || [&target.url, &target.source, &target.labels, &target.error].iter().any(|text| has(text))
        };
        let mut chosen: Vec<&Target> = self.seen.targets.iter().filter(is_chosen).collect();
        let place = |target: &Target| (target.source.clone(), target.url.clone());
        match self.sort {
            Sort::Health => chosen.sort_by_cached_key(|target| (target.health, place(target))),
            Sort::Duration => chosen.sort_by_cached_key(|target| (Reverse(target.took), place(target))),
            Sort::Samples => chosen.sort_by_cached_key(|target| (Reverse(target.samples), place(target))),
            Sort::Url => chosen.sort_by_cached_key(|target| (target.url.clone(), place(target))),
        }
        chosen
    }
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Duration => "duration",
            Self::Samples => "samples",
            Self::Url => "url",
        }
    }
}

/// Lines that are escaped, cut and then coloured.
struct Lines {
    style: Style,
    width: usize,
    lines: Vec<String>,
}

impl Lines {
    fn plain(&mut self, line: &str) {
        self.push(line, Style::plain);
    }

    fn good(&mut self, line: &str) {
        self.push(line, Style::good);
    }

    fn warning(&mut self, line: &str) {
        self.push(line, Style::warning);
    }

    fn bad(&mut self, line: &str) {
        self.push(line, Style::bad);
    }

    fn strong(&mut self, line: &str) {
        self.push(line, Style::strong);
    }

    fn faint(&mut self, line: &str) {
        self.push(line, Style::faint);
    }

    fn push<T: Display>(&mut self, line: &str, paint: impl Fn(Style, String) -> T) {
        let line = paint(self.style, cut(&escaped(line), self.width)).to_string();
        self.lines.push(line);
    }
}

/// The beginning of a text, in so many characters; `…` where there was more.
fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).take(width).collect(),
    }
}

/// The same, filled up to the width.
fn cell(text: &str, width: usize) -> String {
    format!("{:<width$}", cut(&escaped(text), width))
}

/// As wide as the longest, within limits.
fn name_width<'t>(title: &str, texts: impl Iterator<Item = &'t str>) -> usize {
    texts.map(|text| escaped(text).chars().count()).fold(title.len(), usize::max).min(NAME_WIDTH_MAX)
}

fn unknown() -> String {
    "-".to_owned()
}

/// `3s`, `5m`, `2h`, `9d`.
fn brief(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// How long before `now`; clocks of two machines may differ.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    brief(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// `1,234`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate: with a decimal where it is small.
fn number(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
