//! Builds the stages from a checked configuration, joins them, reloads them, and ends them in order.
//!
//! The way of the data is wired here and nowhere else: discovery's target set, without our own endpoints, goes to the scrape
//! manager and to metrics-agent's exporter, which scrapes on request; scrapes go to the
//! fan-out, the fan-out to the outputs. Shutdown flows with the data: discovery stops, then the loops, then each output
//! drains, all within one deadline.

mod agent;
mod announce;
mod pages;
mod sift;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::admin::{self, Trouble};
use crate::cloud_foundry::metrics_agent::Agent;
use crate::config::Shown;
use crate::config::checked::{Config, OutputConfig, OutputKind};
use crate::discovery::{Discovery, Network, Noticing, TargetSet};
use crate::memory::{self, Budget};
use crate::model::wall_ms;
use crate::net::credentials::Credentials;
use crate::net::host;
use crate::net::server::Server;
use crate::output::{Predecessor, Running, State};
use crate::pipeline::{Counts, Fanout, Intake, Ledger, Shedding};
use crate::scrape::{Admit, Emit, Manager, Scrapes, Targets};
use announce::{Announcing, Own};
use pages::Pages;
use sift::{Listeners, sift};

/// How long a certificate, key or secret is used before its file is looked at again.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// At a reload, clients of a port that goes or changes have this long to read their answers.
const PLACE_GRACE: Duration = Duration::from_secs(1);

/// At the end, how often it is said what outputs still have to deliver.
const TELL_DRAINING_EVERY: Duration = Duration::from_secs(2);

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
    /// The targets without our own endpoints.
    sifted: watch::Receiver<Targets>,
    /// Those endpoints.
    listeners: watch::Sender<Listeners>,
    admit: Admit,
    /// Whether targets are scraped at their intervals, or on request only.
    has_intervals: watch::Sender<bool>,
    agent: Option<agent::Running>,
    emit: Emit,
    announcing: Arc<Announcing>,
    /// Applies target sets until it is told to stop, and gives the manager back.
    managing: JoinHandle<Manager>,
    stop: watch::Sender<bool>,
    admin: Option<admin::Server>,
    /// Outputs that a reload took away, until they have drained.
    draining: JoinSet<(Arc<OutputConfig>, Counts)>,
    /// The same outputs, by name: one of them may come back before it is gone.
    leaving: Vec<(String, Predecessor)>,
    is_ready: watch::Receiver<bool>,
    /// The configuration in force, for people.
    shown: watch::Sender<Shown>,
    /// What the last reload could not do.
    troubles: watch::Sender<Vec<Trouble>>,
    /// Milliseconds since 1970.
    started_ms: i64,
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
            let running =
                Running::start(output.clone(), &credentials, is_ready.clone(), shutdown_timeout, None).await?;
            running.queue().inspect(|queue| shedding.watch(queue));
            outputs.add(running);
        }
        let fanout = Fanout::new(outputs.intakes());
        let agent_listener = match &config.metrics_agent {
            Some(agent) => {
                let bound = Server::bind(agent.listen).await;
                Some(bound.map_err(|error| format!("metrics_agent.listen: {error}"))?)
            }
            None => None,
        };
        let own = own_endpoints(&outputs, agent_listener.as_ref().and_then(|listener| listener.local_addr().ok()));
        let (listeners, listening) = watch::channel(own);

        let network = Network { credentials: credentials.clone(), runtime: tokio::runtime::Handle::current() };
        let (discovery, targets) = Discovery::start(config.scrapes.clone(), Noticing::Events, network)
            .map_err(|error| format!("cannot start a thread for discovery: {error}"))?;
        let emit: Emit = {
            let (fanout, shedding) = (fanout.clone(), shedding.clone());
            Arc::new(move |scrape| {
                fanout.offer(&scrape);
                // What is let go of now is freed now.
                drop(scrape);
                shedding.relieve();
            })
        };
        let admit: Admit = {
            let shedding = shedding.clone();
            Arc::new(move || shedding.admits_scrape())
        };
        let sifted = sift(targets.clone(), listening);
        let (has_intervals, intervals) = watch::channel(has_use_of_intervals(&config));
        let manager = Manager::new(emit.clone(), admit.clone(), credentials.clone(), &host::machine_name());
        let scrapes = manager.scrapes();
        let (stop, stopped) = watch::channel(false);
        let managing = tokio::spawn(manage(manager, sifted.clone(), intervals, shedding.budget().clone(), stopped));

        tokio::spawn(first_round(scrapes.clone(), ready));
        let mut app = Self {
            started_ms: wall_ms(),
            shown: watch::Sender::new(config.shown.clone()),
            troubles: watch::Sender::default(),
            is_ready,
            credentials,
            fanout,
            shedding,
            outputs,
            discovery,
            scrapes,
            targets,
            sifted,
            listeners,
            admit,
            has_intervals,
            agent: None,
            emit,
            announcing: Arc::default(),
            managing,
            stop,
            admin: None,
            draining: JoinSet::new(),
            leaving: Vec::new(),
            config,
        };
        app.start_admin().await?;
        if let Some(listener) = agent_listener {
            app.start_agent(listener).await?;
        }
        app.announce();
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

    /// The drop-in for metrics-agent, where it is on.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref().map(agent::Running::agent)
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
            credentials: self.credentials.clone(),
            budget: self.shedding.budget().clone(),
            announcing: self.announcing.clone(),
            is_ready: self.is_ready.clone(),
            stands_in_for_prom_scraper: self
                .config
                .admin
                .as_ref()
                .is_some_and(|admin| admin.stands_in_for_prom_scraper),
            shown: self.shown.subscribe(),
            troubles: self.troubles.subscribe(),
            has_intervals: self.has_intervals.subscribe(),
            started_ms: self.started_ms,
        })
    }

    /// Goes over to another configuration. What is the same in both is not touched. An output that cannot start is left out
    /// with an error in the log. May be cancelled at any `await`: [`shutdown`](Self::shutdown) then ends what is there.
    pub async fn reload(&mut self, config: Config) {
        let deadline = Instant::now() + config.global.shutdown_timeout;
        self.troubles.send_replace(Vec::new());
        self.shedding.budget().set_limit(memory_limit(&config));
        let new = config.outputs.iter().filter(|output| !self.outputs.has(output)).cloned();
        let (needs_place, others): (Vec<_>, Vec<_>) = new.partition(|output| has_place(output));
        // What can work beside its predecessor starts before that goes: no scrape falls between the two.
        let started = self.start_outputs(others).await;
        let gone = self.outputs.exchange(|running| config.outputs.contains(&running.config), started);
        self.fanout.replace(self.outputs.intakes());
        let mut places = Vec::new();
        self.leaving.retain(|(_, predecessor)| predecessor.is_there());
        for running in gone {
            self.leaving.push((running.config.name.clone(), running.predecessor()));
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
        // One that could not start is tried again, as outputs are.
        let is_admin_same = self.config.admin == config.admin && self.admin.is_some() == config.admin.is_some();
        let is_agent_same =
            self.config.metrics_agent == config.metrics_agent && self.agent.is_some() == config.metrics_agent.is_some();
        self.shown.send_replace(config.shown.clone());
        self.config = config;
        self.has_intervals.send_replace(has_use_of_intervals(&self.config));
        if is_agent_same {
            self.tell_own_endpoints(self.agent().map(Agent::exporter));
        } else {
            self.replace_agent().await;
        }
        self.announce();
        if !is_admin_same && let Err(error) = self.start_admin().await {
            tracing::error!(error, "the admin port cannot be had, and is off");
        }
    }

    /// Whose place an output of this name takes: that of one at work, or of the last one that left.
    fn predecessor(&self, name: &str) -> Option<Predecessor> {
        let left = || self.leaving.iter().rfind(|(held, _)| held == name).map(|(_, predecessor)| predecessor.clone());
        self.outputs.predecessor(name).or_else(left)
    }

    /// A configuration was read that cannot be used; the one in force stays. `problems` is a line each.
    pub fn refused(&self, problems: &str) {
        let (first, more) = (problems.lines().next().unwrap_or_default(), problems.lines().count().saturating_sub(1));
        let more = if more > 0 { format!("; {more} more lines are in the log") } else { String::new() };
        let text = format!(
            "The configuration was read again and cannot be used, the one before stays in force: {first}{more}"
        );
        self.troubles.send_modify(|troubles| {
            troubles.retain(|trouble| trouble.is_loss);
            troubles.push(Trouble { is_loss: false, text });
        });
    }

    /// Something that the configuration in force asks for is not done.
    fn trouble(&self, text: String) {
        self.troubles.send_modify(|troubles| troubles.push(Trouble { is_loss: true, text }));
    }

    async fn start_outputs(&self, outputs: Vec<Arc<OutputConfig>>) -> Vec<Running> {
        // What goes now was given the time of the configuration in force.
        let shutdown_timeout = self.config.global.shutdown_timeout;
        let mut started = Vec::new();
        for output in outputs {
            let (is_ready, predecessor) = (self.is_ready.clone(), self.predecessor(&output.name));
            match Running::start(output.clone(), &self.credentials, is_ready, shutdown_timeout, predecessor).await {
                Ok(running) => {
                    running.queue().inspect(|queue| self.shedding.watch(queue));
                    started.push(running);
                }
                Err(error) => {
                    tracing::error!(output = output.name, error, "an output cannot start, and is left out");
                    self.trouble(format!("An output cannot start, and gets nothing: {error}"));
                }
            }
        }
        started
    }

    /// Ends everything in the order of the data, by `shutdown_timeout` from now. Returns the ledgers.
    pub async fn shutdown(mut self) -> Vec<Account> {
        let deadline = Instant::now() + self.config.global.shutdown_timeout;
        // Nobody is told any more of what is about to end.
        self.announcing.stop();
        drop(self.discovery);
        self.stop.send_replace(true);
        // Beside all others: who asked for a scrape may have to wait for it.
        if let Some(agent) = &mut self.agent {
            agent.end_delivery(true).await;
        }
        let agent = self.agent.map(|agent| tokio::spawn(agent.stop(deadline.duration_since(Instant::now()))));
        match self.managing.await {
            Ok(manager) => manager.shutdown().await,
            Err(error) => tracing::error!(%error, "the scrape manager ended by a bug of ours"),
        }
        let mut waiting = Vec::new();
        for running in self.outputs.exchange(|_| false, Vec::new()) {
            waiting.push((running.config.clone(), running.ledger.clone()));
            self.draining.spawn(running.shutdown(deadline));
        }
        let accounts = tokio::select! {
            accounts = drained(&mut self.draining) => accounts,
            never = tell_waiting(&waiting, deadline) => match never {},
        };
        if let Some(agent) = agent {
            let _ = agent.await;
        }
        accounts
    }

    /// Tells others of our endpoints and of targets, as the configuration has it.
    fn announce(&self) {
        let own = Own::of(&self.config, &self.outputs, self.agent().map(Agent::entries));
        self.announcing.apply(&self.config, own, &self.credentials, &self.sifted);
    }

    async fn start_agent(&mut self, listener: TcpListener) -> Result<(), String> {
        let Some(config) = &self.config.metrics_agent else { return Ok(()) };
        let wiring = agent::Wiring {
            targets: self.sifted.clone(),
            credentials: self.credentials.clone(),
            admit: self.admit.clone(),
            scrapes: self.scrapes.clone(),
            emit: self.emit.clone(),
            has_outputs: self.has_intervals.subscribe(),
            snapshots: self.snapshots(),
            external_labels: self.config.global.external_labels.clone(),
        };
        self.agent = Some(agent::Running::start(config, listener, wiring).await?);
        Ok(())
    }

    /// Goes over to another agent, or to none.
    async fn replace_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop(PLACE_GRACE).await;
        }
        let listener = match &self.config.metrics_agent {
            Some(config) => Some(Server::bind(config.listen).await),
            None => None,
        };
        let address = listener.as_ref().and_then(|listener| listener.as_ref().ok()?.local_addr().ok());
        self.tell_own_endpoints(address);
        let started = match listener {
            Some(Ok(listener)) => self.start_agent(listener).await,
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        if let Err(error) = started {
            self.tell_own_endpoints(None);
            tracing::error!(error, "the drop-in for metrics-agent cannot start, and is off");
            self.trouble(format!("The drop-in for metrics-agent cannot start, and is off: {error}"));
        }
    }

    fn tell_own_endpoints(&self, exporter: Option<SocketAddr>) {
        let own = own_endpoints(&self.outputs, exporter);
        self.listeners.send_if_modified(|held| {
            let is_new = *held != own;
            *held = own;
            is_new
        });
    }

    async fn start_admin(&mut self) -> Result<(), String> {
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
        if let Some(config) = &self.config.admin {
            let started = admin::Server::start(config, &self.credentials, self.snapshots()).await;
            self.admin = Some(started.map_err(|error| format!("admin.listen: {error}"))?);
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
        OutputKind::Elasticsearch(_)
        | OutputKind::SplunkHec(_)
        | OutputKind::RemoteWrite(_)
        | OutputKind::Otlp(_)
        | OutputKind::Loggregator(_)
        | OutputKind::Dogstatsd(_)
        | OutputKind::Signalfx(_) => false,
    }
}

/// The ledgers of outputs that drain, when all of them have; by name.
async fn drained(draining: &mut JoinSet<(Arc<OutputConfig>, Counts)>) -> Vec<Account> {
    let mut accounts = Vec::new();
    while let Some(ended) = draining.join_next().await {
        accounts.extend(ended.map(|(output, counts)| Account { output, counts }));
    }
    accounts.sort_by(|a, b| a.output.name.cmp(&b.output.name));
    accounts
}

/// Says every few seconds what each output still has to deliver, and how long it may take.
async fn tell_waiting(outputs: &[(Arc<OutputConfig>, Arc<Ledger>)], deadline: Instant) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(TELL_DRAINING_EVERY).await;
        for (output, ledger) in outputs {
            let waiting = ledger.snapshot().waiting;
            if waiting > 0 {
                let seconds_left = deadline.saturating_duration_since(Instant::now()).as_secs();
                tracing::info!(output = output.name, waiting, seconds_left, "still draining");
            }
        }
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

/// Where what was scraped is served.
fn own_endpoints(outputs: &Outputs, exporter: Option<SocketAddr>) -> Listeners {
    outputs.listeners().into_iter().map(|(_, address)| address).chain(exporter).collect()
}

/// Scrapes that go nowhere are not made; without outputs there is only who asks the exporter.
fn has_use_of_intervals(config: &Config) -> bool {
    !config.outputs.is_empty() || config.metrics_agent.is_none()
}

/// Applies each list of targets to the manager, until told to stop; gives the manager back.
async fn manage(
    mut manager: Manager,
    mut targets: watch::Receiver<Targets>,
    mut intervals: watch::Receiver<bool>,
    budget: Arc<Budget>,
    mut stopped: watch::Receiver<bool>,
) -> Manager {
    targets.mark_changed();
    loop {
        let changed = async {
            tokio::select! {
                Ok(()) = targets.changed() => {}
                Ok(()) = intervals.changed() => {}
                else => std::future::pending::<()>().await,
            }
        };
        tokio::select! {
            () = changed => {}
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return manager,
        }
        let found = targets.borrow_and_update().clone();
        budget.set_targets(found.len());
        let wanted = *intervals.borrow_and_update();
        manager.apply(if wanted { &found } else { &[] }).await;
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

    /// The one at work that has this name.
    fn predecessor(&self, name: &str) -> Option<Predecessor> {
        self.lock().iter().find(|running| running.config.name == name).map(Running::predecessor)
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
