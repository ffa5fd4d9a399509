//! The targets: search, filters, and one page of the table.

use std::fmt::{self, Write};

use super::html::Html;
use super::query::{PER_PAGE, Sort, View};
use super::sparkline;
use super::words::{ago, count, counted, days_left, span, validity};
use crate::admin::api::{day, time};
use crate::admin::headline::{Overview, authority, name};
use crate::admin::snapshot::{Health, ScrapeMark, Snapshots, TargetSnapshot};
use crate::net::certificate::Validity;

/// Jobs to choose from; all others can be searched for.
const JOBS_MAX: usize = 500;

const COLUMNS: [(Sort, &str); 7] = [
    (Sort::Health, "Health"),
    (Sort::Target, "Target"),
    (Sort::Job, "Job"),
    (Sort::Scraped, "Last scrape"),
    (Sort::Took, "Took"),
    (Sort::Samples, "Samples"),
    (Sort::Certificate, "Certificate"),
];

const HEALTHS: [Health; 3] = [Health::Down, Health::Unknown, Health::Up];

/// The whole section.
pub(super) fn section(out: &mut String, overview: &Overview, snapshots: &dyn Snapshots, view: &View) -> fmt::Result {
    let active = &overview.targets.active;
    writeln!(
        out,
        "<section id=\"targets\" aria-labelledby=\"targets-h\">\n<h2 id=\"targets-h\">Targets <small>{}</small></h2>",
        count(active.len() as u64)
    )?;
    if active.is_empty() {
        let how = match overview.on_request {
            Some(targets) => format!("{} scraped only when somebody asks.", counted(targets, "target")),
            None => "None is being scraped.".to_owned(),
        };
        writeln!(out, "<p>{how} Under <a href=\"#discovery\">discovery</a> is what was looked at.</p>\n</section>")?;
        return Ok(());
    }
    let mut found: Vec<&TargetSnapshot> = active.iter().filter(|target| view.finds(target)).collect();
    let of_health = HEALTHS.map(|health| found.iter().filter(|target| target.health == health).count());
    filters(out, overview, view, found.len(), of_health)?;
    found.retain(|target| view.health.is_none_or(|health| health == target.health));
    if found.is_empty() {
        out.push_str(
            "<p id=\"none\">No target matches. <a href=\"./#targets\" data-view>Show all</a></p>\n</section>\n",
        );
        return Ok(());
    }
    sort(&mut found, view);
    let pages = found.len().div_ceil(view.per_page);
    let page = view.page.min(pages);
    let first = (page - 1) * view.per_page;
    let rows: Vec<&TargetSnapshot> = found.iter().skip(first).take(view.per_page).copied().collect();
    let ids: Vec<u64> = rows.iter().map(|target| target.id).collect();
    let histories = snapshots.histories(&ids);
    table(out, overview, view, &rows, &histories, of_health)?;
    paging(out, view, page, pages, first, found.len())?;
    out.push_str("</section>\n");
    Ok(())
}

fn sort(found: &mut [&TargetSnapshot], view: &View) {
    found.sort_by(|a, b| {
        let of_column = match view.sort {
            Sort::Health => a.health.cmp(&b.health),
            Sort::Target => a.url.cmp(&b.url),
            Sort::Job => a.job.cmp(&b.job),
            // The newest is the least old.
            Sort::Scraped => b.scraped_ms.cmp(&a.scraped_ms),
            Sort::Took => a.duration.cmp(&b.duration),
            Sort::Samples => a.samples.cmp(&b.samples),
            // Those without one come last.
            Sort::Certificate => {
                let end = |target: &TargetSnapshot| target.certificate.map_or(i64::MAX, |valid| valid.not_after);
                end(a).cmp(&end(b))
            }
        };
        let of_column = if view.is_descending { of_column.reverse() } else { of_column };
        of_column.then_with(|| (&a.job, &a.url, a.id).cmp(&(&b.job, &b.url, b.id)))
    });
}

fn filters(out: &mut String, overview: &Overview, view: &View, found: usize, of_health: [usize; 3]) -> fmt::Result {
    out.push_str("<div class=\"filters\">\n<nav aria-label=\"Targets by health\"><ul class=\"tabs\">");
    tab(out, view, None, "All", found)?;
    for (health, number) in HEALTHS.into_iter().zip(of_health) {
        tab(out, view, Some(health), title(health), number)?;
    }
    out.push_str("</ul></nav>\n<form method=\"get\" action=\"./#targets\" role=\"search\" id=\"search\">\n");
    write!(
        out,
        "<label>Search <input type=\"search\" name=\"q\" id=\"q\" maxlength=\"200\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"URL, label, error, file\" value=\"{}\"></label>\n<label>Job <select name=\"job\" id=\"job\">",
        Html(&view.search)
    )?;
    let mut jobs: Vec<&str> = overview.targets.active.iter().map(|target| target.job.as_str()).collect();
    jobs.extend(view.job.as_deref());
    jobs.sort_unstable();
    jobs.dedup();
    jobs.truncate(JOBS_MAX);
    let selected = |is_it| if is_it { " selected" } else { "" };
    write!(out, "<option value=\"\"{}>all jobs</option>", selected(view.job.is_none()))?;
    for job in jobs {
        let is_it = selected(view.job.as_deref() == Some(job));
        write!(out, "<option value=\"{0}\"{is_it}>{0}</option>", Html(job))?;
    }
    out.push_str("</select></label>\n");
    if let Some(health) = view.health {
        hidden(out, "health", health.as_str())?;
    }
    if view.sort != Sort::default() {
        hidden(out, "sort", view.sort.as_str())?;
    }
    if view.is_descending {
        hidden(out, "order", "desc")?;
    }
    if view.per_page != PER_PAGE {
        hidden(out, "per_page", &view.per_page.to_string())?;
    }
    out.push_str("<button type=\"submit\">Show</button>");
    if *view != View::default() {
        out.push_str(" <a href=\"./#targets\" data-view class=\"button\">Clear</a>");
    }
    out.push_str("\n</form>\n</div>\n");
    Ok(())
}

fn hidden(out: &mut String, name: &str, value: &str) -> fmt::Result {
    write!(out, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
}

fn title(health: Health) -> &'static str {
    match health {
        Health::Down => "Down",
        Health::Unknown => "Not scraped yet",
        Health::Up => "Up",
    }
}

fn tab(out: &mut String, view: &View, health: Option<Health>, name: &str, number: usize) -> fmt::Result {
    let link = view.with_health(health).link();
    let current = if view.health == health { " aria-current=\"true\"" } else { "" };
    let class = health.map_or("all", Health::as_str);
    write!(
        out,
        "<li><a href=\"{}\" data-view class=\"{class}\"{current}>{name} <b>{}</b></a></li>",
        Html(link),
        count(number as u64)
    )
}

fn table(
    out: &mut String,
    overview: &Overview,
    view: &View,
    rows: &[&TargetSnapshot],
    histories: &[Vec<ScrapeMark>],
    of_health: [usize; 3],
) -> fmt::Result {
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of targets\">\n<table class=\"targets\">\n\
         <caption class=\"unseen\">Targets; the links in the header sort</caption>\n<thead><tr>",
    );
    for (sort, name) in COLUMNS {
        let is_it = view.sort == sort;
        let (aria, arrow) = match (is_it, view.is_descending) {
            (false, _) => ("", ""),
            (true, false) => (" aria-sort=\"ascending\"", " <span aria-hidden=\"true\">▲</span>"),
            (true, true) => (" aria-sort=\"descending\"", " <span aria-hidden=\"true\">▼</span>"),
        };
        let link = Html(view.sorted_by(sort).link());
        write!(out, "<th scope=\"col\"{aria}><a href=\"{link}\" data-view>{name}{arrow}</a></th>")?;
        if sort == Sort::Job {
            out.push_str("<th scope=\"col\">Last 60 scrapes</th>");
        }
    }
    out.push_str("</tr></thead>\n");
    let mut group = None;
    for (target, marks) in rows.iter().zip(histories) {
        if view.sort == Sort::Health && group != Some(target.health) {
            if group.is_some() {
                out.push_str("</tbody>\n");
            }
            group = Some(target.health);
            let number =
                HEALTHS.iter().zip(of_health).find(|(health, _)| **health == target.health).map_or(0, |(_, n)| n);
            let (health, title) = (target.health.as_str(), title(target.health));
            writeln!(
                out,
                "<tbody id=\"group-{health}\"><tr class=\"group\"><th colspan=\"8\" scope=\"rowgroup\">{title} ({})</th></tr>",
                count(number as u64)
            )?;
        } else if group.is_none() && std::ptr::eq(*target, rows[0]) {
            out.push_str("<tbody>\n");
        }
        row(out, overview, target, marks)?;
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    Ok(())
}

/// A word and a shape: colour is never alone.
pub(super) fn badge(health: Health) -> &'static str {
    match health {
        Health::Down => "<span class=\"badge bad\"><span aria-hidden=\"true\">▼</span> down</span>",
        Health::Unknown => "<span class=\"badge\"><span aria-hidden=\"true\">○</span> unknown</span>",
        Health::Up => "<span class=\"badge good\"><span aria-hidden=\"true\">●</span> up</span>",
    }
}

fn row(out: &mut String, overview: &Overview, target: &TargetSnapshot, marks: &[ScrapeMark]) -> fmt::Result {
    let (id, now) = (target.id, overview.now_ms);
    write!(out, "<tr id=\"t-{id:016x}\"><td class=\"health\">{}</td>", badge(target.health))?;
    out.push_str("<td class=\"what\">");
    if let Some(name) = name(target) {
        write!(out, "<b class=\"name\">{}</b> ", Html(name))?;
    }
    write!(out, "<a href=\"targets/{id:016x}\">{}</a>", Html(&target.url))?;
    error(out, target)?;
    labels(out, target)?;
    if let Some(file) = &target.file {
        write!(out, "<div class=\"labels\">announced by {}</div>", Html(file.display()))?;
    }
    let job = View::of_job(&target.job).link();
    write!(out, "</td><td data-is=\"Job\"><a href=\"{}\" data-view>{}</a></td>", Html(job), Html(&target.job))?;
    out.push_str("<td class=\"history\">");
    sparkline::scrapes(out, marks, "spark")?;
    out.push_str("</td><td data-is=\"Last scrape\">");
    scraped(out, target, now)?;
    let took = target.scraped_ms.map_or_else(|| "–".to_owned(), |_| span(target.duration));
    write!(out, "</td><td class=\"number\" data-is=\"Took\">{took}</td>")?;
    write!(out, "<td class=\"number\" data-is=\"Samples\">{}</td>", samples(target))?;
    out.push_str("<td data-is=\"Certificate\">");
    certificate(out, target.certificate, now)?;
    out.push_str("</td></tr>\n");
    Ok(())
}

/// Samples of the last scrape; of one that failed there are none to count.
pub(super) fn samples(target: &TargetSnapshot) -> String {
    if target.health == Health::Up { count(target.samples) } else { "–".to_owned() }
}

/// Its labels; not those that say the job, the name and the address once more.
fn labels(out: &mut String, target: &TargetSnapshot) -> fmt::Result {
    let is_said = |name: &str, value: &str| match name {
        "job" => value == target.job,
        "source_id" => true,
        "instance" => authority(&target.url) == value,
        _ => false,
    };
    let mut shown = target.labels.iter().filter(|(name, value)| !is_said(name, value)).peekable();
    if shown.peek().is_none() {
        return Ok(());
    }
    out.push_str("<ul class=\"labels\" aria-label=\"Labels\">");
    for (name, value) in shown {
        write!(out, "<li>{}=&quot;{}&quot;</li>", Html(name), Html(value))?;
    }
    out.push_str("</ul>");
    Ok(())
}

/// Why it is down, and what to do about it.
pub(super) fn error(out: &mut String, target: &TargetSnapshot) -> fmt::Result {
    if !target.error.is_empty() {
        write!(out, "<p class=\"error\">{}</p>", Html(&target.error))?;
    }
    if let Some(advice) = target.advice {
        write!(out, "<p class=\"advice\"><b>What to do:</b> {}</p>", Html(advice))?;
    }
    Ok(())
}

pub(super) fn scraped(out: &mut String, target: &TargetSnapshot, now_ms: i64) -> fmt::Result {
    moment(out, target.scraped_ms, now_ms)
}

/// How long ago, with the time itself for a pointer and for programs; `never`.
pub(super) fn moment(out: &mut String, ms: Option<i64>, now_ms: i64) -> fmt::Result {
    match ms.and_then(|ms| Some((ms, time(ms)?))) {
        None => out.write_str("never"),
        Some((ms, at)) => write!(out, "<time datetime=\"{at}\" title=\"{at}\">{}</time>", ago(ms, now_ms)),
    }
}

/// Until when it is valid, with a word where that is soon.
pub(super) fn certificate(out: &mut String, valid: Option<Validity>, now_ms: i64) -> fmt::Result {
    let Some((valid, at)) = valid.and_then(|valid| Some((valid, day(valid.not_after)?))) else {
        return out.write_str("–");
    };
    let end = valid.not_after;
    let class = match days_left(end, now_ms) {
        ..0 => " class=\"bad\"",
        _ if valid.ends_soon(now_ms.div_euclid(1000)) => " class=\"warn\"",
        _ => "",
    };
    write!(out, "<time datetime=\"{at}\" title=\"valid until {at}\"{class}>{}</time>", validity(end, now_ms))
}

fn paging(out: &mut String, view: &View, page: usize, pages: usize, first: usize, found: usize) -> fmt::Result {
    let last = (first + view.per_page).min(found);
    let all = counted(found, "target");
    if pages == 1 {
        return writeln!(out, "<p class=\"paging\">{all}</p>");
    }
    write!(out, "<nav class=\"paging\" aria-label=\"Pages of targets\"><p>{} to {last} of {all}</p><ul>", first + 1)?;
    let mut shown: Vec<usize> = [1, 2, page.saturating_sub(1), page, page + 1, pages - 1, pages].into();
    shown.retain(|page| (1..=pages).contains(page));
    shown.sort_unstable();
    shown.dedup();
    if page > 1 {
        let link = Html(view.at_page(page - 1).link());
        write!(out, "<li><a href=\"{link}\" data-view rel=\"prev\">Previous</a></li>")?;
    }
    let mut before = 0;
    for at in shown {
        if at > before + 1 {
            out.push_str("<li aria-hidden=\"true\">…</li>");
        }
        before = at;
        let current = if at == page { " aria-current=\"page\"" } else { "" };
        let link = Html(view.at_page(at).link());
        write!(out, "<li><a href=\"{link}\" data-view{current} aria-label=\"Page {at}\">{at}</a></li>")?;
    }
    if page < pages {
        let link = Html(view.at_page(page + 1).link());
        write!(out, "<li><a href=\"{link}\" data-view rel=\"next\">Next</a></li>")?;
    }
    out.push_str("</ul></nav>\n");
    Ok(())
}
