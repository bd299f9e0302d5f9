//! The child supervisor: nothing is left in the host. One test, so that no other test opens
//! descriptors or starts processes meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;

use std::sync::Arc;
use std::time::Duration;

use a2e_core::children::Supervisor;
use guarded_host::*;

/// Children of this process, dead or alive.
fn own_children() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    carrying("").into_iter().filter(|pid| stat(*pid).is_some_and(|(_, up)| up == own)).collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn many(supervisor: &Arc<Supervisor>, count: u32) {
    let tasks = (0..count).map(|n| {
        let supervisor = Arc::clone(supervisor);
        tokio::spawn(async move {
            // Every way to end, and launch errors and cancelled launches between them.
            match n % 5 {
                0 => drop(supervisor.spawn(sh("sleep 60")).await.unwrap()),
                1 => drop(supervisor.spawn(sh("sleep 60")).await.unwrap().kill().await),
                2 => drop(supervisor.spawn(a2e_core::children::Command::new("nope")).await),
                3 => drop(
                    tokio::time::timeout(
                        Duration::from_micros(u64::from(n) * 50),
                        supervisor.spawn(sh("sleep 60")),
                    )
                    .await,
                ),
                _ => {
                    let mut child = supervisor.spawn(sh("echo x; (setsid true &)")).await.unwrap();
                    assert_eq!(text(child.stdout.take()).await, "x\n");
                    assert_eq!(child.gone().await.code, Some(0));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_parallel_spawns_leave_no_zombie_and_no_descriptor() {
    // In this order: a guarded supervisor makes this process a child subreaper for good, and then
    // what leaves a mere group would come here.
    for make in [group_supervisor, supervisor] {
        let supervisor = make();
        many(&supervisor, 5).await;
        until(SECOND, "all are gone", || supervisor.live() == 0).await;
        let before = descriptors();
        let start = tokio::time::Instant::now();
        many(&supervisor, 50).await;
        until(5 * SECOND, "all are gone", || supervisor.live() == 0).await;
        println!("{}: 50 in {:?}", supervisor.isolation(), start.elapsed());
        until(SECOND, "no process is left", || own_children().is_empty()).await;
        until(SECOND, "no descriptor is left", || descriptors() == before).await;
        supervisor.shutdown(SECOND).await;
        until(SECOND, "the thread is gone", || {
            std::fs::read_dir("/proc/self/task").unwrap().all(|task| {
                let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
                name.unwrap_or_default() != "a2e-children\n"
            })
        })
        .await;
    }
}
