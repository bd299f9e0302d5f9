//! The end of plugins: their tasks, their instances, what they contributed.

use std::sync::Arc;
use std::time::Duration;

use super::load::contained;
use super::{PluginSlot, Plugins, within};

impl Plugins {
    /// Ends every plugin in reverse order of loading, those that were replaced first; then children.
    pub(crate) async fn tear_down_all(self: &Arc<Self>) {
        for slot in self.reloads.take_retiring() {
            self.tear_down(&slot).await;
        }
        for slot in self.set.all().into_iter().rev() {
            self.tear_down(&slot).await;
        }
        if let Some(children) = &self.children {
            children.shutdown(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn tear_down(&self, slot: &Arc<PluginSlot>) {
        self.services.contributions.withdraw(slot.host.epoch());
        let gone = async {
            slot.host.end_tasks().await;
            let slot = Arc::clone(slot);
            let work = move || contained(slot.name(), "teardown", || slot.instance.teardown());
            // A panic was caught and reported by then.
            let _joined = self.services.runtime.spawn_blocking(work).await;
        };
        if within(self.limit, gone).await.is_none() {
            tracing::error!(plugin = %slot.name(), "teardown takes too long; going on without it");
        }
    }
}
