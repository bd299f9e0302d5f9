//! The holder of a PID namespace: stands between the host and a guard that is the namespace's first
//! process.
//!
//! When that guard ends, however it ends, the kernel kills everything in the namespace. It dies with
//! its holder, by SIGKILL, and the holder ends when the host does: so SIGKILL of host and holders at
//! the same moment leaves nothing. The guard talks to the host itself; the holder only waits.
//!
//! Without the right to make a PID namespace a user namespace is made with it, in which our user is
//! the only one. `/proc` stays the host's: programs see its numbers there, not their own.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid};

use super::start::{failed, let_go, text};
use super::{HOST_DIED, close_inherited};
use crate::children::wire::{GUARD_WORD, INIT_WAY, Report, guard_environment};

/// Makes the namespace, starts the guard in it, and returns when it has ended.
pub(super) fn hold(host: Pid, args: impl Iterator<Item = OsString>) -> io::Result<()> {
    SigSet::all().thread_block()?;
    close_inherited()?;
    // Both can only fail on a kernel that lacks them; the name is for `ps`.
    prctl::set_name(c"a2e-guard").ok();
    unistd::setsid().ok();
    prctl::set_pdeathsig(HOST_DIED)?;
    // The host may have died before the line above: then no signal comes any more.
    if host != unistd::getppid() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let guard = match enter().and_then(|()| start_guard(args)) {
        Ok(guard) => guard,
        Err(error) => {
            let report = refusal(&error);
            let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            return socket.write_all(report.to_line().as_bytes());
        }
    };
    let_go(&null);
    wait_for(guard);
    Ok(())
}

/// Tries whether a namespace can be made; says why not on standard error.
pub(super) fn probe() -> i32 {
    match enter() {
        Ok(()) => 0,
        Err(error) => {
            io::stderr().write_all(why(&error).as_bytes()).ok();
            1
        }
    }
}

fn refusal(error: &io::Error) -> Report {
    failed(error, "no PID namespace can be made here".to_owned())
}

fn why(error: &io::Error) -> String {
    match refusal(error) {
        Report::Failed(_, text) => text,
        _ => error.to_string(),
    }
}

/// From here on children are in the new namespace; this process is not.
fn enter() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Err(Errno::EPERM) => enter_as_user(),
        outcome => Ok(outcome?),
    }
}

/// As [`enter`], without root. Our ids stay what they are.
fn enter_as_user() -> io::Result<()> {
    let (user, group) = (unistd::getuid(), unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)?;
    // The kernel lets a process map a group only once it cannot drop groups.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// This program again, as the namespace's first process, with our standard streams: the line to the
/// host and the program's output.
fn start_guard(args: impl Iterator<Item = OsString>) -> io::Result<Pid> {
    let own = unistd::getpid().to_string();
    let head = ["a2e", GUARD_WORD, &own, INIT_WAY].map(OsString::from);
    let words: Vec<CString> = head.into_iter().chain(args).map(text).collect::<nix::Result<_>>()?;
    let variables: Vec<CString> = guard_environment()
        .map(|(name, value)| text([OsStr::new(name), &value].join(OsStr::new("="))))
        .collect::<nix::Result<_>>()?;
    // Signals stay blocked.
    let (actions, attributes) = (PosixSpawnFileActions::init()?, PosixSpawnAttr::init()?);
    Ok(posix_spawn(c"/proc/self/exe", &actions, &attributes, &words, &variables)?)
}

/// Waits for the guard; kills it, and with it its namespace, when the host has died.
fn wait_for(guard: Pid) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(HOST_DIED);
    loop {
        match waitpid(guard, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {}
            _ => return,
        }
        // Blocked since the start, so one that came before is not lost.
        if signals.wait() == Ok(HOST_DIED) {
            kill(guard, Signal::SIGKILL).ok();
        }
    }
}
