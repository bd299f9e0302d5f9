//! What every room from here upward uses: clock, ids, counters, audit, the sessions of the host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::nested::Ask;
use super::session::LiveSessions;
use super::watch::Watch;
use super::{PluginLabel, Session};
use crate::audit::{self, AuditLog, AuditRecord};
use crate::clock::Clock;
use crate::config::{AuditMode, HostConfig};
use crate::contribution::Contributions;
use crate::counters::Counters;
use crate::layers::{Remedy, Shortage, catch};
use crate::protocol::IdSource;
use crate::{Error, Result, Time};

/// Shared by all parts of a host; knows nothing of plugins, routes or transports.
pub(crate) struct Services {
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Time,
    pub(crate) ids: Ids,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) counters: Counters,
    pub(crate) audit: Recorder,
    pub(crate) live: LiveSessions,
    /// What the watchdog looks at.
    pub(crate) watch: Watch,
    /// Gates where work waits for places.
    pub(crate) shortage: Arc<Shortage>,
    /// How plugins meet.
    pub(crate) contributions: Arc<Contributions>,
    /// What requests ask of the host above them; set once it stands.
    above: OnceLock<Weak<dyn Above>>,
}

/// Ids that the host gives to messages.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) wire: IdSource,
    /// Ids of requests between plugins. They never go on the wire, so no client can name one.
    pub(crate) inner: IdSource,
}

/// What requests and their watchdog ask of the host above them.
pub(crate) trait Above: Ask {
    /// A session's reader hangs in a handler and the session was cut: plugins let go of it.
    fn reader_hangs(&self, session: &Arc<Session>);

    /// Requests have ended early: those of them that wait in queues make room.
    fn sweep(&self);

    /// Does what is to be done with a plugin after a panic.
    fn heal(&self, plugin: &PluginLabel, remedy: Remedy, reason: &str);
}

impl Services {
    pub(crate) fn new(
        config: Arc<HostConfig>,
        clock: Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
        audit: Arc<AuditLog>,
    ) -> Arc<Self> {
        let own = runtime.clone();
        let to_log = config.audit.mode != AuditMode::Off && config.audit.path.is_none();
        Arc::new(Self {
            live: LiveSessions::new(&config),
            started: clock.now(),
            config,
            clock,
            ids: Ids { wire: IdSource::new(), inner: IdSource::new() },
            runtime,
            counters: Counters::default(),
            audit: Recorder { log: audit, to_log, runtime: own, is_writing: Arc::default() },
            watch: Watch::default(),
            shortage: Arc::default(),
            contributions: Arc::default(),
            above: OnceLock::new(),
        })
    }

    pub(crate) fn set_above(&self, above: Weak<dyn Above>) {
        // A host is set up once.
        let _first = self.above.set(above);
    }

    pub(crate) fn above(&self) -> Option<Arc<dyn Above>> {
        self.above.get().and_then(Weak::upgrade)
    }

    /// Starts nested requests.
    ///
    /// # Errors
    /// When the host is gone.
    pub(super) fn dispatcher(&self) -> Result<Arc<dyn Above>> {
        self.above().ok_or_else(|| Error::runtime("the host is gone"))
    }

    /// Whether a request may be served as far as audit and memory decide.
    ///
    /// # Errors
    /// `audit_unavailable` where work that cannot be recorded is refused, `overloaded` without memory.
    pub(crate) fn may_work(&self) -> Result<()> {
        if self.audit.log.refuses_now() {
            return Err(audit::unavailable(false));
        }
        self.live.has_memory()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("host_id", &self.config.host_id).finish_non_exhaustive()
    }
}

/// Takes the records of requests.
#[derive(Debug)]
pub(crate) struct Recorder {
    log: Arc<AuditLog>,
    /// Without a file, records go to the log.
    to_log: bool,
    runtime: tokio::runtime::Handle,
    /// Whether a thread makes room in the buffer.
    is_writing: Arc<AtomicBool>,
}

impl Recorder {
    pub(crate) fn log(&self) -> &Arc<AuditLog> {
        &self.log
    }

    /// Appends a record; the batch that it belongs to commits it.
    pub(crate) fn append(&self, record: &AuditRecord<'_>) {
        if self.log.append(record) {
            self.make_room();
        }
        if self.to_log {
            tracing::info!(target: "audit", req_id = record.req_id, r#type = record.kind,
                plugin = record.plugin, outcome = record.outcome.as_str(), code = record.error_code,
                "[audit]");
        }
    }

    /// Waits for room in the buffer; for threads that hold no lock and may wait for the disk.
    pub(crate) fn wait_for_room(&self) {
        if self.log.is_due() {
            // What failed is in the audit's status.
            let _is_written = self.log.write_due();
        }
    }

    /// Has the records written that fill the buffer, on a thread that may wait for the disk: the
    /// caller holds the lock of an outbox.
    fn make_room(&self) {
        if self.is_writing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (log, is_writing) = (Arc::clone(&self.log), Arc::clone(&self.is_writing));
        let spawned = catch(|| {
            self.runtime.spawn_blocking(move || {
                log.write_due();
                is_writing.store(false, Ordering::Release);
            })
        });
        if let Err(panic) = spawned {
            // No thread is to be had; the next commit writes them.
            tracing::warn!(panic, "audit records wait");
            self.is_writing.store(false, Ordering::Release);
        }
    }

    /// The audit mode in force.
    pub(crate) fn mode(&self) -> &'static str {
        self.log.status().mode.as_str()
    }
}
