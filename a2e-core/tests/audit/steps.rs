//! A log that dies, or meets an error, at each of its system calls in turn. Needs strace, else it is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use a2e_core::audit::{AuditConfig, AuditLog, scan_rotated};

use crate::{at, beside, folder, open, write};

const CALLS: [&str; 7] =
    ["openat", "write", "ftruncate", "unlink", "rename", "renameat", "renameat2"];

fn config(path: &Path) -> AuditConfig {
    AuditConfig { max_bytes: 600, backup_count: 50, ..AuditConfig::new(path) }
}

/// No test by itself: some records and rotations, in a process of its own.
#[test]
fn child() {
    let Ok(path) = std::env::var("A2E_AUDIT_STEPS") else { return };
    let Ok(log) = AuditLog::open(config(Path::new(&path))) else { return };
    let acknowledged = Path::new(&path).with_file_name("acknowledged");
    for record in 1..=6 {
        log.append(&at(record * 1_000));
        if log.commit() {
            fs::write(&acknowledged, record.to_string()).unwrap();
        }
    }
    log.commit_now();
}

/// Runs the child with this done to the n-th such call that touches its files; says whether it made as many.
fn run(path: &Path, call: &str, what: &str, number: u32) -> bool {
    let log = path.with_file_name("calls");
    let mut strace = Command::new("strace");
    strace.arg("-P").arg(path);
    for suffix in ["lock", "rotating", "1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        strace.arg("-P").arg(beside(path, suffix));
    }
    let output = strace
        .args(["-f", "-o", log.to_str().unwrap()])
        .args(["-e", &format!("inject={call}:{what}:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "steps::child", "--nocapture", "--test-threads=1"])
        .env("A2E_AUDIT_STEPS", path)
        .output()
        .unwrap();
    fs::read_to_string(log).unwrap().contains("INJECTED") || output.status.code().is_none()
}

fn each_step(what: &str) {
    let mut probe = Command::new("strace");
    if !probe.args(["-qo", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        crate::skipped::skipped("no strace here");
        return;
    }
    let mut steps = 0;
    for call in CALLS {
        steps += (1..1_000).take_while(|number| step(call, what, *number)).count();
    }
    assert!(steps > 20, "{steps}");
}

/// One life of a log with this fault; says whether it came that far.
fn step(call: &str, what: &str, number: u32) -> bool {
    let (_folder, path) = folder();
    write(&AuditLog::open(config(&path)).unwrap(), 3);
    if !run(&path, call, what, number) {
        return false;
    }
    let acknowledged = fs::read_to_string(path.with_file_name("acknowledged"));
    let acknowledged: u64 = acknowledged.map_or(0, |text| text.parse().unwrap_or(0));
    write(&open(&path), 1);
    let found = scan_rotated(&path, 50).unwrap();
    assert!(found.is_clean(), "{call} {number}: {what}: {found:?}");
    assert_eq!((found.first_seq, found.lost), (Some(1), 0));
    assert!(found.records > 3 + acknowledged, "{call} {number}: {what}: {found:?}");
    true
}

#[test]
fn r54_killed_at_each_step_nothing_is_lost_or_doubled() {
    each_step("signal=KILL");
}

#[test]
fn r53_an_error_at_each_step_loses_and_doubles_nothing() {
    each_step("error=ENOSPC");
    each_step("error=EIO");
}
