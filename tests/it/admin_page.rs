//! The pages for people, read strictly: search, filter, sort, paging, links, and what stands where.

use std::net::SocketAddr;
use std::sync::Arc;

use promferry::admin::{Health, Server, TargetSnapshot, Targets};
use serde_json::json;

use crate::admin::{Fixed, HOSTILE, full, labels, parsed, start, target};
use crate::expose::client::{Answer, ask};
use crate::support::html::Page;

/// What a person reads of [`HOSTILE`].
const READ: &str = "<script>alert('x')</script>\"&\\\\n\\u{1b}[2J";

async fn answered(server: &Server, path: &str) -> Answer {
    ask(server.listens_on(), "GET", path, &[]).await
}

async fn page(server: &Server, path: &str) -> Page {
    let answer = answered(server, path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
    Page::read(&answer.body)
}

/// Serves these targets.
async fn serving(active: Vec<TargetSnapshot>) -> Server {
    let fixed = Fixed::default();
    *fixed.targets.lock().unwrap() = Targets { active, ..Targets::default() };
    start(&Arc::new(fixed)).await
}

/// The targets that a page shows, in its order.
fn shown(page: &Page) -> Vec<String> {
    let urls = page.all("a", "").into_iter().filter(|link| link.get("href").starts_with("targets/"));
    let rows = urls.filter(|link| link.within.iter().any(|place| page.0[*place].name == "table"));
    rows.map(|link| link.text.trim_start_matches("https://").split('.').next().unwrap().to_owned()).collect()
}

/// Six targets: a down, b unknown, c to f up; samples fall from a on.
fn six() -> Vec<TargetSnapshot> {
    let of = |(at, name): (usize, &str)| {
        let health = [Health::Down, Health::Unknown, Health::Up][at.min(2)];
        let mut one = target(name, health, if at == 0 { "nobody listens" } else { "" });
        one.id = at as u64 + 1;
        one.job = if at < 4 { "first".to_owned() } else { "second & last".to_owned() };
        one.samples = 100 - at as u64;
        one.labels = labels(&[("zone", if at % 2 == 0 { "even" } else { "odd" })]);
        one
    };
    ["a", "b", "c", "d", "e", "f"].into_iter().enumerate().map(of).collect()
}

#[tokio::test]
async fn every_page_is_strict_html_whatever_comes_from_outside() {
    let server = start(&full()).await;
    for path in ["/", "/?q=%3Cscript%3E%22", "/?job=%22%3E%3Cb%3E&sort=took", "/config", "/targets/0000000000000006"] {
        let page = page(&server, path).await;
        assert!(page.0.iter().all(|element| element.name != "b" || !element.text.contains("alert")), "{path}");
    }
    let all = page(&server, "/").await;
    for (place, what) in [("targets", READ), ("outputs", READ), ("discovery", READ), ("certificates", READ)] {
        assert!(all.id(place).text.contains(what), "{place}");
    }
    assert_eq!(
        page(&server, "/config").await.all("pre", "")[0].text.lines().next(),
        Some("<script>alert('x')</script>\"&\\")
    );
    // Nothing at all to show is a page too.
    Page::read(&answered(&serving(Vec::new()).await, "/").await.body);
}

#[tokio::test]
async fn what_is_wrong_is_the_headline_and_status_says_the_same() {
    let server = start(&full()).await;
    let all = page(&server, "/").await;
    let expected =
        format!("Output {HOSTILE} is losing samples, 5 in the last 5 minutes: https://es:9200 answered {HOSTILE}.");
    let read = expected.replace(HOSTILE, READ);
    assert_eq!(all.id("headline").text, format!("▼ Critical: {read}"));
    assert!(all.all("title", "")[0].text.starts_with("1 down"));
    let mut status = parsed(&answered(&server, "/api/v1/status").await)["data"].take();
    let headline = status["headline"].take();
    assert_eq!((&headline["severity"], &headline["text"]), (&json!("critical"), &json!(expected)));
    // The link leads to the part of the page that it is about.
    let href = headline["href"].as_str().unwrap().trim_start_matches('#');
    assert!(all.id(href).text.contains("failing"));
    status.as_object_mut().unwrap().remove("version");
    assert_eq!(
        status,
        json!({"startTime": "2023-11-14T22:13:20.000Z", "ready": false, "headline": null,
            "waitingFor": "2 of 3 targets have not been scraped yet",
            "targets": {"up": 1, "down": 1, "unknown": 1, "dropped": 1}, "files": {"good": 1, "off": 1, "broken": 1},
            "scrapes": {"scrapes": 11, "failures": 1, "samples": 420, "bodyBytes": 9000, "badLines": 2, "duplicates": 0,
                "paused": 6}})
    );
}

#[tokio::test]
async fn targets_are_grouped_searched_and_filtered() {
    let server = serving(six()).await;
    let all = page(&server, "/").await;
    assert_eq!(shown(&all), ["a", "b", "c", "d", "e", "f"]);
    let groups: Vec<&str> = all.all("tr", "group").iter().map(|group| group.text.as_str()).collect();
    assert_eq!(groups, ["Down (1)", "Not scraped yet (1)", "Up (4)"]);
    for (query, expected) in [
        ("q=NOBODY", &["a"][..]),
        ("q=c.internal", &["c"]),
        ("q=zone%3Deven", &["a", "c", "e"]),
        ("q=zone%3D%22odd%22+second", &["f"]),
        ("q=prom_scraper_config", &["a", "b", "c", "d", "e", "f"]),
        ("health=up", &["c", "d", "e", "f"]),
        ("health=up&q=odd&job=first", &["d"]),
        ("job=second+%26+last", &["e", "f"]),
        ("q=nothing+like+it", &[]),
        ("job=gone", &[]),
    ] {
        let view = page(&server, &format!("/?{query}")).await;
        assert_eq!(shown(&view), expected, "{query}");
        assert!(!expected.is_empty() || view.id("none").text.starts_with("No target matches."), "{query}");
    }
    let view = page(&server, "/?q=zone%3Dodd&health=down&job=first").await;
    // What was asked stands in the form, and how many there are of each health.
    assert_eq!(view.id("q").get("value"), "zone=odd");
    let chosen = view.all("option", "").into_iter().find(|option| option.attributes.contains_key("selected")).unwrap();
    assert_eq!(chosen.text, "first");
    let tabs: Vec<String> = view.all("ul", "tabs").iter().map(|tabs| tabs.text.clone()).collect();
    assert_eq!(tabs, ["All 2Down 0Not scraped yet 1Up 1"]);
    assert_eq!(view.link("Up 1").get("href"), "./?q=zone%3Dodd&health=up&job=first#targets");
}

#[tokio::test]
async fn columns_sort_and_turn_round_and_say_so() {
    let server = serving(six()).await;
    let sorted = |page: &Page| {
        let header = page.all("th", "").into_iter().find(|th| th.attributes.contains_key("aria-sort")).unwrap().clone();
        (header.get("aria-sort").to_owned(), header.text)
    };
    let all = page(&server, "/").await;
    assert_eq!(sorted(&all), ("ascending".to_owned(), "Health ▲".to_owned()));
    let link = all.link("Samples").get("href");
    assert_eq!(link, "./?sort=samples&order=desc#targets");
    let most = page(&server, "/?sort=samples&order=desc").await;
    assert_eq!(shown(&most), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(sorted(&most), ("descending".to_owned(), "Samples ▼".to_owned()));
    assert!(most.all("tr", "group").is_empty());
    assert_eq!(most.link("Samples ▼").get("href"), "./?sort=samples#targets");
    assert_eq!(shown(&page(&server, "/?sort=samples").await), ["f", "e", "d", "c", "b", "a"]);
    assert_eq!(shown(&page(&server, "/?sort=target&order=desc").await), ["f", "e", "d", "c", "b", "a"]);
    assert_eq!(shown(&page(&server, "/?order=desc").await), ["c", "d", "e", "f", "b", "a"]);
    for column in ["job", "scraped", "took", "certificate", "no_column"] {
        assert_eq!(shown(&page(&server, &format!("/?sort={column}")).await).len(), 6, "{column}");
    }
}

#[tokio::test]
async fn ten_thousand_targets_are_paged() {
    let many = |at: u64| {
        let mut one = target(&format!("t{at:05}"), Health::Up, "");
        (one.id, one.job) = (at, "many".to_owned());
        one
    };
    let server = serving((0..10_000).map(many).collect()).await;
    let first = answered(&server, "/").await;
    assert!(first.body.len() < 200_000, "{} bytes", first.body.len());
    let first = Page::read(&first.body);
    assert_eq!((shown(&first).len(), shown(&first)[0].as_str()), (50, "t00000"));
    assert!(first.all("nav", "paging")[0].text.starts_with("1 to 50 of 10,000 targets"));
    assert_eq!(first.link("Next").get("href"), "./?page=2#targets");
    let last = page(&server, "/?page=200").await;
    assert_eq!(shown(&last)[49], "t09999");
    assert_eq!(last.link("Previous").get("href"), "./?page=199#targets");
    // Beyond the end is the end; a page has its limit.
    assert_eq!(shown(&page(&server, "/?page=99999999").await), shown(&last));
    assert_eq!(shown(&page(&server, "/?per_page=99999999").await).len(), 500);
    assert_eq!(shown(&page(&server, "/?q=t0777&per_page=3&page=4").await), ["t07779"]);
}

#[tokio::test]
async fn each_target_has_a_page_of_its_own() {
    let server = serving(six()).await;
    let link = page(&server, "/").await.link("https://a.internal:9090/metrics").get("href").to_owned();
    assert_eq!(link, "targets/0000000000000001");
    let one = page(&server, &format!("/{link}")).await;
    let text = &one.all("main", "")[0].text;
    for told in [
        "https://a.internal:9090/metrics ▼ down",
        "nobody listens",
        "What to do: Start it.",
        "1m30s",
        "1s500ms",
        "/var/vcap/jobs/gorouter/config/prom_scraper_config.yml",
        "1 of the last 2 scrapes failed",
        "__address__",
        "zone",
    ] {
        assert!(text.contains(told), "{told} is in\n{text}");
    }
    // Behind a proxy that takes a path away all links still lead to promferry.
    assert_eq!(one.link("first").get("href"), "../?job=first#targets");
    for gone in ["00000000000000ff", "1", "", "000000000000000g", "+000000000000001", "../config"] {
        let answer = answered(&server, &format!("/targets/{gone}")).await;
        assert_eq!(answer.status, 404, "{gone}");
        assert_eq!(Page::read(&answer.body).id("headline").text, "No such target");
    }
}

#[tokio::test]
async fn what_a_page_loads_comes_from_here_and_nothing_else_is_allowed() {
    let server = start(&full()).await;
    let address: SocketAddr = server.listens_on();
    let page = answered(&server, "/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert_eq!(
        policy,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    );
    let read = Page::read(&page.body);
    let loaded = read.0.iter().filter(|element| element.name == "link" || element.name == "script");
    let loaded: Vec<&str> =
        loaded.map(|one| if one.name == "link" { one.get("href") } else { one.get("src") }).collect();
    assert_eq!(loaded, ["assets/critical.svg", "assets/style.css", "assets/page.js"]);
    for path in loaded.into_iter().chain(["assets/ok.svg", "assets/warning.svg"]) {
        let got = ask(address, "GET", &format!("/{path}"), &[]).await;
        let head = ask(address, "HEAD", &format!("/{path}"), &[]).await;
        assert_eq!((got.status, head.status, head.body.as_str()), (200, 200, ""), "{path}");
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert!(!got.header("content-type").unwrap().contains("html") && !got.body.is_empty(), "{path}");
        assert!(!got.body.contains("http://") || got.body.matches("http").count() == 1, "{path} names another host");
    }
    for path in ["/assets/", "/assets/../page.js", "/assets/page.js/", "/config/", "/targets"] {
        assert_eq!(ask(address, "GET", path, &[]).await.status, 404, "{path}");
    }
    for path in ["/", "/config", "/api/v1/status", "/targets/0000000000000006"] {
        let head = ask(address, "HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let post = ask(address, "POST", path, &["content-length: 0"]).await;
        assert_eq!(post.status, 405, "{path}");
        assert_eq!(ask(address, "GET", path, &["host: rebound.example"]).await.status, 421, "{path}");
    }
}
