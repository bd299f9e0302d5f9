//! How the guard starts its program: stdio, folder, search path, a clean signal state.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{self, Pid};

use crate::children::sandbox::{Prepared, Sandbox};
use crate::children::wire::{Block, Report, WITH_STDIN};

/// Where programs are looked for when the child has no `PATH`, as `execvp` does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Starts the program in a group of its own, then lets go of its stdio and folder.
pub(super) fn start(
    socket: &mut UnixStream,
    program: OsString,
    args: impl Iterator<Item = OsString>,
) -> Result<Pid, Report> {
    let null = File::options().read(true).write(true).open("/dev/null").map_err(own)?;
    let stdin = take_stdin(socket).map_err(own)?;
    let block = Block::read(socket).map_err(own)?;
    // Until now stdin was the socket; stdout and stderr are the program's already.
    unistd::dup2_stdin(stdin.as_ref().unwrap_or(&null)).map_err(|errno| own(errno.into()))?;
    drop(stdin);

    // Its paths begin where the host is.
    let sandbox = block.sandbox.as_ref().map(Sandbox::prepare).transpose().map_err(no_sandbox)?;
    if !block.cwd.as_os_str().is_empty() {
        std::env::set_current_dir(&block.cwd)
            .map_err(|error| failed(&error, format!("cannot enter `{}`", block.cwd.display())))?;
    }
    let args: Vec<OsString> = args.collect();
    let start = || {
        spawn(&program, args, &block.env)
            .map_err(|errno| failed(&errno.into(), format!("cannot start `{}`", program.display())))
    };
    let started = match sandbox {
        None => start()?,
        Some(sandbox) => started_in(sandbox, start)?,
    };
    let_go(&null);
    Ok(started)
}

/// Starts the program from a thread that is held in. Its parent is this process all the same.
fn started_in(
    sandbox: Prepared,
    start: impl FnOnce() -> Result<Pid, Report> + Send,
) -> Result<Pid, Report> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, || sandbox.enter().map_err(no_sandbox).and_then(|()| start()));
        let outcome = thread.map_err(own)?.join();
        outcome.unwrap_or_else(|_| Err(no_sandbox("its thread panicked".to_owned())))
    })
}

fn no_sandbox(why: String) -> Report {
    Report::Failed(0, format!("the sandbox cannot be made: {why}"))
}

/// From here the program and its descendants alone decide when their pipes end, and no file system
/// is kept busy. None of these calls can fail for want of a resource.
pub(super) fn let_go(null: &File) {
    unistd::dup2_stdin(null).ok();
    unistd::dup2_stdout(null).ok();
    unistd::dup2_stderr(null).ok();
    std::env::set_current_dir("/").ok();
}

pub(super) fn own(error: io::Error) -> Report {
    failed(&error, "the guard failed".to_owned())
}

pub(super) fn failed(error: &io::Error, what: String) -> Report {
    Report::Failed(error.raw_os_error().unwrap_or(0), format!("{what}: {error}"))
}

/// `std::process` would hand the guard's blocked signals on to the program.
fn spawn(program: &OsStr, args: Vec<OsString>, env: &[(OsString, OsString)]) -> nix::Result<Pid> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    let actions = PosixSpawnFileActions::init()?;

    let words: Vec<CString> =
        std::iter::once(program.to_owned()).chain(args).map(text).collect::<nix::Result<_>>()?;
    let mut variables = Vec::new();
    for (name, value) in env {
        variables.push(text([name, value].map(OsString::as_os_str).join(OsStr::new("=")))?);
    }
    let path = env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(OsStr::new(DEFAULT_PATH), |(_, path)| path);

    let mut refusal = Errno::ENOENT;
    for candidate in candidates(program, path) {
        match posix_spawn(&*text(candidate)?, &actions, &attributes, &words, &variables) {
            // Looked for further, as `execvp` does, but a refusal is what is told at the end.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => refusal = Errno::EACCES,
            outcome => return outcome,
        }
    }
    Err(refusal)
}

/// The files that this program's name can mean; an empty folder in the path is the current one.
fn candidates(program: &OsStr, path: &OsStr) -> Vec<OsString> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let folders = path.as_bytes().split(|byte| *byte == b':');
    folders
        .map(|folder| {
            let folder = if folder.is_empty() { b".".as_slice() } else { folder };
            OsString::from_vec([folder, program.as_bytes()].join(&b'/'))
        })
        .collect()
}

pub(super) fn text(text: OsString) -> nix::Result<CString> {
    CString::new(text.into_vec()).map_err(|_| Errno::EINVAL)
}

/// The program's stdin, sent with the first byte of the socket; `None`: it gets `/dev/null`.
fn take_stdin(socket: &UnixStream) -> io::Result<Option<File>> {
    let mut mark = [0];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut received = None;
    let count = {
        let mut parts = [IoSliceMut::new(&mut mark)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = part {
                received = fds.first().copied();
            }
        }
        message.bytes
    };
    match (count, mark, received) {
        (0, ..) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, [WITH_STDIN], Some(fd)) => {
            // A bare number becomes an owned descriptor without `unsafe` by opening it again.
            // A pipe opened so is the same pipe, and opening it does not wait for a writer.
            let pipe = File::open(format!("/proc/self/fd/{fd}"))?;
            unistd::close(fd)?;
            Ok(Some(pipe))
        }
        (_, [WITH_STDIN], None) => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_path_and_paths_are_not() {
        let found = |program: &str, path: &str| candidates(program.as_ref(), path.as_ref());
        assert_eq!(found("ls", "/bin::/x"), ["/bin/ls", "./ls", "/x/ls"]);
        assert_eq!(found("./ls", "/bin"), ["./ls"]);
        assert_eq!(found("", "/bin"), [""]);
    }
}
