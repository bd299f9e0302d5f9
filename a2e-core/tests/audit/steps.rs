//! A log that dies, or meets an error, at each of its system calls in turn. Needs strace, else it is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use a2e_core::audit::{AuditConfig, AuditLog, scan_rotated};

use crate::{at, folder, open, write};

const CALLS: &str = "openat,write,ftruncate,unlink,rename,renameat,renameat2";

fn config(path: &Path) -> AuditConfig {
    AuditConfig { max_bytes: 600, backup_count: 50, ..AuditConfig::new(path) }
}

/// No test by itself: some records and rotations, in a process of its own.
#[test]
fn child() {
    let Ok(path) = std::env::var("A2E_AUDIT_STEPS") else { return };
    let Ok(log) = AuditLog::open(config(Path::new(&path))) else { return };
    let mut acknowledged = 0;
    for record in 1..=6 {
        log.append(&at(record * 1_000));
        if log.commit() {
            acknowledged = record;
        }
    }
    log.commit_now();
    fs::write(Path::new(&path).with_file_name("acknowledged"), acknowledged.to_string()).ok();
}

/// Runs the child with this done to the n-th call of its thread; says whether it made as many.
fn run(path: &Path, what: &str, number: u32) -> bool {
    let log = path.with_file_name("calls");
    let output = Command::new("strace")
        .args(["-f", "-o", log.to_str().unwrap()])
        .args(["-e", &format!("inject={CALLS}:{what}:when={number}")])
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
        println!("skipped: no strace here");
        return;
    }
    for number in 1.. {
        let (_folder, path) = folder();
        write(&AuditLog::open(config(&path)).unwrap(), 3);
        if !run(&path, what, number) {
            assert!(number > 15, "{number}");
            return;
        }
        let acknowledged = fs::read_to_string(path.with_file_name("acknowledged"));
        let acknowledged: u64 = acknowledged.map_or(0, |text| text.parse().unwrap_or(0));
        write(&open(&path), 1);
        let found = scan_rotated(&path, 50).unwrap();
        assert!(found.is_clean(), "{what}, call {number}: {found:?}");
        assert_eq!((found.first_seq, found.lost), (Some(1), 0));
        assert!(found.records >= 3 + acknowledged + 1, "{what}, call {number}: {found:?}");
    }
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
