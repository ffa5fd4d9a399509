//! Logging: how a line looks, where it goes, and when something is worth one.
//!
//! Lines go to stderr, for people when it is a terminal and as JSON otherwise. What comes from outside (a label, a file's name, a
//! receiver's answer) ends up in fields, so each value is escaped and capped here, in one place: no value can begin a line
//! of its own, move a terminal's cursor or fill a disk.
//!
//! [`Edge`] and [`Recurrence`] are for whoever logs: they tell what is news from one more of the same.
//!
//! Left out on purpose: spans (the program logs constant messages with fields), and self-metrics, which `admin` makes of
//! snapshots.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Bytes of one field in a log line; longer ones are cut and end in `…`.
const FIELD_BYTES_MAX: usize = 4096;

/// What a level alone does not let through: of clients that break the rules of HTTP/2, the library warns in its own words, once for
/// each connection.
const QUIET: &str = "h2=error";

/// How log lines look: `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human when stderr is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// `TIME LEVEL message name=value …`, a line an event.
    Human,
    /// An object an event: `timestamp`, `level`, `message`, then the fields.
    Json,
}

/// Logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A level or filter cannot be read.
    #[error(
        "{origin} is \"{}\", which is no log level ({reason}); write error, warn, info, debug or trace, or a filter such as \"info,promferry::scrape=debug\"",
        Printable(value)
    )]
    Level {
        /// Where it was written.
        origin: &'static str,
        /// What was written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another logger is there already.
    #[error("logging was set up before")]
    Twice,
}

/// Begins logging to stderr. `level` is that of the command line; without it `RUST_LOG` counts, and without that `info`.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), TelemetryError> {
    let filter = filter(level, std::env::var("RUST_LOG").ok().as_deref())?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_colored = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = match format {
        LogFormat::Json => Lines::Json,
        LogFormat::Auto if !is_terminal => Lines::Json,
        LogFormat::Human | LogFormat::Auto => Lines::Human { is_colored },
    };
    tracing::subscriber::set_global_default(subscriber(lines, filter, std::io::stderr))
        .map_err(|_| TelemetryError::Twice)
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let environment = environment.filter(|value| !value.trim().is_empty());
    let (origin, value) = match (level, environment) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(value)) => ("RUST_LOG", value),
        (None, None) => ("the default level", "info"),
    };
    let wrong = |reason: String| TelemetryError::Level { origin, value: value.to_owned(), reason };
    let filter = EnvFilter::builder().parse(value).map_err(|error| wrong(error.to_string()))?;
    match ["warn", "info"].iter().any(|level| value.trim().eq_ignore_ascii_case(level)) {
        true => Ok(filter.add_directive(QUIET.parse().map_err(|error| wrong(format!("{QUIET}: {error}")))?)),
        false => Ok(filter),
    }
}

fn subscriber<W>(lines: Lines, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        // It would print to the same stderr, and panic where that is gone: the program must outlive whoever reads its log.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .event_format(lines)
        .with_writer(writer)
        .finish()
}

/// Text from outside, as a person may read it: control characters, line separators, what turns the direction of writing and
/// what cannot be seen are escaped as `\n` or `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| is_unprintable(*c)) {
            f.write_str(&rest[..at])?;
            match bad {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                other => write!(f, "\\u{{{:x}}}", u32::from(other))?,
            }
            rest = &rest[at + bad.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Whether a terminal would obey it, or a person not see it.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Tells when something begins, has a new cause, and ends: log edges, not ticks.
///
/// The caller names the cause by a key that stays the same while the trouble does (no counters, no times in it). What fails
/// now so, now so is news once for each cause until all is well, not at each change.
#[derive(Debug, Default)]
pub struct Edge {
    since: Option<Instant>,
    times: u64,
    told: Vec<String>,
}

/// Trouble that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How long it lasted.
    pub lasted: Duration,
    /// How often it was reported.
    pub times: u64,
}

impl Edge {
    /// Causes that are told of before all is well, at most.
    const TOLD_MAX: usize = 32;

    /// Something is wrong, because of `cause`. Whether that is worth a line.
    pub fn is_news(&mut self, cause: &str) -> bool {
        self.times += 1;
        self.since.get_or_insert_with(Instant::now);
        let is_news = self.told.len() < Self::TOLD_MAX && !self.told.iter().any(|told| told == cause);
        if is_news {
            self.told.push(cause.to_owned());
        }
        is_news
    }

    /// All is well. Gives what is over, the first time after trouble: log it.
    pub fn fine(&mut self) -> Option<Ended> {
        let lasted = self.since.take()?.elapsed();
        self.told.clear();
        Some(Ended { lasted, times: std::mem::take(&mut self.times) })
    }
}

/// Tells when trouble that comes and goes is worth a line: when there was none of it for ten minutes.
///
/// For what has no end to tell of, such as answers of which one has a flaw and the next one has not.
#[derive(Debug, Default)]
pub struct Recurrence {
    last: Option<Instant>,
}

impl Recurrence {
    /// Trouble was quiet for so long: it is news again.
    const QUIET: Duration = Duration::from_secs(600);

    /// It happened. Whether it is news.
    pub fn is_news(&mut self) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) > Self::QUIET)
    }
}

/// Writes an event as one line.
#[derive(Clone, Copy)]
enum Lines {
    Human { is_colored: bool },
    Json,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = jiff::Timestamp::now();
        let level = *event.metadata().level();
        let mut fields = Fields { lines: *self, message: String::new(), rest: String::new() };
        event.record(&mut fields);
        match self {
            Self::Human { is_colored } => {
                let (on, off) = if *is_colored { (color(level), "\u{1b}[0m") } else { ("", "") };
                writeln!(out, "{now:.3} {on}{level:>5}{off} {}{}", fields.message, fields.rest)
            }
            Self::Json => {
                let (level, module) = (level.as_str().to_ascii_lowercase(), event.metadata().target());
                let message = if fields.message.is_empty() { "\"\"" } else { &fields.message };
                writeln!(
                    out,
                    r#"{{"timestamp":"{now:.3}","level":"{level}","message":{message},"module":{}{}}}"#,
                    Json(module),
                    fields.rest
                )
            }
        }
    }
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    }
}

/// A JSON string.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// Collects the fields of an event, each as it will stand in the line.
struct Fields {
    lines: Lines,
    message: String,
    /// All but the message.
    rest: String,
}

impl Fields {
    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > FIELD_BYTES_MAX {
            text.truncate(text.floor_char_boundary(FIELD_BYTES_MAX));
            text.push('…');
        }
        // Writing to a `String` does not fail.
        let _ = match (self.lines, field.name()) {
            (Lines::Human { .. }, "message") => write!(self.message, "{}", Printable(&text)),
            (Lines::Human { .. }, name) if is_bare(&text) => write!(self.rest, " {name}={}", Printable(&text)),
            (Lines::Human { .. }, name) => {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                write!(self.rest, " {name}=\"{}\"", Printable(&text))
            }
            (Lines::Json, "message") => write!(self.message, "{}", Json(&text)),
            (Lines::Json, name) => write!(self.rest, ",{}:{}", Json(name), Json(&text)),
        };
    }

    /// What needs no quotes in JSON either.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        let name = field.name();
        let _ = match self.lines {
            Lines::Human { .. } => write!(self.rest, " {name}={value}"),
            Lines::Json => write!(self.rest, ",{}:{value}", Json(name)),
        };
    }
}

/// Whether a person sees where a value ends without quotes around it.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\'))
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.text(field, text);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.plain(field, value) } else { self.text(field, value.to_string()) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(lines: Lines, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(lines, filter(None, None).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m\u{202e}";

    fn log_what_comes_from_outside() {
        let error = std::io::Error::other(FORGED);
        tracing::warn!(target: "t", a = FORGED, b = %FORGED, c = ?FORGED, d = &error as &dyn std::error::Error, "trouble {FORGED}");
    }

    #[test]
    fn no_value_can_forge_a_line_for_people() {
        let text = logged(Lines::Human { is_colored: false }, log_what_comes_from_outside);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_unprintable), "{text:?}");
        assert!(
            text.contains(r#" WARN trouble x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m\u{202e} a="x\n2026"#)
        );
    }

    #[test]
    fn no_value_can_forge_a_line_of_json() {
        let text = logged(Lines::Json, log_what_comes_from_outside);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["level"].as_str(), line["a"].as_str()), (Some("warn"), Some(FORGED)));
        assert_eq!((line["b"].as_str(), line["d"].as_str()), (Some(FORGED), Some(FORGED)));
        assert_eq!(line["message"], format!("trouble {FORGED}"));
    }

    #[test]
    fn fields_are_typed_and_capped() {
        let long = "é".repeat(FIELD_BYTES_MAX);
        let text = logged(Lines::Json, || tracing::info!(n = 3, yes = true, f = f64::NAN, long, "all is well"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["n"], &line["yes"], &line["f"]), (&3.into(), &true.into(), &"NaN".into()));
        assert_eq!(line["long"].as_str().unwrap().len(), FIELD_BYTES_MAX + "…".len());
        let text =
            logged(Lines::Human { is_colored: false }, || tracing::info!(n = 3, s = "a b", e = "", "all is well"));
        assert!(text.ends_with("  INFO all is well n=3 s=\"a b\" e=\"\"\n"), "{text}");
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        assert_eq!(filter(Some("debug"), Some("error")).unwrap().to_string(), "debug");
        assert_eq!(filter(None, Some("error")).unwrap().to_string(), "error");
        assert_eq!(filter(None, Some(" ")).unwrap().to_string(), "h2=error,info");
        assert_eq!(filter(Some("info,promferry=debug"), None).unwrap().to_string(), "promferry=debug,info");
        let error = filter(Some("promferry=loud"), None).unwrap_err().to_string();
        assert!(error.starts_with("--log-level is \"promferry=loud\", which is no log level ("), "{error}");
    }

    #[test]
    fn an_edge_tells_each_cause_once_and_the_end() {
        let mut edge = Edge::default();
        assert_eq!(edge.fine(), None);
        let told = ["a", "a", "b", "a", "b"].map(|cause| edge.is_news(cause));
        assert_eq!(told, [true, false, true, false, false]);
        assert_eq!(edge.fine().map(|ended| ended.times), Some(5));
        assert_eq!(edge.fine(), None);
        assert!(edge.is_news("b"));
    }
}
