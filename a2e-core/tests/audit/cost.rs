//! The cost of a record: `cargo test --release -p a2e-core --test audit -- --ignored --nocapture cost`.

use std::time::Duration;

use a2e_core::audit::{AuditConfig, AuditLog, AuditRecord};
use a2e_core::{Clock, SystemClock};

use crate::{at, folder};

#[test]
#[ignore = "a measurement, not a test"]
fn cost() {
    let (_folder, path) = folder();
    let log = AuditLog::open(AuditConfig::new(&path)).unwrap();
    let clock = SystemClock::new();
    for batch in [1_u32, 16, 64] {
        // The best of some rounds: what else the machine does is not what we ask.
        let rounds = (0..20).map(|_| round(&log, &clock, batch, 32_000 / batch));
        let (append, commit) = rounds.reduce(|(a, c), (b, d)| (a.min(b), c.min(d))).unwrap();
        println!("batches of {batch}: append {append} ns, commit {commit} ns per record");
    }
    let start = clock.now();
    for _ in 0..10_000_000 {
        assert!(log.commit());
    }
    println!("commit of nothing: {} ps", clock.now().since(start).as_nanos() / 10_000);
}

/// Nanoseconds per record, to append and to commit it.
fn round(log: &AuditLog, clock: &SystemClock, batch: u32, batches: u32) -> (u128, u128) {
    let mut committing = Duration::ZERO;
    let start = clock.now();
    for _ in 0..batches {
        for _ in 0..batch {
            log.append(&AuditRecord {
                session_id: "0123456789abcdef0123456789abcdef",
                req_id: "0123456789abcdef0123456789abcdef",
                plugin: Some("tools"),
                agent_id: Some("agent-1"),
                ..at(5)
            });
        }
        let before = clock.now();
        assert!(log.commit());
        committing += clock.now().since(before);
    }
    let appending = clock.now().since(start).saturating_sub(committing);
    let records = u128::from(batches * batch);
    (appending.as_nanos() / records, committing.as_nanos() / records)
}
