//! Builds the stages from a checked configuration, joins them, reloads them, and ends them in order.
//!
//! The way of the data is wired here and nowhere else: discovery's target set goes to the scrape manager, scrapes go to the
//! fan-out, the fan-out to the outputs. Shutdown flows with the data: discovery stops, then the loops, then each output
//! drains, all within one deadline.

mod pages;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::admin;
use crate::config::checked::{Config, OutputConfig, OutputKind};
use crate::discovery::{Discovery, Network, Noticing, TargetSet};
use crate::memory::{self, Budget};
use crate::net::credentials::Credentials;
use crate::net::host;
use crate::output::{Running, State};
use crate::pipeline::{Counts, Fanout, Intake, Shedding};
use crate::scrape::{Manager, Scrapes};
use crate::target::Target;
use pages::Pages;

/// How long a certificate, key or secret is used before its file is looked at again.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// At a reload, clients of a port that goes or changes have this long to read their answers.
const PLACE_GRACE: Duration = Duration::from_secs(1);

/// The stages at work.
pub struct App {
    config: Config,
    credentials: Arc<Credentials>,
    fanout: Arc<Fanout>,
    shedding: Arc<Shedding>,
    outputs: Arc<Outputs>,
    discovery: Discovery,
    scrapes: Arc<Scrapes>,
    targets: watch::Receiver<Arc<TargetSet>>,
    /// Applies target sets until it is told to stop, and gives the manager back.
    managing: JoinHandle<Manager>,
    stop: watch::Sender<bool>,
    admin: Option<admin::Server>,
    /// Outputs that a reload took away, until they have drained.
    draining: JoinSet<(Arc<OutputConfig>, Counts)>,
    is_ready: watch::Receiver<bool>,
}

/// The running outputs, as pages and metrics see them too.
#[derive(Default)]
pub struct Outputs(Mutex<Vec<Running>>);

/// What became of an output's samples, at the end.
pub struct Account {
    /// The output.
    pub output: Arc<OutputConfig>,
    /// Its ledger.
    pub counts: Counts,
}

impl App {
    /// Starts everything. Fails only where a port cannot be had; the sentence names it.
    pub async fn start(config: Config) -> Result<Self, String> {
        let credentials = Arc::new(Credentials::new(RECHECK_AFTER));
        let (ready, is_ready) = watch::channel(false);
        let shedding = Shedding::new(Budget::new(memory_limit(&config)));
        let outputs = Arc::<Outputs>::default();
        let shutdown_timeout = config.global.shutdown_timeout;
        for output in &config.outputs {
            let running = Running::start(output.clone(), &credentials, is_ready.clone(), shutdown_timeout).await?;
            running.queue().inspect(|queue| shedding.watch(queue));
            outputs.add(running);
        }
        let fanout = Fanout::new(outputs.intakes());

        let network = Network { credentials: credentials.clone(), runtime: tokio::runtime::Handle::current() };
        let (discovery, targets) = Discovery::start(config.scrapes.clone(), Noticing::Events, network)
            .map_err(|error| format!("cannot start a thread for discovery: {error}"))?;
        let emit = {
            let (fanout, shedding) = (fanout.clone(), shedding.clone());
            Arc::new(move |scrape| {
                fanout.offer(&scrape);
                // What is let go of now is freed now.
                drop(scrape);
                shedding.relieve();
            })
        };
        let admit = {
            let shedding = shedding.clone();
            Arc::new(move || shedding.admits_scrape())
        };
        let manager = Manager::new(emit, admit, credentials.clone(), &host::machine_name());
        let scrapes = manager.scrapes();
        let (stop, stopped) = watch::channel(false);
        let managing =
            tokio::spawn(manage(manager, targets.clone(), outputs.clone(), shedding.budget().clone(), stopped));

        tokio::spawn(first_round(scrapes.clone(), ready));
        let mut app = Self {
            is_ready,
            credentials,
            fanout,
            shedding,
            outputs,
            discovery,
            scrapes,
            targets,
            managing,
            stop,
            admin: None,
            draining: JoinSet::new(),
            config,
        };
        app.start_admin().await?;
        Ok(app)
    }

    /// Where the aggregate endpoints listen, by output.
    pub fn exposed(&self) -> Vec<(String, SocketAddr)> {
        self.outputs.listeners()
    }

    /// Where the admin port is.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.listens_on())
    }

    /// What the process may use of memory, in bytes.
    pub fn memory_limit(&self) -> Option<u64> {
        self.shedding.budget().limit()
    }

    /// The running scrapes.
    pub fn scrapes(&self) -> Arc<Scrapes> {
        self.scrapes.clone()
    }

    fn snapshots(&self) -> Arc<Pages> {
        Arc::new(Pages {
            scrapes: self.scrapes.clone(),
            targets: self.targets.clone(),
            outputs: self.outputs.clone(),
            budget: self.shedding.budget().clone(),
            is_ready: self.is_ready.clone(),
        })
    }

    /// Goes over to another configuration. What is the same in both is not touched. An output that cannot start is left out
    /// with an error in the log. May be cancelled at any `await`: [`shutdown`](Self::shutdown) then ends what is there.
    pub async fn reload(&mut self, config: Config) {
        let deadline = Instant::now() + config.global.shutdown_timeout;
        self.shedding.budget().set_limit(memory_limit(&config));
        let new = config.outputs.iter().filter(|output| !self.outputs.has(output)).cloned();
        let (needs_place, others): (Vec<_>, Vec<_>) = new.partition(|output| has_place(output));
        // What can work beside its predecessor starts before that goes: no scrape falls between the two.
        let started = self.start_outputs(others).await;
        let gone = self.outputs.exchange(|running| config.outputs.contains(&running.config), started);
        self.fanout.replace(self.outputs.intakes());
        let mut places = Vec::new();
        for running in gone {
            let listens = running.listens_on.is_some();
            let deadline = if listens { deadline.min(Instant::now() + PLACE_GRACE) } else { deadline };
            let (ended, has_ended) = oneshot::channel();
            if has_place(&running.config) {
                places.push(has_ended);
            }
            self.draining.spawn(async move {
                let account = running.shutdown(deadline).await;
                // Nobody waits for those without a place.
                let _ = ended.send(());
                account
            });
        }
        for place in places {
            // An error is the end of the task as well.
            let _ = place.await;
        }
        let started = self.start_outputs(needs_place).await;
        self.outputs.exchange(|_| true, started);
        self.fanout.replace(self.outputs.intakes());
        self.discovery.reload(config.scrapes.clone());
        let is_admin_same = self.config.admin == config.admin;
        self.config = config;
        if !is_admin_same && let Err(error) = self.start_admin().await {
            tracing::error!(error, "the admin port cannot be had, and is off");
        }
    }

    async fn start_outputs(&self, outputs: Vec<Arc<OutputConfig>>) -> Vec<Running> {
        // What goes now was given the time of the configuration in force.
        let shutdown_timeout = self.config.global.shutdown_timeout;
        let mut started = Vec::new();
        for output in outputs {
            match Running::start(output.clone(), &self.credentials, self.is_ready.clone(), shutdown_timeout).await {
                Ok(running) => {
                    running.queue().inspect(|queue| self.shedding.watch(queue));
                    started.push(running);
                }
                Err(error) => tracing::error!(output = output.name, error, "an output cannot start, and is left out"),
            }
        }
        started
    }

    /// Ends everything in the order of the data, by `shutdown_timeout` from now. Returns the ledgers.
    pub async fn shutdown(mut self) -> Vec<Account> {
        let deadline = Instant::now() + self.config.global.shutdown_timeout;
        drop(self.discovery);
        self.stop.send_replace(true);
        match self.managing.await {
            Ok(manager) => manager.shutdown().await,
            Err(error) => tracing::error!(%error, "the scrape manager ended by a bug of ours"),
        }
        for running in self.outputs.exchange(|_| false, Vec::new()) {
            self.draining.spawn(running.shutdown(deadline));
        }
        let mut accounts = Vec::new();
        while let Some(ended) = self.draining.join_next().await {
            accounts.extend(ended.map(|(output, counts)| Account { output, counts }));
        }
        accounts.sort_by(|a, b| a.output.name.cmp(&b.output.name));
        accounts
    }

    async fn start_admin(&mut self) -> Result<(), String> {
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
        if let Some(config) = &self.config.admin {
            self.admin = Some(admin::Server::start(config, &self.credentials, self.snapshots()).await?);
        }
        Ok(())
    }
}

/// The configured limit in bytes. The control group is asked each time: its limit may change while the process runs.
fn memory_limit(config: &Config) -> Option<u64> {
    config.global.memory_limit.bytes(memory::cgroup_limit(Path::new("/")))
}

/// Whether an output has a port or a file to itself: its successor cannot have it before it ends.
fn has_place(output: &OutputConfig) -> bool {
    match output.kind {
        OutputKind::Expose(_) | OutputKind::File(_) => true,
        OutputKind::Elasticsearch(_) | OutputKind::SplunkHec(_) => false,
    }
}

/// Says when the first round of scrapes is done.
async fn first_round(scrapes: Arc<Scrapes>, ready: watch::Sender<bool>) {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while !scrapes.is_first_round_done() {
        look.tick().await;
        if ready.is_closed() {
            return;
        }
    }
    ready.send_replace(true);
}

/// Applies each target set to the manager, until told to stop; gives the manager back.
async fn manage(
    mut manager: Manager,
    mut targets: watch::Receiver<Arc<TargetSet>>,
    outputs: Arc<Outputs>,
    budget: Arc<Budget>,
    mut stopped: watch::Receiver<bool>,
) -> Manager {
    let mut refused = HashSet::new();
    targets.mark_changed();
    loop {
        let changed = async {
            if targets.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return manager,
        }
        let set = targets.borrow_and_update().clone();
        let own = outputs.listeners();
        let (ours, targets): (Vec<_>, Vec<_>) =
            set.targets.iter().cloned().partition(|target| own.iter().any(|(_, address)| is_at(target, *address)));
        for target in &ours {
            if refused.insert(target.origin.key) {
                tracing::warn!(
                    job = target.job(),
                    url = target.origin.url,
                    "a target is promferry's own aggregate endpoint, and is not scraped: it would feed on itself"
                );
            }
        }
        budget.set_targets(targets.len());
        manager.apply(&targets).await;
    }
}

/// Whether a target is this listener of ours.
fn is_at(target: &Target, address: SocketAddr) -> bool {
    target.port == address.port() && is_host_of(&target.host, address)
}

fn is_host_of(name: &str, address: SocketAddr) -> bool {
    let (ours, is_any) = (address.ip(), address.ip().is_unspecified());
    match name.parse::<IpAddr>() {
        Ok(ip) if is_any => host::is_own_address(ip),
        Ok(ip) => ip.to_canonical() == ours.to_canonical(),
        Err(_) if name.eq_ignore_ascii_case("localhost") => is_any || ours.is_loopback(),
        // Other names are not resolved here: only the machine's own is known.
        Err(_) => is_any && name.eq_ignore_ascii_case(&host::machine_name()),
    }
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, running: Running) {
        self.lock().push(running);
    }

    fn has(&self, config: &Arc<OutputConfig>) -> bool {
        self.lock().iter().any(|running| running.config == *config)
    }

    /// Takes out those for which `keep` does not hold, and adds `new`, in one step.
    fn exchange(&self, keep: impl Fn(&Running) -> bool, new: Vec<Running>) -> Vec<Running> {
        let mut all = self.lock();
        let gone = all.extract_if(.., |running| !keep(running)).collect();
        all.extend(new);
        gone
    }

    fn intakes(&self) -> Vec<Arc<dyn Intake>> {
        self.lock().iter().map(|running| running.intake.clone()).collect()
    }

    fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.lock().iter().filter_map(|running| Some((running.config.name.clone(), running.listens_on?))).collect()
    }

    /// The configuration and state of each.
    pub fn states(&self) -> Vec<(Arc<OutputConfig>, State)> {
        self.lock().iter().map(|running| (running.config.clone(), running.state())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_endpoint_is_known_by_each_of_its_addresses() {
        let is = |name: &str, address: &str| is_host_of(name, address.parse().unwrap());
        let machine = host::machine_name();
        for name in ["127.0.0.1", "::1", "localhost", "LocalHost", machine.as_str()] {
            assert!(is(name, "0.0.0.0:9699") && is(name, "[::]:9699"), "{name}");
        }
        assert!(is("127.0.0.1", "127.0.0.1:9699") && is("localhost", "127.0.0.1:9699"));
        assert!(is("::ffff:10.0.0.1", "10.0.0.1:9699"));
        for (name, address) in [
            ("192.0.2.1", "0.0.0.0:9699"),
            ("other.example", "0.0.0.0:9699"),
            ("127.0.0.1", "10.0.0.1:9699"),
            ("localhost", "10.0.0.1:9699"),
        ] {
            assert!(!is(name, address), "{name} {address}");
        }
    }
}
