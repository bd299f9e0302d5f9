//! Plugin code that is run for one session beside its requests: save, restore, clear, start, end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::counters::Count;
use crate::layers::discard;
use crate::lifecycle::load::{caught, contained};
use crate::lifecycle::{PluginSlot, Plugins, within};
use crate::protocol::SessionId;
use crate::request::Session;
use crate::sync::Mutex;
use crate::{Error, Result};

/// Threads that may be in one plugin for sessions at a time. A plugin that hangs there holds
/// these and no more.
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
        self.problem.lock().clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }
}

impl Plugins {
    /// Tells plugins that a session has ended, and has their state saved soon. Waits a moment, for what
    /// they have to say; the work goes on by itself when they take longer.
    pub(crate) async fn session_ended(self: &Arc<Self>, session: &Arc<Session>) {
        if !session.life.begin_end() {
            return;
        }
        let ending = self.kept.of(session).map(|_| self.kept.ending.token());
        let (me, session) = (Arc::clone(self), Arc::clone(session));
        let work = self.services.runtime.spawn(async move {
            let _told = ending;
            // A handler that still runs would make state for a session that is gone.
            let _gave_up = within(HANDLERS_END, session.quiet()).await;
            // Before plugins let go of it.
            let collected = me.collect(&session, true).await;
            let (plugins, ended) = (me.set.all(), Arc::clone(&session));
            let told = me.services.runtime.spawn_blocking(move || tell_end(&plugins, &ended));
            if within(me.limit, told).await.is_none() {
                tracing::error!(session = %session.id(), "plugins did not let go of it in time");
            }
            me.save_soon();
            me.park(&session);
            if let Some(collected) = collected {
                // What failed is in the log and in the counters.
                let _reported = me.store_collected(collected).await;
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
        let limit = PATIENCE.min(self.limit);
        let permits = Arc::clone(&slot.session_work.permits);
        let run = async {
            let permit = permits.acquire_owned().await;
            let work = move || {
                // Held until the work is done, however long that takes.
                let _permit = permit;
                caught(what, work)
            };
            let joined = self.services.runtime.spawn_blocking(work).await;
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
        tracing::error!(plugin = %slot.name(), session = %id, what, %error, "state of a session");
        self.services.counters.add(Count::SessionStateFailure);
        let text = format!("{what} of a session: {}", error.message());
        slot.session_work.set_problem(Some(text));
    }
}

/// Tells every plugin that a session has ended, and drops what they had of it.
fn tell_end(plugins: &[Arc<PluginSlot>], session: &Session) {
    for slot in plugins {
        contained(slot.name(), "session_ended", || slot.instance.session_ended(session.id()));
        if let Some(own) = slot.instances.as_ref().and_then(|it| it.take(session)) {
            own.end(session.id());
        }
    }
    for state in session.take_states() {
        discard("state of a session", state);
    }
}
