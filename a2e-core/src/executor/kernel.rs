//! What all parts of a running host share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use crate::audit::{self, AuditLog, AuditRecord};
use crate::children::Supervisor;
use crate::clock::Clock;
use crate::config::{AuditMode, HostConfig};
use crate::dispatch::{FutureThreads, Gate, PluginSlot, RouteTable, Watchdog, WorkerPool};
use crate::plugin::{Contributions, Interception, Registry};
use crate::protocol::{CapabilityName, IdSource, PluginName, SessionId};
use crate::session::{Outgoing, ReplySink, Resumable, Resumables, Session, WrongTokens};
use crate::snapshot::{MemoryStore, SnapshotStore};
use crate::transport::{ByteSink, Peer};
use crate::{Error, Result, Time};

/// Sessions over sockets that have a thread of their own; those beyond share the host's. A thread costs
/// about 30 KiB and three descriptors.
const OWN_THREADS: usize = 8;

/// What the builder brings to a kernel.
pub(super) struct Services {
    pub(super) registry: Registry,
    /// The file that a reload reads.
    pub(super) source: Option<std::path::PathBuf>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Option<Arc<dyn SnapshotStore>>,
    pub(super) children: Option<Arc<Supervisor>>,
    pub(super) drain: Duration,
    pub(super) stall: Duration,
    pub(super) plugin_limit: Duration,
}

/// One event that happened so many times.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    pub(crate) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was counted because it was not answered, or not as it was meant.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) refused: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) repeated: Counter,
    pub(crate) superseded: Counter,
    pub(crate) late_answers: Counter,
    pub(crate) late_events: Counter,
    pub(crate) dropped_events: Counter,
    pub(crate) dropped_pushes: Counter,
    pub(crate) unknown_cancels: Counter,
    pub(crate) peer_errors: Counter,
    pub(crate) stuck_runs: Counter,
    pub(crate) hung_readers: Counter,
    pub(crate) resumes: Counter,
    pub(crate) resumes_refused: Counter,
    pub(crate) resume_lines_lost: Counter,
    pub(crate) session_state_failures: Counter,
}

pub(crate) struct Kernel {
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: IdSource,
    /// Ids of requests between plugins. They never go on the wire, so no client can name one.
    pub(crate) inner_ids: IdSource,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Polls the futures of handlers.
    futures: FutureThreads,
    pub(crate) pool: WorkerPool,
    pub(crate) watchdog: Watchdog,
    pub(crate) contributions: Arc<Contributions>,
    pub(crate) children: Option<Arc<Supervisor>>,
    pub(crate) store: Option<Arc<dyn SnapshotStore>>,
    pub(crate) started: Time,
    pub(crate) counters: Counters,
    pub(crate) wrong_tokens: WrongTokens,
    pub(crate) resumables: Resumables,
    /// Answers that are sent together.
    pub(crate) outgoing: Arc<Outgoing>,
    /// Keeps states of sessions that wait to be resumed, in a host without a store.
    pub(super) session_memory: Option<Arc<dyn SnapshotStore>>,
    /// Handlers that run beyond readers, in all sessions.
    pub(crate) running: AtomicUsize,
    /// Requests in the queues of all plugins.
    pub(crate) waiting: AtomicUsize,
    /// Gates where some of them wait for a place in session or host alone, each once; guarded while
    /// one is added or all are taken.
    short_of_places: Mutex<Vec<Arc<Gate>>>,
    /// Whether there are any.
    is_short_of_places: AtomicBool,
    audit: Arc<AuditLog>,
    audits_to_log: bool,
    sessions: DashMap<SessionId, Arc<Session>>,
    is_draining: AtomicBool,
    /// Written at load; read when a session sees another generation.
    table: RwLock<Arc<RouteTable>>,
    /// Rises with each table; 1 for the first.
    generation: AtomicU64,
    /// Written at load; read at handshakes, status and shutdown.
    plugins: RwLock<Vec<Arc<PluginSlot>>>,
    /// Plugins that could not be built: name, class, reason.
    unloaded: Mutex<Vec<(PluginName, String, String)>>,
    pub(super) registry: Registry,
    pub(super) reloads: super::reload::Reloads,
    /// Numbers of plugin instances.
    next_instance: AtomicUsize,
    /// Who puts a table in force has this; nothing of a plugin runs under it.
    installing: Mutex<()>,
    /// For sessions that are served on a thread of their own.
    pub(super) own_threads: Arc<Semaphore>,
    failure: watch::Sender<Option<String>>,
    /// Wakes the saver before its time.
    pub(super) save_wanted: Arc<tokio::sync::Notify>,
    drain: Duration,
    /// How long a reader may take nothing.
    stall: Duration,
    /// How long a plugin may take in each part of its life.
    pub(super) plugin_limit: Duration,
}

impl Kernel {
    pub(super) fn new(config: HostConfig, services: Services) -> Result<Arc<Self>> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::internal("a host needs a running tokio"))?;
        let Services {
            audit,
            clock,
            store,
            children,
            drain,
            stall,
            plugin_limit,
            registry,
            source,
        } = services;
        let reloads = super::reload::Reloads::new(source, &config.plugins);
        let keeps_in_memory =
            store.is_none() && config.snapshot_mode != crate::config::SnapshotMode::Plugin;
        let audits_to_log = config.audit.mode != AuditMode::Off && config.audit.path.is_none();
        Ok(Arc::new(Self {
            pool: WorkerPool::new(config.limits.max_workers),
            started: clock.now(),
            session_memory: keeps_in_memory.then(|| -> Arc<dyn SnapshotStore> {
                Arc::new(MemoryStore::with_max_bytes(SESSION_MEMORY))
            }),
            config: Arc::new(config),
            clock,
            ids: IdSource::new(),
            inner_ids: IdSource::new(),
            runtime,
            futures: FutureThreads::default(),
            watchdog: Watchdog::default(),
            contributions: Arc::default(),
            children,
            store,
            counters: Counters::default(),
            wrong_tokens: WrongTokens::default(),
            resumables: Resumables::default(),
            outgoing: Arc::new(Outgoing::new(&audit)),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            short_of_places: Mutex::default(),
            is_short_of_places: AtomicBool::new(false),
            audit,
            audits_to_log,
            sessions: DashMap::new(),
            is_draining: AtomicBool::new(false),
            table: RwLock::default(),
            generation: AtomicU64::new(0),
            plugins: RwLock::default(),
            unloaded: Mutex::default(),
            registry,
            reloads,
            next_instance: AtomicUsize::new(0),
            installing: Mutex::default(),
            own_threads: Arc::new(Semaphore::new(OWN_THREADS)),
            failure: watch::Sender::new(None),
            save_wanted: Arc::default(),
            drain,
            stall,
            plugin_limit,
        }))
    }

    /// Where futures of handlers are spawned.
    pub(crate) fn futures(&self) -> &tokio::runtime::Handle {
        self.futures.handle(&self.runtime)
    }

    // --- routes and plugins

    /// The table in force. Readers keep it until the generation changes.
    pub(crate) fn table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn table_generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A number that no other plugin instance of this host has.
    pub(super) fn next_instance(&self) -> usize {
        self.next_instance.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn install(&self, table: RouteTable, plugins: Vec<Arc<PluginSlot>>) {
        // One at a time: an older table must not come after a newer one.
        let _turn = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_table(table, plugins);
    }

    /// Builds the table of the plugins in force again: their interceptors have changed.
    pub(crate) fn reroute(&self) {
        if self.table_generation() == 0 {
            // Load builds the first table when every plugin has started.
            return;
        }
        let _turn = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let plugins = self.plugins();
        let (table, problems) =
            RouteTable::build(&serving(&plugins), &self.contributions.all::<Interception>());
        for problem in problems {
            tracing::error!(%problem, "route left out");
        }
        self.set_table(table, plugins);
    }

    fn set_table(&self, table: RouteTable, plugins: Vec<Arc<PluginSlot>>) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        *self.plugins.write().unwrap_or_else(PoisonError::into_inner) = plugins;
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Every plugin that was built, in configuration order.
    pub(crate) fn plugins(&self) -> Vec<Arc<PluginSlot>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every plugin that takes messages.
    pub(crate) fn serving_plugins(&self) -> Vec<Arc<PluginSlot>> {
        serving(&self.plugins())
    }

    pub(super) fn forget_unloaded(&self) {
        self.unloaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn note_unloaded(&self, name: &PluginName, cls: &str, reason: &str) {
        tracing::error!(plugin = %name, cls, reason, "plugin not loaded");
        let mut unloaded = self.unloaded.lock().unwrap_or_else(PoisonError::into_inner);
        unloaded.push((name.clone(), cls.to_owned(), reason.to_owned()));
    }

    pub(super) fn unloaded(&self) -> Vec<(PluginName, String, String)> {
        self.unloaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the host has room for one more handler that runs.
    pub(crate) fn may_run(&self) -> bool {
        self.running.load(Ordering::SeqCst) < self.config.limits.max_in_flight_host
    }

    /// What waits at this gate has a permit, but no place in its session or in the host.
    pub(crate) fn note_short_of_places(&self, gate: &Arc<Gate>) {
        let mut gates = self.short_gates();
        if !gates.iter().any(|known| Arc::ptr_eq(known, gate)) {
            gates.push(Arc::clone(gate));
        }
        drop(gates);
        self.is_short_of_places.store(true, Ordering::SeqCst);
    }

    fn short_gates(&self) -> MutexGuard<'_, Vec<Arc<Gate>>> {
        self.short_of_places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run has ended: starts what waits, in this plugin first.
    pub(crate) fn pump(&self, first: &Arc<Gate>) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        first.pump();
        if self.is_short_of_places.swap(false, Ordering::SeqCst) {
            let gates = std::mem::take(&mut *self.short_gates());
            for gate in gates {
                gate.pump();
            }
        }
    }

    /// Requests have ended early: those among them that wait make room.
    pub(crate) fn sweep(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            for slot in self.plugins() {
                slot.gate.sweep();
            }
        }
    }

    // --- audit and health

    pub(crate) fn audit(&self, record: &AuditRecord<'_>) {
        self.audit.append(record);
        if self.audits_to_log {
            tracing::info!(target: "audit", req_id = record.req_id, r#type = record.kind,
                plugin = record.plugin, outcome = record.outcome.as_str(), code = record.error_code,
                "[audit]");
        }
    }

    pub(super) fn audit_log(&self) -> &Arc<AuditLog> {
        &self.audit
    }

    /// Refuses work that could not be recorded, where that is asked for.
    pub(crate) fn may_work(&self) -> Result<()> {
        if self.audit.refuses_now() { Err(audit::unavailable(false)) } else { Ok(()) }
    }

    /// The audit mode in force.
    pub(crate) fn audit_mode(&self) -> &'static str {
        self.audit.status().mode.as_str()
    }

    /// How children are held.
    pub(crate) fn isolation(&self) -> &'static str {
        self.children.as_ref().map_or("none", |children| children.isolation().as_str())
    }

    /// The host cannot go on.
    pub(crate) fn fail(&self, reason: &str) {
        self.failure.send_replace(Some(reason.to_owned()));
    }

    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    // --- sessions

    /// Opens a session for a connection.
    ///
    /// # Errors
    /// When the host is ending or has as many sessions as it may.
    pub(crate) fn open_session(
        self: &Arc<Self>,
        peer: Peer,
        out: Arc<dyn ByteSink>,
    ) -> Result<Arc<Session>> {
        if self.is_draining.load(Ordering::Acquire) {
            return Err(Error::runtime("the host is ending"));
        }
        if self.sessions.len() >= self.config.limits.max_sessions {
            return Err(Error::runtime("the host has all the sessions that it may have"));
        }
        let id = SessionId::random()?;
        let sink = ReplySink::new(
            out,
            Arc::clone(&self.audit),
            self.runtime.clone(),
            self.config.limits.max_outbound_bytes,
            (!peer.is_stdio).then_some(self.stall),
        );
        let session = Session::new(self, id.clone(), peer, sink);
        self.sessions.insert(id, Arc::clone(&session));
        self.outgoing.note_sessions(self.sessions.len());
        if self.is_draining.load(Ordering::SeqCst) {
            // The drain may have looked at the sessions just before.
            session.drain(self.clock.now().mono);
        }
        Ok(session)
    }

    pub(crate) fn remove_session(&self, session: &Session) {
        self.sessions.remove_if(session.id(), |_, it| std::ptr::eq(Arc::as_ptr(it), session));
        self.outgoing.note_sessions(self.sessions.len());
    }

    /// The connection of `session` goes on with an earlier session, under its id.
    pub(crate) fn rename_session(&self, session: &Arc<Session>, resumed: Arc<Resumable>) {
        let first_id = session.id().clone();
        self.sessions.insert(resumed.id.clone(), Arc::clone(session));
        session.become_resumed(resumed);
        self.sessions.remove(&first_id);
        if self.is_draining.load(Ordering::SeqCst) {
            // The drain may have looked at the sessions in between.
            session.drain(self.clock.now().mono);
        }
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How long a session may go on after the end of its input.
    pub(crate) fn drain_limit(&self) -> Duration {
        self.drain
    }

    /// How long a plugin may take in each part of its life.
    pub(crate) fn plugin_limit(&self) -> Duration {
        self.plugin_limit
    }

    /// Sends a message to every session that is past its handshake; with a capability, only to
    /// those that asked for it.
    pub(crate) fn push_all<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        users_of: Option<&CapabilityName>,
    ) -> usize {
        let mut taken = 0;
        for session in self.sessions() {
            let is_meant = match users_of {
                Some(capability) => session.uses(capability),
                None => session.phase() == crate::session::Phase::Ready,
            };
            if !is_meant {
                continue;
            }
            if session.sink.is_full() || session.push(wire_type, body, None).is_err() {
                self.counters.dropped_pushes.add();
            } else {
                taken += 1;
            }
        }
        taken
    }

    // --- the end

    /// Has what was recorded made safe, without waiting for a disk.
    pub(crate) fn commit_audit(&self) {
        self.audit.begin_commit();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Tells every session to end at once.
    pub(super) fn drain_sessions(&self) {
        self.end_sessions(Duration::ZERO);
    }

    /// Takes no new sessions, and has those that there are end by then (monotonic).
    pub(super) fn end_sessions(&self, until: Duration) {
        self.is_draining.store(true, Ordering::SeqCst);
        for session in self.sessions() {
            session.drain(until);
        }
    }
}

/// Bytes of states of sessions that a host without a store keeps.
const SESSION_MEMORY: usize = 64 << 20;

fn serving(plugins: &[Arc<PluginSlot>]) -> Vec<Arc<PluginSlot>> {
    plugins.iter().filter(|slot| slot.is_serving()).cloned().collect()
}

/// The result, or `None` when it takes too long.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("host_id", &self.config.host_id).finish_non_exhaustive()
    }
}
