//! `promferry parse`: an exposition on stdin, every bad line named.

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;

use super::FAILED;
use crate::exposition::BadLine;
use crate::exposition::json;
use crate::exposition::text;

/// Bytes of one line of stdin.
const LINE_LENGTH_MAX: usize = 16 << 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The format that is read; OpenMetrics and protobuf are not supported yet
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Print a line a sample: {"name":…,"labels":{…},"value":"…","timestamp_ms":…}
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Text format 0.0.4, all that there is today
    Auto,
    /// Text format 0.0.4
    Text,
}

pub(super) fn main(arguments: Arguments) -> u8 {
    // One format so far: both words mean it.
    let (Format::Auto | Format::Text) = arguments.format;
    match read(io::stdin().lock(), &mut BufWriter::new(io::stdout().lock()), arguments.json) {
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

/// Reads all of `input`; returns how many lines of it are bad.
fn read(input: impl io::BufRead, output: &mut impl Write, is_json: bool) -> io::Result<u64> {
    let (mut samples, mut bad) = (0u64, 0u64);
    let mut line = Vec::new();
    let mut written = Ok(());
    text::parse_all(input, LINE_LENGTH_MAX, |read| match read {
        Ok((sample, _)) => {
            samples += 1;
            if is_json && written.is_ok() {
                line.clear();
                let labels = sample.labels.iter().filter(|(name, _)| *name != crate::model::METRIC_NAME);
                json::line(&mut line, &sample.name, labels, sample.value, sample.own_ms);
                written = output.write_all(&line);
            }
        }
        Err(error) => {
            bad += 1;
            let BadLine { line, column, found, expected } = error;
            eprintln!("stdin:{line}:{column}: {found} stands where {expected} was expected");
        }
    })?;
    written?;
    output.flush()?;
    if !is_json && bad == 0 {
        writeln!(output, "{samples} samples, all lines read")?;
    } else if bad > 0 {
        eprintln!("{samples} samples; lines that cannot be read: {bad}");
    }
    Ok(bad)
}
