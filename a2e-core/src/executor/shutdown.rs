//! The end of a host, in order: sessions, reloads, state, plugins, children, audit.

use std::sync::Arc;
use std::time::Duration;

use super::kernel::{Kernel, within};
use super::load::contained;
use crate::dispatch::PluginSlot;

impl Kernel {
    pub(super) async fn shut_down(self: &Arc<Self>, drain: Duration) {
        self.end_sessions(self.clock.now().mono.saturating_add(drain));
        // Sessions end by their own deadline; a little more than that bounds a plugin's `session_ended`.
        let sessions_end = async {
            while self.session_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if within(drain.saturating_add(Duration::from_secs(1)), sessions_end).await.is_none() {
            tracing::warn!(left = self.session_count(), "sessions did not end in time");
        }
        // A reload that runs comes to its end; none begins any more.
        let _reload = within(self.plugin_limit, self.reloads.turn.lock()).await;
        self.sessions_stored().await;
        self.save_at_shutdown().await;
        for slot in self.reloads.take_retiring() {
            self.tear_down(&slot).await;
        }
        for slot in self.plugins().into_iter().rev() {
            self.tear_down(&slot).await;
        }
        if let Some(children) = &self.children {
            children.shutdown(Duration::from_millis(200)).await;
        }
        let audit = Arc::clone(self.audit_log());
        let committed = self.runtime.spawn_blocking(move || audit.commit_now()).await;
        if !matches!(committed, Ok(true)) {
            tracing::error!("the last audit records could not be written");
        }
        self.watchdog.stop();
    }

    pub(super) async fn tear_down(&self, slot: &Arc<PluginSlot>) {
        self.contributions.withdraw(slot.host.epoch());
        let gone = async {
            slot.host.end_tasks().await;
            let slot = Arc::clone(slot);
            let work = move || contained(&slot.name, "teardown", || slot.instance.teardown());
            // A panic was caught and reported by then.
            let _joined = self.runtime.spawn_blocking(work).await;
        };
        if within(self.plugin_limit, gone).await.is_none() {
            tracing::error!(plugin = %slot.name, "teardown takes too long; going on without it");
        }
    }
}
