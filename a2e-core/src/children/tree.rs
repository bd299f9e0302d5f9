//! Process trees as `/proc` shows them: descent, and killing.
//!
//! A scan is a list of processes to kill, never a proof that none is left: processes fork while it
//! reads. The proof is `waitpid` saying that a subreaper has no children.

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process, as its `stat` file shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// Start in clock ticks since boot: with the pid it names a process for ever.
    pub(super) start: u64,
    /// Dead, and not yet waited for.
    pub(super) is_zombie: bool,
}

impl Process {
    /// The process with this id; `None` when there is none (any more).
    pub(super) fn read(pid: i32) -> Option<Self> {
        // The line is below 400 bytes: 52 numbers and a name of at most 64.
        let mut text = [0; 1024];
        let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut text).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(text.get(..length)?))
    }

    fn parse(pid: i32, line: &str) -> Option<Self> {
        // The name stands in brackets and may hold brackets, blanks and line ends itself.
        let (_, rest) = line.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start = fields.nth(15)?.parse().ok()?;
        Some(Self { pid, parent, session, start, is_zombie })
    }

    /// Sends SIGKILL. A process that is not `pinned` (our own child, which keeps its id until we
    /// wait for it) is looked at once more, so that a reused id is not hit.
    pub(super) fn kill(&self, pinned: bool) {
        let is_same = || Self::read(self.pid).is_some_and(|now| now.start == self.start);
        if !self.is_zombie && (pinned || is_same()) {
            // It may have ended meanwhile, or belong to another user: the caller looks again.
            kill(Pid::from_raw(self.pid), Signal::SIGKILL).ok();
        }
    }
}

/// This process's own number in `/proc`, which in a PID namespace is not its id.
pub(super) fn own_number() -> Option<i32> {
    fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()
}

/// The signal that ended a process which was not waited for yet.
pub(super) fn death_signal(pid: i32) -> Option<i32> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The last field is the wait status; its low seven bits are the signal.
    let status: i32 = line.split_ascii_whitespace().next_back()?.parse().ok()?;
    Some(status & 0x7f).filter(|signal| *signal != 0)
}

/// Every process that can be seen now.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| Process::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The processes below these roots, without the roots.
pub(super) fn descendants(roots: &[i32], all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found: Vec<Process> = Vec::new();
    let mut open = roots.to_vec();
    while let Some(parent) = open.pop() {
        // Taking the entry out ends a cycle, which a scan over reused ids could show.
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// Kills what a scan finds below the calling process.
pub(super) fn kill_descendants_of(root: i32) {
    for process in descendants(&[root], &processes()) {
        process.kill(process.parent == root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let line = "42 (a) R 1 (x\n) S 7 8 9 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 5 6\n";
        let process = Process::parse(42, line).unwrap();
        let expected = Process { pid: 42, parent: 7, session: 9, start: 12345, is_zombie: false };
        assert_eq!(process, expected);
        assert_eq!(Process::parse(42, "42 (a) R 1"), None);
        assert_eq!(Process::parse(42, ""), None);
    }

    #[test]
    fn this_process_is_seen_with_its_parent() {
        let me = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(me).unwrap();
        assert_eq!(process.parent, nix::unistd::getppid().as_raw());
        assert!(processes().contains(&process));
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_cycles_end() {
        let make = |pid, parent| Process { pid, parent, session: 1, start: 1, is_zombie: false };
        let all = [make(2, 1), make(3, 2), make(4, 3), make(9, 8), make(5, 6), make(6, 5)];
        let mut pids: Vec<i32> = descendants(&[2], &all).iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4]);
        assert_eq!(descendants(&[5], &all).len(), 2);
    }
}
