//! How a host stands, for operators and tests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kernel::Kernel;
use crate::dispatch::SlotState;

/// A look at the whole host.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HostStatus {
    /// The host's name.
    pub host_id: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Open sessions.
    pub sessions: usize,
    /// Requests that have left their readers and are not answered.
    pub in_flight: usize,
    /// Of these, the ones that wait for a permit.
    pub waiting: usize,
    /// Bytes that wait to be sent, in all sessions.
    pub unsent_bytes: usize,
    /// Child processes that live.
    pub children: usize,
    /// How children are held: `guard`, `group`.
    pub isolation: String,
    /// The audit mode in force.
    pub audit: String,
    /// Audit records that reached the file.
    pub audit_written: u64,
    /// Audit records that were lost.
    pub audit_lost: u64,
    /// Why the audit fails now, if it does.
    pub audit_failing: Option<String>,
    /// Where the audit goes.
    pub audit_path: Option<String>,
    /// Every configured plugin that is enabled.
    pub plugins: Vec<PluginStatus>,
    /// Events that were answered, refused or dropped otherwise than meant, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Whether the worker pool was replaced too often, or the audit fails.
    pub is_degraded: bool,
}

/// Whether a plugin serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginHealth {
    /// It takes messages.
    Serving,
    /// Too many of its handlers hang; it gets no messages until they return.
    Quarantined,
    /// It was not built or not started.
    Failed,
}

/// A look at one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its instance name.
    pub name: String,
    /// Its class.
    pub cls: String,
    /// Its capability.
    pub capability: String,
    /// Whether it serves.
    pub health: PluginHealth,
    /// Why it does not.
    pub reason: Option<String>,
    /// Why its state was not restored at start, or not saved the last time.
    pub state_problem: Option<String>,
    /// The message types that it handles.
    pub types: Vec<String>,
    /// Handlers that were called.
    pub calls: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Requests that it did not answer in time.
    pub timeouts: u64,
    /// Handlers that run beyond readers now.
    pub running: usize,
    /// Requests that wait for its permits.
    pub queued: usize,
    /// Threads that hang in it.
    pub stuck: usize,
}

impl Kernel {
    pub(super) fn status(&self) -> HostStatus {
        let audit = self.audit_log().status();
        let sessions = self.sessions();
        HostStatus {
            host_id: self.config.host_id.clone(),
            uptime_seconds: self.clock.now().since(self.started).as_secs_f64(),
            sessions: sessions.len(),
            in_flight: sessions.iter().map(|session| session.in_flight()).sum(),
            waiting: self.waiting.load(std::sync::atomic::Ordering::Relaxed),
            unsent_bytes: sessions.iter().map(|session| session.sink.unsent()).sum(),
            children: self.children.as_ref().map_or(0, |children| children.live()),
            isolation: self.isolation().to_owned(),
            audit: audit.mode.as_str().to_owned(),
            audit_written: audit.written,
            audit_lost: audit.lost,
            is_degraded: self.pool.is_failed() || audit.failing.is_some() || audit.lost > 0,
            audit_failing: audit.failing,
            audit_path: audit.path.map(|path| path.display().to_string()),
            plugins: self.plugin_status(),
            counters: self.counts(),
        }
    }

    fn plugin_status(&self) -> Vec<PluginStatus> {
        let load = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        let loaded = self.plugins().into_iter().map(|slot| {
            let gate = slot.gate.status();
            let (health, reason) = match slot.state() {
                SlotState::Failed(reason) => (PluginHealth::Failed, Some(reason)),
                SlotState::Quarantined(reason) => (PluginHealth::Quarantined, Some(reason)),
                SlotState::Serving if gate.is_quarantined => {
                    (PluginHealth::Quarantined, Some(format!("{} threads hang", gate.stuck)))
                }
                SlotState::Serving => (PluginHealth::Serving, None),
            };
            PluginStatus {
                name: slot.name.to_string(),
                cls: slot.descriptor.cls.to_owned(),
                capability: slot.capability.to_string(),
                health,
                reason,
                state_problem: slot.state_problem(),
                types: slot.handlers().iter().map(|it| it.spec.wire_type.to_string()).collect(),
                calls: load(&slot.stats.calls),
                panics: load(&slot.stats.panics),
                timeouts: load(&slot.stats.timeouts),
                running: gate.running,
                queued: gate.queued,
                stuck: gate.stuck,
            }
        });
        let unloaded = self.unloaded().into_iter().map(|(name, cls, reason)| PluginStatus {
            name: name.to_string(),
            cls,
            capability: String::new(),
            health: PluginHealth::Failed,
            reason: Some(reason),
            state_problem: None,
            types: Vec::new(),
            calls: 0,
            panics: 0,
            timeouts: 0,
            running: 0,
            queued: 0,
            stuck: 0,
        });
        loaded.chain(unloaded).collect()
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let it = &self.counters;
        BTreeMap::from([
            ("refused", it.refused.get()),
            ("overloaded", it.overloaded.get()),
            ("repeated", it.repeated.get()),
            ("superseded", it.superseded.get()),
            ("late_answers", it.late_answers.get()),
            ("late_events", it.late_events.get()),
            ("dropped_events", it.dropped_events.get()),
            ("dropped_pushes", it.dropped_pushes.get()),
            ("unknown_cancels", it.unknown_cancels.get()),
            ("peer_errors", it.peer_errors.get()),
            ("stuck_runs", it.stuck_runs.get()),
            ("hung_readers", it.hung_readers.get()),
            ("pool_replacements", self.pool.replacements() as u64),
        ])
    }
}
