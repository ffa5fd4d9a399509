//! The world around the demo: certificates, jobs that serve metrics over mutual TLS, and the files that announce them.
//!
//! All of it is in one temporary folder, laid out as on a BOSH machine: `jobs/NAME` is a link into `data/jobs/NAME/HASH`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(86_400);

/// A folder that is removed with all that is in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes a folder that nobody else can read, under the system's one for temporary files.
    pub(super) fn create() -> io::Result<Self> {
        let random = crate::random::below(Duration::from_nanos(u64::MAX >> 1)).as_nanos();
        let path = std::env::temp_dir().join(format!("promferry-demo-{}-{random:x}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A job of the demo.
pub(super) struct Job {
    /// The BOSH job's name.
    pub(super) name: &'static str,
    /// The name in its certificate; with underscores, as Cloud Foundry has them.
    pub(super) server_name: &'static str,
    pub(super) state: State,
}

/// How a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Well,
    /// Its certificate expired yesterday.
    Expired,
    /// It is announced, and does not run.
    Stopped,
}

/// The demo's jobs.
pub(super) const JOBS: [Job; 5] = [
    Job { name: "gorouter", server_name: "gorouter_metrics", state: State::Well },
    Job { name: "rep", server_name: "rep_metrics", state: State::Well },
    Job { name: "loggregator_agent", server_name: "loggregator_agent_metrics", state: State::Well },
    Job { name: "uaa", server_name: "uaa_metrics", state: State::Expired },
    Job { name: "credhub", server_name: "credhub_metrics", state: State::Stopped },
];

/// Files of a certificate.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// A certificate authority, and what it signed.
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    /// In the order of [`JOBS`].
    pub(super) servers: Vec<Pair>,
}

impl Certificates {
    /// Makes them all in `folder`.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = named("metric_scraper_ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_file = folder.join("metric_scraper_ca.crt");
        let certificate = ca.self_signed(&ca_key).map_err(io::Error::other)?;
        write_new(&ca_file, certificate.pem().as_bytes(), 0o644)?;
        let issuer = Issuer::new(ca, ca_key);

        let mut client = named("metric_scraper");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(client, &issuer, folder, "scrape")?;
        let servers = JOBS.iter().map(|job| {
            let mut server = named(job.server_name);
            server.subject_alt_names =
                CertificateParams::new(vec![job.server_name.to_owned()]).map_err(io::Error::other)?.subject_alt_names;
            server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            if job.state == State::Expired {
                server.not_before = (SystemTime::now() - 30 * DAY).into();
                server.not_after = (SystemTime::now() - DAY).into();
            }
            sign(server, &issuer, folder, job.name)
        });
        Ok(Self { ca: ca_file, servers: servers.collect::<io::Result<_>>()? })
    }
}

/// Parameters of a certificate that is valid from yesterday for two months: nothing is about to expire.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 60 * DAY).into();
    params
}

fn sign(params: CertificateParams, issuer: &Issuer<'_, KeyPair>, folder: &Path, name: &str) -> io::Result<Pair> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.signed_by(&key, issuer).map_err(io::Error::other)?;
    let pair = Pair { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    write_new(&pair.cert, certificate.pem().as_bytes(), 0o644)?;
    write_new(&pair.key, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(pair)
}

/// Announces a job that listens on `port`, as a BOSH deployment would.
pub(super) fn announce(folder: &Path, job: &Job, port: u16) -> io::Result<()> {
    let release = folder.join("data/jobs").join(job.name).join("4f2a91c07d");
    fs::create_dir_all(release.join("config"))?;
    fs::create_dir_all(folder.join("jobs"))?;
    let text = format!(
        "---\nport: {port}\nsource_id: {name}\ninstance_id: 6\nscheme: https\nserver_name: {server}\nscrape_interval: 1s\n\
         labels: {{origin: {name}, metrics_version: 2.0}}\n",
        name = job.name,
        server = job.server_name
    );
    write_new(&release.join("config/prom_scraper_config.yml"), text.as_bytes(), 0o644)?;
    symlink(&release, folder.join("jobs").join(job.name))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}
