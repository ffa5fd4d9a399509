//! The whole way, from outside: what promferry costs for 10 mTLS targets × 1000 samples at 1 s.
//!
//! Starts the real executable beside targets and a receiver of this process, lets it run, and reads from /proc what it
//! used. Every value moves at every scrape. Prints one line an output.
//!
//!     cargo bench --bench end_to_end                  # 10 s of warm-up, 30 s measured, each output
//!     SECONDS=120 cargo bench --bench end_to_end

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use promferry::net::credentials::Credentials;
use promferry::net::server::{self, Handler, Limits, Server};
use promferry::net::tls::ServerTls;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TARGETS: usize = 10;
const SAMPLES: u64 = 1000;

fn main() {
    // `cargo test --benches` runs this too: it measures only when it is asked to.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for output in ["file", "elasticsearch", "splunk_hec"] {
            measure(output, Duration::from_secs(seconds)).await;
        }
    });
}

async fn measure(output: &str, window: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let scrapes = Arc::new(AtomicU64::new(0));
    let mut targets = Vec::new();
    for _ in 0..TARGETS {
        targets.push(target(folder.path(), scrapes.clone()).await);
    }
    let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = sink.local_addr().expect("an address").port();
    tokio::spawn(receiver(sink));

    let addresses: Vec<_> = targets.iter().map(|target| format!("\"{}\"", target.listens_on())).collect();
    let sink = match output {
        "file" => "file: {path: /dev/null}".to_owned(),
        "splunk_hec" => format!("splunk_hec: {{urls: [\"http://127.0.0.1:{port}\"], token: t, index: metrics}}"),
        _ => format!("elasticsearch: {{urls: [\"http://127.0.0.1:{port}\"], index: metrics-promferry-default}}"),
    };
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: bench
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: client.crt, key_file: client.key, server_name: target}}
    static_configs: [{{targets: [{}]}}]
outputs: [{{name: sink, {sink}}}]
admin: null
",
        addresses.join(", ")
    );
    let file = folder.path().join("promferry.yml");
    std::fs::write(&file, config).expect("a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_promferry"))
        .args(["run", "--log-level", "error", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .expect("the executable");

    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = (cpu_seconds(&child), scrapes.load(Ordering::Relaxed));
    tokio::time::sleep(window).await;
    let after = (cpu_seconds(&child), scrapes.load(Ordering::Relaxed));
    let cpu = after.0 - before.0;
    let samples = (after.1 - before.1) * SAMPLES;
    println!(
        "{output:14} {:.4} cores, {:.2} µs of CPU a sample, {:.1} MiB resident (peak {:.1}), {samples} samples in {window:?}",
        cpu / window.as_secs_f64(),
        cpu * 1e6 / samples as f64,
        memory_mib(&child, "VmRSS:"),
        memory_mib(&child, "VmHWM:"),
    );
    let _ = child.kill();
    let _ = child.wait();
}

/// A target whose every value moves.
async fn target(folder: &Path, scrapes: Arc<AtomicU64>) -> Server {
    let tls = ServerTls {
        cert_file: folder.join("target.crt"),
        key_file: folder.join("target.key"),
        client_ca_file: Some(folder.join("ca.crt")),
    };
    let handler: Handler = Arc::new(move |_| {
        let round = scrapes.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(server::text(http::StatusCode::OK, body(round))))
    });
    let listener = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
    let credentials = Credentials::new(Duration::from_secs(3600));
    Server::start(listener, Some(credentials.listener(&tls)), Limits::default(), handler).expect("a server")
}

/// 1000 samples: counters, gauges, and histograms of ten buckets.
fn body(round: u64) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(100 << 10);
    let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes it");
    for family in 0..40 {
        line(format_args!(
            "# HELP app_requests_{family}_total Requests.\n# TYPE app_requests_{family}_total counter\n"
        ));
        for series in 0..10 {
            let value = round * (series + 1) + family * 1000;
            line(format_args!(
                "app_requests_{family}_total{{method=\"GET\",code=\"20{series}\",handler=\"/api/v1/{family}\"}} {value}\n"
            ));
        }
        line(format_args!("# HELP app_load_{family} Load.\n# TYPE app_load_{family} gauge\n"));
        for series in 0..9 {
            let value = ((round + series) as f64 / 7.0 + family as f64).sin() * 100.0;
            line(format_args!("app_load_{family}{{worker=\"{series}\"}} {value:.6}\n"));
        }
    }
    for family in 0..20 {
        line(format_args!("# HELP app_seconds_{family} Time.\n# TYPE app_seconds_{family} histogram\n"));
        for (at, bound) in
            ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"].iter().enumerate()
        {
            let count = round * (at as u64 + 1);
            line(format_args!("app_seconds_{family}_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        line(format_args!(
            "app_seconds_{family}_sum {}\napp_seconds_{family}_count {}\n",
            round as f64 * 0.37,
            round * 10
        ));
    }
    out
}

/// Takes every request, of bulk documents or of Splunk's events, and says that all went well.
async fn receiver(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_all(stream));
    }
}

async fn answer_all(mut stream: TcpStream) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        while read.len() < end + length {
            (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
        }
        read.drain(..end + length);
        let body = match () {
            () if head.starts_with("get /services") => r#"{"text":"HEC is healthy","code":17}"#,
            () if head.starts_with("post /services") => r#"{"text":"Success","code":0}"#,
            () if head.starts_with("post") => r#"{"errors":false}"#,
            () => r#"{"version":{"number":"9.5.3"}}"#,
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn certificates(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.crt"), ca.self_signed(&key).expect("a certificate").pem()).expect("a file");
    let issuer = Issuer::new(ca, key);
    for (name, usage) in
        [("target", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).expect("a file");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }
}

/// User and system time of a process so far.
fn cpu_seconds(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of a hundredth of a second.
    fields[11..13].iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn memory_mib(child: &Child, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
