//! A probe as people read it: a row for each thing, advice at the end.

use std::fmt::Display;
use std::io::{self, Write};

use jiff::Timestamp;

use super::Report;
use super::advice::{DAYS_LEFT_MIN, days_left, in_days, issuers};
use super::survey::Survey;
use crate::cli::style::{Painted, Style};
use crate::model::MetricType;
use crate::net::certificate::Certificate;
use crate::net::error::Stage;
use crate::net::text;
use crate::net::trace::{ChainLink, Traced, TracedTls};
use crate::net::verify::Trusted;
use crate::scrape::Found;
use crate::telemetry::Printable;

/// Families and labels that are shown.
const SHOWN_MAX: usize = 10;
/// Characters of a name or value that are shown.
const NAME_CHARS_MAX: usize = 60;
/// Characters of a certificate's subject, or of a `Content-Type`, that are shown.
const TEXT_CHARS_MAX: usize = 200;
/// Names on a certificate that are shown.
const NAMES_SHOWN_MAX: usize = 10;

/// Writes everything that is known.
pub(super) fn print(out: &mut impl Write, style: Style, report: &Report<'_>) -> io::Result<()> {
    let mut page = Page { out, style, now: report.now };
    let Report { target, probe, survey, advice, .. } = report;
    let url = Printable(&target.origin.url);
    match &probe.outcome {
        Ok(_) => writeln!(page.out, "{}: {}", style.strong(url), style.good("up"))?,
        Err(_) => writeln!(page.out, "{}: {}", style.strong(url), style.bad("down"))?,
    }
    if let Some(address) = probe.trace.address {
        page.row("address", address)?;
    }
    if let Ok(Found { head, .. }) = &probe.outcome
        && let Some(url) = &head.redirected_to
    {
        page.row("redirected", format_args!("to {}", Printable(&url.to_string())))?;
    }
    let (took, timeout) = (text::duration(probe.duration), text::duration(target.timeout));
    page.row("time", format_args!("{took} of {timeout}: {}", times(&probe.trace)))?;
    match &probe.trace.tls {
        Some(tls) => page.tls(tls, target.tls.ca_file.as_deref())?,
        None if probe.trace.address.is_some() => page.row("TLS", "none")?,
        None => {}
    }
    match (&probe.outcome, survey) {
        (Ok(found), Some(survey)) => {
            page.answer(found)?;
            page.samples(found, survey)?;
        }
        (Err(fault), _) => page.row("failed", style.bad(fault))?,
        (Ok(_), None) => {}
    }
    for (at, sentence) in advice.iter().enumerate() {
        page.row(if at == 0 { "advice" } else { "" }, style.warning(Printable(sentence)))?;
    }
    Ok(())
}

/// `connect 1ms, TLS 4ms, first byte failed after 2s`.
fn times(trace: &Traced) -> String {
    let spelled = trace.stages.iter().map(|time| {
        let failed = if time.is_over { "" } else { "failed after " };
        format!("{} {failed}{}", words(time.stage), text::duration(time.took))
    });
    let spelled: Vec<_> = spelled.collect();
    if spelled.is_empty() { "nobody was asked".to_owned() } else { spelled.join(", ") }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Resolve => "name",
        Stage::Connect => "connect",
        Stage::Handshake => "TLS",
        Stage::Header => "first byte",
        Stage::Body => "body",
    }
}

struct Page<'o, W> {
    out: &'o mut W,
    style: Style,
    now: Timestamp,
}

impl<W: Write> Page<'_, W> {
    fn row(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.out, "  {} {value}", self.style.faint(format_args!("{name:<12}")))
    }

    /// A row that says more about the one above.
    fn sub_row(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.out, "    {} {value}", self.style.faint(format_args!("{name:<10}")))
    }

    fn tls(&mut self, tls: &TracedTls, ca_file: Option<&std::path::Path>) -> io::Result<()> {
        let agreed = match (tls.version, &tls.cipher_suite) {
            (Some(version), Some(suite)) => format!("{version}, {suite}"),
            (Some(version), None) => version.to_owned(),
            (None, _) => "not agreed on".to_owned(),
        };
        self.row("TLS", format_args!("{agreed}, asked for \"{}\"", tls.server_name))?;
        for (at, link) in tls.chain.iter().enumerate() {
            self.certificate(if at == 0 { "certificate" } else { "sent with it" }, link, at == 0)?;
        }
        let trusted = match &tls.trusted {
            Trusted::File(authorities) => {
                let path = ca_file.map(|path| path.display().to_string()).unwrap_or_default();
                let count = match authorities.len() {
                    1 => "1 authority".to_owned(),
                    count => format!("{count} authorities"),
                };
                format!("ca_file {}, {count}", Printable(&path))
            }
            Trusted::System => "the system's authorities".to_owned(),
            Trusted::Pin => "pin_sha256 alone".to_owned(),
            Trusted::Anyone => "anyone (insecure_skip_verify)".to_owned(),
        };
        self.row("trusted", trusted)?;
        for authority in issuers(tls) {
            let left = left(self.style, authority.not_after, self.now);
            self.sub_row("of them", format_args!("{}, {left}", long(&authority.subject)))?;
        }
        self.client(tls)
    }

    fn certificate(&mut self, name: &str, link: &ChainLink, is_leaf: bool) -> io::Result<()> {
        let ChainLink { certificate, algorithms } = link;
        self.row(name, format_args!("{}, signed by {}", long(&certificate.subject), long(&certificate.issuer)))?;
        if is_leaf {
            self.sub_row("names", names(certificate))?;
        }
        let (from, until) = (certificate.not_before, certificate.not_after);
        let left = left(self.style, until, self.now);
        self.sub_row("valid", format_args!("{from} to {until}, {left}"))?;
        self.sub_row("key", format_args!("{}, {}", algorithms.key, algorithms.signature))?;
        if is_leaf { self.sub_row("pin_sha256", certificate.pin) } else { Ok(()) }
    }

    fn client(&mut self, tls: &TracedTls) -> io::Result<()> {
        let style = self.style;
        match (&tls.client, tls.is_client_asked) {
            (Some(ours), is_asked) => {
                let left = left(style, ours.not_after, self.now);
                // Where it failed early, the server did not come to it.
                let asked = match (is_asked, tls.version) {
                    (true, _) => "; the server asked for it",
                    (false, Some(_)) => "; the server did not ask for it",
                    (false, None) => "",
                };
                let (subject, issuer) = (long(&ours.subject), long(&ours.issuer));
                self.row("our own", format_args!("{subject}, signed by {issuer}, {left}{asked}"))
            }
            (None, true) => self.row("our own", style.warning("none, and the server asked for one")),
            (None, false) => Ok(()),
        }
    }

    fn answer(&mut self, found: &Found) -> io::Result<()> {
        let Found { head, .. } = found;
        let format = head.content_type.as_deref().map(long).unwrap_or("no Content-Type".to_owned());
        let bytes = text::bytes(head.received.bytes);
        let wire = match head.received.wire_bytes {
            wire if wire == head.received.bytes => String::new(),
            wire => format!(", {} on the wire", text::bytes(wire)),
        };
        self.row("answer", format_args!("{}, {format}, {bytes}{wire}", head.status))?;
        let by = if head.is_fallback { "fallback_scrape_protocol" } else { "its Content-Type" };
        self.row("format", format_args!("{}, by {by}", head.format))
    }

    fn samples(&mut self, found: &Found, survey: &Survey<'_>) -> io::Result<()> {
        let counts = &found.counts;
        let families = survey.families.len();
        let (scraped, left) = (counts.samples_scraped, counts.samples_post_relabelling);
        self.row("samples", format_args!("{scraped}, {left} after relabelling, in {families} families"))?;
        let width = |most: Option<usize>| most.unwrap_or_default().to_string().len().max(6);
        let column = width(survey.families.first().map(|family| family.samples));
        for family in survey.families.iter().take(SHOWN_MAX) {
            let kind = if family.kind == MetricType::Unknown { "no type" } else { family.kind.as_openmetrics() };
            writeln!(self.out, "    {:>column$} {} ({kind})", family.samples, shown(family.name))?;
        }
        self.rest(families)?;
        if survey.native_histograms > 0 {
            self.row("histograms", format_args!("{} native ones among the samples", survey.native_histograms))?;
        }
        if survey.exemplars > 0 {
            self.row("exemplars", survey.exemplars)?;
        }
        if survey.timed > 0 {
            self.row("timestamps", format_args!("{} samples have one of their own", survey.timed))?;
        }
        // Those of the target itself, and what each series has alike.
        let labels: Vec<_> = survey.labels.iter().filter(|label| label.values > 1).collect();
        if !labels.is_empty() {
            self.row("labels", "with the most values")?;
        }
        let column = width(labels.first().map(|label| label.values + usize::from(label.is_cut)));
        for label in labels.iter().take(SHOWN_MAX) {
            let least = if label.is_cut { " or more" } else { "" };
            let (name, example) = (shown(label.name), shown(label.example));
            writeln!(self.out, "    {:>column$}{least} {name}, such as \"{example}\"", label.values)?;
        }
        self.rest(labels.len())?;
        if counts.duplicates > 0 {
            let said = format!("{} samples of series that came before in the same body, left out", counts.duplicates);
            self.row("duplicates", self.style.warning(said))?;
        }
        if counts.bad_lines > 0 {
            let said = format!("{}, skipped; the first of them:", counts.bad_lines);
            self.row("bad lines", self.style.warning(said))?;
            for line in &counts.first_bad_lines {
                writeln!(self.out, "    {}", Printable(&line.to_string()))?;
            }
        }
        Ok(())
    }

    fn rest(&mut self, all: usize) -> io::Result<()> {
        match all.saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(self.out, "           and {more} more"),
        }
    }
}

/// `12 days left`, in the colour of that.
fn left(style: Style, not_after: Timestamp, now: Timestamp) -> Painted<String> {
    match days_left(not_after, now) {
        days if days < 0 => style.bad(format!("ended {} ago", in_days(days_left(now, not_after)))),
        days if days < DAYS_LEFT_MIN => style.warning(format!("{} left", in_days(days))),
        days => style.plain(format!("{} left", in_days(days))),
    }
}

fn names(certificate: &Certificate) -> String {
    let shown: Vec<_> = certificate.names.iter().take(NAMES_SHOWN_MAX).map(|name| long(name)).collect();
    match certificate.names.len().saturating_sub(NAMES_SHOWN_MAX) {
        _ if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The beginning of a text that is escaped already, and may be as long as whoever made it likes.
fn long(text: &str) -> String {
    text::excerpt(text.as_bytes(), TEXT_CHARS_MAX)
}

/// The beginning of a text from outside, escaped.
fn shown(text: &str) -> String {
    text::excerpt(text.as_bytes(), NAME_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_ones_before_and_after() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let spelled = |not_after| left(Style::PLAIN, at(not_after), at("2026-03-10T12:00:00Z")).to_string();
        assert_eq!(spelled("2026-03-12T13:00:00Z"), "2 days left");
        assert_eq!(spelled("2026-03-11T13:00:00Z"), "1 day left");
        assert_eq!(spelled("2026-03-10T13:00:00Z"), "less than a day left");
        assert_eq!(spelled("2026-03-10T11:00:00Z"), "ended less than a day ago");
        assert_eq!(spelled("2026-03-09T11:00:00Z"), "ended 1 day ago");
    }
}
