//! A real nats-server on loopback, which can be stopped and started again on the same port.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::world::until;

/// The program: in `PATH`, or where Debian puts it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join("nats-server")).find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("PROMFERRY_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|engine| engine == "nats"), "there is no nats-server");
        println!("skipped: no nats-server (tests/run installs it)");
    }
    found
}

/// A server at work, or stopped. It is killed with the value.
pub struct NatsServer {
    program: PathBuf,
    configuration: PathBuf,
    pub port: u16,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl NatsServer {
    /// Starts one that has `settings` beside its address; `None`, after a word about it, where the tests run without one.
    pub async fn start(folder: &Path, settings: &str) -> Option<Self> {
        let program = program()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = folder.join(format!("nats-{port}.conf"));
        let settings = settings.replace("FOLDER", &folder.display().to_string());
        std::fs::write(&configuration, format!("listen: \"127.0.0.1:{port}\"\n{settings}")).unwrap();
        let mut server = Self { program, configuration, port, child: None, log: Arc::default() };
        server.resume().await;
        Some(server)
    }

    /// Starts it again, and waits until it says that it is ready.
    pub async fn resume(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.log.lock().unwrap().clear();
        let log = self.log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                *log.lock().unwrap() += &(line + "\n");
            }
        });
        until("nats-server is ready", async || {
            let log = self.log.lock().unwrap().clone();
            assert_eq!(child.try_wait().unwrap(), None, "{log}");
            log.contains("Server is ready").then_some(())
        })
        .await;
        self.child = Some(child);
    }

    /// Ends it.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.unwrap();
    }
}
