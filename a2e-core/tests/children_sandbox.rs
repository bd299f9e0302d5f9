//! The child supervisor: children in sandboxes, where the machine's kernel has them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;
mod skipped;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use a2e_core::children::{Command, Holding, Sandbox, Supervisor};
use guarded_host::*;
use skipped::skipped;
use tokio::time::timeout;

/// A supervisor, where this kernel can hold programs in; else says why the test is skipped.
fn able() -> Option<Arc<Supervisor>> {
    let supervisor = supervisor();
    if let Some(why) = supervisor.sandbox_refusal() {
        skipped(why);
        return None;
    }
    Some(supervisor)
}

/// Folders of a sandbox, and one beside them.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["read", "write", "outside"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
            std::fs::write(root.path().join(folder).join("file"), folder).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox {
            read: vec![self.path("read")],
            write: vec![self.path("write")],
            ..Sandbox::default()
        }
    }

    /// A script that runs in the folder of the folders.
    fn command(&self, script: &str, sandbox: Sandbox) -> Command {
        let mut command = sh(script);
        command.cwd = Some(self.path(""));
        command.sandbox = Some(sandbox);
        command
    }
}

/// The exit code of a command, and what it wrote.
async fn run(supervisor: &Supervisor, command: Command) -> (Option<i32>, String) {
    let mut child = supervisor.spawn(command).await.unwrap();
    let (out, err) = tokio::join!(text(child.stdout.take()), text(child.stderr.take()));
    (timeout(60 * SECOND, child.gone()).await.unwrap().code, out + &err)
}

#[tokio::test]
async fn files_are_read_and_written_where_the_sandbox_says() {
    let Some(supervisor) = able() else { return };
    let place = Place::new();
    let copy = |to: &str| copy_program(Path::new("/bin/true"), &place.path(to));
    copy("read/true");
    copy("outside/true");
    std::os::unix::fs::symlink(place.path("outside"), place.path("write/link")).unwrap();
    for (script, is_allowed) in [
        ("cat read/file", true),
        ("cat write/file", true),
        ("echo new > write/new && mv write/new write/other && rm write/other", true),
        ("mkdir write/folder && ln -s nowhere write/folder/link && rm -r write/folder", true),
        ("read/true", true),
        ("echo gone > /dev/null && head -c 1 /dev/urandom > /dev/null", true),
        ("ls read write > /dev/null", true),
        ("cat outside/file", false),
        ("ls outside", false),
        ("outside/true", false),
        ("cat read/../outside/file", false),
        ("cat write/link/file", false),
        ("echo x > read/file", false),
        ("echo x > read/new", false),
        ("echo x > outside/file", false),
        ("echo x >> outside/new", false),
        ("truncate -s 0 outside/file", false),
        ("rm outside/file", false),
        ("ln outside/file write/hard", false),
        ("mv write/file outside/moved", false),
        ("mknod write/device c 1 3", false),
        ("cat /proc/1/cmdline", false),
        ("echo x > new", false),
        // What it starts, and what that starts in a session of its own.
        ("sh -c 'cat outside/file'", false),
        ("setsid sh -c 'sh -c \"cat outside/file\"'", false),
        ("(cat outside/file) & wait $!", false),
    ] {
        let told = run(&supervisor, place.command(script, place.sandbox())).await;
        assert_eq!(told.0 == Some(0), is_allowed, "{script}: {told:?}");
        assert!(is_allowed || !told.1.contains("outside\n"), "{script}: {told:?}");
    }
    let texts = ["read/file", "write/file", "outside/file"].map(|file| place.text(file));
    assert_eq!(texts, ["read", "write", "outside"]);
    assert!(!place.path("outside/new").exists() && !place.path("new").exists());
    // Where nothing may be written, nothing else is changed either.
    for script in ["chmod 600 read/file", "touch -d 2001-01-01 outside/file", "chmod 600 outside"] {
        let sandbox = Sandbox { read: vec![place.path("")], ..Sandbox::default() };
        let told = run(&supervisor, place.command(script, sandbox)).await;
        assert_ne!(told.0, Some(0), "{script}: {told:?}");
    }
    let told = run(&supervisor, place.command("chmod 600 write/file", place.sandbox())).await;
    assert_eq!(told.0, Some(0), "{told:?}");
    // A single file.
    let sandbox = Sandbox { read: vec![place.path("outside/file")], ..Sandbox::default() };
    let told = run(&supervisor, place.command("cat outside/file", sandbox.clone())).await;
    assert_eq!(told, (Some(0), "outside".to_owned()));
    let told = run(&supervisor, place.command("outside/true", sandbox)).await;
    assert_ne!(told.0, Some(0), "{told:?}");
    // Without a sandbox all of it works.
    let mut free = place.command("cat outside/file && outside/true", place.sandbox());
    free.sandbox = None;
    assert_eq!(run(&supervisor, free).await, (Some(0), "outside".to_owned()));
}

#[tokio::test]
async fn sockets_are_for_programs_with_a_network() {
    let Some(supervisor) = able() else { return };
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        skipped("there is no python3");
        return;
    }
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let _unix = UnixListener::bind(place.path("write/socket")).unwrap();
    let tcp = format!("socket.create_connection(('127.0.0.1', {port}))");
    let unix = "socket.socket(socket.AF_UNIX).connect('write/socket')";
    let udp = format!("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))");
    let pair = "socket.socketpair()";
    // io_uring makes sockets by itself; and `socket` by its number for pointers of 32 bits.
    let call = |number: u32| {
        let refused = "ctypes.get_errno() == 1 or exit('not refused')";
        format!(
            "import ctypes; ctypes.CDLL(None, use_errno=True).syscall({number}, 2, 1, 0); {refused}"
        )
    };
    let (uring, narrow) = (call(425), call(0x4000_0029));
    for (network, python, is_allowed) in [
        (false, tcp.as_str(), false),
        (false, unix, false),
        (false, &udp, false),
        (false, pair, true),
        (false, &uring, true),
        (false, if cfg!(target_arch = "x86_64") { &narrow } else { pair }, true),
        (true, &tcp, true),
        (true, unix, true),
        (true, &udp, true),
    ] {
        let sandbox = Sandbox { network, ..place.sandbox() };
        let script = format!("exec python3 -c \"import socket; {python}\"");
        let told = run(&supervisor, place.command(&script, sandbox)).await;
        assert_eq!(told.0 == Some(0), is_allowed, "{network} {python}: {told:?}");
        assert!(is_allowed || told.1.contains("PermissionError"), "{network} {python}: {told:?}");
    }
}

#[tokio::test]
async fn what_administrators_call_is_refused() {
    let Some(supervisor) = able() else { return };
    let place = Place::new();
    let host = std::process::id();
    for script in ["unshare --user true", "unshare --mount true"] {
        let told = run(&supervisor, place.command(script, place.sandbox())).await;
        assert_ne!(told.0, Some(0), "{script}: {told:?}");
    }
    if std::process::Command::new("prlimit").arg("--version").output().is_ok() {
        let script = format!("prlimit --pid {host} --nofile=64:64");
        let told = run(&supervisor, place.command(&script, place.sandbox())).await;
        assert_ne!(told.0, Some(0), "{told:?}");
        let told = run(&supervisor, place.command("ulimit -n 64", place.sandbox())).await;
        assert_eq!(told.0, Some(0), "{told:?}");
    }
    // Landlock of Linux 6.12 keeps signals inside; those of its own reach a program.
    let told = run(&supervisor, place.command("sleep 60 & kill $!", place.sandbox())).await;
    assert_eq!(told.0, Some(0), "{told:?}");
    let told = run(&supervisor, place.command(&format!("kill -0 {host}"), place.sandbox())).await;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|it| it.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    assert_eq!(told.0 != Some(0), version >= (6, 12), "{told:?} on {release}");
}

#[tokio::test]
async fn a_tree_in_a_sandbox_ends_like_any_other() {
    let Some(supervisor) = able() else { return };
    let place = Place::new();
    for holding in [Holding::Usual, Holding::PreferPidns] {
        for way in 0..3 {
            let token = token();
            let mut command = place.command(&tree_script(&token), place.sandbox());
            command.holding = holding;
            let child = supervisor.spawn(command).await.unwrap();
            until(30 * SECOND, "the tree is there", || sleepers(&token).len() == TREE_SIZE).await;
            match way {
                0 => drop(child.stop(SECOND).await),
                1 => drop(child.kill().await),
                _ => drop(child),
            }
            until(30 * SECOND, "all are dead", || carrying(&token).is_empty()).await;
        }
        let mut command = place.command("exit 7", place.sandbox());
        command.holding = holding;
        assert_eq!(run(&supervisor, command).await.0, Some(7));
    }
}

#[tokio::test]
async fn r37_a_sandbox_that_cannot_be_had_is_an_error_or_told() {
    let place = Place::new();
    // No guard program at all.
    let group = group_supervisor();
    assert_eq!(group.sandbox_refusal(), Some("there is no guard program"));
    let error = group.spawn(place.command("exit 0", place.sandbox())).await.unwrap_err();
    assert_eq!(error.code().as_str(), "unavailable");
    assert!(error.message().contains("the sandbox cannot be had: there is no guard"), "{error}");
    let wished = Sandbox { required: false, ..place.sandbox() };
    assert_eq!(run(&group, place.command("exit 6", wished.clone())).await.0, Some(6));

    let Some(supervisor) = able() else { return };
    // Where it can be had, the same wish gets it.
    let told = run(&supervisor, place.command("cat outside/file", wished)).await;
    assert_ne!(told.0, Some(0), "{told:?}");
    for (read, write) in [(vec![place.path("none")], vec![]), (vec![], vec![place.path("none")])] {
        let sandbox = Sandbox { read, write, ..Sandbox::default() };
        let error = supervisor.spawn(place.command("exit 0", sandbox)).await.unwrap_err();
        assert!(error.message().contains("the sandbox cannot be made"), "{error}");
        assert!(error.message().contains("none"), "{error}");
    }
    // A program outside is not started.
    copy_program(Path::new("/bin/true"), &place.path("outside/true"));
    let mut command = Command::new(place.path("outside/true"));
    command.sandbox = Some(place.sandbox());
    let error = supervisor.spawn(command).await.unwrap_err();
    assert!(
        error.message().contains("Permission denied") || error.message().contains("EACCES"),
        "{error}"
    );
    until(30 * SECOND, "their guards have ended", || supervisor.live() == 0).await;
}
