//! The page of one target: everything that is known about it.

use std::fmt::{self, Write};
use std::time::Duration;

use super::html::Html;
use super::query::View;
use super::sparkline;
use super::targets::{badge, certificate, error, samples, scraped};
use super::words::{count, span};
use crate::admin::headline::name;
use crate::admin::snapshot::{ScrapeMark, TargetSnapshot};
use crate::model::Labels;
use crate::net::text::prometheus_duration;

pub(super) fn section(out: &mut String, target: &TargetSnapshot, marks: &[ScrapeMark], now_ms: i64) -> fmt::Result {
    write!(
        out,
        "<section class=\"target\">\n<h1 id=\"headline\">{}{} {}</h1>\n",
        name(target).map(|name| format!("{} · ", Html(name))).unwrap_or_default(),
        Html(&target.url),
        badge(target.health)
    )?;
    error(out, target)?;
    out.push_str("\n<dl class=\"facts\">\n<div><dt>Last scrape</dt><dd>");
    scraped(out, target, now_ms)?;
    let took = target.scraped_ms.map_or_else(|| "–".to_owned(), |_| span(target.duration));
    write!(out, "</dd></div>\n<div><dt>Took</dt><dd>{took}</dd></div>\n")?;
    fact(out, "Samples", &samples(target))?;
    fact(out, "Failed scrapes since the start", &count(target.failures))?;
    fact(out, "Every", &prometheus_duration(target.interval))?;
    fact(out, "Timeout", &prometheus_duration(target.timeout))?;
    out.push_str("<div><dt>Its certificate</dt><dd>");
    certificate(out, target.certificate, now_ms)?;
    let job = View::of_job(&target.job).link();
    let job = job.strip_prefix("./").unwrap_or_default();
    writeln!(
        out,
        "</dd></div>\n<div><dt>Job</dt><dd><a href=\"../{}\">{}</a></dd></div>",
        Html(job),
        Html(&target.job)
    )?;
    if let Some(file) = &target.file {
        fact(out, "Announced by", &file.display().to_string())?;
    }
    out.push_str("</dl>\n<h2>Last scrapes</h2>\n");
    history(out, marks)?;
    labels(out, "Labels", "Labels of its samples", &target.labels)?;
    labels(out, "Discovered labels", "Labels before relabelling", &target.discovered)?;
    out.push_str("</section>\n");
    Ok(())
}

fn fact(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Html(value))
}

fn history(out: &mut String, marks: &[ScrapeMark]) -> fmt::Result {
    sparkline::scrapes(out, marks, "history")?;
    writeln!(
        out,
        "\n<p class=\"legend\">In words: {}. Each line is a scrape, as high as it took long; one that hangs from the top failed. The newest is at the right.</p>",
        sparkline::scrapes_in_words(marks)
    )?;
    if marks.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<details id=\"history-table\"><summary>The same as a table</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of scrapes\"><table>\n\
         <caption class=\"unseen\">Last scrapes, the newest first</caption>\n<thead><tr><th scope=\"col\">Scrape</th><th scope=\"col\">Went</th>\
         <th scope=\"col\" class=\"number\">Took</th><th scope=\"col\" class=\"number\">Samples</th></tr></thead>\n<tbody>\n",
    );
    for (before, mark) in marks.iter().rev().enumerate() {
        let place = match before {
            0 => "the last".to_owned(),
            before => format!("{before} before"),
        };
        let (went, samples) = match mark.samples {
            Some(samples) => ("well", count(samples.into())),
            None => ("<b class=\"bad\">failed</b>", "–".to_owned()),
        };
        let took = span(Duration::from_millis(mark.millis.into()));
        writeln!(
            out,
            "<tr><td>{place}</td><td>{went}</td><td class=\"number\">{took}</td><td class=\"number\">{samples}</td></tr>"
        )?;
    }
    out.push_str("</tbody></table></div></details>\n");
    Ok(())
}

fn labels(out: &mut String, title: &str, caption: &str, labels: &Labels<'_>) -> fmt::Result {
    writeln!(
        out,
        "<h2>{title}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n\
         <caption class=\"unseen\">{caption}</caption>\n<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Value</th></tr></thead>\n<tbody>"
    )?;
    for (name, value) in labels.iter() {
        writeln!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th><td><code>{}</code></td></tr>",
            Html(name),
            Html(value)
        )?;
    }
    out.push_str("</tbody></table></div>\n");
    Ok(())
}
