//! A save that dies, or meets an error, at each of its system calls in turn. Needs strace, else it is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use a2e_core::snapshot::{FileStore, SnapshotStore};

use crate::{key, names, state, value};

const CALLS: [&str; 10] = [
    "openat",
    "write",
    "fsync",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
];

/// No test by itself: one save, in a process of its own.
#[test]
fn child() {
    let Ok(root) = std::env::var("A2E_SNAPSHOT_STEPS") else { return };
    let saved = FileStore::open(root).and_then(|store| store.save(&key(), &state(3)));
    println!("\nsaved={}", saved.is_ok());
}

/// Runs the child with this done to the n-th such call that touches the store; none when it makes fewer.
fn run(root: &Path, call: &str, what: &str, number: u32) -> Option<String> {
    let log = root.join("../calls");
    let mut strace = Command::new("strace");
    for name in ["", ".lock", "snap", "snap.tmp", "snap.prev", "snap.prev.tmp"] {
        let name = name.replacen("snap", "counter.state.snap", 1);
        strace.arg("-P").arg(root.join(name).components().collect::<PathBuf>());
    }
    let output = strace
        .args(["-f", "-o", log.to_str().unwrap()])
        .args(["-e", &format!("inject={call}:{what}:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "steps::child", "--nocapture", "--test-threads=1"])
        .env("A2E_SNAPSHOT_STEPS", root)
        .output()
        .unwrap();
    let is_done = fs::read_to_string(log).unwrap().contains("INJECTED");
    let was_killed = output.status.code().is_none();
    Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|_| is_done || was_killed)
}

fn each_step(what: &str) {
    if !Command::new("strace")
        .args(["-qo", "/dev/null", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        crate::skipped::skipped("no strace here");
        return;
    }
    let mut steps = 0;
    for call in CALLS {
        steps += (1..1_000).take_while(|number| step(call, what, *number)).count();
    }
    assert!(steps > 12, "{steps}");
}

/// One save with this fault; says whether it came that far.
fn step(call: &str, what: &str, number: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let store = FileStore::open(&root).unwrap();
    store.save(&key(), &state(1)).unwrap();
    store.save(&key(), &state(2)).unwrap();
    let Some(output) = run(&root, call, what, number) else { return false };
    let at = format!("{call} {number}: {what}");
    let store = FileStore::open(&root).unwrap();
    let loaded = store.load(&key()).unwrap().unwrap();
    assert_eq!(loaded.problem, None, "{at}");
    let found = value(&loaded.state);
    let least = if output.contains("saved=true") { 3 } else { 2 };
    assert!((least..=3).contains(&found), "{at}: {found}");
    assert!(!names(&root).iter().any(|name| name.contains("tmp")), "{at}: {:?}", names(&root));
    fs::remove_file(root.join("counter.state.snap")).unwrap();
    let previous = value(&store.load(&key()).unwrap().unwrap().state);
    assert!((1..=2).contains(&previous), "{at}: previous {previous}");
    true
}

#[test]
fn r50_killed_at_each_step_a_whole_generation_is_there() {
    each_step("signal=KILL");
}

#[test]
fn r50_an_error_at_each_step_leaves_a_whole_generation() {
    each_step("error=ENOSPC");
    each_step("error=EIO");
}
