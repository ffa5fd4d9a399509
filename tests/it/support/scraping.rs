//! The plumbing of one scrape: a target with defaults, and a client's answer as text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use promferry::config::checked::{Auth, Discovery, Limits, OnBadLine, ScrapeConfig};
use promferry::model::{Labels, Origin};
use promferry::net::Scheme;
use promferry::net::credentials::Credentials;
use promferry::net::tls::TlsSettings;
use promferry::relabel::Rules;
use promferry::scrape::client::{Client, Head, ScrapeError};
use promferry::target::Target;

/// A configuration with Prometheus' defaults.
pub fn config() -> ScrapeConfig {
    ScrapeConfig {
        job_name: "test".into(),
        discovery: Discovery::default(),
        scheme: Scheme::Http,
        metrics_path: "/metrics".into(),
        params: Default::default(),
        scrape_interval: Duration::from_secs(60),
        scrape_timeout: Duration::from_secs(30),
        is_timeout_inherited: true,
        scrape_jitter: Duration::ZERO,
        tls: TlsSettings::default(),
        auth: Auth::None,
        http_headers: Vec::new(),
        follow_redirects: None,
        enable_compression: true,
        negotiation: Default::default(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        on_bad_line: OnBadLine::Skip,
        scrape_metrics: true,
        limits: Limits {
            body_bytes: 64 << 20,
            line_bytes: 1 << 20,
            growth_bytes: usize::MAX,
            samples: 0,
            labels: 0,
            label_name_bytes: 0,
            label_value_bytes: 0,
            targets: 0,
        },
        relabel: Rules::default(),
        metric_relabel: Rules::default(),
        external_labels: Labels::default(),
        shard: None,
    }
}

/// A target at `address` with a generous timeout.
pub fn target(address: SocketAddr) -> Target {
    let mut labels = Labels::default();
    labels.set("job", "test");
    labels.set("instance", address.to_string());
    let config = Arc::new(config());
    Target {
        origin: Arc::new(Origin { key: 1, labels, url: format!("http://{address}/metrics") }),
        scheme: Scheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
        path_and_query: config.metrics_path.clone(),
        tls: config.tls.clone(),
        headers: Vec::new(),
        interval: config.scrape_interval,
        timeout: config.scrape_timeout,
        discovered: Labels::default(),
        announced: None,
        file: None,
        config,
    }
}

/// The same over TLS.
pub fn tls_target(address: SocketAddr, tls: TlsSettings) -> Target {
    Target { scheme: Scheme::Https, tls, ..target(address) }
}

/// The target with another configuration.
pub fn configured(target: Target, change: impl FnOnce(&mut ScrapeConfig)) -> Target {
    let mut config = ScrapeConfig::clone(&target.config);
    change(&mut config);
    Target { config: Arc::new(config), ..target }
}

/// A client whose files are looked at for every scrape.
pub fn client(target: Target) -> Client {
    Client::new(Arc::new(target), &Credentials::new(Duration::ZERO))
}

/// Scrapes once, within the target's timeout of 30 s or `timeout`.
pub async fn scrape_within(client: &mut Client, timeout: Duration) -> Result<(Head, String), ScrapeError> {
    let mut body = Vec::new();
    let deadline = tokio::time::Instant::now() + timeout;
    let answer = client.get(deadline).await?;
    let head = answer
        .read(|bytes| {
            body.extend_from_slice(bytes);
            true
        })
        .await?;
    Ok((head, String::from_utf8(body).unwrap()))
}

/// Scrapes once; the body, or the sentence.
pub async fn scrape(client: &mut Client) -> Result<String, String> {
    let scraped = scrape_within(client, Duration::from_secs(30)).await;
    scraped.map(|(_, body)| body).map_err(|error| error.to_string())
}

/// The sentence with which one scrape of this target fails.
pub async fn failure(target: Target) -> String {
    scrape(&mut client(target)).await.expect_err("the scrape fails")
}
