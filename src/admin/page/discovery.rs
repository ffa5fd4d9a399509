//! Where targets come from: files, problems, and what was dropped.

use std::fmt::{self, Write};

use super::html::Html;
use super::words::{count, counted};
use crate::admin::headline::Overview;
use crate::admin::snapshot::FileState;

/// Rows of one table; the rest are counted.
const ROWS_MAX: usize = 200;

pub(super) fn section(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section id=\"discovery\" aria-labelledby=\"discovery-h\">\n<h2 id=\"discovery-h\">Discovery</h2>\n");
    problems(out, overview)?;
    files(out, overview)?;
    dropped(out, overview)?;
    out.push_str("</section>\n");
    Ok(())
}

/// Problems that are not those of a file: these stand beside the file.
fn problems(out: &mut String, overview: &Overview) -> fmt::Result {
    let problems = overview.other_problems();
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h3>Discovery problems ({})</h3>\n<ul class=\"problems\">", problems.len())?;
    for problem in problems.iter().take(ROWS_MAX) {
        out.push_str("<li>");
        if !problem.source.is_empty() {
            write!(out, "<code>{}</code>: ", Html(&problem.source))?;
        }
        writeln!(out, "<span class=\"bad\">{}</span></li>", Html(&problem.message))?;
    }
    out.push_str("</ul>\n");
    more(out, problems.len())
}

fn more(out: &mut String, rows: usize) -> fmt::Result {
    match rows.checked_sub(ROWS_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "<p>… and {} more</p>", count(more as u64)),
    }
}

fn files(out: &mut String, overview: &Overview) -> fmt::Result {
    let [good, off, broken] = overview.count_files();
    if overview.files.is_empty() {
        out.push_str("<p>No file that announces targets was found, or none is looked for.</p>\n");
        return Ok(());
    }
    let mut sorted: Vec<_> = overview.files.iter().collect();
    sorted.sort_by_key(|file| match file.state {
        FileState::Broken { .. } => 0,
        FileState::Good(_) => 1,
        FileState::Off(_) => 2,
    });
    writeln!(
        out,
        "<h3>Files ({})</h3>\n<p>Announcing targets: {good}, switched off: {off}, broken: {broken}.</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of files\"><table class=\"files\">\n\
         <caption class=\"unseen\">Files that announce targets, broken ones first</caption>\n\
         <thead><tr><th scope=\"col\">State</th><th scope=\"col\">File</th><th scope=\"col\">What it says</th></tr></thead>\n<tbody>",
        overview.files.len()
    )?;
    for file in sorted.iter().take(ROWS_MAX) {
        let path = Html(file.path.display());
        match &file.state {
            FileState::Good(targets) => writeln!(
                out,
                "<tr><td><span class=\"badge good\"><span aria-hidden=\"true\">●</span> good</span></td><td>{path}</td><td>{}</td></tr>",
                counted(*targets, "target")
            )?,
            FileState::Off(why) => writeln!(
                out,
                "<tr><td><span class=\"badge\"><span aria-hidden=\"true\">○</span> off</span></td><td>{path}</td><td>{}</td></tr>",
                Html(why)
            )?,
            FileState::Broken { problem, consequence } => writeln!(
                out,
                "<tr><td><span class=\"badge bad\"><span aria-hidden=\"true\">▼</span> broken</span></td><td>{path}</td>\
                 <td><p class=\"error\">{}</p><p class=\"advice\">{}</p></td></tr>",
                Html(problem),
                Html(consequence)
            )?,
        }
    }
    out.push_str("</tbody></table></div>\n");
    more(out, sorted.len())
}

fn dropped(out: &mut String, overview: &Overview) -> fmt::Result {
    let targets = &overview.targets;
    let number: usize = targets.dropped_counts.values().sum();
    if number == 0 && targets.dropped.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<details id=\"dropped\"><summary>Dropped targets ({})</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of dropped targets\"><table>\n\
         <caption class=\"unseen\">Targets that were found and are not scraped</caption>\n\
         <thead><tr><th scope=\"col\">Job</th><th scope=\"col\">Why</th><th scope=\"col\">Discovered</th></tr></thead>\n<tbody>",
        count(number as u64)
    )?;
    for target in targets.dropped.iter().take(ROWS_MAX) {
        let (job, labels, reason) = (Html(&target.job), Html(&target.discovered), Html(&target.reason));
        writeln!(out, "<tr><td>{job}</td><td>{reason}</td><td class=\"labels\">{labels}</td></tr>")?;
    }
    out.push_str("</tbody></table></div>\n");
    more(out, number)?;
    out.push_str("</details>\n");
    Ok(())
}
