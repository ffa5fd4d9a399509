//! The status page in a real Chromium: what an operator reads, does and sees there while a machine has many things wrong at once.
//!
//! Pictures of it are left in `target/screenshots`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rcgen::date_time_ymd;
use serde_json::{Value as Json, json};
use tokio::net::TcpSocket;

use crate::expose::client::ask;
use crate::main_job::body;
use crate::support::certificates::Pair;
use crate::support::exporter::Exporter;
use crate::support::webdriver::{BACKSPACE, Browser, Driver, ENTER, Look, TAB};
use crate::support::world::{Process, World, until};

/// Says what is wrong with a page for people who see little, use a keyboard, or listen to it.
const LOOK: &str = include_str!("../chromium/look.js");

/// Without a name these are nothing to somebody who listens.
const MUST_HAVE_A_NAME: [&str; 12] = [
    "link",
    "button",
    "searchbox",
    "textbox",
    "combobox",
    "table",
    "region",
    "navigation",
    "image",
    "img",
    "meter",
    "checkbox",
];

/// What a job may say of itself: were it taken for HTML, it would ask another host, and change the title.
const HOSTILE: &str = "<img src=http://192.0.2.1/x onerror=document.title=1><script src=http://192.0.2.1/y></script>";

/// A machine with one target of each kind, one broken file, and one output that fails.
struct Machine {
    world: World,
    promferry: Process,
    /// Up, until it is told otherwise.
    gorouter: Exporter,
    _uaa: Exporter,
    /// A port that is taken, and on which nobody listens.
    _nobody: TcpSocket,
}

fn expired(world: &World) -> Pair {
    world.ca.server_with(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2025, 3, 4))
}

impl Machine {
    async fn start() -> Self {
        let world = World::new();
        let good = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
        let gorouter = Exporter::start(good, body).await;
        let uaa = Exporter::start(expired(&world).server_config(Some(&world.ca)), body).await;
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = nobody.local_addr().unwrap();
        world.deploy("gorouter", "1", &format!("port: {}\nlabels: {{origin: '{HOSTILE}'}}\n", gorouter.port()));
        world.deploy("uaa", "1", &format!("port: {}\n", uaa.port()));
        world.deploy("rep", "1", &format!("port: {}\n", refused.port()));
        world.deploy("doppler", "1", "port: 9\nscrape_interval: 0\n");
        world.deploy("policy-server", "1", "port: 14726\nscrape_interval: 15x\n");
        world.configure(&format!(
            r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: platform
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    prom_scraper_sd_configs:
      - files: ["FOLDER/jobs/*/config/prom_scraper_config.yml"]
  - job_name: apps
    static_configs: [{{targets: ["drop.me:1"]}}]
    relabel_configs: [{{source_labels: [__address__], regex: drop.me.*, action: drop}}]
outputs:
  - name: everything
    expose: {{listen: "127.0.0.1:0"}}
  - name: lines
    file: {{path: samples.jsonl}}
  - name: search
    elasticsearch: {{urls: ["http://{refused}"], api_key_file: FOLDER/api_key}}
    batch: {{flush_interval: 50ms, flush_jitter: 0s}}
admin: {{listen: "127.0.0.1:0"}}
"#
        ));
        std::fs::write(world.path("api_key"), "c2VjcmV0LWtleQ==").unwrap();
        let promferry = world.run().await;
        let machine = Self { world, promferry, gorouter, _uaa: uaa, _nobody: nobody };
        until("all targets were scraped, and the output has failed", async || {
            let targets = machine.promferry.targets().await;
            let is_scraped = targets.len() == 3 && targets.values().all(|target| target["health"] != "unknown");
            let has_failed =
                machine.promferry.outputs().await["search"]["failing"].as_str().is_some_and(|error| !error.is_empty());
            (is_scraped && has_failed).then_some(())
        })
        .await;
        machine
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.promferry.admin)
    }

    /// What the API says of a target.
    async fn target(&self, source: &str) -> Json {
        self.promferry.targets().await[source].clone()
    }

    /// From now on its certificate has expired, or has not.
    async fn break_gorouter(&self, is_broken: bool) {
        let pair = if is_broken { expired(&self.world) } else { self.world.ca.server(&["127.0.0.1"]) };
        self.gorouter.rotate(pair.server_config(Some(&self.world.ca))).await;
    }

    /// The page has asked only its own promferry, and has nothing to complain about.
    async fn assert_clean(&self, browser: &Browser) -> usize {
        let seen = browser.seen().await;
        assert_eq!(seen.console, [""; 0]);
        let own = self.url("/");
        let foreign: Vec<_> = seen.requests.iter().filter(|url| !url.starts_with(&own)).collect();
        assert_eq!(foreign, [""; 0]);
        seen.requests.len()
    }
}

fn words(json: &Json) -> String {
    json.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots").join(name).with_extension("png")
}

/// The jobs whose targets are shown, in their order.
async fn rows(machine: &Machine, browser: &Browser) -> Vec<String> {
    let targets = machine.promferry.targets().await;
    let shown = "return [...document.querySelectorAll('tr[id^=t-]')].map((row) => row.id.slice(2))";
    let shown: Vec<String> = serde_json::from_value(browser.script(shown).await).unwrap();
    let source = |id: &String| targets.iter().find(|(_, target)| target["id"] == *id).expect("it is a target").0;
    shown.iter().map(|id| source(id).clone()).collect()
}

/// Each sentence that the API has stands on the page, and all of it with what to do.
async fn assert_says_what_is_wrong(machine: &Machine, browser: &Browser) {
    let page = browser.words().await;
    let headline = words(&machine.promferry.ask("/api/v1/status").await["data"]["headline"]["text"]);
    // Its numbers may have moved in between.
    let constant = |text: &str| text.split(|c: char| c.is_ascii_digit()).next().unwrap().to_owned();
    assert!(browser.words_of("h1").await.contains(&constant(&headline)), "{headline}\n{page}");
    for (source, sentence) in [("uaa", "expired"), ("rep", "nothing listens on 127.0.0.1:")] {
        let target = machine.target(source).await;
        for said in [words(&target["lastError"]), words(&target["advice"])] {
            assert!(!said.is_empty() && page.contains(&said), "{source}: {said}\n{page}");
        }
        assert!(words(&target["lastError"]).contains(sentence), "{target}");
    }
    assert!(page.contains("2025-03-04"), "when it expired: {page}");
    let problem = "\"15x\" is not a duration";
    let search = words(&machine.promferry.outputs().await["search"]["failing"]);
    for said in [problem, &search, "policy-server", "adds up", "No sample was lost"] {
        assert!(page.contains(said), "{said}\n{page}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_and_every_view_of_it_has_a_link() {
    let Some(driver) = Driver::start().await else { return };
    let machine = Machine::start().await;
    let browser = driver.open(Look::DESK).await;
    browser.go(&machine.url("/")).await;
    assert_says_what_is_wrong(&machine, &browser).await;
    assert!(browser.words().await.contains(HOSTILE), "it is shown as it is");
    // What is down comes first.
    assert_eq!(rows(&machine, &browser).await.pop().as_deref(), Some("gorouter"));

    browser.click(".tabs a.up").await;
    browser.until("only what is up", "return document.querySelectorAll('tr[id^=t-]').length === 1").await;
    assert_eq!(
        (rows(&machine, &browser).await, browser.url().await),
        (vec!["gorouter".to_owned()], machine.url("/?health=up#targets"))
    );
    browser.click(".tabs a.all").await;
    browser.until("all of them", "return document.querySelectorAll('tr[id^=t-]').length === 3").await;

    let by = async |column: &str, order: &str| {
        browser.click(&format!("th a[href*='sort={column}']")).await;
        browser
            .until(
                "it is sorted",
                &format!("return !!document.querySelector('th[aria-sort={order}] a[href*=\"sort={column}\"]')"),
            )
            .await;
        rows(&machine, &browser).await
    };
    assert_eq!(by("samples", "descending").await[0], "gorouter");
    assert_eq!(by("samples", "ascending").await[2], "gorouter");
    let rising = by("target", "ascending").await;
    let mut falling = by("target", "descending").await;
    falling.reverse();
    assert_eq!(rising, falling);

    // What somebody is sent is what was seen.
    browser.type_into("#q", "expired").await;
    browser.until("it is found", "return document.querySelectorAll('tr[id^=t-]').length === 1").await;
    let link = browser.url().await;
    assert!(link.contains("q=expired"), "{link}");
    browser.go(&machine.url("/")).await;
    browser.go(&link).await;
    assert_eq!(rows(&machine, &browser).await, ["uaa"]);
    assert_eq!(browser.script("return document.getElementById('q').value").await, "expired");

    browser.click("tr[id^=t-] .what a").await;
    let id = words(&machine.target("uaa").await["id"]);
    browser.until("its own page", &format!("return location.pathname === '/targets/{id}'")).await;
    let page = browser.words().await;
    for name in ["lastError", "advice", "scrapeUrl"] {
        assert!(page.contains(&words(&machine.target("uaa").await[name])), "{name}: {page}");
    }
    assert!(page.contains(&machine.world.announcement("uaa").display().to_string()), "{page}");

    browser.go(&machine.url("/config")).await;
    let configuration = browser.words().await;
    assert!(configuration.contains("job_name: platform") && !configuration.contains("c2VjcmV0"), "{configuration}");
    machine.assert_clean(&browser).await;
}

#[tokio::test]
async fn the_page_keeps_up_and_leaves_alone_what_somebody_is_typing() {
    let Some(driver) = Driver::start().await else { return };
    let machine = Machine::start().await;
    let browser = driver.open(Look::DESK).await;
    browser.go(&machine.url("/")).await;
    browser.script("window.isSame = true").await;
    browser.type_into("#q", "gorouter").await;
    let id = words(&machine.target("gorouter").await["id"]);
    let health = |health: &str| {
        format!(
            "return document.querySelectorAll('tr[id^=t-]').length === 1 && document.querySelector('#t-{id} .health').textContent.includes('{health}')"
        )
    };
    let is_untouched = "const q = document.activeElement; return window.isSame && q.id === 'q' && q.value === 'gorouter' && q.selectionStart === 8";

    browser.until("it is up", &health("up")).await;
    assert_eq!(browser.script(is_untouched).await, true);
    machine.break_gorouter(true).await;
    browser.until("it is down", &health("down")).await;
    let row = browser.words_of(&format!("#t-{id}")).await;
    assert!(row.contains("expired") && row.contains("What to do:"), "{row}");
    assert_eq!(browser.script(is_untouched).await, true);
    machine.break_gorouter(false).await;
    browser.until("it is up again", &health("up")).await;
    let row = browser.words_of(&format!("#t-{id}")).await;
    assert!(!row.contains("expired"), "{row}");
    assert_eq!(browser.script(is_untouched).await, true);

    // Who reads may stop it.
    browser.click("#live button").await;
    machine.break_gorouter(true).await;
    until("the API knows that it is down", async || {
        (machine.target("gorouter").await["health"] == "down").then_some(())
    })
    .await;
    assert_eq!(browser.script(&health("up")).await, true);
    assert!(browser.words_of("#live").await.starts_with("Paused"));
    browser.click("#live button").await;
    browser.until("it is down", &health("down")).await;

    machine.world.deploy("bosh-dns", "1", &format!("port: {}\n", machine.gorouter.port()));
    browser.type_into("#q", &BACKSPACE.repeat(8)).await;
    browser.until("a job that came", "return document.querySelectorAll('tr[id^=t-]').length === 4").await;
    machine.world.undeploy("bosh-dns");
    browser.until("a job that went", "return document.querySelectorAll('tr[id^=t-]').length === 3").await;
    let requests = machine.assert_clean(&browser).await;
    assert!(requests > 5, "{requests} requests");

    // The job that is chosen stays chosen where one before it in the list goes.
    let chosen = browser
        .script("const job = document.getElementById('job'); job.insertBefore(new Option('gone', 'gone'), job.options[1]); job.selectedIndex = 2; return job.value")
        .await;
    browser.until("the list is as it should be", "return !document.querySelector('#job [value=gone]')").await;
    assert_eq!(browser.script("return document.getElementById('job').value").await, chosen);

    machine.promferry.kill().await;
    let is_noticed = "return document.getElementById('live').textContent.startsWith('No answer since')";
    browser.until("it says that nobody answers", is_noticed).await;
    // Also to somebody who only listens.
    assert_eq!(browser.script("return document.getElementById('said').textContent").await, "promferry does not answer");
    assert_eq!(browser.script("return document.querySelectorAll('tr[id^=t-]').length").await, 3);
}

#[tokio::test]
async fn everything_is_there_and_works_without_scripts() {
    let Some(driver) = Driver::start().await else { return };
    let machine = Machine::start().await;
    let browser = driver.open(Look { scripts: false, ..Look::DESK }).await;
    browser.go("data:text/html,<title>no</title><script>document.title='scripts run'</script>").await;
    assert_eq!(browser.script("return document.title").await, "no");
    browser.seen().await;
    browser.go(&machine.url("/")).await;
    assert_says_what_is_wrong(&machine, &browser).await;
    assert_eq!(rows(&machine, &browser).await.len(), 3);

    browser.type_into("#q", "expired").await;
    browser.press(ENTER).await;
    browser.until("it is found", "return document.querySelectorAll('tr[id^=t-]').length === 1").await;
    assert_eq!(rows(&machine, &browser).await, ["uaa"]);
    browser.follow("Clear").await;
    browser.until("all of them", "return document.querySelectorAll('tr[id^=t-]').length === 3").await;
    browser.click("th a[href*='sort=samples']").await;
    browser.until("it is sorted", "return !!document.querySelector('th[aria-sort=descending]')").await;
    assert_eq!(rows(&machine, &browser).await[0], "gorouter");
    browser.click(".tabs a.down").await;
    browser.until("only what is down", "return document.querySelectorAll('tr[id^=t-]').length === 2").await;
    assert!(!rows(&machine, &browser).await.contains(&"gorouter".to_owned()));

    // It is no live page: it says so by having a link that asks again.
    machine.break_gorouter(true).await;
    until("the API knows that it is down", async || {
        (machine.target("gorouter").await["health"] == "down").then_some(())
    })
    .await;
    assert_eq!(rows(&machine, &browser).await.len(), 2);
    browser.follow("Refresh").await;
    browser.until("it asked again", "return document.querySelectorAll('tr[id^=t-]').length === 3").await;
    browser.click("tr[id^=t-] .what a").await;
    browser.until("its own page", "return location.pathname.startsWith('/targets/')").await;
    assert!(browser.words().await.contains("What to do:"));
    machine.assert_clean(&browser).await;
    browser.picture(&picture("without-scripts")).await;
}

#[tokio::test]
async fn everything_can_be_reached_with_the_keyboard_and_the_focus_is_seen() {
    let Some(driver) = Driver::start().await else { return };
    let machine = Machine::start().await;
    let browser = driver.open(Look::DESK).await;
    browser.go(&machine.url("/")).await;
    // What has it, and what is wrong with how that looks.
    let focus = "
        const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
        if (at === document.body) return null;
        const name = at.id || at.className || at.textContent;
        const wrong = [];
        if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) wrong.push('has no outline');
        if (box.right <= 0 || box.bottom <= 0 || box.left >= innerWidth || box.top >= innerHeight) wrong.push('is not in sight');
        else {
          const rect = at.getClientRects()[0];
          const top = document.elementFromPoint(Math.min(rect.left + 3, innerWidth - 1), Math.min(Math.max(rect.top + Math.min(rect.height, 60) / 2, 0), innerHeight - 1));
          if (top && !at.contains(top) && !top.contains(at)) wrong.push('lies below ' + top.outerHTML.slice(0, 60));
        }
        return [name.trim().slice(0, 40), wrong.map((what) => name.trim().slice(0, 40) + ' ' + what)]";
    browser.press(TAB).await;
    assert_eq!(browser.script(focus).await[0], "skip");
    browser.press(ENTER).await;
    browser.until("it skips", "return location.hash === '#main'").await;

    browser.go(&machine.url("/")).await;
    let (mut visited, mut wrong) = (Vec::new(), Vec::new());
    loop {
        browser.press(TAB).await;
        let focused = browser.script(focus).await;
        let Some(name) = focused[0].as_str().map(str::to_owned) else { break };
        wrong.extend(focused[1].as_array().unwrap().iter().map(|what| what.as_str().unwrap().to_owned()));
        visited.push(name);
        assert!(visited.len() < 150, "it does not end: {visited:?}");
    }
    assert_eq!(wrong, [""; 0]);
    let all = "return [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')].filter((one) => one.checkVisibility()).length";
    assert!(visited.len() as u64 >= browser.script(all).await.as_u64().unwrap(), "{visited:?}");
    for name in ["skip", "q", "job"] {
        assert!(visited.iter().any(|visited| visited == name), "{name}: {visited:?}");
    }

    // The search, as somebody does who has no pointer.
    browser.script("document.getElementById('q').focus()").await;
    browser.press("refused").await;
    browser.press(ENTER).await;
    browser.until("it is found", "return document.querySelectorAll('tr[id^=t-]').length === 1").await;
    assert_eq!(rows(&machine, &browser).await, ["rep"]);
    assert_eq!(browser.script("return document.activeElement.id").await, "q");
    machine.assert_clean(&browser).await;
}

/// Elements that have no name for those who listen, and how many there are of a role.
async fn nameless(browser: &Browser) -> (Vec<String>, impl Fn(&str) -> usize) {
    let tree = browser.cdp("Accessibility.getFullAXTree", json!({})).await;
    let nodes: Vec<Json> =
        tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false).cloned().collect();
    let role = |node: &Json| node["role"]["value"].as_str().unwrap_or_default().to_owned();
    let is_nameless =
        |node: &&Json| MUST_HAVE_A_NAME.contains(&role(node).as_str()) && words(&node["name"]["value"]).is_empty();
    let found = nodes.iter().filter(is_nameless).map(|node| format!("a {} has no name", role(node))).collect();
    let roles: Vec<String> = nodes.iter().map(role).collect();
    (found, move |wanted: &str| roles.iter().filter(|role| *role == wanted).count())
}

#[tokio::test]
async fn everybody_can_read_it_in_the_light_in_the_dark_and_on_a_phone() {
    let Some(driver) = Driver::start().await else { return };
    let machine = Machine::start().await;
    let id = words(&machine.target("uaa").await["id"]);
    let small = Look { width: 320, height: 640, ..Look::PHONE };
    let mut wrong = Vec::new();
    for (name, look) in [("desk", Look::DESK), ("phone", Look::PHONE), ("small", small)] {
        let browser = driver.open(look).await;
        for (page, path) in
            [("status", "/".to_owned()), ("target", format!("/targets/{id}")), ("config", "/config".to_owned())]
        {
            browser.go(&machine.url(&path)).await;
            browser.script("document.querySelectorAll('details').forEach((one) => one.open = true)").await;
            let wide = browser.script("return document.scrollingElement.scrollWidth").await.as_u64().unwrap();
            if wide > look.width.into() {
                wrong.push(format!("{page}, {name}: {wide} pixels wide, not {}", look.width));
            }
            let (nameless, roles) = nameless(&browser).await;
            wrong.extend(nameless.iter().map(|what| format!("{page}, {name}: {what}")));
            if page == "status" {
                // A table that is laid out otherwise must stay one.
                assert!(roles("table") >= 2 && roles("row") >= 6 && roles("columnheader") >= 8, "{name}");
            }
            for (scheme, dark) in [("light", false), ("dark", true)] {
                browser.prefer(dark).await;
                assert_eq!(browser.script("return matchMedia('(prefers-color-scheme: dark)').matches").await, dark);
                let complaints: Vec<String> = serde_json::from_value(browser.script(LOOK).await).unwrap();
                wrong.extend(complaints.iter().map(|what| format!("{page}, {name}, {scheme}: {what}")));
                browser.picture(&picture(&format!("{page}-{name}-{scheme}"))).await;
            }
            browser.prefer(false).await;
        }
        machine.assert_clean(&browser).await;
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn ten_thousand_targets_are_paged_and_searched() {
    let Some(driver) = Driver::start().await else { return };
    let world = World::new();
    // All of them on this machine, where nobody listens.
    let targets: Vec<String> =
        (1..=40).flat_map(|third| (1..=250).map(move |fourth| format!("\"127.0.{third}.{fourth}:1\""))).collect();
    world.configure(&format!(
        "global: {{scrape_interval: 1h}}\nscrape_configs:\n  - job_name: many\n    static_configs: [{{targets: [{}]}}]\n\
         outputs: [{{name: everything, expose: {{listen: '127.0.0.1:0'}}}}]\nadmin: {{listen: '127.0.0.1:0'}}\n",
        targets.join(", ")
    ));
    let promferry = world.run().await;
    let url = |path: &str| format!("http://{}{path}", promferry.admin);
    let began = Instant::now();
    let page = ask(promferry.admin, "GET", "/", &[]).await;
    println!("10,000 targets: {} bytes within {:?}, in a build for tests", page.body.len(), began.elapsed());
    assert!(page.body.len() < 1 << 20, "{} bytes", page.body.len());

    let browser = driver.open(Look::DESK).await;
    browser.go(&url("/")).await;
    let first_byte = browser.script("return performance.getEntriesByType('navigation')[0].responseStart").await;
    println!("10,000 targets: the first byte came after {first_byte} ms");
    let number = "return document.querySelectorAll('tr[id^=t-]').length";
    assert_eq!(browser.script(number).await, 50);
    assert!(browser.words_of(".paging").await.contains("1 to 50 of 10,000 targets"));
    let first = browser.words_of("tr[id^=t-] .what a").await;
    browser.follow("Next").await;
    browser
        .until("the next page", "return document.querySelector('.paging p').textContent.startsWith('51 to 100 of')")
        .await;
    assert_ne!(browser.words_of("tr[id^=t-] .what a").await, first);
    browser.follow("200").await;
    browser.until("the last page", "return document.querySelector('.paging p').textContent.startsWith('9951 to 10000 of') || document.querySelector('.paging p').textContent.startsWith('9,951 to 10,000 of')").await;
    browser.type_into("#q", "127.0.17.233").await;
    browser.until("it is found", "return document.querySelectorAll('tr[id^=t-]').length === 1").await;
    assert_eq!(browser.words_of("tr[id^=t-] .what a").await, "http://127.0.17.233:1/metrics");
    assert_eq!(browser.seen().await.console, [""; 0]);
}
