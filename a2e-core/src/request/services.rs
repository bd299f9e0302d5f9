//! What every room from here upward uses: clock, ids, counters, audit, the sessions of the host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::nested::Ask;
use super::session::LiveSessions;
use super::watch::Watch;
use super::{PluginLabel, Session, SessionHandle, TypeSpec};
use crate::audit::{self, AuditLog, AuditRecord, Detail};
use crate::clock::Clock;
use crate::codec::Incoming;
use crate::config::{AuditDetail, AuditMode, HostConfig};
use crate::contribution::Contributions;
use crate::counters::Counters;
use crate::layers::{Remedy, Shortage, catch};
use crate::meters::Meters;
use crate::protocol::IdSource;
use crate::transport::{Connection, Identity};
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

    /// Opens a session over a connection and serves it.
    fn serve(&self, connection: Connection, identity: Identity) -> Result<SessionHandle>;
}

impl Services {
    pub(crate) fn new(
        config: Arc<HostConfig>,
        clock: Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
        audit: Arc<AuditLog>,
    ) -> Arc<Self> {
        let own = runtime.clone();
        let is_on = config.audit.mode != AuditMode::Off;
        let to_log = is_on && config.audit.path.is_none();
        let detail = if is_on { config.audit.detail } else { AuditDetail::None };
        Arc::new(Self {
            live: LiveSessions::new(&config),
            started: clock.now(),
            config,
            clock,
            ids: Ids { wire: IdSource::new(), inner: IdSource::new() },
            runtime,
            counters: Counters::default(),
            audit: Recorder {
                log: audit,
                meters: Meters::default(),
                to_log,
                detail,
                runtime: own,
                is_writing: Arc::default(),
            },
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
    /// Errors: When the host is gone.
    pub(super) fn dispatcher(&self) -> Result<Arc<dyn Above>> {
        self.above().ok_or_else(|| Error::runtime("the host is gone"))
    }

    /// Whether a request may be served as far as audit and memory decide.
    /// Errors: `audit_unavailable` where work that cannot be recorded is refused, `overloaded` without memory.
    pub(crate) fn may_work(&self) -> Result<()> {
        if self.audit.log.refuses_now() {
            return Err(audit::unavailable(false));
        }
        self.live.has_memory()
    }
}

show!(Services, host_id: |it| it.config.host_id);

/// Takes the records of requests.
#[derive(Debug)]
pub(crate) struct Recorder {
    log: Arc<AuditLog>,
    /// What has a record is counted, also where the audit is off.
    pub(crate) meters: Meters,
    /// Without a file, records go to the log.
    to_log: bool,
    /// How much records say; `None` also where there are none.
    detail: AuditDetail,
    runtime: tokio::runtime::Handle,
    /// Whether a thread makes room in the buffer.
    is_writing: Arc<AtomicBool>,
}

impl Recorder {
    pub(crate) fn log(&self) -> &Arc<AuditLog> {
        &self.log
    }

    /// Counts and appends a record; the batch that it belongs to commits it.
    pub(crate) fn append(&self, record: &AuditRecord<'_>) {
        self.meters.note(record);
        if self.log.append(record) {
            self.make_room();
        }
        if self.to_log {
            let subject = record.detail.map(Detail::subject);
            tracing::info!(target: "audit", req_id = record.req_id, r#type = record.kind,
                plugin = record.plugin, outcome = record.outcome.as_str(), code = record.error_code,
                subject, "[audit]");
        }
    }

    /// What the record of a request is to say of it; `None` for nothing, as where nothing is recorded.
    #[inline]
    pub(crate) fn describe(&self, spec: &TypeSpec, line: Incoming<'_>) -> Option<Box<Detail>> {
        let with_payload = match self.detail {
            AuditDetail::None => return None,
            AuditDetail::Subject if spec.subject.is_empty() => return None,
            AuditDetail::Subject => false,
            AuditDetail::Payload => true,
        };
        Detail::of(&spec.subject, line, with_payload).map(Box::new)
    }

    /// Whether records have subjects.
    pub(crate) fn has_subjects(&self) -> bool {
        self.detail != AuditDetail::None
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
