//! The launcher: the one thread that forks, and hands each process to its monitor.
//!
//! The kernel ties the parent-death signal to the thread that forked. A pool thread retires when
//! it is idle; this one lives as long as its supervisor.

use std::ffi::OsString;
use std::io::{self, IoSlice, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Isolation;
use super::command::{Command, StdinMode};
use super::forked::{Forked, GuardLine, Lines};
use super::sweep::KNOWN;
use super::tree;
use super::wire::{
    Block, GUARD_WAY, GUARD_WORD, PIDNS_WAY, WITH_STDIN, WITHOUT_STDIN, guard_environment, has_nul,
};
use crate::error::{Error, Result};

/// Launches that wait for the thread; each takes about a millisecond.
pub(super) const LAUNCH_QUEUE: usize = 64;

/// The host's ends of the program's pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// What to do with the outcome of a launch.
type Then = Box<dyn FnOnce(Result<(Forked, Pipes)>) + Send>;

/// One order to the thread. It calls `then` with the outcome, on the thread: when the caller of
/// `spawn` has gone away meanwhile, the process is still in good hands.
pub(super) struct Launch {
    pub(super) command: Command,
    pub(super) isolation: Isolation,
    pub(super) then: Then,
}

/// Starts the thread. It ends when all senders are dropped.
pub(super) fn open(
    guard: Option<PathBuf>,
    runtime: Handle,
) -> io::Result<(mpsc::Sender<Launch>, JoinHandle<()>)> {
    let (sender, mut launches) = mpsc::channel::<Launch>(LAUNCH_QUEUE);
    let thread = std::thread::Builder::new().name("a2e-children".to_owned()).spawn(move || {
        while let Some(Launch { command, isolation, then }) = launches.blocking_recv() {
            let _entered = runtime.enter();
            // The end of this thread kills every child, so no panic may end it.
            let forked = catch_unwind(AssertUnwindSafe(|| match &guard {
                Some(guard) => fork_guard(guard, &command, isolation),
                None => fork_program(&command),
            }));
            then(forked.unwrap_or_else(|_| Err(Error::internal("starting a process panicked"))));
        }
    })?;
    Ok((sender, thread))
}

fn fork_guard(guard: &Path, command: &Command, isolation: Isolation) -> Result<(Forked, Pipes)> {
    let fail = |text: &str| launch_error(&command.program, text);
    if has_nul(&command.program) || command.args.iter().any(|arg| has_nul(arg)) {
        return Err(fail("a NUL byte in the command"));
    }
    let cwd = command.cwd.clone().unwrap_or_default();
    let env = command.environment(|name| std::env::var_os(name));
    let block = Block { cwd, sandbox: command.sandbox.clone(), env }.encode().map_err(fail)?;
    let (ours, theirs) = StdStream::pair().map_err(io_error)?;
    let (stdin, pipes, [stdout, stderr]) = pipes(command.stdin)?;
    // The socket holds it until the guard reads it. Nothing can fail after the fork.
    send_mark(&ours, stdin.as_ref()).map_err(io_error)?;
    drop(stdin);
    ours.set_nonblocking(true).map_err(io_error)?;
    let socket = UnixStream::from_std(ours).map_err(io_error)?;

    let mut program = tokio::process::Command::new(guard);
    let way = if isolation == Isolation::Pidns { PIDNS_WAY } else { GUARD_WAY };
    program.arg0("a2e").arg(GUARD_WORD).arg(std::process::id().to_string()).arg(way);
    program.arg(&command.program).args(&command.args);
    // The program's own variables travel in the block.
    program.env_clear().envs(guard_environment());
    program.stdin(OwnedFd::from(theirs)).stdout(stdout).stderr(stderr);
    let mut forked = fork(program).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::E2BIG) => fail(&error.to_string()),
        _ => Error::runtime(format!("cannot start the guard `{}`: {error}", guard.display())),
    })?;
    forked.guard = Some(GuardLine {
        socket,
        lines: Lines::default(),
        block,
        seen: tree::Process::read(forked.pid),
    });
    Ok((forked, pipes))
}

fn fork_program(command: &Command) -> Result<(Forked, Pipes)> {
    let (stdin, pipes, [stdout, stderr]) = pipes(command.stdin)?;
    let mut program = tokio::process::Command::new(&command.program);
    program.args(&command.args).env_clear();
    program.envs(command.environment(|name| std::env::var_os(name)));
    program.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(stdout).stderr(stderr);
    program.process_group(0);
    if let Some(cwd) = &command.cwd {
        // The system has one error for a missing folder and a missing program. `.` asks for what
        // entering asks for: a folder that may be searched.
        std::fs::metadata(cwd.join(".")).map_err(|error| {
            Error::runtime(format!("cannot enter `{}`: {error}", cwd.display()))
        })?;
        program.current_dir(cwd);
    }
    let forked = fork(program).map_err(|error| {
        let errno = error.raw_os_error();
        launch_error(&command.program, &error.to_string()).with_detail("errno", errno)
    })?;
    Ok((forked, pipes))
}

/// Forks and lists the process before any sweep can see it.
fn fork(mut program: tokio::process::Command) -> io::Result<Forked> {
    let mut known = KNOWN.lock();
    let process = program.spawn()?;
    // Not waited for yet, so the id is there; Linux ids fit.
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(i32::MAX);
    known.insert(pid);
    Ok(Forked { process, pid, guard: None })
}

/// The child's stdin, the host's ends, and the child's stdout and stderr.
fn pipes(stdin: StdinMode) -> Result<(Option<PipeReader>, Pipes, [Stdio; 2])> {
    let open = || -> io::Result<_> {
        let (stdin, sender) = match stdin {
            StdinMode::Null => (None, None),
            StdinMode::Pipe => {
                let (reader, writer) = io::pipe()?;
                (Some(reader), Some(pipe::Sender::from_owned_fd(writer.into())?))
            }
        };
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
        let ours = Pipes { stdin: sender, stdout, stderr };
        Ok((stdin, ours, [Stdio::from(out), Stdio::from(err)]))
    };
    open().map_err(io_error)
}

/// The first byte to the guard, with the stdin pipe. The socket is empty, so this never waits.
fn send_mark(socket: &StdStream, stdin: Option<&PipeReader>) -> io::Result<()> {
    let fds = stdin.map(|stdin| [stdin.as_raw_fd()]);
    let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    let mark = [if rights.is_some() { WITH_STDIN } else { WITHOUT_STDIN }];
    let rights: Vec<ControlMessage<'_>> = rights.into_iter().collect();
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&mark)], &rights, flags, None)?;
    Ok(())
}

/// A program that could not be started.
pub(super) fn launch_error(program: &OsString, text: &str) -> Error {
    Error::runtime(format!("cannot start `{}`: {text}", program.display()))
}

/// The host lacks something, most likely descriptors.
fn io_error(error: io::Error) -> Error {
    Error::runtime(format!("cannot make pipes for a child process: {error}"))
}
