//! `promferry parse`: an exposition on stdin, every bad line named.

use std::io::{self, BufRead, BufWriter, Read, Write};

use clap::ValueEnum;

use super::FAILED;
use crate::exposition::json::{self, Beside};
use crate::exposition::text::Sample;
use crate::exposition::{BadLine, Settings, openmetrics, protobuf, text};
use crate::model::{Labels, METRIC_NAME, Value};

/// Bytes of one line of stdin.
const LINE_LENGTH_MAX: usize = 16 << 20;

/// Bytes of stdin that are held until its format is known.
const AUTO_BYTES_MAX: usize = 64 << 20;

/// Bad lines that are told in full; the rest are counted.
const BAD_LINES_TOLD_MAX: u64 = 100;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The format that is read
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Print a line a sample: {"name":…,"labels":{…},"value":"…","timestamp_ms":…,"exemplars":[…]}, or "histogram":{…}
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Protobuf by how it starts, OpenMetrics where a line is "# EOF", else text; to know, up to 64 MiB are held, and a
    /// text that is longer is read as text format 0.0.4
    Auto,
    /// Text format 0.0.4, and 1.0.0 with its names in quotes
    Text,
    /// OpenMetrics 1.0, to the letter of its specification
    #[value(name = "openmetrics")]
    OpenMetrics,
    /// Delimited protobuf; a histogram that is native and classic gives the samples of both
    Protobuf,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    let mut output = BufWriter::new(io::stdout().lock());
    let mut report = Report { output: &mut output, is_json: arguments.json, samples: 0, bad: 0, written: Ok(()) };
    let result = read(arguments.format, io::stdin().lock(), &mut report).and_then(|()| report.finish());
    match result {
        Ok(0) => 0,
        Ok(_) => FAILED,
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("stdin: {error}");
            FAILED
        }
    }
}

/// Reads all of `input`.
fn read(format: Format, mut input: impl BufRead, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    match format {
        Format::Auto => {
            let mut held = Vec::new();
            input.by_ref().take(AUTO_BYTES_MAX as u64 + 1).read_to_end(&mut held)?;
            let is_whole = held.len() <= AUTO_BYTES_MAX;
            let format = match () {
                () if protobuf::is_likely(&held) => Format::Protobuf,
                () if is_whole && has_eof_line(&held) => Format::OpenMetrics,
                () => Format::Text,
            };
            read_as(format, io::Cursor::new(held).chain(input), report)
        }
        format => read_as(format, input, report),
    }
}

fn read_as(format: Format, input: impl BufRead, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    match format {
        Format::Auto | Format::Text => {
            text::parse_all(input, LINE_LENGTH_MAX, |line| report.line(line.map(|(sample, _)| sample)))
        }
        Format::OpenMetrics => {
            openmetrics::parse_strict(input, LINE_LENGTH_MAX, |line| report.line(line.map(|(sample, _)| sample)))
        }
        Format::Protobuf => {
            let settings = Settings { native_histograms: true, classic_histograms_too: true, ..Settings::default() };
            protobuf::parse_all(input, &settings, |metric| report.metric(metric.map(|(sample, _)| sample)))
        }
    }
}

/// Whether a line starts as the last one of OpenMetrics does. No other line can have this within.
fn has_eof_line(text: &[u8]) -> bool {
    text.starts_with(b"# EOF") || memchr::memmem::find(text, b"\n# EOF").is_some()
}

/// What is said of what was read.
struct Report<'o, W: Write> {
    output: &'o mut W,
    is_json: bool,
    samples: u64,
    bad: u64,
    written: io::Result<()>,
}

impl<W: Write> Report<'_, W> {
    fn line(&mut self, line: Result<&Sample<'_>, BadLine>) {
        match line {
            Ok(sample) => {
                let beside = Beside { exemplars: sample.exemplar.as_slice(), created_ms: None };
                self.sample(&sample.labels, Value::Float(sample.value), sample.own_ms, &beside);
            }
            Err(BadLine { line, column, found, expected }) => {
                self.bad(format_args!("stdin:{line}:{column}: {found} stands where {expected} was expected"));
            }
        }
    }

    fn metric(&mut self, metric: Result<&protobuf::Sample<'_>, protobuf::Error>) {
        match metric {
            Ok(sample) => {
                let beside = Beside { exemplars: &sample.exemplars, created_ms: sample.created_ms };
                self.sample(&sample.labels, sample.value(), sample.own_ms, &beside);
            }
            Err(error) => self.bad(format_args!("stdin: {error}")),
        }
    }

    fn sample(&mut self, labels: &Labels<'_>, value: Value<'_>, own_ms: Option<i64>, beside: &Beside<'_>) {
        self.samples += 1;
        if self.is_json && self.written.is_ok() {
            let mut line = Vec::new();
            let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            json::sample(&mut line, labels.get_or_empty(METRIC_NAME), others, value, own_ms, beside);
            self.written = self.output.write_all(&line);
        }
    }

    fn bad(&mut self, told: std::fmt::Arguments<'_>) {
        self.bad += 1;
        if self.bad <= BAD_LINES_TOLD_MAX {
            eprintln!("{told}");
        }
    }

    /// Says how many samples there were; returns how many lines are bad.
    fn finish(self) -> io::Result<u64> {
        self.written?;
        self.output.flush()?;
        if !self.is_json && self.bad == 0 {
            writeln!(self.output, "{} samples, all lines read", self.samples)?;
        } else if self.bad > 0 {
            eprintln!("{} samples; lines that cannot be read: {}", self.samples, self.bad);
        }
        Ok(self.bad)
    }
}
