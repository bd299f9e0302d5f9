//! Plugin code that is run for one session beside its requests: save, restore, clear, start, end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::kernel::{Kernel, within};
use super::load::{caught, contained};
use crate::dispatch::{PluginSlot, discard};
use crate::plugin::Scope;
use crate::protocol::SessionId;
use crate::session::{Ending, Instance, Session};
use crate::snapshot::State;
use crate::{Error, Result};

/// Threads that may be in one plugin for sessions at a time. A plugin that hangs there holds so
/// many and no more.
const THREADS: usize = 4;

/// How long a plugin holds up a session that ends or goes on. What it does is then not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long plugins hold up the close of a connection when its session has ended.
const SESSION_END: Duration = Duration::from_millis(400);

/// How long handlers of a session that has ended may go on before plugins are told.
const HANDLERS_END: Duration = Duration::from_millis(1200);

/// What is kept about a plugin's work for sessions.
#[derive(Debug)]
pub(crate) struct SessionWork {
    permits: Arc<Semaphore>,
    /// What went wrong the last time; none: nothing did.
    problem: Mutex<Option<String>>,
}

impl Default for SessionWork {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(THREADS)), problem: Mutex::default() }
    }
}

impl SessionWork {
    /// What went wrong with the state of a session, the last time.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl Kernel {
    /// Tells plugins that a session has ended, and has their state saved soon. Waits a moment, for what
    /// they have to say; the work goes on by itself when they take longer.
    pub(crate) async fn session_ended(self: &Arc<Self>, session: &Arc<Session>) {
        if !session.begin_end() {
            return;
        }
        let ending = session.resumable().is_some().then(|| Ending::new(self));
        let (kernel, session) = (Arc::clone(self), Arc::clone(session));
        let work = self.runtime.spawn(async move {
            let _told = ending;
            // A handler that still runs would make state for a session that is gone.
            let _gave_up = within(HANDLERS_END, session.quiet()).await;
            // Before plugins let go of it.
            let collected = kernel.collect(&session, true).await;
            let (plugins, ended) = (kernel.plugins(), Arc::clone(&session));
            let told = kernel.runtime.spawn_blocking(move || tell_end(&plugins, &ended));
            if within(kernel.plugin_limit, told).await.is_none() {
                tracing::error!(session = %session.id(), "plugins did not let go of it in time");
            }
            kernel.save_soon();
            session.park();
            if let Some(collected) = collected {
                // What failed is in the log and in the counters.
                let _reported = kernel.store_collected(collected).await;
            }
        });
        let _goes_on = within(SESSION_END, work).await;
    }

    /// Runs code of a plugin for a session on a thread; its failure is noted.
    pub(super) async fn for_session<T: Send + 'static>(
        &self,
        slot: &PluginSlot,
        id: &SessionId,
        what: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let limit = PATIENCE.min(self.plugin_limit);
        let permits = Arc::clone(&slot.session_work.permits);
        let run = async {
            let permit = permits.acquire_owned().await;
            let work = move || {
                // Held until the work is done, however long that takes.
                let _permit = permit;
                caught(what, work)
            };
            let joined = self.runtime.spawn_blocking(work).await;
            joined.unwrap_or_else(|error| Err(Error::internal(format!("{what}: {error}"))))
        };
        let result = within(limit, run).await.unwrap_or_else(|| {
            Err(Error::runtime(format!("took longer than {} s", limit.as_secs_f64())))
        });
        match &result {
            Ok(_) => slot.session_work.set_problem(None),
            Err(error) => self.note_session_failure(slot, id, what, error),
        }
        result
    }

    /// A plugin failed with the state of a session.
    pub(super) fn note_session_failure(
        &self,
        slot: &PluginSlot,
        id: &SessionId,
        what: &str,
        error: &Error,
    ) {
        tracing::error!(plugin = %slot.name, session = %id, what, %error, "state of a session");
        self.counters.session_state_failures.add();
        let text = format!("{what} of a session: {}", error.message());
        slot.session_work.set_problem(Some(text));
    }
}

/// One more instance of a plugin, for a session of its own: built, restored, started.
///
/// # Errors
/// As the plugin reports; a panic is `internal_error`. A state that it cannot read is no error: it
/// then starts empty, which the instance tells.
pub(crate) fn start_instance(
    slot: &Arc<PluginSlot>,
    id: &SessionId,
    state: Option<State>,
) -> Result<Instance> {
    let host = slot.host.for_session();
    let loaded = caught("build", || (slot.descriptor.build)(&slot.config, &host))?;
    let mut instance = Instance { slot: Arc::clone(slot), loaded, host, unread: None };
    if let Some(state) = state {
        let restored = caught("restore", || instance.loaded.restore(Scope::Session(id), state));
        instance.unread = restored.err();
    }
    match caught("start", || instance.loaded.start(&instance.host)) {
        Ok(()) => Ok(instance),
        Err(error) => {
            tear_down_instance(instance);
            Err(error)
        }
    }
}

/// Ends an instance whose session has ended; on a thread that may block.
pub(crate) fn end_instance(instance: Instance, id: &SessionId) {
    contained(&instance.slot.name, "session_ended", || instance.loaded.session_ended(id));
    tear_down_instance(instance);
}

/// Ends an instance of a session that may go on with another; on a thread that may block.
pub(crate) fn tear_down_instance(instance: Instance) {
    let Instance { slot, loaded, host, .. } = instance;
    host.end_tasks_soon();
    contained(&slot.name, "teardown", || loaded.teardown());
    discard("session instance", loaded);
}

/// Tells every plugin that a session has ended, and drops what they had of it.
fn tell_end(plugins: &[Arc<PluginSlot>], session: &Session) {
    for slot in plugins {
        contained(&slot.name, "session_ended", || slot.instance.session_ended(session.id()));
    }
    for instance in session.take_instances() {
        end_instance(instance, session.id());
    }
    for state in session.take_states() {
        discard("state of a session", state);
    }
}
