//! What plugins ask of the host while they run.

use std::sync::Arc;

use super::load::caught;
use super::{PluginSlot, Plugins};
use crate::config::PluginConfig;
use crate::counters::Count;
use crate::layers::{Health, Place};
use crate::out::{Bounds, OnLoss, Outbox};
use crate::plugin::{Declared, HostDesk};
use crate::protocol::{CapabilityName, PluginName, SessionId};
use crate::request::{OnDetach, Opened, Session, SessionPhase};
use crate::transport::{Identity, Peer};
use crate::{Error, Result};

impl Plugins {
    /// A session for requests from within the host. Nobody reads it: what is pushed there is dropped.
    pub(crate) fn unread_session(&self, peer: &str, identity: Identity) -> Result<Arc<Session>> {
        let services = &self.services;
        let limits = &services.config.limits;
        let bounds =
            Bounds { bytes: limits.max_outbound_bytes, stall: None, on_loss: OnLoss::Close };
        let log = Arc::clone(services.audit.log());
        let opened = Opened {
            id: SessionId::random()?,
            peer: Peer::named(peer.to_owned()),
            place: Place::new(limits.max_in_flight, Some(services.live.place_of(&identity))),
            identity,
            outbox: Outbox::new(None, log, services.runtime.clone(), bounds),
            on_detach: OnDetach::End,
        };
        Ok(Session::new(services, opened))
    }

    fn slot_of(&self, instance: u64) -> Option<Arc<PluginSlot>> {
        self.set.instance(usize::try_from(instance).ok()?)
    }
}

impl HostDesk for Plugins {
    fn serving(&self) -> Vec<(PluginName, CapabilityName, i64)> {
        let fact = |slot: Arc<PluginSlot>| {
            let capability = slot.endpoint.label.capability.clone();
            (slot.name().clone(), capability, slot.endpoint.order.priority)
        };
        self.set.serving().into_iter().map(fact).collect()
    }

    fn is_seen(&self, plugin: &PluginName, tenant: Option<&str>) -> bool {
        self.set.find(plugin).is_some_and(|slot| slot.is_seen_by(tenant))
    }

    fn plugin_configs(&self) -> Vec<PluginConfig> {
        self.set.all().iter().map(|slot| slot.config.clone()).collect()
    }

    fn reroute(&self) {
        self.rebuild_views();
    }

    fn suspect(&self, instance: u64, reason: &str) {
        let (Some(slot), Some(me)) = (self.slot_of(instance), self.me.upgrade()) else { return };
        let remedy = slot.stats().note_suspect(self.services.clock.now());
        me.heal(&slot, remedy, reason);
    }

    fn set_health(&self, instance: u64, health: Health, why: &str) {
        if let Some(slot) = self.slot_of(instance) {
            slot.endpoint.label.admission.set_health(health, why);
        }
    }

    fn declare(&self, instance: u64, declared: Declared) -> Result<()> {
        let slot = self.slot_of(instance).ok_or_else(|| {
            Error::runtime("handlers are declared by a plugin that serves; try again after `start`")
        })?;
        if slot.instances.is_some() {
            let text = "a plugin with `scope: session` declares no types while it runs: its instances \
                        would differ";
            return Err(Error::runtime(text));
        }
        let own = caught("handlers", || Ok(slot.instance.handlers().to_vec()))?;
        let more = declared.list.into_iter().map(Arc::new);
        self.redeclare(&slot, own.into_iter().chain(more).collect())
            .map_err(|problem| Error::runtime(problem.to_string()))
    }

    fn own_session(&self, plugin: &PluginName) -> Result<Arc<Session>> {
        // One that only one tenant sees is a member of it.
        let slot = self.set.find(plugin);
        let tenant = slot.as_ref().and_then(|slot| match slot.config.metadata.tenants.as_deref() {
            Some([tenant]) => Some(tenant.clone()),
            _ => None,
        });
        let mut sessions = self.own_sessions.lock();
        if let Some(session) = sessions.get(plugin).filter(|it| it.identity().tenant == tenant) {
            return Ok(Arc::clone(session));
        }
        let identity = Identity { tenant, ..Identity::of(format!("plugin:{plugin}")) };
        let session = self.unread_session(&format!("plugin {plugin}"), identity)?;
        // Those of plugins that were removed go, so that there are no more than plugins.
        sessions.retain(|name, _| self.set.find(name).is_some());
        sessions.insert(plugin.clone(), Arc::clone(&session));
        Ok(session)
    }

    fn push_all(
        &self,
        instance: u64,
        wire_type: &str,
        fields: &[u8],
        users_of: Option<&CapabilityName>,
    ) -> usize {
        let Some(slot) = self.slot_of(instance) else { return 0 };
        let mut taken = 0;
        for session in self.services.live.all() {
            let is_meant = match users_of {
                Some(capability) => session.uses(capability),
                None => session.life.phase() == SessionPhase::Ready,
            };
            let identity = session.identity();
            let is_seen =
                slot.is_seen_by(identity.tenant.as_deref()) && slot.endpoint.is_open_to(identity);
            if !is_meant || !is_seen {
                continue;
            }
            if session.outbox.is_full() {
                self.services.counters.add(Count::DroppedPush);
                continue;
            }
            session.queue_fields(wire_type, fields, None);
            session.outbox.flush();
            taken += 1;
        }
        taken
    }
}
