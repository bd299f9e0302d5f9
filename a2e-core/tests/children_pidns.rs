//! The child supervisor: children in PID namespaces, where the machine allows them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;
mod skipped;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::children::{Command, Exit, Holding, Isolation, Supervisor, SupervisorConfig};
use guarded_host::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skipped::skipped;
use tokio::time::timeout;

/// A supervisor, where this machine allows PID namespaces; else says why the test is skipped.
fn able() -> Option<Arc<Supervisor>> {
    let supervisor = supervisor();
    if let Some(why) = supervisor.pidns_refusal() {
        skipped(why);
        return None;
    }
    Some(supervisor)
}

fn inside(mut command: Command) -> Command {
    command.holding = Holding::Pidns;
    command
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Of a program that runs in a namespace.
fn guard_and_holder(pid: u32) -> [i32; 2] {
    let guard = stat(number(pid).as_raw()).unwrap().1;
    [guard, stat(guard).unwrap().1]
}

#[tokio::test]
async fn r37_a_child_lives_in_a_namespace_of_its_own() {
    let Some(supervisor) = able() else { return };
    let token = token();
    let script = format!("echo $$ $PPID; exec sleep {token}");
    let mut child = supervisor.spawn(inside(sh(&script))).await.unwrap();
    assert_eq!(child.isolation, Isolation::Pidns);
    assert_eq!(supervisor.status()[0].isolation.as_str(), "pidns");
    let mut line = String::new();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.unwrap();
    let (own, parent) = line.trim().split_once(' ').unwrap();
    assert_eq!(parent, "1", "the guard is the first");
    assert!(own.parse::<u32>().unwrap() < 100, "its own numbers: {line}");
    until(10 * SECOND, "it sleeps", || sleepers(&token) == [number(child.pid).as_raw()]).await;
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let its = std::fs::read_link(format!("/proc/{}/ns/pid", child.pid)).unwrap();
    assert_ne!(own, its);
    let guards = guard_and_holder(child.pid);
    let exit = timeout(5 * SECOND, child.stop(60 * SECOND)).await.unwrap();
    assert_eq!(exit, Exit { code: None, signal: Some(15) });
    assert_eq!((carrying(&token), supervisor.live()), (vec![], 0));
    assert_eq!(guards.map(stat), [None; 2], "not even a zombie");
}

#[tokio::test]
async fn programs_end_as_they_end_elsewhere() {
    let Some(supervisor) = able() else { return };
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 255", Some(255), None),
        ("kill -9 $$", None, Some(9)),
        ("kill -SEGV $$", None, Some(11)),
        ("kill -37 $$", None, Some(37)),
        ("(setsid sleep 70001 &); exit 4", Some(4), None),
    ] {
        let child = supervisor.spawn(inside(sh(script))).await.unwrap();
        let exit = timeout(10 * SECOND, child.gone()).await.unwrap();
        assert_eq!(exit, Exit { code, signal }, "{script}");
    }
    let mut child = supervisor.spawn(inside(sh("cat; echo end >&2"))).await.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"through").await.unwrap();
    drop(stdin);
    assert_eq!(text(child.stdout.take()).await, "through");
    assert_eq!(text(child.stderr.take()).await, "end\n");
    assert_eq!(child.gone().await.code, Some(0));
    let error = supervisor.spawn(inside(Command::new("/no/such"))).await.unwrap_err();
    assert!(error.message().contains("cannot start `/no/such`"), "{error}");
    until(10 * SECOND, "its guard has ended", || supervisor.live() == 0).await;
}

#[tokio::test]
async fn stop_drop_and_shutdown_leave_nothing() {
    let Some(supervisor) = able() else { return };
    for way in 0..4 {
        let token = token();
        let child = supervisor.spawn(inside(sh(&tree_script(&token)))).await.unwrap();
        until(5 * SECOND, "the tree is there", || sleepers(&token).len() == TREE_SIZE).await;
        let guards = guard_and_holder(child.pid);
        match way {
            0 => drop(child.stop(SECOND).await),
            1 => drop(child.kill().await),
            2 => drop(child),
            // The holder alone.
            _ => {
                kill(Pid::from_raw(guards[1]), Signal::SIGKILL).unwrap();
                assert_eq!(timeout(10 * SECOND, child.gone()).await.unwrap().signal, Some(9));
            }
        }
        until(5 * SECOND, "all are dead", || carrying(&token).is_empty()).await;
        until(5 * SECOND, "the slot returns", || supervisor.live() == 0).await;
        assert_eq!(guards.map(stat), [None; 2], "not even a zombie");
    }
    let token = token();
    let child = supervisor.spawn(inside(sh(&tree_script(&token)))).await.unwrap();
    supervisor.shutdown(SECOND).await;
    assert!(child.exit().is_some());
    assert_eq!(carrying(&token), Vec::<i32>::new());
}

/// Host, holders and guards are stopped, then the host and all of `victims` are killed: none of them
/// can do anything about it.
async fn killed_at_once(victims: &str) {
    let token = token();
    let mut host = std::process::Command::new(guarded())
        .args(["2", &tree_script(&token), "pidns"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "ready" {}
    until(5 * SECOND, "the trees", || sleepers(&token).len() == 2 * TREE_SIZE).await;
    let guards = |way: &str| -> Vec<i32> {
        let line = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        let is_meant = |pid: &i32| line(pid).is_ok_and(|line| line.contains(way));
        carrying(&token).into_iter().filter(is_meant).collect()
    };
    let meant = guards(victims);
    assert_eq!(guards("\0--pidns\0").len(), 2);
    let all = guards("\0__guard\0");
    assert_eq!(all.len(), 4, "two holders, two guards");
    kill(number(host.id()), Signal::SIGSTOP).unwrap();
    for pid in &all {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
    }
    kill(number(host.id()), Signal::SIGKILL).unwrap();
    // Those that were spared wake up when their parent is dead.
    for pid in &meant {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    host.wait().unwrap();
    until(5 * SECOND, "nothing is left", || sleepers(&token).is_empty()).await;
    until(5 * SECOND, "no guard either", || carrying(&token).is_empty()).await;
}

#[tokio::test]
async fn r17_host_and_guards_killed_at_once_leave_nothing_alive() {
    if able().is_none() {
        return;
    }
    killed_at_once("\0--pidns\0").await;
    killed_at_once("\0__guard\0").await;
}

#[tokio::test]
async fn r37_a_level_that_cannot_be_had_is_an_error_or_told() {
    // No guard program at all.
    let group = group_supervisor();
    assert_eq!(group.pidns_refusal(), Some("there is no guard program"));
    let error = group.spawn(inside(sh("exit 0"))).await.unwrap_err();
    assert_eq!(error.code().as_str(), "unavailable");
    assert!(
        error.message().contains("`pidns` cannot be had: there is no guard program"),
        "{error}"
    );
    let mut command = sh("exit 6");
    command.holding = Holding::PreferPidns;
    let child = group.spawn(command.clone()).await.unwrap();
    assert_eq!((child.isolation, child.gone().await.code), (Isolation::Group, Some(6)));

    // A guard program that cannot make one: what the kernel says is passed on.
    let folder = tempfile::tempdir().unwrap();
    let (plain, path) = (folder.path().join("plain"), folder.path().join("guard"));
    let script = "case \"$3\" in --probe) echo no namespaces today >&2; exit 1;; esac";
    let script = format!("#!/bin/sh\n{script}\nexec {} \"$@\"\n", guarded().display());
    std::fs::write(&plain, script).unwrap();
    copy_program(&plain, &path);
    let config = SupervisorConfig { guard: Some(path), ..SupervisorConfig::default() };
    let supervisor = Supervisor::new(config).unwrap();
    let error = supervisor.spawn(inside(sh("exit 0"))).await.unwrap_err();
    assert!(error.message().ends_with("cannot be had: no namespaces today"), "{error}");
    let child = supervisor.spawn(command).await.unwrap();
    assert_eq!((child.isolation, child.gone().await.code), (Isolation::Guard, Some(6)));
    // Where it can be had, the same wish gets it.
    let Some(able) = able() else { return };
    let mut command = sh("exit 7");
    command.holding = Holding::PreferPidns;
    let child = able.spawn(command).await.unwrap();
    assert_eq!((child.isolation, child.gone().await.code), (Isolation::Pidns, Some(7)));
}

#[tokio::test]
async fn an_ordinary_user_has_namespaces_too() {
    if !nix::unistd::geteuid().is_root() {
        // Then all tests here show it.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let guard = folder.path().join("guarded");
    copy_program(&guarded(), &guard);
    let as_nobody = |args: &[&str]| {
        let mut command = std::process::Command::new(&guard);
        command.args(args).uid(65534).gid(65534).current_dir("/");
        command
    };
    let probe = as_nobody(&["__guard", "0", "--probe"]).output().unwrap();
    if !probe.status.success() {
        skipped(&String::from_utf8_lossy(&probe.stderr));
        return;
    }
    let token = token();
    let mut command = as_nobody(&["1", &format!("id -u >&2; sleep {token}"), "pidns"]);
    let mut host = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "ready" {}
    until(5 * SECOND, "it sleeps", || sleepers(&token).len() == 1).await;
    drop(host.stdin.take());
    host.wait().unwrap();
    until(Duration::from_secs(5), "all are dead", || carrying(&token).is_empty()).await;
}
