//! The end of a host, in order: sessions, reloads, state, plugins, children, audit.

use std::sync::Arc;
use std::time::Duration;

use super::kernel::Kernel;
use crate::lifecycle::within;

impl Kernel {
    pub(super) async fn shut_down(self: &Arc<Self>, drain: Duration) {
        let live = &self.services.live;
        live.drain(self.services.clock.now().mono.saturating_add(drain));
        // Sessions end by their own deadline; a little more than that bounds a plugin's `session_ended`.
        let sessions_end = async {
            while live.count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if within(drain.saturating_add(Duration::from_secs(1)), sessions_end).await.is_none() {
            tracing::warn!(left = live.count(), "sessions did not end in time");
        }
        // A reload that runs comes to its end; none begins any more.
        let _reload = within(self.plugins.limit, self.plugins.reloads.turn.lock()).await;
        self.plugins.sessions_stored().await;
        self.plugins.save_at_shutdown().await;
        self.plugins.tear_down_all().await;
        let audit = Arc::clone(self.services.audit.log());
        let committed = self.services.runtime.spawn_blocking(move || audit.commit_now()).await;
        if !matches!(committed, Ok(true)) {
            tracing::error!("the last audit records could not be written");
        }
        self.services.watch.stop();
    }
}
