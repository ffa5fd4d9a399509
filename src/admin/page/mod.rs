//! The pages for people: everything at `/`, one target at `/targets/ID`, the configuration at `/config`.
//!
//! Promises
//! - Everything is in the HTML that is sent: search, filter, sort and paging are links and a form. The script only asks for the
//!   same page again and puts in what has changed.
//! - Everything that is not written here is escaped, and control characters are made visible.
//! - All links are relative, so that a proxy may put the pages under a path of its own.

mod discovery;
pub(super) mod html;
mod outputs;
mod process;
mod query;
mod sparkline;
mod target;
mod targets;
pub(super) mod words;

use std::fmt::{self, Write};
use std::time::Duration;

use super::api::time;
use super::headline::{Finding, Overview, Severity, headline, name};
use super::snapshot::{Health, Readiness, Snapshots};
use html::Html;
use query::View;

/// Findings behind the headline that are listed; the rest are counted.
const FINDINGS_MAX: usize = 8;

/// What the pages load: path under `/assets/`, type, content.
const ASSETS: [(&str, &str, &str); 5] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    ("ok.svg", "image/svg+xml", include_str!("../assets/ok.svg")),
    ("warning.svg", "image/svg+xml", include_str!("../assets/warning.svg")),
    ("critical.svg", "image/svg+xml", include_str!("../assets/critical.svg")),
];

/// Type and content of what a page loads.
pub(super) fn asset(name: &str) -> Option<(&'static str, &'static str)> {
    ASSETS.iter().find(|(known, _, _)| *known == name).map(|(_, kind, content)| (*kind, *content))
}

/// The page of this moment.
pub(super) fn page(snapshots: &dyn Snapshots, query: &str, now_ms: i64) -> Result<String, fmt::Error> {
    let overview = Overview::of(snapshots, now_ms);
    let view = View::parse(query);
    let (worst, others) = headline(&overview);
    let mut out = String::with_capacity(64 << 10);
    let down = overview.count(Health::Down);
    let title = match (worst.severity, down) {
        (Severity::Ok, _) => "all well".to_owned(),
        (severity, 0) => severity.as_str().to_owned(),
        (_, down) => format!("{down} down"),
    };
    head(&mut out, "", &title, worst.severity)?;
    // Without its fragment: a browser would only jump.
    let here = view.link();
    top(&mut out, "", here.split('#').next().unwrap_or_default())?;
    out.push_str("<main id=\"main\">\n");
    summary(&mut out, &worst, &others)?;
    tiles(&mut out, &overview)?;
    targets::section(&mut out, &overview, snapshots, &view)?;
    outputs::section(&mut out, &overview)?;
    discovery::section(&mut out, &overview)?;
    process::section(&mut out, &overview)?;
    out.push_str("</main>\n");
    foot(&mut out, "", &overview)?;
    Ok(out)
}

/// The page of one target; whether there is such a target.
pub(super) fn target(snapshots: &dyn Snapshots, id: &str, now_ms: i64) -> Result<(bool, String), fmt::Error> {
    let overview = Overview::of(snapshots, now_ms);
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = is_id.then(|| u64::from_str_radix(id, 16).ok()).flatten();
    let found = overview.targets.active.iter().find(|target| Some(target.id) == id);
    let mut out = String::with_capacity(16 << 10);
    let severity = match found.map(|target| target.health) {
        Some(Health::Down) | None => Severity::Critical,
        Some(_) => Severity::Ok,
    };
    let title = found.map_or("no such target", |target| name(target).unwrap_or(&target.url));
    head(&mut out, "../", title, severity)?;
    let here = found.map_or_else(|| "../".to_owned(), |target| format!("{:016x}", target.id));
    top(&mut out, "../", &here)?;
    out.push_str("<main id=\"main\">\n<p><a href=\"../#targets\">All targets</a></p>\n");
    match found {
        Some(target) => {
            let marks = snapshots.histories(&[target.id]).pop().unwrap_or_default();
            target::section(&mut out, target, &marks, now_ms)?;
        }
        None => out.push_str(
            "<h1 id=\"headline\">No such target</h1>\n<p>It is not scraped any more, or never was: what announced it may be gone, or its \
             labels have changed, which makes it another target.</p>\n",
        ),
    }
    out.push_str("</main>\n");
    foot(&mut out, "../", &overview)?;
    Ok((found.is_some(), out))
}

/// The page of the configuration.
pub(super) fn configuration(snapshots: &dyn Snapshots, now_ms: i64) -> Result<String, fmt::Error> {
    let overview = Overview::of(snapshots, now_ms);
    let mut out = String::with_capacity(16 << 10);
    head(&mut out, "", "configuration", Severity::Ok)?;
    top(&mut out, "", "config")?;
    out.push_str(
        "<main id=\"main\">\n<p><a href=\"./\">Status</a></p>\n<h1 id=\"headline\">The configuration in force</h1>\n\
         <p>Secrets are left out.</p>\n<pre tabindex=\"0\" aria-label=\"Configuration as YAML\"><code>",
    );
    for line in snapshots.configuration().lines() {
        writeln!(out, "{}", Html(line))?;
    }
    out.push_str("</code></pre>\n</main>\n");
    foot(&mut out, "", &overview)?;
    Ok(out)
}

fn head(out: &mut String, base: &str, title: &str, severity: Severity) -> fmt::Result {
    let icon = severity.as_str();
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} · promferry</title>\n\
         <link rel=\"icon\" id=\"icon\" href=\"{base}assets/{icon}.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"{base}assets/style.css\">\n<script src=\"{base}assets/page.js\" defer></script>\n</head>\n<body>",
        Html(title)
    )
}

fn top(out: &mut String, base: &str, here: &str) -> fmt::Result {
    let home = if base.is_empty() { "./" } else { base };
    writeln!(
        out,
        "<a class=\"skip\" href=\"#main\">Skip to the content</a>\n<header>\n<a class=\"brand\" href=\"{home}\">promferry</a>\n\
         <nav aria-label=\"Parts of the page\"><ul><li><a href=\"{home}#targets\">Targets</a></li><li><a href=\"{home}#outputs\">Outputs</a></li>\
         <li><a href=\"{home}#discovery\">Discovery</a></li><li><a href=\"{home}#process\">Process</a></li>\
         <li><a href=\"{base}config\">Configuration</a></li></ul></nav>\n\
         <p id=\"live\" data-still><a class=\"button\" href=\"{}\">Refresh</a></p>\n<p id=\"said\" class=\"unseen\" aria-live=\"polite\" data-still></p>\n</header>",
        Html(here)
    )
}

fn mark(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Critical => ("▼", "Critical:"),
        Severity::Warning => ("◆", "Warning:"),
        Severity::Ok => ("●", ""),
    }
}

fn summary(out: &mut String, worst: &Finding, others: &[Finding]) -> fmt::Result {
    let class = worst.severity.as_str();
    writeln!(out, "<section class=\"summary {class}\" aria-labelledby=\"headline\" id=\"summary\">")?;
    out.push_str("<h1 id=\"headline\">");
    sentence(out, worst)?;
    out.push_str("</h1>\n");
    if !others.is_empty() {
        out.push_str("<ul class=\"findings\" aria-label=\"Also\">\n");
        for finding in others.iter().take(FINDINGS_MAX) {
            write!(out, "<li class=\"{}\">", finding.severity.as_str())?;
            sentence(out, finding)?;
            out.push_str("</li>\n");
        }
        if let Some(more @ 1..) = others.len().checked_sub(FINDINGS_MAX) {
            writeln!(out, "<li class=\"ok\">… and {more} more</li>")?;
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
    Ok(())
}

fn sentence(out: &mut String, finding: &Finding) -> fmt::Result {
    let (shape, word) = mark(finding.severity);
    write!(out, "<span class=\"mark\" aria-hidden=\"true\">{shape}</span> ")?;
    if !word.is_empty() {
        write!(out, "<span class=\"unseen\">{word} </span>")?;
    }
    write!(out, "<a href=\"{}\">{}</a>", Html(&finding.href), Html(&finding.text))
}

fn tiles(out: &mut String, overview: &Overview) -> fmt::Result {
    let [up, unknown, down] = [Health::Up, Health::Unknown, Health::Down].map(|health| overview.count(health));
    let failing = overview.outputs.iter().filter(|output| output.status.failing.is_some()).count();
    let dropped: usize = overview.targets.dropped_counts.values().sum();
    let [good, off, broken] = overview.count_files();
    out.push_str("<ul class=\"tiles\" aria-label=\"In numbers\">\n");
    let mut tile = |href: &str, number: usize, what: &str, class: &str| {
        let class = if number == 0 { "" } else { class };
        let number = words::count(number as u64);
        writeln!(out, "<li><a href=\"{href}\"><b class=\"{class}\">{number}</b> {what}</a></li>")
    };
    let of = |number, one, many| if number == 1 { one } else { many };
    tile("./?health=down#targets", down, of(down, "target down", "targets down"), "bad")?;
    tile("./?health=up#targets", up, "up", "good")?;
    if unknown > 0 {
        tile("./?health=unknown#targets", unknown, "not scraped yet", "")?;
    }
    if dropped > 0 {
        tile("#dropped", dropped, "dropped", "")?;
    }
    if failing > 0 {
        tile("#outputs", failing, of(failing, "output fails", "outputs fail"), "bad")?;
    }
    let well = overview.outputs.len() - failing;
    tile("#outputs", well, of(well, "output delivers", "outputs deliver"), "good")?;
    if broken > 0 {
        tile("#discovery", broken, of(broken, "file broken", "files broken"), "bad")?;
    }
    if good + off > 0 {
        tile("#discovery", good + off, of(good + off, "file read", "files read"), "")?;
    }
    out.push_str("</ul>\n");
    Ok(())
}

fn foot(out: &mut String, base: &str, overview: &Overview) -> fmt::Result {
    write!(out, "<footer>\n<p>promferry {}", env!("CARGO_PKG_VERSION"))?;
    let up_ms = u64::try_from(overview.now_ms.saturating_sub(overview.started_ms)).unwrap_or(0);
    if let Some(at) = time(overview.started_ms) {
        let up = words::span(Duration::from_secs(up_ms / 1000));
        write!(out, ", running for <time datetime=\"{at}\" title=\"since {at}\">{up}</time>")?;
    }
    match &overview.readiness {
        Readiness::Ready => out.push_str(". Ready.</p>\n"),
        Readiness::Waiting(why) => writeln!(out, ". Not ready: {}.</p>", Html(why.trim_end_matches('.')))?,
    }
    if let Some(at) = time(overview.now_ms) {
        writeln!(out, "<p>As of <time datetime=\"{at}\" id=\"as-of\">{at}</time></p>")?;
    }
    writeln!(
        out,
        "<ul><li><a href=\"{base}metrics\">metrics</a></li><li><a href=\"{base}api/v1/status\">status as JSON</a></li>\
         <li><a href=\"{base}api/v1/targets\">targets as JSON</a></li><li><a href=\"{base}api/v1/outputs\">outputs as JSON</a></li></ul>\n\
         </footer>\n</body>\n</html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a custom property in this part of the style sheet, as red, green and blue.
    fn colour(css: &str, name: &str) -> [f64; 3] {
        let (_, value) = css.split_once(&format!("--{name}: #")).unwrap_or_else(|| panic!("--{name} is set"));
        let number = u32::from_str_radix(&value[..6], 16).unwrap();
        [number >> 16, number >> 8 & 255, number & 255].map(|part| f64::from(part) / 255.0)
    }

    /// WCAG's contrast ratio.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let linear = |part: f64| if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
        let luminance =
            |[red, green, blue]: [f64; 3]| 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
        assert!((contrast(colour("--x: #767676", "x"), [1.0; 3]) - 4.54).abs() < 0.01);
    }

    #[test]
    fn text_and_marks_stand_out_in_both_schemes() {
        let (_, css) = asset("style.css").unwrap();
        let (light, dark) = css.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let texts = [
            ("page", &["text", "muted", "link", "bad", "warn", "good"][..]),
            ("card", &["text", "muted", "link", "bad", "warn", "good"]),
            ("bad-ground", &["bad", "text", "warn", "good"]),
            ("warn-ground", &["warn", "text", "good"]),
            ("good-ground", &["good", "text"]),
            // A chosen tab is written in the colour of a card.
            ("text", &["card"]),
        ];
        // The edges of inputs, the lines of pictures and the ring of focus are not text: 3 to 1.
        let marks = [("card", &["edge", "bar", "bad", "link"][..]), ("page", &["edge", "link"])];
        for (scheme, css) in [("light", light), ("dark", dark)] {
            for (grounds, least) in [(&texts[..], 4.5), (&marks[..], 3.0)] {
                for (ground, colours) in grounds {
                    for name in *colours {
                        let ratio = contrast(colour(css, name), colour(css, ground));
                        assert!(
                            ratio >= least,
                            "{scheme}: {name} on {ground} has {ratio:.2}, which is less than {least}"
                        );
                    }
                }
            }
        }
    }

    /// Colours that stand outside of the two schemes would escape the test above.
    #[test]
    fn colours_are_only_set_as_properties() {
        let (_, css) = asset("style.css").unwrap();
        let (_, rules) = css.split_once("* { box-sizing").unwrap();
        assert!(
            !rules.contains('#') || rules.lines().filter(|line| line.contains('#')).all(|line| !line.contains(": #"))
        );
        assert!(!css.contains("url(") && !css.contains("@import"));
    }
}
