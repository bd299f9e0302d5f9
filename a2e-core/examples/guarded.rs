//! A tiny host for the tests of `children`: its own guard, and a host that can be killed.
//!
//! `guarded COUNT SCRIPT [pidns]` starts `sh -c SCRIPT` COUNT times, writes each pid and then `ready`
//! to stdout, and stops everything when its stdin ends.

use std::io::{Read, Write};
use std::time::Duration;

use a2e_core::children::{Command, Holding, StdinMode, Supervisor, SupervisorConfig, run_if_guard};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run_if_guard();
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().ok_or("how many children?")?.parse()?;
    let script = args.next().ok_or("which script?")?;
    let is_inside = args.next().is_some_and(|word| word == "pidns");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let supervisor = Supervisor::new(SupervisorConfig::guarded_by_self())?;
        let mut children = Vec::new();
        let mut out = std::io::stdout();
        for _ in 0..count {
            let mut command = Command::new("sh").args(["-c", &script]);
            command.stdin = StdinMode::Null;
            if is_inside {
                command.holding = Holding::Pidns;
            }
            let child = supervisor.spawn(command).await?;
            writeln!(out, "{}", child.pid)?;
            children.push(child);
        }
        writeln!(out, "ready")?;
        let wait = || std::io::stdin().read(&mut [0]).map(drop);
        tokio::task::spawn_blocking(wait).await??;
        supervisor.shutdown(Duration::from_secs(1)).await;
        Ok(())
    })
}
