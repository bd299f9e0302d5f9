//! What processes cost that write without end while their client does not read. A test program of
//! its own, because it looks at the memory of the whole process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::TestHost;
use serde_json::json;

/// Resident memory of this process, in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_output_that_nobody_reads_takes_bounded_memory() {
    a2e_caps::link();
    let plugin = PluginConfig::new("proc", "proc", "a2e.caps.proc.plugin.ProcPlugin")
        .with_setting("allowed_commands", ["sh"]);
    let host = TestHost::build(Executor::builder(HostConfig::new().plugin(plugin))).await.unwrap();
    // Many small lines, lines of a usual length, bytes without any line, bytes that are no text.
    for script in [
        "yes ''",
        "yes 'a line of forty bytes, more or less, as logs'",
        "cat /dev/zero",
        "cat /dev/urandom",
    ] {
        let mut session = host.session();
        let before = resident();
        for _ in 0..16 {
            // The replies are not read either: what a test reads, it keeps.
            session.send("proc/spawn/req", json!({ "cmd": ["sh", "-c", script] })).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = resident();
        println!("16 x {script}: {before} MiB, then {after} MiB");
        assert!(after < before + 48, "{script}: {before} MiB, then {after} MiB");
        drop(session);
        host.until("the end", |status| status.sessions == 0).await;
    }
    host.stop().await;
}
