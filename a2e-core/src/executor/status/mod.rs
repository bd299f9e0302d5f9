//! How a host stands, for operators and tests.

mod explain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kernel::Kernel;
use super::load::caught;
use crate::dispatch::{BreakerState, PluginSlot, SlotState};
use crate::protocol::host::{HostStatus, PermitStatus, PluginHealth, PluginStatus, ProcessStatus};

impl Kernel {
    pub(crate) fn status(&self) -> HostStatus {
        let audit = self.audit_log().status();
        let sessions = self.sessions();
        HostStatus {
            host_id: self.config.host_id.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.table_generation(),
            retiring: self.reloads.retiring_names(),
            uptime_seconds: self.clock.now().since(self.started).as_secs_f64(),
            sessions: sessions.len(),
            parked_sessions: self.resumables.parked(),
            resume_bytes: self.resumables.budget.bytes(),
            in_flight: sessions.iter().map(|session| session.in_flight()).sum(),
            waiting: self.waiting.load(Ordering::Relaxed),
            unsent_bytes: sessions.iter().map(|session| session.sink.unsent()).sum(),
            children: self.children.as_ref().map_or(0, |children| children.live()),
            isolation: self.isolation().to_owned(),
            processes: self.processes(),
            audit: audit.mode.as_str().to_owned(),
            audit_written: audit.written,
            audit_lost: audit.lost,
            is_degraded: self.pool.is_failed()
                || audit.failing.is_some()
                || audit.lost > 0
                || audit.unsynced > 0,
            audit_failing: audit.failing,
            audit_path: audit.path.map(|path| path.display().to_string()),
            plugins: self.plugin_status(),
            counters: self.counts(),
        }
    }

    fn processes(&self) -> Vec<ProcessStatus> {
        let children = self.children.as_ref().map(|it| it.status()).unwrap_or_default();
        let look = |it: crate::children::ChildStatus| ProcessStatus {
            pid: it.pid,
            program: it.program,
            since: it.since.as_secs_f64(),
            restarts: it.restarts,
            state: it.state.to_owned(),
            isolation: it.isolation.as_str().to_owned(),
            stderr: it.tail,
        };
        children.into_iter().map(look).collect()
    }

    /// Every configured plugin, in the order of the configuration.
    pub(super) fn plugin_status(&self) -> Vec<PluginStatus> {
        let (loaded, unloaded) = (self.plugins(), self.unloaded());
        let wanted = self.reloads.wanted();
        let status = wanted.iter().map(|config| {
            if let Some(slot) = loaded.iter().find(|slot| slot.name == config.name) {
                return of_slot(slot);
            }
            let failed = unloaded.iter().find(|it| it.0 == config.name);
            let (health, reason) = match failed {
                _ if !config.metadata.enabled => {
                    (PluginHealth::Disabled, Some("`enabled: false`".to_owned()))
                }
                Some((.., reason)) => (PluginHealth::Failed, Some(reason.clone())),
                None => (PluginHealth::Failed, None),
            };
            PluginStatus {
                name: config.name.to_string(),
                cls: config.cls.clone(),
                capability: config.capability.to_string(),
                health,
                reason,
                ..PluginStatus::default()
            }
        });
        status.collect()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let it = &self.counters;
        let counts = [
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
            ("resumes", it.resumes.get()),
            ("resumes_refused", it.resumes_refused.get()),
            ("resume_lines_lost", it.resume_lines_lost.get()),
            ("resume_lines_dropped", self.resumables.budget.dropped.get()),
            ("session_state_failures", it.session_state_failures.get()),
            ("pool_replacements", self.pool.replacements() as u64),
        ];
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

/// Whether a plugin that was built serves, and why not.
fn health(slot: &PluginSlot) -> (PluginHealth, Option<String>) {
    let gate = slot.gate.status();
    match (slot.state(), slot.breaker_state().0) {
        (SlotState::Failed(reason), _) => (PluginHealth::Failed, Some(reason)),
        (SlotState::Quarantined(reason), _) => (PluginHealth::Quarantined, Some(reason)),
        (SlotState::Serving, _) if gate.is_quarantined => {
            (PluginHealth::Quarantined, Some(format!("{} threads hang", gate.stuck)))
        }
        (SlotState::Serving, BreakerState::Closed) => (PluginHealth::Serving, None),
        (SlotState::Serving, breaker) => {
            let reason = format!("it failed too often; its breaker is {}", breaker.as_str());
            (PluginHealth::Resting, Some(reason))
        }
    }
}

fn of_slot(slot: &Arc<PluginSlot>) -> PluginStatus {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (gate, (breaker, opened)) = (slot.gate.status(), slot.breaker_state());
    let (health, reason) = health(slot);
    let permits = slot.gate.permits();
    PluginStatus {
        name: slot.name.to_string(),
        cls: slot.descriptor.cls.to_owned(),
        capability: slot.capability.to_string(),
        health,
        reason,
        state_problem: slot.state_problem().or_else(|| slot.session_work.problem()),
        notes: caught("notes", || Ok(slot.instance.notes()))
            .unwrap_or_else(|error| vec![error.message().to_owned()]),
        types: slot.handlers().iter().map(|it| it.spec.wire_type.to_string()).collect(),
        priority: slot.priority,
        exclusive: slot.is_exclusive,
        calls: load(&slot.stats.calls),
        panics: load(&slot.stats.panics),
        timeouts: load(&slot.stats.timeouts),
        rebuilds: load(&slot.stats.rebuilds),
        breaker: breaker.as_str().to_owned(),
        breaker_opened: opened,
        running: gate.running,
        queued: gate.queued,
        stuck: gate.stuck,
        permits: PermitStatus {
            pool: permits.pool,
            blocking: permits.blocking,
            future: permits.future,
        },
    }
}
