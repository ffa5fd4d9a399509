//! The process itself: certificates, memory, the registrar, what was scraped since the start.

use std::fmt::{self, Write};

use super::html::Html;
use super::targets::certificate;
use super::words::{count, size};
use crate::admin::headline::Overview;
use crate::admin::snapshot::{MemorySnapshot, RegistrarSnapshot, ScrapeCounts};

/// Rows of one table.
const ROWS_MAX: usize = 200;

pub(super) fn section(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section id=\"process\" aria-labelledby=\"process-h\">\n<h2 id=\"process-h\">Process</h2>\n<div class=\"cards\">\n");
    memory(out, &overview.memory)?;
    scrapes(out, &overview.scrapes)?;
    if let Some(registrar) = &overview.registrar {
        announced(out, registrar)?;
    }
    out.push_str("</div>\n");
    certificates(out, overview)?;
    out.push_str("<p><a href=\"config\">The configuration in force</a>, with secrets left out.</p>\n</section>\n");
    Ok(())
}

fn memory(out: &mut String, memory: &MemorySnapshot) -> fmt::Result {
    let (accounts, total) = (&memory.used.accounts, memory.used.total());
    out.push_str(
        "<article class=\"card\" id=\"memory\" aria-labelledby=\"memory-h\">\n<h3 id=\"memory-h\">Memory</h3>\n",
    );
    match memory.limit {
        Some(limit) if limit > 0 => writeln!(
            out,
            "<p class=\"fill\"><meter min=\"0\" max=\"100\" low=\"80\" high=\"90\" optimum=\"0\" value=\"{0:.1}\" aria-label=\"Memory used of its limit\">{0:.0} %</meter> \
             {1} of {2}, estimated</p>",
            (total as f64 / limit as f64 * 100.0).min(100.0),
            size(total),
            size(limit)
        )?,
        _ => writeln!(out, "<p>{} used, estimated; there is no limit.</p>", size(total))?,
    }
    out.push_str("<dl class=\"facts\">\n");
    for (name, bytes) in [
        ("Samples", accounts.samples),
        ("Series", accounts.series),
        ("Tables", accounts.tables),
        ("Bodies", accounts.bodies),
        ("The program itself", memory.used.rest),
    ] {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", size(bytes))?;
    }
    out.push_str("</dl>\n</article>\n");
    Ok(())
}

fn scrapes(out: &mut String, scrapes: &ScrapeCounts) -> fmt::Result {
    out.push_str("<article class=\"card\" id=\"scrapes\" aria-labelledby=\"scrapes-h\">\n<h3 id=\"scrapes-h\">Scrapes since the start</h3>\n<dl class=\"facts\">\n");
    for (name, number) in [
        ("Scrapes", count(scrapes.scrapes)),
        ("Failed", count(scrapes.failures)),
        ("Samples", count(scrapes.samples)),
        ("Read", size(scrapes.body_bytes)),
        ("Lines not understood", count(scrapes.bad_lines)),
        ("Samples twice in a scrape", count(scrapes.duplicates)),
        ("Left out, memory was short", count(scrapes.paused)),
    ] {
        writeln!(out, "<div><dt>{name}</dt><dd>{number}</dd></div>")?;
    }
    out.push_str("</dl>\n</article>\n");
    Ok(())
}

fn announced(out: &mut String, registrar: &RegistrarSnapshot) -> fmt::Result {
    let state = if registrar.is_connected {
        "<span class=\"badge good\"><span aria-hidden=\"true\">●</span> connected</span>"
    } else {
        "<span class=\"badge bad\"><span aria-hidden=\"true\">▼</span> not connected</span>"
    };
    writeln!(
        out,
        "<article class=\"card\" id=\"registrar\" aria-labelledby=\"registrar-h\">\n<h3 id=\"registrar-h\">Registrar {state}</h3>\n<dl class=\"facts\">\n\
         <div><dt>Entries</dt><dd>{}</dd></div>\n<div><dt>Messages sent</dt><dd>{}</dd></div>\n<div><dt>Not sent</dt><dd>{}</dd></div>\n</dl>\n</article>",
        registrar.entries,
        count(registrar.sent),
        count(registrar.failed)
    )
}

fn certificates(out: &mut String, overview: &Overview) -> fmt::Result {
    let all = &overview.certificates;
    writeln!(out, "<div id=\"certificates\">\n<h3>promferry&#39;s own certificates ({})</h3>", all.len())?;
    if all.is_empty() {
        out.push_str("<p>None is configured.</p>\n</div>\n");
        return Ok(());
    }
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of certificates\"><table class=\"files\">\n\
         <caption class=\"unseen\">Certificates that promferry shows</caption>\n\
         <thead><tr><th scope=\"col\">Valid</th><th scope=\"col\">File</th><th scope=\"col\">Shown as</th></tr></thead>\n<tbody>\n",
    );
    for one in all.iter().take(ROWS_MAX) {
        out.push_str("<tr><td>");
        match one.validity {
            Some(_) => certificate(out, one.validity, overview.now_ms)?,
            None => out.push_str("<b class=\"bad\">none is in use</b>"),
        }
        write!(out, "</td><td>{}", Html(&one.file))?;
        if let Some(problem) = &one.problem {
            write!(out, "<p class=\"error\">{}</p>", Html(problem))?;
        }
        writeln!(out, "</td><td>{}</td></tr>", one.shown_as)?;
    }
    out.push_str("</tbody></table></div>\n</div>\n");
    Ok(())
}
