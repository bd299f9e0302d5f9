//! Rotation: loses nothing, doubles nothing, survives what interrupts it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use a2e_core::audit::{AuditConfig, AuditLog, scan, scan_rotated};

use crate::{at, beside, folder, open, write};

fn rotating(path: &Path, max_bytes: u64, backup_count: u32) -> AuditLog {
    AuditLog::open(AuditConfig { max_bytes, backup_count, ..AuditConfig::new(path) }).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn r54_rotation_under_four_threads_loses_and_doubles_nothing() {
    let (_folder, path) = folder();
    let log = Arc::new(rotating(&path, 20_000, 500));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for record in 0..2_500 {
                    log.append(&at(0));
                    if record % 7 == 0 {
                        assert!(log.commit());
                    }
                }
                assert!(log.commit());
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let status = log.status();
    assert_eq!((status.written, status.lost), (10_000, 0));
    assert!(status.rotations > 100, "{status:?}");
    let found = scan_rotated(&path, 500).unwrap();
    assert!(found.is_clean(), "{:?}", found.holes);
    assert_eq!((found.records, found.first_seq, found.last_seq), (10_000, Some(1), Some(10_000)));
    for name in names(&path) {
        assert!(fs::metadata(path.with_file_name(&name)).unwrap().len() <= 20_000, "{name}");
    }
}

#[test]
fn r54_rotation_keeps_the_newest_files_and_goes_on_after_a_restart() {
    let (_folder, path) = folder();
    for _ in 0..5 {
        let log = rotating(&path, 1_000, 2);
        for _ in 0..7 {
            write(&log, 1);
        }
    }
    let kept = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.lock"];
    assert_eq!(names(&path), kept);
    let found = scan_rotated(&path, 2).unwrap();
    assert!(found.is_clean());
    assert_eq!(found.last_seq, Some(35));
}

#[test]
fn r54_zero_means_never() {
    for (max_bytes, backup_count) in [(0, 5), (100, 0)] {
        let (_folder, path) = folder();
        write(&rotating(&path, max_bytes, backup_count), 100);
        assert_eq!(scan(&path).unwrap().records, 100);
        assert_eq!(names(&path), ["audit.jsonl", "audit.jsonl.lock"]);
    }
}

#[test]
fn r54_a_batch_larger_than_a_file_is_split_between_lines() {
    let (_folder, path) = folder();
    let log = rotating(&path, 1_000, 100);
    write(&log, 50);
    let found = scan_rotated(&path, 100).unwrap();
    assert!(found.is_clean());
    assert_eq!(found.records, 50);
    assert!(names(&path).len() > 10);
}

#[test]
fn r54_the_lock_survives_rotation() {
    let (_folder, path) = folder();
    let log = rotating(&path, 600, 5);
    for _ in 0..20 {
        write(&log, 1);
    }
    assert!(log.status().rotations > 3);
    assert!(open(&path).status().is_beside);
}

#[test]
fn r54_an_interrupted_rotation_costs_nothing() {
    let (_folder, path) = folder();
    let log = rotating(&path, 1_300, 4);
    for _ in 0..10 {
        write(&log, 1);
    }
    drop(log);
    // As if the host had died after the first of its renames.
    fs::rename(beside(&path, "2"), beside(&path, "3")).unwrap();
    let before = scan_rotated(&path, 4).unwrap();
    let log = rotating(&path, 1_300, 4);
    for _ in 0..3 {
        write(&log, 1);
    }
    let after = scan_rotated(&path, 4).unwrap();
    assert!(after.is_clean(), "{after:?}");
    assert_eq!((after.first_seq, after.records), (before.first_seq, before.records + 3));
}

#[test]
fn r53_rotation_that_fails_loses_no_record() {
    let (_folder, path) = folder();
    // A folder of the name of the next file cannot be opened for writing, not even by root.
    fs::create_dir_all(beside(&path, "rotating")).unwrap();
    let log = rotating(&path, 100, 5);
    for _ in 0..10 {
        write(&log, 1);
    }
    let status = log.status();
    assert_eq!((status.written, status.rotations), (10, 0));
    assert!(status.failed_rotations > 0);
    assert_eq!(scan(&path).unwrap().records, 10);
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = folder();
    write(&rotating(&path, 1_000, 5), 20);
    for name in names(&path) {
        let mode = fs::metadata(path.with_file_name(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
