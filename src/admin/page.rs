//! The page at `/`: targets, problems first, and outputs with their ledgers. Plain HTML that needs nothing else.
//!
//! Everything that is not written here is escaped, and control characters are made visible.

use std::fmt::{self, Write};

use super::api::{day, time};
use super::snapshot::{
    CertificateSnapshot, DiscoveryProblem, Health, MemorySnapshot, OutputSnapshot, Readiness, Snapshots,
    TargetSnapshot, Targets,
};
use crate::net::text::prometheus_duration as duration;
use crate::pipeline::Reasons;
use crate::telemetry::Printable;

/// Rows of one table; the rest are counted. The API has all of them.
const ROWS_MAX: usize = 1000;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>promferry</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
table { border-collapse: collapse; margin: .5rem 0 2rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #ddd; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.down { color: #b00020; } .unknown { color: #777; }
.error { color: #b00020; max-width: 50rem; overflow-wrap: anywhere; }
.labels { color: #555; font-size: 13px; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>promferry</h1>
"#;

/// Text from outside, safe between tags and in a quoted attribute.
struct Html<T>(T);

impl<T: fmt::Display> fmt::Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        for c in Printable(&text).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The page of this moment.
pub(super) fn page(snapshots: &dyn Snapshots) -> Result<String, fmt::Error> {
    let targets = snapshots.targets();
    let mut out = String::from(HEAD);
    write!(out, "<p>Version {}. ", env!("CARGO_PKG_VERSION"))?;
    match snapshots.readiness() {
        Readiness::Ready => out.push_str("Ready.</p>\n"),
        Readiness::Waiting(why) => writeln!(out, "Not ready: {}.</p>", Html(why.trim_end_matches('.')))?,
    }
    out.push_str("<p><a href=\"/metrics\">metrics</a> · <a href=\"/api/v1/targets\">targets as JSON</a> · <a href=\"/api/v1/outputs\">outputs as JSON</a></p>\n");
    problems(&mut out, &targets.problems)?;
    active(&mut out, &targets)?;
    dropped(&mut out, &targets)?;
    outputs(&mut out, &snapshots.outputs())?;
    certificates(&mut out, &snapshots.certificates())?;
    memory(&mut out, &snapshots.memory(), snapshots.scrapes().paused)?;
    out.push_str("</body>\n</html>\n");
    Ok(out)
}

fn problems(out: &mut String, problems: &[DiscoveryProblem]) -> fmt::Result {
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Discovery problems ({})</h2>\n<table>\n<tr><th>where<th>what</tr>", problems.len())?;
    for problem in problems.iter().take(ROWS_MAX) {
        writeln!(out, "<tr><td>{}<td class=\"error\">{}</tr>", Html(&problem.source), Html(&problem.message))?;
    }
    end_table(out, problems.len())
}

fn end_table(out: &mut String, rows: usize) -> fmt::Result {
    out.push_str("</table>\n");
    if rows > ROWS_MAX {
        writeln!(out, "<p>… and {} more</p>", rows - ROWS_MAX)?;
    }
    Ok(())
}

fn active(out: &mut String, targets: &Targets) -> fmt::Result {
    let mut rows: Vec<&TargetSnapshot> = targets.active.iter().collect();
    rows.sort_by(|a, b| (a.health, &a.job, &a.url).cmp(&(b.health, &b.job, &b.url)));
    let down = rows.iter().filter(|target| target.health == Health::Down).count();
    writeln!(out, "<h2>Targets ({}, {down} down)</h2>", rows.len())?;
    if rows.is_empty() {
        out.push_str("<p>None is being scraped.</p>\n");
        return Ok(());
    }
    out.push_str("<table>\n<tr><th>health<th>job<th>target<th>samples<th>last scrape<th>took<th>every<th>error</tr>\n");
    for target in rows.iter().take(ROWS_MAX) {
        let health = target.health.as_str();
        write!(out, "<tr><td class=\"{health}\">{health}<td>{}<td>{}", Html(&target.job), Html(&target.url))?;
        write!(out, "<div class=\"labels\">{}", Html(&target.labels))?;
        if let Some(file) = &target.file {
            write!(out, "<br>announced by {}", Html(file.display()))?;
        }
        if let Some(end) = target.certificate_not_after.and_then(day) {
            write!(out, "<br>certificate valid until {end}")?;
        }
        let scraped = target.scraped_ms.and_then(time).unwrap_or_else(|| "never".to_owned());
        write!(out, "</div><td class=\"number\">{}<td>{scraped}", target.samples)?;
        write!(out, "<td class=\"number\">{:.3} s<td>{}", target.duration.as_secs_f64(), duration(target.interval))?;
        writeln!(out, "<td class=\"error\">{}</tr>", Html(&target.error))?;
    }
    end_table(out, rows.len())
}

fn dropped(out: &mut String, targets: &Targets) -> fmt::Result {
    let count: usize = targets.dropped_counts.values().sum();
    if count == 0 && targets.dropped.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Dropped targets ({count})</h2>\n<table>\n<tr><th>job<th>discovered<th>why</tr>")?;
    for target in targets.dropped.iter().take(ROWS_MAX) {
        let (job, labels, reason) = (Html(&target.job), Html(&target.discovered), Html(&target.reason));
        writeln!(out, "<tr><td>{job}<td class=\"labels\">{labels}<td>{reason}</tr>")?;
    }
    end_table(out, targets.dropped.len())
}

fn outputs(out: &mut String, outputs: &[OutputSnapshot]) -> fmt::Result {
    writeln!(out, "<h2>Outputs ({})</h2>", outputs.len())?;
    if outputs.is_empty() {
        out.push_str("<p>There is none.</p>\n");
        return Ok(());
    }
    out.push_str(
        "<p>For each: offered + restored = delivered + duplicate + rejected + dropped + skipped + waiting.</p>\n<table>\n\
         <tr><th>output<th>where<th>offered<th>restored<th>delivered<th>duplicate<th>rejected<th>dropped<th>skipped<th>waiting<th>maybe doubled\
         <th>queue<th>last delivery<th>error</tr>\n",
    );
    for output in outputs {
        let (counts, settled) = (&output.counts, &output.counts.settled);
        write!(out, "<tr><td>{} ({})<td>", Html(&output.name), output.kind)?;
        for url in &output.urls {
            write!(out, "{}<br>", Html(url))?;
        }
        write!(out, "<td class=\"number\">{}<td class=\"number\">{}", counts.offered, counts.restored)?;
        write!(out, "<td class=\"number\">{}", settled.delivered)?;
        for reasons in [&settled.duplicate, &settled.rejected, &settled.dropped, &settled.skipped] {
            by_reason(out, reasons)?;
        }
        write!(out, "<td class=\"number\">{}<td class=\"number\">{}<td>", counts.waiting, counts.maybe_doubled)?;
        if let Some(queue) = &output.queue {
            write!(out, "{} of {} samples", queue.samples, queue.limits.samples)?;
            write!(out, "<br>{} of {} bytes", queue.bytes, queue.limits.bytes)?;
        }
        if let Some(disk) = &output.disk {
            write!(out, "<br>on disk: {} samples, {} bytes in {} files", disk.samples, disk.bytes, disk.segments)?;
            if disk.corrupt_records > 0 || disk.corrupt_bytes > 0 {
                let (records, bytes) = (disk.corrupt_records, disk.corrupt_bytes);
                write!(out, "<div class=\"error\">{records} records, {bytes} bytes could not be read back</div>")?;
            }
            if let Some(failing) = &disk.failing {
                write!(out, "<div class=\"error\">{}</div>", Html(failing))?;
            }
        }
        let delivered = output.status.delivered_ms.and_then(time).unwrap_or_else(|| "never".to_owned());
        writeln!(
            out,
            "<td>{delivered}<td class=\"error\">{}</tr>",
            Html(output.status.failing.as_deref().unwrap_or_default())
        )?;
    }
    out.push_str("</table>\n");
    Ok(())
}

fn certificates(out: &mut String, certificates: &[CertificateSnapshot]) -> fmt::Result {
    if certificates.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Certificates ({})</h2>\n<table>", certificates.len())?;
    out.push_str("<tr><th>file<th>shown as<th>valid until<th>error</tr>\n");
    for one in certificates.iter().take(ROWS_MAX) {
        let end = one.not_after.and_then(day).unwrap_or_else(|| "none is in use".to_owned());
        let problem = one.problem.as_deref().unwrap_or_default();
        writeln!(
            out,
            "<tr><td>{}<td>{}<td>{end}<td class=\"error\">{}</tr>",
            Html(&one.file),
            one.shown_as,
            Html(problem)
        )?;
    }
    end_table(out, certificates.len())
}

fn memory(out: &mut String, memory: &MemorySnapshot, paused: u64) -> fmt::Result {
    let MemorySnapshot { used, limit } = memory;
    write!(out, "<h2>Memory</h2>\n<p>{} bytes used, estimated", used.total())?;
    match limit {
        Some(limit) => write!(out, ", of {limit}")?,
        None => out.push_str("; there is no limit"),
    }
    writeln!(out, ": {used}. Scrapes left out because memory was short: {paused}.</p>")
}

fn by_reason(out: &mut String, reasons: &Reasons) -> fmt::Result {
    write!(out, "<td class=\"number\">{}", reasons.values().sum::<u64>())?;
    for (reason, samples) in reasons {
        write!(out, "<div class=\"labels\">{reason} {samples}</div>")?;
    }
    Ok(())
}
