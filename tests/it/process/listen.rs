//! Where the program listens, and where it refuses to (R60, R61).

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::support::program::{Host, PATIENCE, Place, a2e, outcome, until};
use super::support::wire::Wire;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Starts a host that must not start; gives what it says.
fn refused(args: &[&str]) -> String {
    let (code, stdout, stderr) = outcome(&mut a2e(&[&["serve"], args].concat()));
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stdout, "");
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("a2e: "), "the last line is for people: {stderr}");
    last
}

#[test]
fn r61_the_socket_and_its_folder_are_private() {
    let place = Place::new();
    let socket = place.path("new/a2e.sock");
    let address = format!("unix://{}", socket.display());
    let text = refused(&["--listen", &address]);
    assert!(text.contains("/new is missing"), "not made in silence: {text}");
    fs::create_dir(place.path("new")).unwrap();
    let host = Host::serve(&["--listen", &address]);
    assert_eq!(host.addresses(1), std::slice::from_ref(&address));
    assert_eq!(mode(&socket), 0o600);
    Wire::connect(&address).ping();
    host.stop();
    assert!(!socket.exists());
}

#[test]
fn r61_a_socket_that_is_in_use_is_left_alone() {
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    let text = refused(&["--listen", &place.socket()]);
    assert!(text.contains("another program listens there"), "{text}");
    Wire::connect(&place.socket()).ping();
    host.stop();
}

#[test]
fn r61_a_stale_socket_is_replaced() {
    let place = Place::new();
    let mut host = Host::at_socket(&place, &[]);
    host.kill9();
    assert!(place.path("a2e.sock").exists(), "nobody could remove it");
    let host = Host::at_socket(&place, &[]);
    Wire::connect(&place.socket()).ping();
    host.stop();
}

#[test]
fn r61_of_hosts_that_find_the_same_stale_socket_one_gets_the_place() {
    for _ in 0..5 {
        let place = Place::new();
        drop(UnixListener::bind(place.path("a2e.sock")).unwrap());
        let listen = place.socket();
        let mut hosts: Vec<Host> = (0..8).map(|_| Host::serve(&["--listen", &listen])).collect();
        until(PATIENCE, "all but one have given up", || {
            hosts.retain_mut(|host| {
                host.ended().is_none_or(|status| {
                    let code = status.code();
                    assert_eq!(code, Some(1), "{}", host.log());
                    false
                })
            });
            hosts.len() <= 1
        });
        let host = hosts.pop().expect("one of them serves");
        host.addresses(1);
        Wire::connect(&listen).ping();
        host.stop();
    }
}

#[test]
fn r61_only_a_socket_is_replaced() {
    for kind in ["file", "folder", "link"] {
        let place = Place::new();
        let path = place.path("a2e.sock");
        match kind {
            "file" => fs::write(&path, "precious").unwrap(),
            "folder" => fs::create_dir(&path).unwrap(),
            _ => {
                fs::write(place.path("target"), "precious").unwrap();
                std::os::unix::fs::symlink(place.path("target"), &path).unwrap();
            }
        }
        let text = refused(&["--listen", &place.socket()]);
        assert!(text.contains("no socket is in its place"), "{kind}: {text}");
        assert!(path.exists(), "{kind}");
        if kind != "folder" {
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious", "{kind}");
        }
    }
}

#[test]
fn r61_a_folder_that_everyone_may_write_in_is_refused() {
    let place = Place::new();
    let folder = place.path("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let text = refused(&["--listen", &format!("unix://{}/a2e.sock", folder.display())]);
    assert!(text.contains("everyone may write in"), "{text}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn r61_another_users_process_is_not_served() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    // As if the operator had opened the way on purpose.
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("a2e.sock"), Permissions::from_mode(0o666)).unwrap();
    let program = place.path("a2e");
    fs::copy(super::support::program::A2E, &program).unwrap();
    let to = place.socket();
    let mut command = Command::new(&program);
    let (code, stdout, stderr) =
        outcome(command.args(["call", "ping", "--to", &to]).uid(65534).gid(65534));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    host.until_logged("another user's process");
    Wire::connect(&to).ping();
    host.stop();
}

#[test]
fn a_port_that_is_in_use_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    let text = refused(&["--listen", &address]);
    assert!(text.contains("another program listens there"), "{text}");
    assert!(text.contains(&address), "{text}");
}

#[test]
fn r60_an_address_that_others_can_reach_needs_a_token_and_tls() {
    for address in ["tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://192.0.2.1:8765"] {
        let text = refused(&["--listen", address]);
        for part in ["a token and TLS", "auth_token: ${A2E_TOKEN}", "tls: external"] {
            assert!(text.contains(part), "{address}: `{part}` is not in: {text}");
        }
    }
    let place = Place::new();
    let config = place.config("listen: [\"tcp://0.0.0.0:0\"]\n");
    let (code, _, stderr) = outcome(&mut a2e(&["serve", "-c", &config]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("needs a token and TLS"), "{stderr}");
}

#[test]
fn r60_with_a_token_and_tls_in_front_it_is_served() {
    let place = Place::new();
    let config = place.config(
        "auth_token: ${A2E_TOKEN}\nserver: {tls: external}\nlisten: [\"tcp://0.0.0.0:0\"]\n",
    );
    let token = "00112233445566778899aabbccddeeff";
    let host = Host::start(a2e(&["serve", "-c", &config]).env("A2E_TOKEN", token));
    let address = host.addresses(1).remove(0).replace("0.0.0.0", "127.0.0.1");
    let mut wire = Wire::connect(&address);
    wire.ping();
    assert_eq!(wire.call("tool/list/req", json!({}))["code"], "unauthorized");
    let reply = wire.call("handshake/req", json!({ "agent_id": "a", "auth_token": "wrong" }));
    assert_eq!((&reply["ok"], &reply["reason"]), (&json!(false), &json!("auth_failed")));
    assert_eq!(reply["code"], "unauthorized");
    let reply = wire.call("handshake/req", json!({ "agent_id": "a", "auth_token": token }));
    assert_eq!(reply["ok"], true, "{reply}");
    assert!(!host.log().contains(token), "a token is never logged");
    host.stop();
}

#[test]
fn several_listeners_and_stdio_serve_side_by_side() {
    let place = Place::new();
    let listen = ["--listen", &place.socket(), "--listen", "tcp://127.0.0.1:0"];
    let (mut host, mut wire) = Host::stdio(&listen);
    let addresses = host.addresses(2);
    wire.handshake("stdio");
    let mut wires: Vec<Wire> = addresses.iter().map(|address| Wire::connect(address)).collect();
    for wire in &mut wires {
        wire.handshake("socket");
        assert_eq!(wire.tool("echo", json!({ "n": 1 }))["data"]["data"]["n"], 1);
    }
    assert_eq!(wire.tool("echo", json!({ "n": 2 }))["data"]["data"]["n"], 2);
    // The end of stdio ends the process.
    wire.finish();
    for wire in &mut wires {
        assert!(wire.rest().is_empty());
    }
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn r61_the_socket_of_another_host_in_the_same_place_is_left_alone() {
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    // Somebody moves a socket of their own to its place.
    let path = place.path("a2e.sock");
    fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    host.stop();
    assert!(path.exists(), "it is not ours");
    drop(listener);
}

#[test]
fn r17_half_closed_sockets_get_their_answers() {
    let place = Place::new();
    let host = Host::serve(&["--listen", &place.socket(), "--listen", "tcp://127.0.0.1:0"]);
    for address in host.addresses(2) {
        let mut wire = Wire::connect(&address);
        wire.handshake("half");
        let id = wire.start_tool("sleep", json!({ "ms": 200 }));
        wire.finish();
        assert_eq!(wire.reply_to(&id)["data"]["success"], true, "{address}");
        assert!(wire.rest().is_empty());
    }
    // One that says nothing and leaves.
    let mut silent = UnixStream::connect(place.path("a2e.sock")).unwrap();
    silent.shutdown(std::net::Shutdown::Write).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    host.stop();
}

/// A bare `a2e serve` on a terminal, with this runtime folder; the terminal is to be kept open.
fn bare(runtime: &str) -> (Command, OwnedFd) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = a2e(&["serve"]);
    command.env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::from(terminal.slave));
    (command, terminal.master)
}

fn within(runtime: &str, args: &[&str]) -> (Option<i32>, String, String) {
    outcome(a2e(args).env("XDG_RUNTIME_DIR", runtime))
}

#[test]
fn a_bare_serve_has_a_private_socket_that_the_other_commands_find() {
    let place = Place::new();
    let runtime = place.text("");
    let asks = ["call", "host/status/req", "--json"];
    // One that was killed left its socket behind.
    for is_killed in [true, false] {
        let (mut command, terminal) = bare(&runtime);
        let mut host = Host::start(&mut command);
        let socket = place.path("a2e/a2e.sock");
        assert_eq!(host.addresses(1), [format!("unix://{}", socket.display())]);
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(socket.parent().unwrap()), 0o700);
        assert!(!host.log().contains("\"WARN\""), "{}", host.log());
        let (code, stdout, stderr) = within(&runtime, &asks);
        assert_eq!(code, Some(0), "{stderr}");
        let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let id = status["host_id"].as_str().unwrap().to_owned();
        for (args, shown) in [
            (&["plugins"][..], id.as_str()),
            (&["plugins", "--json"], &id),
            (&["explain", "tool/call/req"], "asks 1"),
        ] {
            let (code, stdout, stderr) = within(&runtime, args);
            assert_eq!(code, Some(0), "{args:?}: {stderr}");
            assert!(stdout.contains(shown), "{args:?}: {stdout}");
        }
        let (_, _, stderr) = within(&runtime, &["snapshot", "save"]);
        assert!(stderr.contains("no `snapshot_store`"), "the host answers: {stderr}");
        // A configuration means a host of its own.
        let own = [&asks[..], &["-c", "a2e-server/examples/minimal.yaml"]].concat();
        let (code, stdout, _) = within(&runtime, &own);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.contains("unauthorized"), "no operator there: {stdout}");
        let (code, _, stderr) =
            within(&runtime, &["serve", "--listen", &format!("unix://{}", socket.display())]);
        assert_eq!(code, Some(1), "{stderr}");
        if is_killed {
            host.kill9();
            assert!(socket.exists());
        } else {
            host.stop();
        }
        let (code, stdout, _) = within(&runtime, &asks);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.contains("unauthorized"), "a host inside the process: {stdout}");
        let (code, _, stderr) = within(&runtime, &["snapshot", "save"]);
        assert_eq!(code, Some(2), "{stderr}");
        drop(terminal);
    }
}

#[test]
fn without_a_runtime_folder_of_its_user_it_takes_one_below_tmp() {
    let own = nix::unistd::geteuid();
    for runtime in ["", "relative", "/no/such/folder"] {
        let (mut command, _terminal) = bare(runtime);
        let mut host = Host::start(&mut command);
        let socket = format!("unix:///tmp/a2e-{own}/a2e.sock");
        until(PATIENCE, "it says where it listens", || {
            host.log().contains(&socket) || host.ended().is_some()
        });
        // Somebody may run a host there while the tests run.
        assert!(host.log().contains(&socket), "{runtime}: {}", host.log());
        host.signal(nix::sys::signal::Signal::SIGTERM);
        host.wait(PATIENCE);
        assert_eq!(mode(Path::new(&format!("/tmp/a2e-{own}"))), 0o700);
    }
}

#[test]
fn a_folder_that_is_not_the_users_alone_is_neither_served_in_nor_trusted() {
    for kind in ["open", "link", "file", "foreign"] {
        let place = Place::new();
        let (runtime, folder) = (place.text(""), place.path("a2e"));
        match kind {
            "link" => {
                fs::create_dir(place.path("theirs")).unwrap();
                std::os::unix::fs::symlink(place.path("theirs"), &folder).unwrap();
            }
            "file" => fs::write(&folder, "").unwrap(),
            _ => fs::create_dir(&folder).unwrap(),
        }
        if kind == "foreign" {
            if !nix::unistd::geteuid().is_root() {
                // Only root can make a folder somebody else's.
                continue;
            }
            std::os::unix::fs::chown(&folder, Some(65534), None).unwrap();
        }
        let (mut command, _terminal) = bare(&runtime);
        let (code, _, stderr) = outcome(&mut command);
        assert_eq!(code, Some(1), "{kind}: {stderr}");
        assert!(stderr.contains(folder.to_str().unwrap()), "{kind}: {stderr}");
        assert!(stderr.contains("--listen"), "{kind}: {stderr}");
        // What listens there gets nothing to see.
        let listener = UnixListener::bind(folder.join("a2e.sock"));
        let (code, stdout, stderr) = within(&runtime, &["call", "ping", "--json"]);
        assert_eq!(code, Some(0), "{kind}: {stderr}");
        assert!(stdout.contains("pong"), "{kind}: {stdout}");
        drop(listener);
    }
}

#[test]
fn tcp_without_a_token_is_warned_of() {
    let place = Place::new();
    let token = "auth_token: 00112233445566778899aabbccddeeff\n";
    for (yaml, listen, is_warned) in [
        ("", "tcp://127.0.0.1:0".to_owned(), true),
        (token, "tcp://127.0.0.1:0".to_owned(), false),
        ("", place.socket(), false),
    ] {
        let config = place.config(yaml);
        let host = Host::serve(&["-c", &config, "--listen", &listen]);
        let address = host.addresses(1).remove(0);
        Wire::connect(&address).ping();
        let is_it = |line: &serde_json::Value| line.to_string().contains("no token is configured");
        let warned = host.log_lines().into_iter().find(is_it);
        assert_eq!(warned.is_some(), is_warned, "{}", host.log());
        if let Some(warned) = warned {
            let text = warned["message"].as_str().unwrap();
            assert!(text.contains("auth_token") && text.contains("unix://"), "{text}");
            assert_eq!((&warned["address"], &warned["level"]), (&json!(address), &json!("WARN")));
        }
        host.stop();
    }
}
