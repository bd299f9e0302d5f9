//! Instances that no longer stand in the table: their calls come to an end, then they are torn down.

use std::sync::Arc;
use std::time::Duration;

use crate::layers::discard;
use crate::lifecycle::load::on_thread;
use crate::lifecycle::{PluginSlot, Plugins};

/// An instance that still has calls after this is torn down under them. As long as most deadlines.
const LIMIT: Duration = Duration::from_mins(1);

/// How often it is looked whether the calls have ended.
const LOOK: Duration = Duration::from_millis(5);

impl Plugins {
    /// Waits until nothing runs in an instance; false when that takes too long.
    pub(super) async fn idle(self: &Arc<Self>, slot: &Arc<PluginSlot>, limit: Duration) -> bool {
        // A reader that looked at the plugin just before has told by now what it runs.
        tokio::time::sleep(LOOK).await;
        let until = self.services.clock.now().mono.saturating_add(limit);
        while !self.is_idle(slot, false) {
            if self.services.clock.now().mono >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    fn is_idle(&self, slot: &Arc<PluginSlot>, queue: bool) -> bool {
        // A request whose plugin is not known yet may be about to go in.
        let runs_it = |request: Arc<crate::request::Request>| {
            request.course.plugin().is_none_or(|plugin| plugin.number == slot.number())
        };
        slot.endpoint.gate.is_idle(queue)
            && !self.services.live.all().iter().filter_map(|it| it.inline()).any(runs_it)
    }

    /// Tears an instance down when its calls have ended. One that was removed goes on with what
    /// waits for it; what waits for one that was replaced has gone to the other.
    pub(super) fn see_off(self: &Arc<Self>, slot: &Arc<PluginSlot>, is_removed: bool) {
        self.reloads.retiring.lock().push(Arc::clone(slot));
        let (plugins, slot) = (Arc::clone(self), Arc::clone(slot));
        self.services.runtime.spawn(async move {
            tokio::time::sleep(LOOK).await;
            let until = plugins.services.clock.now().mono.saturating_add(LIMIT);
            while !plugins.is_idle(&slot, is_removed) {
                if plugins.services.clock.now().mono >= until {
                    tracing::warn!(plugin = %slot.name(), "torn down although calls still run in it");
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
            if is_removed {
                plugins.save_removed(&slot).await;
                slot.endpoint.retire(None);
            }
            let is_mine = {
                let mut retiring = plugins.reloads.retiring.lock();
                let before = retiring.len();
                retiring.retain(|it| !Arc::ptr_eq(it, &slot));
                retiring.len() != before
            };
            // Else the end of the host has taken it.
            if is_mine {
                plugins.end_instances(&slot).await;
                plugins.tear_down(&slot).await;
            }
        });
    }

    /// Ends what sessions have of an instance that is no more.
    pub(super) async fn end_instances(self: &Arc<Self>, slot: &Arc<PluginSlot>) {
        let (sessions, ended) = (self.services.live.all(), Arc::clone(slot));
        let work = move || {
            for session in sessions {
                discard("state of a session", session.take_states_of(ended.number()));
                let own = ended.instances.as_ref().and_then(|it| it.take(&session));
                if let Some(instance) = own {
                    instance.tear_down();
                }
            }
            Ok(())
        };
        if let Err(error) = on_thread(self, "the end of its sessions' instances", work).await {
            tracing::error!(plugin = %slot.name(), %error, "teardown takes too long");
        }
    }
}
