//! A real Chromium without a screen, driven over WebDriver (W3C) by its chromedriver: what a page looks like, says and does to a person.
//!
//! Both work in a folder of ours that goes with the value, and they with it. What the page asks of the network and
//! what the console says is kept from the start, and told once.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::world::until;

/// What chromedriver says when it listens, before its port and a full stop.
const STARTED: &str = "ChromeDriver was started successfully on port ";

/// The member of an object that stands for an element (WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// For the end of a browser. The driver's own end takes it along.
const QUIT_MAX: Duration = Duration::from_secs(10);

/// Keys, as WebDriver writes them (17.4.2).
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const BACKSPACE: &str = "\u{e003}";

/// How a person looks at the page.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Of the window, in CSS pixels.
    pub width: u32,
    pub height: u32,
    /// Whether dark pages are preferred.
    pub dark: bool,
    /// Whether pages may run scripts.
    pub scripts: bool,
}

impl Look {
    pub const DESK: Self = Self { width: 1280, height: 900, dark: false, scripts: true };
    pub const PHONE: Self = Self { width: 360, height: 740, ..Self::DESK };
}

/// A chromedriver at work.
pub struct Driver {
    address: SocketAddr,
    folder: TempDir,
    _reading: JoinHandle<()>,
    _child: Child,
}

impl Driver {
    /// Starts one; `None`, after a word about it, where the tests run without it. A panic where it is required.
    pub async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("PROMFERRY_TEST_CHROMEDRIVER").map(PathBuf::from) else {
            let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|required| required == "chromium"), "there is no chromium");
            println!("skipped: no chromium (tests/run installs it)");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(program);
        command.arg("--port=0").env("TMPDIR", folder.path()).env("HOME", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("it says that it was started");
            if let Some(port) = line.strip_prefix(STARTED) {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        // A pipe that nobody reads would fill, and stop it.
        let reading = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), folder, _reading: reading, _child: child })
    }

    /// Opens a browser with a profile of its own.
    pub async fn open(&self, look: Look) -> Browser {
        let mut options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                "--force-color-profile=srgb", "--disable-background-networking", "--no-first-run",
                // It ends when the driver does, however that ends.
                "--remote-debugging-pipe",
                format!("--user-data-dir={}", self.folder.path().join(format!("profile-{}", unique())).display()),
            ],
        });
        if !look.scripts {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = ask(self.address, "POST", "/session", &wanted).await.unwrap_or_else(|error| panic!("{error}"));
        let browser = Browser { address: self.address, session: session["sessionId"].as_str().unwrap().to_owned() };
        // A window is never as narrow as a phone; what the page takes for one is.
        let metrics =
            json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 600});
        browser.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        browser.prefer(look.dark).await;
        // A new tab asks for things of its own.
        browser.go("about:blank").await;
        browser.seen().await;
        browser
    }
}

fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A browser with one page. It ends with the value.
pub struct Browser {
    address: SocketAddr,
    session: String,
}

/// What a page did besides being there, since this was asked last.
#[derive(Debug, Default)]
pub struct Seen {
    /// The URLs of all requests.
    pub requests: Vec<String>,
    /// What the console was told, as `LEVEL: message`.
    pub console: Vec<String>,
}

impl Browser {
    /// Opens a page, and waits until it is loaded.
    pub async fn go(&self, url: &str) {
        self.command("POST", "url", json!({"url": url})).await;
    }

    /// Where it is.
    pub async fn url(&self) -> String {
        self.command("GET", "url", Json::Null).await.as_str().unwrap().to_owned()
    }

    /// What this script returns, which runs beside the page's own and also where those may not run.
    pub async fn script(&self, body: &str) -> Json {
        self.command("POST", "execute/sync", json!({"script": body, "args": []})).await
    }

    /// Waits until this script returns something true, and returns it.
    pub async fn until(&self, what: &str, body: &str) -> Json {
        until(what, async || {
            let value = self.script(body).await;
            let is_true = !matches!(&value, Json::Null | Json::Bool(false)) && value != json!("") && value != json!([]);
            is_true.then_some(value)
        })
        .await
    }

    /// The words that are to be seen, a blank between two.
    pub async fn words(&self) -> String {
        self.words_of("body").await
    }

    /// The same of the first element that a CSS selector names.
    pub async fn words_of(&self, selector: &str) -> String {
        let text = self.script(&format!("return document.querySelector({}).innerText", json!(selector))).await;
        text.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Clicks where the first element of this CSS selector is, as a person does: it must be there to be clicked.
    pub async fn click(&self, selector: &str) {
        let element = self.element("css selector", selector).await;
        self.command("POST", &format!("element/{element}/click"), json!({})).await;
    }

    /// Clicks the link with these words.
    pub async fn follow(&self, words: &str) {
        let element = self.element("link text", words).await;
        self.command("POST", &format!("element/{element}/click"), json!({})).await;
    }

    /// Clicks into the first element of this CSS selector, and types.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element("css selector", selector).await;
        self.command("POST", &format!("element/{element}/value"), json!({"text": text})).await;
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let key = |key: char| {
            [("keyDown", key), ("keyUp", key)].map(|(kind, key)| json!({"type": kind, "value": key.to_string()}))
        };
        let actions: Vec<Json> = keys.chars().flat_map(key).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.command("POST", "actions", json!({"actions": [keyboard]})).await;
    }

    /// Prefers dark pages from now on, or light ones; and always such as do not move.
    pub async fn prefer(&self, dark: bool) {
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        // What is clicked must not be on its way.
        let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        self.cdp("Emulation.setEmulatedMedia", json!({"features": [scheme, still]})).await;
    }

    /// A command of Chromium's own protocol.
    pub async fn cdp(&self, command: &str, parameters: Json) -> Json {
        self.command("POST", "goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Keeps a picture of the page, from its top to its end.
    pub async fn picture(&self, path: &Path) {
        let whole = self.cdp("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true})).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(whole["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// What the page asked for and complained about since this was asked last.
    pub async fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for entry in self.command("POST", "se/log", json!({"type": "browser"})).await.as_array().unwrap() {
            seen.console.push(format!("{}: {}", entry["level"].as_str().unwrap(), entry["message"].as_str().unwrap()));
        }
        for entry in self.command("POST", "se/log", json!({"type": "performance"})).await.as_array().unwrap() {
            let event: Json = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if event["message"]["method"] == "Network.requestWillBeSent" {
                seen.requests.push(event["message"]["params"]["request"]["url"].as_str().unwrap().to_owned());
            }
        }
        seen
    }

    async fn element(&self, using: &str, value: &str) -> String {
        let found = self.command("POST", "element", json!({"using": using, "value": value})).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    async fn command(&self, method: &str, name: &str, parameters: Json) -> Json {
        let path = format!("/session/{}/{name}", self.session);
        let answer = ask(self.address, method, &path, &parameters).await;
        answer.unwrap_or_else(|error| panic!("{name} {parameters}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Not async, and without a word: a test may be failing. Its answer comes when the browser has ended.
        let Ok(mut stream) = std::net::TcpStream::connect(self.address) else { return };
        let (address, session) = (self.address, &self.session);
        let _ = stream.set_read_timeout(Some(QUIT_MAX));
        let _ = write!(stream, "DELETE /session/{session} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let _ = stream.read(&mut [0]);
    }
}

/// The value of an answer, or what was wrong.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &Json) -> Result<Json, String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice::<Json>(&bytes).unwrap()["value"].take();
    if status.is_success() {
        return Ok(value);
    }
    let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Err(format!("{}: {}", word("error"), word("message").lines().next().unwrap_or_default()))
}
