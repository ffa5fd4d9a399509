//! What is logged, for tests that run all of their tasks on one thread.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// How serious it is.
    pub level: Level,
    /// The constant message.
    pub message: String,
    /// The fields, as text.
    pub fields: BTreeMap<String, String>,
}

/// Keeps what this thread logs while it lives.
pub struct Logs {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: DefaultGuard,
}

impl Logs {
    /// Begins to listen.
    pub fn listen() -> Self {
        // While there is one subscriber only, a call site that another test's thread meets first is switched off for all
        // threads, because that thread has none (tracing-core, `Rebuilder::JustOne`). One for all threads is there to stay.
        static FOR_ALL: std::sync::Once = std::sync::Once::new();
        FOR_ALL.call_once(|| {
            let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        });
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Keep(lines.clone())));
        Self { lines, _guard: guard }
    }

    /// What came at this level: message and `error` field.
    pub fn at(&self, level: Level) -> Vec<(String, String)> {
        let lines = self.lines.lock().expect("no panic while it is held");
        let text = |line: &Line| (line.message.clone(), line.fields.get("error").cloned().unwrap_or_default());
        lines.iter().filter(|line| line.level == level).map(text).collect()
    }

    /// The values of one field at this level, where it is set.
    pub fn field(&self, level: Level, name: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic while it is held");
        lines.iter().filter(|line| line.level == level).filter_map(|line| line.fields.get(name).cloned()).collect()
    }
}

struct Keep(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("promferry") {
            return;
        }
        let mut line = Line { level: *event.metadata().level(), message: String::new(), fields: BTreeMap::new() };
        event.record(&mut line);
        self.0.lock().expect("no panic while it is held").push(line);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => {
                self.fields.insert(name.to_owned(), format!("{value:?}"));
            }
        }
    }
}
