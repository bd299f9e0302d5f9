//! Modes `buffered` and `sync`, and what a failing disk does to them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use a2e_core::audit::{AuditConfig, AuditLog, AuditMode, OnError, scan, verify};

use crate::{at, folder, write};

fn open(path: &Path, mode: AuditMode) -> AuditLog {
    AuditLog::open(AuditConfig { mode, ..AuditConfig::new(path) }).unwrap()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

#[test]
fn r53_who_is_refused_is_decided_by_the_mode_unless_told() {
    for (mode, told, expected) in [
        (AuditMode::Sync, None, OnError::Refuse),
        (AuditMode::Write, None, OnError::Continue),
        (AuditMode::Buffered, None, OnError::Continue),
        (AuditMode::Sync, Some(OnError::Continue), OnError::Continue),
        (AuditMode::Write, Some(OnError::Refuse), OnError::Refuse),
    ] {
        let (_folder, path) = folder();
        let config = AuditConfig { mode, on_error: told, ..AuditConfig::new(&path) };
        let status = AuditLog::open(config).unwrap().status();
        assert_eq!((status.mode, status.on_error), (mode, expected));
    }
}

#[test]
fn r52_buffered_is_written_by_a_timer_and_at_the_end() {
    let (_folder, path) = folder();
    let log = open(&path, AuditMode::Buffered);
    for round in 1..=3 {
        write(&log, 10);
        until("the timer writes", || log.status().written == round * 10);
        assert_eq!(scan(&path).unwrap().records, round * 10);
    }
    write(&log, 5);
    drop(log);
    let found = verify(&path).unwrap();
    assert_eq!((found.wrong, found.records, found.unsealed), (0, 35, None));
}

#[test]
fn r52_buffered_is_bounded_and_loses_nothing_under_a_flood() {
    let (_folder, path) = folder();
    let log = open(&path, AuditMode::Buffered);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for ms in 0..20_000 {
                    // What a session does, once it holds no lock.
                    if log.append(&at(ms)) {
                        log.write_due();
                    }
                }
            });
        }
    });
    assert!(log.commit_now());
    let status = log.status();
    assert_eq!((status.written, status.lost, status.pending), (40_000, 0, 0));
    let found = verify(&path).unwrap();
    assert_eq!(
        (found.wrong, found.records),
        (0, found.last_seq.unwrap() - found.first_seq.unwrap() + 1)
    );
}

/// B16: callers append under a lock of their own, and write when they have let go of it. Mode `write`: in the
/// others the thread of the log may write meanwhile.
#[test]
fn r52_append_leaves_a_due_commit_to_its_caller() {
    let (_folder, path) = folder();
    let log = open(&path, AuditMode::Write);
    let until_due = || (1..100_000_u64).find(|_| log.append(&at(0))).unwrap();
    let before = until_due();
    assert!(before > 500, "{before}");
    // Nearly as many again come before the callers have let go of their locks.
    for _ in 1..before - 50 {
        assert!(log.append(&at(0)), "it stays due");
    }
    let appended = 2 * before - 51;
    assert_eq!((log.status().written, log.status().pending), (0, appended));
    assert_eq!(scan(&path).unwrap().records, 0, "`append` writes nothing");
    assert!(log.write_due());
    assert_eq!((log.status().written, log.status().lost), (appended, 0));
    assert_eq!(until_due(), before, "the buffer is empty again");
    // A caller that ignores it: the buffer is bounded all the same, and no record is lost.
    for _ in 0..2 * before {
        log.append(&at(0));
    }
    assert!(log.status().written > appended);
    assert!(log.commit_now());
    assert_eq!((log.status().pending, log.status().lost), (0, 0));
    assert!(scan(&path).unwrap().is_clean());
}

#[test]
fn r52_sync_is_on_the_disk_when_commit_returns() {
    let (_folder, path) = folder();
    let log = open(&path, AuditMode::Sync);
    write(&log, 3);
    assert_eq!(scan(&path).unwrap().records, 3);
    let status = log.status();
    assert_eq!((status.written, status.pending, status.unsynced), (3, 0, 0));
    drop(log);
    assert_eq!(verify(&path).unwrap().unsealed, None);
}

#[test]
fn r54_sync_rotates_without_a_loss() {
    let (_folder, path) = folder();
    let mode = AuditMode::Sync;
    let config =
        AuditConfig { mode, max_bytes: 4_000, backup_count: 100, ..AuditConfig::new(&path) };
    let log = AuditLog::open(config).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| write(&log, 3)));
        }
    });
    assert!(log.status().rotations > 10);
    drop(log);
    let found = verify(&path).unwrap();
    assert_eq!((&*found.findings, found.records, found.unsealed), (&[][..], 600, None));
}

#[test]
fn r52_sync_is_refused_where_there_is_no_disk() {
    let config = AuditConfig { mode: AuditMode::Sync, ..AuditConfig::new("/dev/null") };
    let error = AuditLog::open(config).unwrap_err();
    assert!(error.message().contains("/dev/null"), "{error}");
}

/// No test by itself: several threads that each commit, in a process of its own.
#[test]
fn child() {
    let Ok(path) = std::env::var("A2E_AUDIT_SYNC") else { return };
    let log = Arc::new(open(Path::new(&path), AuditMode::Sync));
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (log, start) = (Arc::clone(&log), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                (0..COMMITS)
                    .filter(|_| {
                        log.append(&at(0));
                        log.commit()
                    })
                    .count()
            })
        })
        .collect();
    let kept: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("\nkept={kept} unsynced={} failing={:?}", log.status().unsynced, log.status().failing);
}

const THREADS: usize = 8;
const COMMITS: usize = 20;

/// The child under strace; its output, and how often it synced. None where there is no strace.
fn traced(path: &Path, inject: &str) -> Option<(String, usize)> {
    let probe = Command::new("strace").args(["-qo", "/dev/null", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        crate::skipped::skipped("no strace here");
        return None;
    }
    let log = path.with_extension("calls");
    let output = Command::new("strace")
        .args(["-f", "-o", log.to_str().unwrap(), "-e", "trace=fdatasync", "-e", inject])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "modes::child", "--nocapture", "--test-threads=1"])
        .env("A2E_AUDIT_SYNC", path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let calls = fs::read_to_string(log).unwrap();
    Some((text, calls.lines().filter(|line| line.contains("fdatasync(")).count()))
}

#[test]
fn r52_many_commits_share_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    // Each sync takes a moment, as on a disk: commits that come meanwhile go with the next.
    let Some((text, syncs)) = traced(&path, "inject=fdatasync:delay_exit=2000") else { return };
    assert!(text.contains(&format!("kept={} unsynced=0", THREADS * COMMITS)), "{text}");
    assert!(syncs > 0 && syncs < THREADS * COMMITS, "{syncs} syncs");
    assert_eq!(verify(&path).unwrap().records, (THREADS * COMMITS) as u64);
}

#[test]
fn r53_a_sync_that_fails_is_told_counted_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let Some((text, _)) = traced(&path, "inject=fdatasync:error=EIO:when=2+") else { return };
    // Of each thread the first goes well: among them the one with which the log is opened.
    let all = THREADS * COMMITS;
    let number = |key: &str| {
        let rest = text.split(key).nth(1).unwrap_or_default();
        rest.split(' ').next().and_then(|digits| digits.parse::<usize>().ok()).unwrap()
    };
    assert!(number("kept=") < all / 2, "{text}");
    assert!(number("unsynced=") > all / 2, "{text}");
    assert!(text.contains("failing=Some(\"fdatasync"), "{text}");
    let found = verify(&path).unwrap();
    assert_eq!((found.wrong, found.records), (0, all as u64), "they are in the file all the same");
}
