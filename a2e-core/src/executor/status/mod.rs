//! How a host stands, for operators and tests.

mod explain;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kernel::Kernel;
use crate::layers::{BreakerState, Health, catch};
use crate::lifecycle::{PluginSlot, SlotState};
use crate::protocol::host::{HostStatus, PermitStatus, PluginHealth, PluginStatus, ProcessStatus};
use sessions::busiest;

impl Kernel {
    /// A look at the whole host.
    pub(crate) fn look(&self) -> HostStatus {
        let services = &self.services;
        let audit = services.audit.log().status();
        let sessions = services.live.all();
        let kept = &self.plugins.kept;
        let trouble = self.runners.trouble();
        HostStatus {
            host_id: services.config.host_id.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.plugins.views.generation(),
            retiring: self.plugins.reloads.retiring_names(),
            uptime_seconds: services.clock.now().since(services.started).as_secs_f64(),
            sessions: sessions.len(),
            parked_sessions: kept.parked(),
            resume_bytes: kept.budget.bytes(),
            in_flight: sessions.iter().map(|session| session.in_flight.len()).sum(),
            waiting: services.shortage.waiting(),
            unsent_bytes: sessions.iter().map(|session| session.outbox.unsent()).sum(),
            memory_bytes: services.live.memory(),
            children: self.plugins.children.as_ref().map_or(0, |children| children.live()),
            isolation: self.plugins.isolation().to_owned(),
            processes: self.processes(),
            audit: audit.mode.as_str().to_owned(),
            audit_written: audit.written,
            audit_lost: audit.lost,
            is_degraded: trouble.is_some()
                || audit.failing.is_some()
                || audit.lost > 0
                || audit.unsynced > 0,
            trouble,
            blocked_future_threads: self.runners.futures.blocked(),
            audit_failing: audit.failing,
            audit_path: audit.path.map(|path| path.display().to_string()),
            plugins: self.plugin_status(),
            types: services.audit.meters.look(),
            approvals: services.live.approvals.status(services.clock.now()),
            busiest: busiest(&sessions, services.clock.now()),
            counters: self.counts(),
        }
    }

    /// Why no plugin serves.
    pub(in crate::executor) fn why_idle(&self) -> Vec<String> {
        if self.plugins.registry.classes().is_empty() {
            let text = "this program links no plugin class; a crate that is only listed in Cargo.toml is \
                        left out by the linker, so call the `link()` of that crate in `main`";
            return vec![text.to_owned()];
        }
        let plugins = self.plugin_status();
        if plugins.is_empty() {
            return vec!["the configuration names none".to_owned()];
        }
        let why = |it: PluginStatus| format!("`{}`: {}", it.name, it.reason.unwrap_or_default());
        plugins.into_iter().map(why).collect()
    }

    fn processes(&self) -> Vec<ProcessStatus> {
        let children = self.plugins.children.as_ref().map(|it| it.status()).unwrap_or_default();
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
        let (loaded, unloaded) = (self.plugins.set.all(), self.plugins.set.unloaded());
        let wanted = self.plugins.reloads.wanted();
        let status = wanted.iter().map(|config| {
            if let Some(slot) = loaded.iter().find(|slot| *slot.name() == config.name) {
                return of_slot(slot);
            }
            let failed = unloaded.iter().find(|it| it.name == config.name);
            let (health, reason) = match failed {
                _ if !config.metadata.enabled => {
                    (PluginHealth::Disabled, Some("`enabled: false`".to_owned()))
                }
                Some(it) => (PluginHealth::Failed, Some(it.reason.clone())),
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
        let more = [
            ("resume_lines_dropped", self.plugins.kept.budget.dropped.get()),
            ("pool_replacements", self.runners.pool.replacements() as u64),
            ("future_replacements", self.runners.futures.replacements() as u64),
        ];
        let counts = self.services.counters.all().chain(more);
        counts.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

/// Whether a plugin that was built serves, and why not.
fn health(slot: &PluginSlot) -> (PluginHealth, Option<String>) {
    let gate = slot.endpoint.gate.status();
    let (health, why) = slot.endpoint.label.admission.health();
    match (slot.state(), slot.endpoint.breaker_state().0) {
        (SlotState::Failed(reason), _) => (PluginHealth::Failed, Some(reason)),
        (SlotState::Quarantined(reason), _) => (PluginHealth::Quarantined, Some(reason)),
        (SlotState::Serving, _) if gate.is_quarantined => {
            (PluginHealth::Quarantined, Some(format!("{} threads hang", gate.stuck)))
        }
        (SlotState::Serving, _) if health == Health::Down => (PluginHealth::Down, Some(why)),
        (SlotState::Serving, BreakerState::Closed) if health == Health::Degraded => {
            (PluginHealth::Degraded, Some(why))
        }
        (SlotState::Serving, BreakerState::Closed) => (PluginHealth::Serving, None),
        (SlotState::Serving, breaker) => {
            let reason = format!("it failed too often; its breaker is {}", breaker.as_str());
            (PluginHealth::Resting, Some(reason))
        }
    }
}

fn of_slot(slot: &Arc<PluginSlot>) -> PluginStatus {
    let (gate, (breaker, opened)) = (slot.endpoint.gate.status(), slot.endpoint.breaker_state());
    let (health, reason) = health(slot);
    let permits = slot.endpoint.gate.permits();
    let stats = slot.stats();
    PluginStatus {
        name: slot.name().to_string(),
        cls: slot.class.facts().cls.to_owned(),
        capability: slot.endpoint.label.capability.to_string(),
        health,
        reason,
        state_problem: slot.state_problem().or_else(|| slot.session_work.problem()),
        notes: catch(|| slot.instance.notes())
            .unwrap_or_else(|panic| vec![format!("panicked in notes: {panic}")]),
        types: slot.handlers().iter().map(|it| it.spec.wire_type.to_string()).collect(),
        priority: slot.endpoint.order.priority,
        exclusive: slot.endpoint.order.is_exclusive,
        calls: stats.calls.get(),
        panics: stats.panics.get(),
        timeouts: stats.timeouts.get(),
        rebuilds: stats.rebuilds.get(),
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
