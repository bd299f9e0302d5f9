//! The guard process: stands between the host and one program, and outlives neither.
//!
//! It is the host's own program, run again as `a2e __guard PPID -- argv…`, before anything else
//! of the host is set up: one thread, no runtime, all signals blocked and read from a descriptor.
//! It leads a session of its own, so a Ctrl-C at the host's terminal does not reach it and none
//! of its descendants is ever in the host's session. As child subreaper it stays the ancestor of
//! every descendant, whatever they do with sessions, groups and double forks.
//!
//! It ends its tree when the program has ended, when the host says so, when the host's end of
//! the socket closes, and when the host thread that forked it ends. It ignores SIGTERM and its
//! kind: a service manager that signals every process of a unit must not cut short the orderly
//! stop that the host is making of it.
//!
//! At level `pidns` this guard is the first process of a PID namespace, and a holder (`pidns`) stands
//! between it and the host.

mod pidns;
mod start;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{self, Pid};

use self::start::start;
use super::child::Exit;
use super::tree;
use super::wire::{END_TREE, GUARD_WAY, GUARD_WORD, INIT_WAY, PIDNS_WAY, PROBE_WAY, Report};

/// Look for an ended child without waiting for it.
const LOOK: WaitPidFlag =
    WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);
/// What the kernel sends when the host thread that forked this guard ends.
const HOST_DIED: Signal = Signal::SIGUSR2;
/// Exit code of a guard that could not begin; only the host sees it.
const CANNOT_GUARD: i32 = 125;

/// Acts as a guard and does not return, if this process was started as one; else does nothing.
///
/// Call it first in `main`, before any thread, runtime or argument parser exists. A program that
/// names itself as guard in `SupervisorConfig` and does not call this would start itself again
/// with arguments it does not know.
pub fn run_if_guard() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == GUARD_WORD) {
        std::process::exit(guard_main(args));
    }
}

fn guard_main(mut args: impl Iterator<Item = OsString>) -> i32 {
    let parent = args.next().and_then(|arg| arg.to_str()?.parse().ok()).map(Pid::from_raw);
    let way = args.next().unwrap_or_default();
    let guarded = match (parent, way.to_str()) {
        (Some(host), Some(GUARD_WAY)) => Guard::begin(host, false, args),
        (Some(holder), Some(INIT_WAY)) => Guard::begin(holder, true, args),
        (Some(host), Some(PIDNS_WAY)) => {
            return pidns::hold(host, args).map_or(CANNOT_GUARD, |()| 0);
        }
        (_, Some(PROBE_WAY)) => return pidns::probe(),
        _ => return CANNOT_GUARD,
    };
    match guarded {
        Ok(mut guard) => {
            guard.watch();
            guard.end_tree();
            0
        }
        Err(_) => CANNOT_GUARD,
    }
}

struct Guard {
    /// To the host. Close-on-exec, as everything here: the program gets its stdio and no more.
    socket: UnixStream,
    signals: SignalFd,
    /// The program; also the number of its process group.
    main: Pid,
    /// The program's number in `/proc`, which in a PID namespace is another.
    shown: i32,
    /// The program was waited for.
    is_over: bool,
    /// This is the first process of a PID namespace.
    is_init: bool,
}

impl Guard {
    fn begin(
        parent: Pid,
        is_init: bool,
        mut args: impl Iterator<Item = OsString>,
    ) -> io::Result<Self> {
        SigSet::all().thread_block()?;
        let program = args.next().ok_or(io::ErrorKind::InvalidInput)?;
        close_inherited()?;
        // All three can only fail on a kernel that lacks them; the name is for `ps`.
        prctl::set_name(c"a2e-guard").ok();
        unistd::setsid().ok();
        // The first process of a namespace takes its whole namespace with it.
        prctl::set_pdeathsig(if is_init { Signal::SIGKILL } else { HOST_DIED })?;
        // The parent may have died before the line above: then no signal comes any more.
        let own = if is_init { tree::own_number().and_then(tree::Process::read) } else { None };
        // In a namespace only `/proc` names what is outside.
        let parent_now = own.map_or(unistd::getppid().as_raw(), |own| own.parent);
        if parent_now != parent.as_raw() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        prctl::set_child_subreaper(true)?;

        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.add(HOST_DIED);
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let main = match start(&mut socket, program, args) {
            Ok(main) => main,
            Err(report) => {
                socket.write_all(report.to_line().as_bytes())?;
                return Err(io::ErrorKind::Other.into());
            }
        };
        // Not waited for yet, so it is there; and it is the only child.
        let child = own.and_then(|own| {
            tree::processes().into_iter().find(|process| process.parent == own.pid)
        });
        let shown = child.map_or(main.as_raw(), |child| child.pid);
        let guard = Self { socket, signals, main, shown, is_over: false, is_init };
        guard.tell(&Report::Started(shown.unsigned_abs()));
        Ok(guard)
    }

    /// Returns when the tree has to end.
    fn watch(&mut self) {
        loop {
            let mut ready = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            ];
            // Without a time-out the only error is a lack of memory in the kernel.
            if poll(&mut ready, PollTimeout::NONE).is_err() {
                return;
            }
            let [signals, orders] = ready.map(|fd| fd.any().unwrap_or(true));
            if signals && (self.host_died() || self.reap().main_ended) {
                return;
            }
            if orders && !self.obey() {
                return;
            }
        }
    }

    /// Empties the signal queue; true when the host is dead.
    fn host_died(&self) -> bool {
        let mut died = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            died |= i32::try_from(signal.ssi_signo).ok() == Some(HOST_DIED as i32);
        }
        died
    }

    /// Passes signals on to the program's group; false when the tree has to end.
    fn obey(&self) -> bool {
        let mut orders = [0; 64];
        let Ok(count @ 1..) = unistd::read(&self.socket, &mut orders) else { return false };
        for order in orders.iter().take(count) {
            if *order == END_TREE {
                return false;
            }
            // The program is not waited for yet, so its id, which is the group's, is not reused.
            if let Ok(signal) = Signal::try_from(i32::from(*order)) {
                killpg(self.main, signal).ok();
            }
        }
        true
    }

    /// Waits for every child that has ended: the program and orphans that came here.
    ///
    /// It looks before it waits, because `nix` answers EINVAL for a death by a real-time signal,
    /// and the number can be read elsewhere only until the dead are waited for.
    fn reap(&mut self) -> Reaped {
        let mut main_ended = false;
        loop {
            main_ended |= self.main_ended();
            let next = match waitid(Id::All, LOOK) {
                Ok(WaitStatus::StillAlive) => return Reaped { main_ended, alone: false },
                Err(Errno::ECHILD) => return Reaped { main_ended, alone: true },
                Ok(status) => status.pid(),
                Err(Errno::EINVAL) => None,
                Err(_) => continue,
            };
            main_ended |= self.main_ended();
            if next != Some(self.main) || self.is_over {
                waitpid(next, Some(WaitPidFlag::WNOHANG)).ok();
            }
        }
    }

    /// True once: when the program has just ended. Tells the host.
    fn main_ended(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        let exit = match waitid(Id::Pid(self.main), LOOK) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(WaitStatus::Exited(_, code)) => Exit { code: Some(code), signal: None },
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::by_signal(signal as i32),
            // A real-time signal; or the program's status was taken by the wait for a stranger
            // that died of one at the same moment.
            _ => tree::death_signal(self.shown).map_or(Exit::killed(), Exit::by_signal),
        };
        waitpid(self.main, Some(WaitPidFlag::WNOHANG)).ok();
        self.is_over = true;
        self.tell(&Report::Ended(exit));
        true
    }

    /// Kills until no child is left, which for a subreaper means no descendant.
    fn end_tree(&mut self) {
        let own = unistd::getpid().as_raw();
        // Milliseconds. A process that cannot be killed (another user's, or waiting for a device)
        // is tried for ever, but ever less often.
        let mut pause: u16 = 1;
        while !self.reap().alone {
            if self.is_init {
                // Everything in the namespace but this process.
                kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
            } else {
                tree::kill_descendants_of(own);
            }
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, pause).ok();
            self.host_died();
            pause = pause.saturating_mul(2).min(500);
        }
    }

    /// A host that is gone cannot be told; then end of file ends the tree.
    fn tell(&self, report: &Report) {
        (&self.socket).write_all(report.to_line().as_bytes()).ok();
    }
}

struct Reaped {
    main_ended: bool,
    /// No child is left at all.
    alone: bool,
}

/// Closes what the host's other libraries may have left open for every child. Everything of this
/// process's own is opened later.
fn close_inherited() -> io::Result<()> {
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The listing's own descriptor is in the list and closed already.
        unistd::close(fd).ok();
    }
    Ok(())
}
