//! The audit on a real disk: modes, restarts, torn tails, shared paths; rotation and faults in their own files.

#![cfg(feature = "host")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test may panic; clippy's own exception does not reach the functions beside the tests"
)]

mod cost;
mod faults;
mod modes;
mod rotation;
mod seals;
#[path = "../skipped/mod.rs"]
mod skipped;
mod steps;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_core::Time;
use a2e_core::audit::{
    AuditConfig, AuditLog, AuditMode, AuditRecord, SessionIdSource, scan, scan_rotated,
};

fn at(mono_ms: u64) -> AuditRecord<'static> {
    let now = Time {
        mono: Duration::from_millis(mono_ms),
        wall: Duration::from_millis(1_764_000_000_000 + mono_ms),
    };
    AuditRecord { kind: "demo/echo/req", req_id: "r", session_id: "s", ..AuditRecord::at(now) }
}

fn open(path: &Path) -> AuditLog {
    AuditLog::open(AuditConfig::new(path)).unwrap()
}

fn write(log: &AuditLog, records: u64) {
    for _ in 0..records {
        log.append(&at(0));
    }
    assert!(log.commit());
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

/// The lines of a file that are no seals.
fn records(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("{\"seal\""));
    lines.map(str::to_owned).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

#[test]
fn r52_off_touches_no_file() {
    let (folder, path) = folder();
    let config = AuditConfig { mode: AuditMode::Off, ..AuditConfig::new(&path) };
    let log = AuditLog::open(config).unwrap();
    write(&log, 3);
    assert_eq!(log.status().mode, AuditMode::Off);
    drop(log);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn r52_write_is_in_the_kernel_when_commit_returns() {
    let (_folder, path) = folder();
    let log = open(&path);
    log.append(&at(0));
    log.append(&at(0));
    assert_eq!(scan(&path).unwrap().records, 0, "nothing before the commit");
    assert_eq!(log.status().pending, 2);
    assert!(log.commit());
    let found = scan(&path).unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.records, found.last_seq), (2, Some(2)));
    let status = log.status();
    assert_eq!((status.written, status.pending, status.lost), (2, 0, 0));
}

#[test]
fn the_session_id_is_the_records_or_the_hosts() {
    let (_folder, path) = folder();
    let log = open(&path);
    log.append(&at(0));
    log.append(&AuditRecord { session_id: "", ..at(0) });
    drop(log);
    let session_id_source = SessionIdSource::HostId("host-7".into());
    let config = AuditConfig { session_id_source, ..AuditConfig::new(&path) };
    AuditLog::open(config).unwrap().append(&at(0));
    let read = |line: &String| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let ids: Vec<_> = records(&path).iter().map(|line| read(line)["session_id"].clone()).collect();
    assert_eq!((&ids[0], &ids[2]), (&"s".into(), &"host-7".into()));
    let dashes: Vec<_> = ids[1].as_str().unwrap().match_indices('-').map(|(at, _)| at).collect();
    assert_eq!(dashes, [8, 13, 18, 23], "{}", ids[1]);
}

#[test]
fn r54_seq_goes_on_after_a_restart() {
    let (_folder, path) = folder();
    for _ in 0..3 {
        write(&open(&path), 5);
    }
    let found = scan(&path).unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.records, found.first_seq, found.last_seq), (15, Some(1), Some(15)));
}

#[test]
fn r54_seq_goes_on_when_only_a_rotated_file_is_left() {
    let (_folder, path) = folder();
    write(&open(&path), 5);
    fs::rename(&path, beside(&path, "1")).unwrap();
    write(&open(&path), 1);
    assert_eq!(scan(&path).unwrap().first_seq, Some(6));
    assert!(scan_rotated(&path, 5).unwrap().is_clean());
}

#[test]
fn r54_a_torn_tail_is_cut_at_every_length() {
    let (_folder, path) = folder();
    write(&open(&path), 2);
    let whole = (records(&path).join("\n") + "\n").into_bytes();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in first + 1..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let log = open(&path);
        assert!(log.status().found[0].contains("torn"), "{:?}", log.status());
        write(&log, 1);
        drop(log);
        let found = scan(&path).unwrap();
        assert!(found.is_clean(), "{length} bytes: {found:?}");
        assert_eq!(found.last_seq, Some(2));
    }
}

#[test]
fn r54_a_long_torn_tail_of_zeros_is_cut() {
    let (_folder, path) = folder();
    write(&open(&path), 2);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![0; 100_000]).unwrap();
    write(&open(&path), 1);
    let found = scan(&path).unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.last_seq, Some(3));
}

#[test]
fn r54_a_hole_and_a_changed_line_are_reported() {
    let (_folder, path) = folder();
    write(&open(&path), 9);
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let changed = lines[6].replace("demo/echo", "demo/evil");
    lines[6] = &changed;
    lines.remove(3);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let found = open(&path).status().found;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("seq 3 is followed by 5"), "{found:?}");
    assert!(found[1].contains("seq 6 is followed by 8"), "{found:?}");
    assert!(found[2].contains("does not match its checksum"), "{found:?}");
}

#[test]
fn r54_no_seq_is_given_twice_after_a_bad_last_line() {
    let (_folder, path) = folder();
    write(&open(&path), 3);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"seq\":3", "\"seq\":4")).unwrap();
    write(&open(&path), 1);
    assert_eq!(scan(&path).unwrap().last_seq, Some(4));
}

#[test]
fn r54_further_logs_on_a_path_write_beside_it() {
    let (_folder, path) = folder();
    let logs: Vec<_> = (0..3).map(|_| open(&path)).collect();
    for (count, log) in logs.iter().enumerate() {
        write(log, count as u64 + 1);
    }
    let paths: Vec<_> = logs.iter().map(|log| log.status().path.unwrap()).collect();
    let pid = std::process::id();
    assert_eq!(paths[0], path);
    assert_eq!(paths[1], beside(&path, &pid.to_string()));
    assert_eq!(paths[2], beside(&path, &format!("{pid}-2")));
    assert!(!logs[0].status().is_beside && logs[1].status().is_beside);
    for (count, path) in paths.iter().enumerate() {
        let found = scan(path).unwrap();
        assert!(found.is_clean());
        assert_eq!(found.records, count as u64 + 1);
    }
    drop(logs);
    assert_eq!(open(&path).status().path.unwrap(), path, "the lock is free again");
}

#[test]
fn r54_only_the_lock_holder_cuts_a_torn_tail() {
    let (_folder, path) = folder();
    let holder = open(&path);
    write(&holder, 1);
    assert!(holder.commit_now(), "with its seal");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"ts\":1").unwrap();
    let before = fs::read(&path).unwrap();
    write(&open(&path), 1);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_operator_may_move_remove_or_empty_the_file() {
    let (_folder, path) = folder();
    let log = open(&path);
    let write_at = |ms| {
        log.append(&at(ms));
        assert!(log.commit());
    };
    write_at(0);
    fs::remove_file(&path).unwrap();
    write_at(2_000);
    fs::rename(&path, beside(&path, "moved")).unwrap();
    write_at(4_000);
    fs::File::create(&path).unwrap();
    write_at(6_000);
    assert_eq!(scan(beside(&path, "moved")).unwrap().last_seq, Some(2));
    assert_eq!(scan(&path).unwrap().first_seq, Some(4));
}

#[test]
fn what_is_no_file_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = AuditLog::open(AuditConfig::new(folder.path())).unwrap_err();
    assert!(error.message().contains(folder.path().to_str().unwrap()), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn r54_whatever_stands_in_the_file_the_next_record_is_whole(
        garbage in "(?s)[\u{0}-\u{ff}\n]{0,300}", records in 0_u64..3, is_first: bool,
    ) {
        let (_folder, path) = folder();
        write(&open(&path), records);
        let mut bytes = fs::read(&path).unwrap();
        let place = if is_first { 0 } else { bytes.len() };
        bytes.splice(place..place, garbage.bytes());
        fs::write(&path, bytes).unwrap();
        write(&open(&path), 2);
        let text = fs::read(&path).unwrap();
        let last = text.strip_suffix(b"\n").unwrap().rsplit(|byte| *byte == b'\n').next().unwrap();
        let found = a2e_core::audit::verify_line(last).unwrap();
        proptest::prop_assert!(found.last >= 2);
        proptest::prop_assert_eq!(scan(&path).unwrap().torn_tail, None);
    }
}
