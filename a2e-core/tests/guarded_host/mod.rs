//! What the tests of `children` share: the guard program, scripts, and a look at `/proc`.

#![allow(dead_code, unreachable_pub, reason = "a module of several test binaries")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use a2e_core::children::{Command, Supervisor, SupervisorConfig};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The example `guarded`, which `cargo test` builds beside the test programs.
pub fn guarded() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/guarded");
    assert!(path.exists(), "build it first: cargo build -p a2e-core --example guarded");
    path
}

/// Copies a program so that it can be run at once: a process of its own writes it. A descriptor of
/// this process for writing would be in the hands of whatever another test is forking meanwhile, and
/// the system runs no file that is open for writing.
pub fn copy_program(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").args([from, to]).status().unwrap();
    assert!(status.success(), "cannot copy {}", from.display());
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)).unwrap();
}

pub fn supervisor() -> Arc<Supervisor> {
    let config = SupervisorConfig { guard: Some(guarded()), ..SupervisorConfig::default() };
    Supervisor::new(config).unwrap()
}

/// A supervisor without a guard program.
pub fn group_supervisor() -> Arc<Supervisor> {
    Supervisor::new(SupervisorConfig::default()).unwrap()
}

pub fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// A number of seconds that no other process sleeps.
pub fn token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(100);
    format!("7{:07}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A program with a plain descendant, one with a session of its own and one that was forked
/// twice and has a session of its own; each sleeps `token` seconds, as the program does.
pub fn tree_script(token: &str) -> String {
    format!(
        "sleep {token} & setsid sleep {token} & (setsid sh -c 'sleep {token} & ' &); \
         exec sleep {token}"
    )
}
/// Processes of one [`tree_script`] that sleep.
pub const TREE_SIZE: usize = 4;

/// Living processes whose command line has this text: sleepers, shells and guards.
pub fn carrying(text: &str) -> Vec<i32> {
    pids()
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// Living processes that sleep this many seconds.
pub fn sleepers(token: &str) -> Vec<i32> {
    let line = format!("sleep\0{token}\0");
    let sleeps = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes())
    };
    pids().filter(sleeps).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// State letter and parent of a process; `None` when it is gone.
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Waits until this holds, at most `limit`; panics then. Returns how long it took.
pub async fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

pub const SECOND: Duration = Duration::from_secs(1);

pub async fn text(reader: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    reader.unwrap().read_to_string(&mut text).await.unwrap();
    text
}
