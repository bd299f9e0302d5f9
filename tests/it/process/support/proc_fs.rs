//! What `/proc` tells about processes.

use std::sync::atomic::{AtomicU32, Ordering};

/// A number of seconds that no other process sleeps.
pub(crate) fn token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(100);
    format!("8{:07}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Living processes whose command line holds this text.
pub(crate) fn carrying(text: &str) -> Vec<i32> {
    let has_text = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    pids().filter(has_text).collect()
}

/// Living processes that sleep this many seconds.
pub(crate) fn sleepers(token: &str) -> Vec<i32> {
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

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Processor time that a process has used, in ticks of 10 ms.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A process and all that it has started, and those, as long as they live.
pub(crate) fn tree(root: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(of) = tree.get(next).copied() {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

/// Its parent; none of a process that has ended, though nobody has asked for its end yet.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let lives = fields.next()? != "Z";
    fields.next()?.parse().ok().filter(|_| lives)
}

/// Whether a process lives.
pub(crate) fn lives(pid: i32) -> bool {
    parent(pid).is_some()
}
