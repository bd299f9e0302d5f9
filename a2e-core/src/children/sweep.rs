//! The sweep after a guard that died before its tree: the host finds the orphans, kills and reaps them.
//!
//! As child subreaper the host becomes the parent of what a dead guard leaves. Its other
//! children, those that `tokio::process` or a library waits for, must not be touched. Told apart:
//!
//! - A guard leads its own session, so no descendant of a guard is ever in the host's session,
//!   while a process that the host itself forks is, unless it calls `setsid`.
//! - Guards and programs that a supervisor forked are in [`KNOWN`]. Its lock is held from before
//!   the fork, so a sweep never sees one that is not listed yet.
//! - An orphan is younger than the guard that it had.
//!
//! So a victim is a process in the lost guard's session (the number is not reused while one lives
//! there), or a direct child of the host that is not known, in a foreign session, and younger
//! than the guard. Only victims are killed and only they are waited for, by their ids. What is
//! given up: a process that the embedding program started outside of any supervisor, that left
//! its session and is younger than a lost guard, is killed with it; and an orphan from outside
//! that stays in the host's session remains a zombie until the host ends. An embedder that cannot
//! accept this turns `adopt_orphans` off; then only the first kind of victim is found.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::tree::{self, Process};
use crate::sync::Mutex;

/// Longest time that a sweep goes on when something cannot be killed.
const SWEEP_BOUND: Duration = Duration::from_secs(5);

/// Guards the process ids that supervisors of this program forked and still wait for. Held by a launcher
/// while it forks. Bounded by the sum of their `max_children`.
pub(super) static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills and reaps what this guard left. Blocks, at most [`SWEEP_BOUND`].
pub(super) fn sweep(guard: Process, adopt_orphans: bool) {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(1);
    while pass(guard, adopt_orphans) && waited < SWEEP_BOUND {
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// One look; true when something was found.
fn pass(guard: Process, adopt_orphans: bool) -> bool {
    let own = nix::unistd::getpid().as_raw();
    let known = KNOWN.lock();
    let all = tree::processes();
    let Some(host) = all.iter().find(|process| process.pid == own) else { return false };
    let is_victim = |process: &&Process| {
        let is_orphan = adopt_orphans
            && process.parent == own
            && process.session != host.session
            && process.start >= guard.start;
        !known.contains(&process.pid) && (process.session == guard.pid || is_orphan)
    };
    let victims: Vec<Process> = all.iter().filter(is_victim).copied().collect();
    let roots: Vec<i32> = victims.iter().map(|process| process.pid).collect();
    for process in victims.iter().chain(&tree::descendants(&roots, &all)) {
        process.kill(process.parent == own);
    }
    for process in victims.iter().filter(|process| process.parent == own) {
        waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG)).ok();
    }
    !victims.is_empty()
}
