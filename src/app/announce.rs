//! What tells others of our endpoints and of targets: the registrar and the targets file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Outputs;
use crate::cloud_foundry::entry::Entry;
use crate::cloud_foundry::registrar::{self, Registrar, exposed};
use crate::cloud_foundry::targets_file;
use crate::config::checked::{Config, OutputKind, Register, TargetsFile};
use crate::discovery;
use crate::net::credentials::Credentials;
use crate::net::host;
use crate::scrape::Targets;

/// Both of them, where the configuration has them.
#[derive(Default)]
pub(super) struct Announcing(Mutex<Held>);

#[derive(Default)]
struct Held {
    registrar: Option<(Register, Own, Registrar)>,
    file: Option<(TargetsFile, Following)>,
}

/// What the registrar announces beside files of others.
pub(super) enum Own {
    /// What the drop-in for metrics-agent answers for.
    Agent(watch::Receiver<Arc<Vec<Entry>>>),
    /// Our aggregate endpoints.
    Exposed(Vec<Entry>),
}

/// A task that ends with this.
struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Own {
    /// What there is to announce, where there is somebody to announce it to.
    pub(super) fn of(
        config: &Config,
        outputs: &Outputs,
        agent: Option<watch::Receiver<Arc<Vec<Entry>>>>,
    ) -> Option<Self> {
        let register = config.register.as_ref()?;
        if let Some(entries) = agent {
            return Some(Self::Agent(entries));
        }
        let listeners = outputs.listeners();
        let endpoints = config.outputs.iter().filter_map(|output| match &output.kind {
            OutputKind::Expose(expose) => {
                let (_, listens_on) = listeners.iter().find(|(name, _)| *name == output.name)?;
                Some((output.name.clone(), expose.clone(), *listens_on))
            }
            _ => None,
        });
        let endpoints: Vec<_> = endpoints.collect();
        Some(Self::Exposed(exposed(register, &config.global.external_labels, &host::machine_name(), &endpoints)))
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Agent(one), Self::Agent(other)) => one.same_channel(other),
            (Self::Exposed(one), Self::Exposed(other)) => one == other,
            _ => false,
        }
    }

    fn entries(&self) -> watch::Receiver<Arc<Vec<Entry>>> {
        match self {
            Self::Agent(entries) => entries.clone(),
            // Its value outlives the sender.
            Self::Exposed(entries) => watch::channel(Arc::new(entries.clone())).1,
        }
    }
}

impl Announcing {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over to this configuration; what is the same goes on.
    pub(super) fn apply(
        &self,
        config: &Config,
        own: Option<Own>,
        credentials: &Credentials,
        targets: &watch::Receiver<Targets>,
    ) {
        let mut held = self.lock();
        let is_same = match (&held.registrar, &config.register, &own) {
            (Some((register, announced, _)), Some(config), Some(own)) => register == config && announced.is_same(own),
            _ => false,
        };
        if !is_same {
            held.registrar = config.register.as_ref().zip(own).map(|(register, own)| {
                let globs = register.files.clone();
                let others = Arc::new(move || discovery::read_all(&globs));
                let registrar = Registrar::start(register, credentials, own.entries(), others);
                (register.clone(), own, registrar)
            });
        }
        if held.file.as_ref().map(|(file, _)| file) != config.targets_file.as_ref() {
            held.file = config.targets_file.clone().map(|file| {
                let following = targets_file::follow(file.clone(), targets.clone(), longest_expiry(config));
                (file, Following(tokio::spawn(following)))
            });
        }
    }

    /// How the registrar is doing.
    pub(super) fn registrar(&self) -> Option<registrar::State> {
        self.lock().registrar.as_ref().map(|(_, _, registrar)| registrar.state())
    }

    /// Ends both. The file stays.
    pub(super) fn stop(&self) {
        *self.lock() = Held::default();
    }
}

/// So long it takes until everybody who announces targets over NATS was heard, or is gone.
fn longest_expiry(config: &Config) -> Duration {
    let listening = config.scrapes.iter().flat_map(|scrape| &scrape.discovery.nats);
    listening.map(|sd| sd.expiry).max().unwrap_or_default()
}
