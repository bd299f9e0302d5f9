//! The host that no address was given for: a socket in a folder of the user's own.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::Failure;

/// The socket in its folder.
const SOCKET: &str = "a2e.sock";

/// The address of the host that a command is for: what `--to` says, else the default socket where a
/// host answers; `None` when none does.
pub(crate) fn find_host(to: Option<&str>) -> Option<String> {
    if let Some(to) = to {
        return Some(to.to_owned());
    }
    let folder = default_folder();
    // A folder of somebody else may hold a socket of somebody else.
    check(&folder).ok()?;
    let socket = folder.join(SOCKET);
    // A host that was killed leaves its socket behind.
    UnixStream::connect(&socket).ok()?;
    Some(format!("unix://{}", socket.to_str()?))
}

/// The socket for a host that was told nothing about where to listen; its folder is made if it is missing.
pub(crate) fn default_socket() -> Result<PathBuf, Failure> {
    let folder = default_folder();
    let refused = |why: String| {
        let advice = "say where to listen with --listen";
        Failure::refused(format_args!("{}: {why}; {advice}", folder.display()))
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refused(error.to_string()));
        }
        _ => {}
    }
    check(&folder).map_err(refused)?;
    Ok(folder.join(SOCKET))
}

/// `$XDG_RUNTIME_DIR/a2e`, else `/tmp/a2e-UID`. A runtime folder that is not of this user, as after
/// `sudo`, counts as none.
fn default_folder() -> PathBuf {
    let own = nix::unistd::geteuid().as_raw();
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let is_own = |folder: &PathBuf| {
        folder.is_absolute()
            && fs::metadata(folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == own)
    };
    match runtime.filter(is_own) {
        Some(runtime) => runtime.join("a2e"),
        None => PathBuf::from(format!("/tmp/a2e-{own}")),
    }
}

/// Whether a folder is this user's alone; in `/tmp` anyone may have made it first.
fn check(folder: &Path) -> Result<(), String> {
    let meta = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !meta.is_dir() {
        return Err("it is no folder".to_owned());
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err("the folder belongs to another user".to_owned());
    }
    if meta.mode() & 0o077 != 0 {
        return Err("the folder is open to others; `chmod 700` closes it".to_owned());
    }
    Ok(())
}
