//! Writes `data/audit.jsonl` anew, which the corpus of `audit_read` builds on:
//! `cargo test --test good_audit -- --ignored`.

use std::path::Path;
use std::time::Duration;

use a2e_core::audit::{AuditConfig, AuditLog, AuditRecord, RecordOutcome};
use a2e_core::{Clock, SystemClock};

#[test]
#[ignore = "the file is kept; a new one makes the kept inputs of `audit_read` less useful"]
fn write_a_good_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/audit.jsonl");
    std::fs::remove_file(&path).expect("there was one");
    let log = AuditLog::open(AuditConfig::new(&path)).expect("a log");
    let clock = SystemClock::new();
    for block in 0..4 {
        for kind in ["ping", "tool/call/req", "memory/store/req"] {
            log.append(&AuditRecord {
                kind,
                req_id: "r1",
                session_id: "0123456789abcdef",
                outcome: if kind == "ping" { RecordOutcome::Refused } else { RecordOutcome::Ok },
                ..AuditRecord::at(clock.now())
            });
        }
        assert!(log.commit());
        if block < 3 {
            // A seal is written 100 ms after the first record of its block.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let written = std::fs::read(&path).expect("the file");
    drop(log);
    // Without the seal of the end: the last block stands behind the last seal.
    std::fs::write(&path, written).expect("the file");
}
