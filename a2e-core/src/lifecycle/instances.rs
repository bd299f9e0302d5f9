//! Plugins that are built per session (`scope: session`): the instance of each session, built,
//! restored and started on a thread of its own when the first request asks for it.

use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use super::load::{caught, contained};
use crate::config::PluginConfig;
use crate::layers::{catch, discard};
use crate::plugin::{Handler, Host, Loaded, PluginClass, Scope};
use crate::protocol::{ErrorCode, SessionId};
use crate::request::{PluginLabel, Session};
use crate::route::Instances;
use crate::snapshot::State;
use crate::sync::Mutex;
use crate::{Error, Result};

/// Requests that wait for one instance to start (R22: as many as wait per plugin).
const MOST_WAITING: usize = 1024;

/// An instance that does not start in this time is given up.
const START_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct InstanceSource {
    pub(crate) class: Arc<dyn PluginClass>,
    pub(crate) config: PluginConfig,
    pub(crate) host: Host,
    pub(crate) label: Arc<PluginLabel>,
}

/// The instances of one plugin, by the number of their session.
pub(crate) struct SessionInstances {
    source: InstanceSource,
    cells: DashMap<u64, Arc<Cell>>,
}

/// A plugin's own instance for one session.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) label: Arc<PluginLabel>,
    pub(crate) loaded: Arc<Loaded>,
    /// The host as this instance sees it: its tasks end with the session.
    host: Host,
    /// Why it could not read the state that it was given.
    unread: Option<Error>,
}

/// An instance on its way.
#[derive(Default)]
struct Cell {
    /// Guards the stage; held for a look or a change.
    progress: Mutex<Start>,
    settled: Condvar,
}

#[derive(Default)]
struct Start {
    stage: Stage,
    waiting: Vec<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Default)]
enum Stage {
    #[default]
    Starting,
    Ready(Instance),
    /// It will not be tried again in this session.
    Failed(Error),
}

impl Cell {
    /// Settles it, unless it was given up meanwhile; then what came too late is given back.
    fn settle(&self, result: Result<Instance>) -> Option<Instance> {
        let mut progress = self.progress.lock();
        let (next, late) = match (&progress.stage, result) {
            (Stage::Starting, Ok(instance)) => (Some(Stage::Ready(instance)), None),
            (Stage::Starting, Err(error)) => (Some(Stage::Failed(error)), None),
            (_, late) => (None, late.ok()),
        };
        if let Some(next) = next {
            progress.stage = next;
        }
        let waiting = std::mem::take(&mut progress.waiting);
        drop(progress);
        self.settled.notify_all();
        for go_on in waiting {
            go_on();
        }
        late
    }

    /// Waits until it is settled, and gives it up when that takes too long.
    fn wait(&self, limit: Duration) -> Result<Instance> {
        let waits = |progress: &mut Start| matches!(progress.stage, Stage::Starting);
        let waited = self.settled.wait_timeout_while(self.progress.lock(), limit, waits);
        let (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_late = matches!(progress.stage, Stage::Starting);
        drop(progress);
        if is_late {
            self.give_up(limit);
        }
        match &self.progress.lock().stage {
            Stage::Ready(instance) => Ok(instance.clone()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Starting => Err(Error::internal("an instance that is neither there nor not")),
        }
    }

    fn give_up(&self, limit: Duration) {
        let text = format!("start took longer than {} s", limit.as_secs_f64());
        let _was_starting = self.settle(Err(Error::new(ErrorCode::Unavailable, text)));
    }

    fn ready(&self) -> Option<Instance> {
        match &self.progress.lock().stage {
            Stage::Ready(instance) => Some(instance.clone()),
            Stage::Starting | Stage::Failed(_) => None,
        }
    }
}

impl SessionInstances {
    pub(crate) fn new(source: InstanceSource) -> Arc<Self> {
        Arc::new(Self { source, cells: DashMap::new() })
    }

    fn cell(&self, session: &Session) -> (Arc<Cell>, bool) {
        let mut is_new = false;
        let cell = self.cells.entry(session.number).or_insert_with(|| {
            is_new = true;
            Arc::default()
        });
        (Arc::clone(cell.value()), is_new)
    }

    fn start(&self, session: &Session, cell: &Arc<Cell>, state: Option<State>) {
        if session.life.has_been_told() {
            let text = "the session has ended";
            let _starts_no_more = cell.settle(Err(Error::new(ErrorCode::ShuttingDown, text)));
            return;
        }
        let InstanceSource { class, config, host, label } = &self.source;
        let (class, config) = (Arc::clone(class), config.clone());
        let (host, label) = (host.for_session(), Arc::clone(label));
        let (started, id) = (Arc::clone(cell), session.id().clone());
        session.services.runtime.spawn_blocking(move || {
            let made = make(&class, &config, host, &label, &id, state);
            if let Err(error) = &made {
                tracing::error!(plugin = %label.name, session = %id, %error,
                    "the session's own instance did not start");
            }
            if let Some(late) = started.settle(made) {
                late.end(&id);
            }
        });
        let waited = Arc::clone(cell);
        session.services.runtime.spawn(async move {
            tokio::time::sleep(START_LIMIT).await;
            let is_late = matches!(waited.progress.lock().stage, Stage::Starting);
            if is_late {
                waited.give_up(START_LIMIT);
            }
        });
    }

    /// Starts this session's instance from a saved state; on a thread that may block.
    /// Errors: When it does not start in time, or cannot read the state.
    pub(crate) fn restore(&self, session: &Session, state: State, limit: Duration) -> Result<()> {
        let (cell, is_new) = self.cell(session);
        if is_new {
            self.start(session, &cell, Some(state));
        }
        cell.wait(limit)?.unread.map_or(Ok(()), Err)
    }

    /// Builds this session's instance with the state of that in the plugin before; nothing when the
    /// session has none there. On a thread that may block.
    /// Errors: When the state cannot be saved or read, or the instance does not start in time.
    pub(crate) fn take_over(
        &self,
        before: &Self,
        session: &Session,
        limit: Duration,
    ) -> Result<()> {
        let Some(old) = before.of(session) else { return Ok(()) };
        let scope = Scope::Session(session.id());
        let state = catch(|| old.loaded.save(scope))
            .unwrap_or_else(|panic| Err(Error::internal(format!("panicked in save: {panic}"))))?;
        let (cell, is_new) = self.cell(session);
        if is_new {
            self.start(session, &cell, state);
        }
        cell.wait(limit)?.unread.map_or(Ok(()), Err)
    }

    /// The instance that serves this session now.
    pub(crate) fn of(&self, session: &Session) -> Option<Instance> {
        self.cells.get(&session.number).and_then(|cell| cell.ready())
    }

    /// Takes this session's instance out; one that is still starting is ended once it has.
    pub(crate) fn take(&self, session: &Session) -> Option<Instance> {
        let (_, cell) = self.cells.remove(&session.number)?;
        let over = Error::new(ErrorCode::ShuttingDown, "the session or the plugin has ended");
        let _starts_no_more = cell.settle(Err(over));
        cell.ready()
    }
}

impl Instances for SessionInstances {
    fn handlers(&self, session: &Arc<Session>) -> Result<Option<Arc<[Arc<Handler>]>>> {
        let (cell, is_new) = self.cell(session);
        if is_new {
            self.start(session, &cell, None);
        }
        let progress = cell.progress.lock();
        match &progress.stage {
            Stage::Ready(instance) => Ok(Some(instance.loaded.handlers().into())),
            Stage::Starting => Ok(None),
            Stage::Failed(error) => {
                let text = format!("plugin `{}`: {}", self.source.label.name, error.message());
                Err(Error::new(ErrorCode::Unavailable, text))
            }
        }
    }

    fn when_started(&self, session: &Arc<Session>, ready: Box<dyn FnOnce() + Send>) -> Result<()> {
        let (cell, is_new) = self.cell(session);
        if is_new {
            self.start(session, &cell, None);
        }
        let mut progress = cell.progress.lock();
        if !matches!(progress.stage, Stage::Starting) {
            drop(progress);
            ready();
            return Ok(());
        }
        if progress.waiting.len() >= MOST_WAITING {
            let name = &self.source.label.name;
            let text = format!("{MOST_WAITING} requests wait for `{name}` to start already");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        progress.waiting.push(ready);
        Ok(())
    }
}

/// One more instance of a plugin, for a session of its own: built, restored, started. A state that it
/// cannot read is no error: it then starts empty, which the instance tells.
fn make(
    class: &Arc<dyn PluginClass>,
    config: &PluginConfig,
    host: Host,
    label: &Arc<PluginLabel>,
    id: &SessionId,
    state: Option<State>,
) -> Result<Instance> {
    let loaded = caught("build", || class.build(config, &host))?;
    let mut instance = Instance { label: Arc::clone(label), loaded, host, unread: None };
    if let Some(state) = state {
        let restored = caught("restore", || instance.loaded.restore(Scope::Session(id), state));
        instance.unread = restored.err();
    }
    match caught("start", || instance.loaded.start(&instance.host)) {
        Ok(()) => Ok(instance),
        Err(error) => {
            instance.tear_down();
            Err(error)
        }
    }
}

impl Instance {
    /// Ends it because its session has ended; on a thread that may block.
    pub(crate) fn end(self, id: &SessionId) {
        contained(&self.label.name, "session_ended", || self.loaded.session_ended(id));
        self.tear_down();
    }

    /// Ends it although its session may go on with another; on a thread that may block.
    pub(crate) fn tear_down(self) {
        let Self { label, loaded, host, .. } = self;
        host.end_tasks_soon();
        contained(&label.name, "teardown", || loaded.teardown());
        discard("session instance", loaded);
    }
}

impl Drop for SessionInstances {
    fn drop(&mut self) {
        // Empty unless a session outlived its plugin. The thread that drops it is no plugin's.
        for cell in &self.cells {
            if let Some(instance) = cell.ready() {
                discard("session instance", instance.loaded);
            }
        }
    }
}
