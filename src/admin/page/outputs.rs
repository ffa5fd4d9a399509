//! The outputs: whether each delivers, and its account of every sample.

use std::fmt::{self, Write};

use super::html::Html;
use super::sparkline;
use super::targets::moment;
use super::words::{count, counted, rate, size, span};
use crate::admin::headline::{Overview, lost, lost_lately, output_anchor};
use crate::admin::snapshot::{OutputSnapshot, QueueSnapshot, RECENT_STEP, RecentMark, ServedSnapshot};
use crate::net::text::prometheus_duration;
use crate::pipeline::Reasons;
use crate::pipeline::disk::DiskState;

/// Whole steps over which the rate is taken: a minute.
const RATE_STEPS: usize = 6;

pub(super) fn section(out: &mut String, overview: &Overview) -> fmt::Result {
    let outputs = &overview.outputs;
    writeln!(
        out,
        "<section id=\"outputs\" aria-labelledby=\"outputs-h\">\n<h2 id=\"outputs-h\">Outputs <small>{}</small></h2>",
        outputs.len()
    )?;
    if outputs.is_empty() {
        out.push_str("<p>None is configured.</p>\n");
    }
    out.push_str("<div class=\"cards\">\n");
    for output in outputs {
        card(out, output, overview.now_ms)?;
    }
    out.push_str("</div>\n</section>\n");
    Ok(())
}

fn card(out: &mut String, output: &OutputSnapshot, now_ms: i64) -> fmt::Result {
    let anchor = output_anchor(output);
    let state = if output.status.failing.is_some() {
        "<span class=\"badge bad\"><span aria-hidden=\"true\">▼</span> failing</span>"
    } else if lost_lately(output) > 0 {
        "<span class=\"badge bad\"><span aria-hidden=\"true\">▼</span> losing samples</span>"
    } else if output.status.delivered_ms.is_none() && output.counts.settled.delivered == 0 {
        "<span class=\"badge\"><span aria-hidden=\"true\">○</span> nothing yet</span>"
    } else {
        "<span class=\"badge good\"><span aria-hidden=\"true\">●</span> delivers</span>"
    };
    writeln!(
        out,
        "<article class=\"card\" id=\"{anchor}\" aria-labelledby=\"{anchor}-h\">\n<h3 id=\"{anchor}-h\"><a href=\"#{anchor}\">{}</a> <small>{}</small> {state}</h3>",
        Html(&output.name),
        output.kind
    )?;
    for url in &output.urls {
        writeln!(out, "<p class=\"url\">{}</p>", Html(url))?;
    }
    if let Some(error) = &output.status.failing {
        writeln!(out, "<p class=\"error\">{}</p>", Html(error))?;
    }
    recent(out, &output.recent)?;
    out.push_str("<dl class=\"facts\">\n<div><dt>Last delivery</dt><dd>");
    moment(out, output.status.delivered_ms, now_ms)?;
    writeln!(out, "</dd></div>\n<div><dt>Waiting</dt><dd>{}</dd></div>", waiting(output))?;
    if output.status.requests > 0 {
        let (requests, failures) = (count(output.status.requests), count(output.status.failures));
        writeln!(out, "<div><dt>Requests</dt><dd>{requests}, {failures} without success</dd></div>")?;
        writeln!(out, "<div><dt>Sent</dt><dd>{}</dd></div>", size(output.status.bytes))?;
    }
    out.push_str("</dl>\n");
    if let Some(queue) = &output.queue {
        fill(out, queue)?;
    }
    if let Some(disk) = &output.disk {
        on_disk(out, disk)?;
    }
    if let Some(served) = &output.served {
        endpoint(out, served)?;
    }
    ledger(out, output)?;
    out.push_str("</article>\n");
    Ok(())
}

fn waiting(output: &OutputSnapshot) -> String {
    let samples = count(output.counts.waiting);
    match output.waited {
        Some(waited) if output.counts.waiting > 0 => format!("{samples} samples, the oldest for {}", span(waited)),
        _ => format!("{samples} samples"),
    }
}

fn recent(out: &mut String, marks: &[RecentMark]) -> fmt::Result {
    // The last step is not over.
    let Some((_, whole)) = marks.split_last() else { return Ok(()) };
    if marks.iter().all(|mark| mark.delivered == 0 && mark.lost == 0) {
        return Ok(());
    }
    sparkline::deliveries(out, marks)?;
    let whole = &whole[whole.len().saturating_sub(RATE_STEPS)..];
    if !whole.is_empty() {
        let delivered = whole.iter().fold(0, |sum: u64, mark| sum.saturating_add(mark.delivered));
        let seconds = RECENT_STEP.as_secs_f64() * whole.len() as f64;
        write!(out, "<p class=\"rate\"><b>{}</b> samples delivered</p>", rate(delivered as f64 / seconds))?;
    }
    out.push('\n');
    Ok(())
}

fn fill(out: &mut String, queue: &QueueSnapshot) -> fmt::Result {
    let limits = &queue.limits;
    let ratio = |of: u64, most: u64| if most == 0 { 0.0 } else { of as f64 / most as f64 };
    let ratio = ratio(queue.samples, limits.samples).max(ratio(queue.bytes as u64, limits.bytes as u64)).min(1.0);
    writeln!(
        out,
        "<p class=\"fill\">Queue <meter min=\"0\" max=\"100\" low=\"50\" high=\"80\" optimum=\"0\" value=\"{0:.1}\" aria-label=\"Queue fill\">{0:.0} %</meter> \
         {0:.0} % full: {1} of {2} samples, {3} of {4}, kept for {5}</p>",
        ratio * 100.0,
        count(queue.samples),
        count(limits.samples),
        size(queue.bytes as u64),
        size(limits.bytes as u64),
        prometheus_duration(limits.age)
    )
}

fn on_disk(out: &mut String, disk: &DiskState) -> fmt::Result {
    let files = counted(usize::try_from(disk.segments).unwrap_or(usize::MAX), "file");
    writeln!(out, "<p>On disk: {} samples, {} in {files}</p>", count(disk.samples), size(disk.bytes))?;
    if disk.corrupt_records > 0 || disk.corrupt_bytes > 0 {
        let (records, bytes) = (count(disk.corrupt_records), size(disk.corrupt_bytes));
        writeln!(out, "<p class=\"error\">{records} records and {bytes} on disk could not be read back</p>")?;
    }
    if let Some(failing) = &disk.failing {
        writeln!(out, "<p class=\"error\">{}</p>", Html(failing))?;
    }
    Ok(())
}

fn endpoint(out: &mut String, served: &ServedSnapshot) -> fmt::Result {
    write!(out, "<p>Serves {} targets; asked {} times.", count(served.targets), count(served.expositions))?;
    if served.refused > 0 {
        let refused = count(served.refused);
        write!(out, " <span class=\"bad\">{refused} requests were refused because too many were under way.</span>")?;
    }
    for (number, what) in [
        (served.duplicates_last, "samples left out as duplicates"),
        (served.type_clashes_last, "families served as untyped, because targets disagree about their type"),
        (served.quoted_names_last, "samples left out because their names need quotes"),
    ] {
        if number > 0 {
            write!(out, " In the last one {} {what}.", count(number))?;
        }
    }
    out.push_str("</p>\n");
    Ok(())
}

fn ledger(out: &mut String, output: &OutputSnapshot) -> fmt::Result {
    let (counts, settled) = (&output.counts, &output.counts.settled);
    let sum = |reasons: &Reasons| reasons.values().fold(0, |sum: u64, samples| sum.saturating_add(*samples));
    out.push_str("<h4>Ledger</h4>\n<p class=\"ledger\">");
    let term = |out: &mut String, before: &str, number: u64, name: &str, class: &str| {
        let class = if number > 0 { class } else { "" };
        write!(out, "{before}<span class=\"term{class}\"><b>{}</b> {name}</span>", count(number))
    };
    term(out, "", counts.offered, "offered", "")?;
    term(out, " + ", counts.restored, "restored", "")?;
    term(out, " = ", settled.delivered, "delivered", "")?;
    term(out, " + ", sum(&settled.duplicate), "duplicate", "")?;
    term(out, " + ", sum(&settled.rejected), "rejected", " bad")?;
    term(out, " + ", sum(&settled.dropped), "dropped", " bad")?;
    term(out, " + ", sum(&settled.skipped), "skipped", "")?;
    term(out, " + ", counts.waiting, "waiting", "")?;
    let total = count(counts.offered.saturating_add(counts.restored));
    match counts.imbalance() {
        0 => writeln!(
            out,
            " <span class=\"verdict good\"><span aria-hidden=\"true\">✓</span> adds up: {total} = {total}</span></p>"
        )?,
        by => writeln!(out, " <span class=\"verdict bad\">does not add up, by {by}: a bug</span></p>")?,
    }
    let fates = [
        ("duplicate", &settled.duplicate, ""),
        ("rejected", &settled.rejected, " class=\"bad\""),
        ("dropped", &settled.dropped, " class=\"bad\""),
        ("skipped", &settled.skipped, ""),
    ];
    if fates.iter().any(|(_, reasons, _)| !reasons.is_empty()) || counts.maybe_doubled > 0 {
        out.push_str("<dl class=\"reasons\">");
        for (fate, reasons, class) in fates.iter().filter(|(_, reasons, _)| !reasons.is_empty()) {
            let reasons: Vec<String> =
                reasons.iter().map(|(reason, samples)| format!("{reason} {}", count(*samples))).collect();
            write!(out, "<div><dt{class}>{fate}</dt><dd>{}</dd></div>", Html(reasons.join(", ")))?;
        }
        if counts.maybe_doubled > 0 {
            let number = count(counts.maybe_doubled);
            write!(out, "<div><dt>maybe stored twice</dt><dd>{number} of those delivered, by a resend</dd></div>")?;
        }
        out.push_str("</dl>\n");
    }
    if lost(output) == 0 {
        out.push_str("<p class=\"legend\">No sample was lost.</p>\n");
    }
    Ok(())
}
