//! What of the targets is shown: search, filter, sort and page, all of it in the query string, so that each view has a link.

use std::fmt::Write;

use crate::admin::snapshot::{Health, TargetSnapshot};
use crate::net::form_decoded;

/// Bytes of a query string that are read; the rest is ignored.
const QUERY_BYTES_MAX: usize = 4096;

/// Characters of a search; the rest is ignored.
const SEARCH_CHARS_MAX: usize = 200;

/// Words of a search; the rest is ignored. Each is looked for in everything that is known of every target.
const SEARCH_WORDS_MAX: usize = 10;

/// Targets on a page where nothing else is asked for, and at most.
pub(super) const PER_PAGE: usize = 50;
const PER_PAGE_MAX: usize = 500;

/// By what targets are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// In groups, what is down first; within them by job and URL.
    #[default]
    Health,
    Target,
    Job,
    Scraped,
    Took,
    Samples,
    Certificate,
}

impl Sort {
    pub(super) const ALL: [Self; 7] =
        [Self::Health, Self::Target, Self::Job, Self::Scraped, Self::Took, Self::Samples, Self::Certificate];

    /// As it stands in a query.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Target => "target",
            Self::Job => "job",
            Self::Scraped => "scraped",
            Self::Took => "took",
            Self::Samples => "samples",
            Self::Certificate => "certificate",
        }
    }

    /// Whether what is most is what one wants to see first.
    pub(super) fn is_largest_first(self) -> bool {
        matches!(self, Self::Took | Self::Samples)
    }
}

/// One view of the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Words, all of which must be found; empty for all targets.
    pub(super) search: String,
    pub(super) health: Option<Health>,
    pub(super) job: Option<String>,
    pub(super) sort: Sort,
    pub(super) is_descending: bool,
    /// From 1.
    pub(super) page: usize,
    pub(super) per_page: usize,
}

impl Default for View {
    fn default() -> Self {
        Self {
            search: String::new(),
            health: None,
            job: None,
            sort: Sort::default(),
            is_descending: false,
            page: 1,
            per_page: PER_PAGE,
        }
    }
}

impl View {
    /// Reads a query string. What is unknown or makes no sense is ignored: a page is no place for an error about its link.
    pub(super) fn parse(query: &str) -> Self {
        let mut view = Self::default();
        let mut end = query.len().min(QUERY_BYTES_MAX);
        while !query.is_char_boundary(end) {
            end -= 1;
        }
        for pair in query[..end].split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = form_decoded(value);
            match name {
                "q" => view.search = value.trim().chars().take(SEARCH_CHARS_MAX).collect(),
                "health" => {
                    let all = [Health::Down, Health::Unknown, Health::Up];
                    view.health = all.into_iter().find(|health| health.as_str() == value);
                }
                "job" => view.job = Some(value).filter(|job| !job.is_empty()),
                "sort" => view.sort = Sort::ALL.into_iter().find(|sort| sort.as_str() == value).unwrap_or_default(),
                "order" => view.is_descending = value == "desc",
                "page" => view.page = value.parse().unwrap_or(1).max(1),
                "per_page" => view.per_page = value.parse().unwrap_or(PER_PAGE).clamp(1, PER_PAGE_MAX),
                _ => {}
            }
        }
        view
    }

    /// The link to this view, relative to the page; not yet escaped for HTML.
    pub(super) fn link(&self) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        if !self.search.is_empty() {
            pairs.push(("q", encoded(&self.search)));
        }
        if let Some(health) = self.health {
            pairs.push(("health", health.as_str().to_owned()));
        }
        if let Some(job) = &self.job {
            pairs.push(("job", encoded(job)));
        }
        if self.sort != Sort::default() {
            pairs.push(("sort", self.sort.as_str().to_owned()));
        }
        if self.is_descending {
            pairs.push(("order", "desc".to_owned()));
        }
        if self.page > 1 {
            pairs.push(("page", self.page.to_string()));
        }
        if self.per_page != PER_PAGE {
            pairs.push(("per_page", self.per_page.to_string()));
        }
        let mut link = "./".to_owned();
        for (at, (name, value)) in pairs.iter().enumerate() {
            let _ = write!(link, "{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        link + "#targets"
    }

    /// The same, of these targets.
    pub(super) fn with_health(&self, health: Option<Health>) -> Self {
        Self { health, page: 1, ..self.clone() }
    }

    pub(super) fn of_job(job: &str) -> Self {
        Self { job: Some(job.to_owned()), ..Self::default() }
    }

    pub(super) fn at_page(&self, page: usize) -> Self {
        Self { page, ..self.clone() }
    }

    /// The same sorted by `sort`; the other way round where it is already.
    pub(super) fn sorted_by(&self, sort: Sort) -> Self {
        let is_descending = if self.sort == sort { !self.is_descending } else { sort.is_largest_first() };
        Self { sort, is_descending, page: 1, ..self.clone() }
    }

    /// Whether search and job let this target through; its health is not looked at.
    pub(super) fn finds(&self, target: &TargetSnapshot) -> bool {
        self.job.as_deref().is_none_or(|job| job == target.job)
            && self.search.split_whitespace().take(SEARCH_WORDS_MAX).all(|word| has_word(target, word))
    }
}

fn has_word(target: &TargetSnapshot, word: &str) -> bool {
    let is_label = |(name, value): (&str, &str)| match word.split_once('=') {
        // `instance=10.0`, also as it is shown, `instance="10.0`.
        Some((wanted, of)) if wanted == name => contains(value, of.trim_matches('"')),
        _ => contains(value, word) || contains(name, word),
    };
    contains(&target.url, word)
        || contains(&target.job, word)
        || contains(&target.error, word)
        || target.labels.iter().any(is_label)
        || target.file.as_ref().and_then(|file| file.to_str()).is_some_and(|file| contains(file, word))
}

/// Whether `word` is somewhere in `text`, in capitals or not. Nothing is allocated: 10,000 targets are looked through.
fn contains(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    word.is_empty() || text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// A text as a value in a query string.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_its_link() {
        let query = "q=a%20%26b&health=down&job=c%2Fd&sort=samples&order=desc&page=3&per_page=20";
        let view = View::parse(query);
        assert_eq!((view.search.as_str(), view.health, view.job.as_deref()), ("a &b", Some(Health::Down), Some("c/d")));
        assert_eq!((view.sort, view.is_descending, view.page, view.per_page), (Sort::Samples, true, 3, 20));
        let link = view.link();
        assert_eq!(link, "./?q=a+%26b&health=down&job=c%2Fd&sort=samples&order=desc&page=3&per_page=20#targets");
        let again = link.strip_prefix("./?").and_then(|link| link.strip_suffix("#targets")).unwrap();
        assert_eq!(View::parse(again), view);
        assert_eq!(View::default().link(), "./#targets");
    }

    #[test]
    fn what_makes_no_sense_is_ignored_and_what_is_large_is_bounded() {
        for query in ["", "health=fine&sort=x&order=y&page=0&per_page=x&z", "page=-1", "job=&q=+"] {
            assert_eq!(View::parse(query), View::default(), "{query}");
        }
        assert_eq!(View::parse("per_page=99999999").per_page, PER_PAGE_MAX);
        assert_eq!(View::parse("per_page=0").per_page, 1);
        assert_eq!(View::parse(&format!("q={}", "é".repeat(500))).search.chars().count(), SEARCH_CHARS_MAX);
        assert_eq!(View::parse(&format!("{}&health=up", "x".repeat(QUERY_BYTES_MAX))).health, None);
    }

    #[test]
    fn a_column_is_sorted_and_then_turned_round() {
        let once = View::parse("page=4").sorted_by(Sort::Samples);
        assert_eq!((once.is_descending, once.page), (true, 1));
        assert!(!once.sorted_by(Sort::Samples).is_descending);
        assert!(!once.sorted_by(Sort::Target).is_descending);
    }
}
