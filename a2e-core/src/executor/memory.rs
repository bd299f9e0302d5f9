//! Looks at the memory of the process, where a budget is configured (R23).

use std::sync::Arc;
use std::time::Duration;

use crate::request::Services;

/// How often.
const LOOK: Duration = Duration::from_millis(100);

/// Starts to look; ends with the host.
pub(super) fn start(services: &Arc<Services>) {
    if services.config.limits.memory_budget_bytes.is_none() {
        return;
    }
    let known = Arc::downgrade(services);
    services.live.note_memory(resident());
    services.runtime.spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(services) = known.upgrade() else { return };
            services.live.note_memory(resident());
        }
    });
}

/// Bytes of the process that are in memory; 0 where the system does not say.
fn resident() -> usize {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0).saturating_mul(page_size())
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|size| usize::try_from(size).ok()).unwrap_or(4096)
}
