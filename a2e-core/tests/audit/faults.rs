//! Disks that take no more, and limits of the operating system, in a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use a2e_core::audit::scan;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{at, folder, open, write};

#[test]
fn r53_a_full_device_is_counted_and_harms_nobody() {
    let path = Path::new("/dev/full");
    if !path.exists() {
        crate::skipped::skipped("no /dev/full here");
        return;
    }
    let log = open(path);
    for record in 0..5_000 {
        log.append(&at(record));
        assert!(!log.commit());
    }
    let status = log.status();
    assert_eq!((status.written, status.lost + status.pending), (0, 5_000));
    assert!(status.lost > 0 && status.pending > 0, "{status:?}");
    assert!(status.failing.unwrap().contains("No space"));
}

/// No test by itself: what the tests below run in another process, under a real limit.
#[test]
fn child() {
    let Ok(path) = std::env::var("A2E_AUDIT_CHILD") else { return };
    let log = open(Path::new(&path));
    let path = log.status().path.unwrap();
    println!("\npath={}", path.display());
    for record in (0..).take_while(|_| std::env::var_os("A2E_AUDIT_ENDLESS").is_some()) {
        log.append(&at(record));
        assert!(log.commit());
        println!("acknowledged={}", log.status().written);
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for record in 0..10_000 {
                    log.append(&at(record));
                    log.commit();
                }
            });
        }
    });
    println!("failing={}", log.status().failing.unwrap_or_default());
    let found = scan(&path).unwrap();
    assert!(found.is_clean(), "a failing write leaves whole lines: {found:?}");
    give_space();
    log.append(&at(30_000));
    assert!(log.commit());
    let status = log.status();
    assert_eq!((status.failing, status.pending), (None, 0));
    let found = scan(&path).unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.records, found.lost), (status.written, status.lost));
    assert_eq!(found.records + found.lost, 20_001);
    assert_eq!((found.first_seq, found.last_seq), (Some(1), Some(20_001)));
    println!("lost={}", found.lost);
}

/// Lifts the limit on file sizes, which is a soft one, and removes what fills the disk.
fn give_space() {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    if let Ok(ballast) = std::env::var("A2E_AUDIT_BALLAST") {
        std::fs::remove_file(ballast).unwrap();
    }
}

fn run_child(path: &Path, shell: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(std::env::current_exe().unwrap())
        .env("A2E_AUDIT_CHILD", path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn r53_a_file_size_limit_leaves_whole_lines_and_a_gap_record() {
    let (_folder, path) = folder();
    // Blocks of 512 or 1,024 bytes: no line ends there, so the last write comes up short.
    let limited = r#"trap '' XFSZ; ulimit -S -f 201; exec "$1" --exact faults::child --nocapture"#;
    let text = run_child(&path, limited);
    assert!(text.contains("failing=File too large"), "{text}");
    assert!(!text.contains("lost=0"), "{text}");
}

#[test]
fn r53_a_full_disk_leaves_whole_lines_and_a_gap_record() {
    let (folder, _) = folder();
    // A file system of its own in a mount namespace of its own; the ballast leaves it 500 KiB.
    let mounted = r#"mount -t tmpfs -o size=12m none "$(dirname "$A2E_AUDIT_CHILD")" &&
        dd if=/dev/zero of="$A2E_AUDIT_BALLAST" bs=1k count=11788 2>/dev/null &&
        exec "$0" --exact faults::child --nocapture"#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", mounted]).arg(std::env::current_exe().unwrap());
    command.env("A2E_AUDIT_CHILD", folder.path().join("audit.jsonl"));
    command.env("A2E_AUDIT_BALLAST", folder.path().join("ballast"));
    let is_allowed = Command::new("unshare").args(["-m", "true"]).status();
    if !is_allowed.is_ok_and(|status| status.success()) {
        crate::skipped::skipped("no mount namespace for this user");
        return;
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("failing=No space left"), "{text}");
    assert!(!text.contains("lost=0"), "{text}");
}

#[test]
fn r54_another_process_writes_beside_a_held_path() {
    let (_folder, path) = folder();
    let log = open(&path);
    write(&log, 1);
    let text = run_child(&path, r#"exec "$1" --exact faults::child --nocapture"#);
    let beside = text.lines().find_map(|line| line.strip_prefix("path=")).unwrap();
    assert_ne!(Path::new(beside), path);
    assert!(beside.starts_with(path.to_str().unwrap()));
    assert_eq!(scan(beside).unwrap().records, 20_001);
    assert_eq!(scan(&path).unwrap().records, 1);
}

#[test]
fn r52_kill_9_loses_no_acknowledged_record() {
    let (_folder, path) = folder();
    let mut before = 0;
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::child", "--nocapture"])
            .env("A2E_AUDIT_CHILD", &path)
            .env("A2E_AUDIT_ENDLESS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut last = None;
        for _ in 0..30 + round * 17 {
            last = lines.next();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let last = lines.last().or(last).unwrap();
        let acknowledged: u64 = last.strip_prefix("acknowledged=").unwrap().parse().unwrap();
        drop(open(&path));
        let found = scan(&path).unwrap();
        assert!(found.is_clean(), "{found:?}");
        let new = found.records - before;
        assert!((acknowledged..=acknowledged + 1).contains(&new), "{new} {acknowledged}");
        before = found.records;
    }
}
