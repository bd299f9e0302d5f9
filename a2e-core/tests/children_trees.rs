//! The child supervisor: whatever happens, no descendant is left.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use a2e_core::children::{Child, Command, Exit, StdinMode, Supervisor, SupervisorConfig};
use guarded_host::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

/// A tree that is complete, and the text that all its command lines have.
async fn tree(supervisor: &Supervisor) -> (Child, String) {
    let token = token();
    let child = supervisor.spawn(sh(&tree_script(&token))).await.unwrap();
    until(10 * SECOND, "the tree is there", || sleepers(&token).len() == TREE_SIZE).await;
    (child, token)
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

fn guard_of(child: &Child) -> Pid {
    Pid::from_raw(stat(number(child.pid).as_raw()).unwrap().1)
}

#[tokio::test]
async fn stop_ends_sessions_and_double_forks_too() {
    let supervisor = supervisor();
    let (child, token) = tree(&supervisor).await;
    let exit = timeout(SECOND, child.stop(60 * SECOND)).await.unwrap();
    assert_eq!(exit.signal, Some(15));
    assert_eq!((carrying(&token), supervisor.live()), (vec![], 0));
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_after_the_grace() {
    for supervisor in [supervisor(), group_supervisor()] {
        let script = format!("trap '' TERM; echo; sleep {}", token());
        let mut child = supervisor.spawn(sh(&script)).await.unwrap();
        let mut line = [0];
        let out = child.stdout.as_mut().unwrap();
        tokio::io::AsyncReadExt::read_exact(out, &mut line).await.unwrap();
        let start = tokio::time::Instant::now();
        let exit = child.stop(Duration::from_millis(200)).await;
        let took = start.elapsed().as_millis();
        assert_eq!(exit.signal, Some(9));
        assert!((200..500).contains(&took), "{took} ms");
    }
}

#[tokio::test]
async fn a_stopped_program_can_still_be_asked_to_end() {
    let supervisor = supervisor();
    let child = supervisor.spawn(Command::new("sleep").args([token()])).await.unwrap();
    kill(number(child.pid), Signal::SIGSTOP).unwrap();
    assert_eq!(timeout(SECOND, child.stop(60 * SECOND)).await.unwrap().signal, Some(15));
}

#[tokio::test]
async fn streams_end_with_the_program_although_descendants_hold_them() {
    let supervisor = supervisor();
    let token = token();
    let script = format!("setsid sleep {token} & (sleep {token} &); sleep 0.1; echo done; exit 4");
    let mut child = supervisor.spawn(sh(&script)).await.unwrap();
    let out = timeout(SECOND, text(child.stdout.take())).await.unwrap();
    assert_eq!((out.as_str(), child.wait().await.code), ("done\n", Some(4)));
    timeout(SECOND, text(child.stderr.take())).await.unwrap();
    assert_eq!((child.gone().await.code, carrying(&token)), (Some(4), vec![]));
}

#[tokio::test]
async fn dropping_the_handle_or_the_supervisor_kills_the_tree() {
    let first = supervisor();
    let (child, token) = tree(&first).await;
    drop(child);
    until(SECOND, "all are dead", || carrying(&token).is_empty()).await;
    until(SECOND, "the slot returns", || first.live() == 0).await;

    let (child, token) = tree(&first).await;
    drop(first);
    until(SECOND, "all are dead", || carrying(&token).is_empty()).await;
    assert_eq!(timeout(SECOND, child.gone()).await.unwrap().signal, Some(9));
}

#[tokio::test]
async fn r17_shutdown_gives_grace_ends_all_and_refuses_more() {
    for supervisor in [supervisor(), group_supervisor()] {
        let script = "trap 'sleep 0.1; exit 5' TERM; echo; while :; do sleep 0.01; done";
        let mut polite = supervisor.spawn(sh(script)).await.unwrap();
        let deaf = format!("trap '' TERM; echo; while :; do sleep 0.01; done; : {}", token());
        let mut deaf = supervisor.spawn(sh(&deaf)).await.unwrap();
        for child in [&mut polite, &mut deaf] {
            let out = child.stdout.as_mut().unwrap();
            tokio::io::AsyncReadExt::read_exact(out, &mut [0]).await.unwrap();
        }
        // On a busy machine the polite one needs more than its tenth of a second.
        let grace = 2 * SECOND;
        let slack = Duration::from_millis(1500);
        timeout(grace + slack, supervisor.shutdown(grace)).await.unwrap();
        assert_eq!(polite.exit(), Some(Exit { code: Some(5), signal: None }));
        assert_eq!(deaf.exit(), Some(Exit { code: None, signal: Some(9) }));
        assert_eq!(supervisor.live(), 0);
        let error = supervisor.spawn(sh("true")).await.unwrap_err();
        assert_eq!(error.code().as_str(), "shutting_down");
        timeout(SECOND, supervisor.shutdown(SECOND)).await.unwrap();
    }
}

#[tokio::test]
async fn r35_a_lost_guard_is_noticed_and_its_tree_is_killed_and_reaped() {
    let supervisor = supervisor();
    let (other, other_token) = tree(&supervisor).await;
    // Not the supervisor's: must neither be killed nor reaped.
    let mut foreign = tokio::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
    let (child, token) = tree(&supervisor).await;
    let pids = sleepers(&token);
    kill(guard_of(&child), Signal::SIGKILL).unwrap();
    let exit = timeout(Duration::from_millis(100), child.wait()).await.unwrap();
    assert_eq!(exit, Exit { code: None, signal: Some(9) });
    timeout(SECOND, child.gone()).await.unwrap();
    assert_eq!(carrying(&token), [0; 0]);
    for pid in pids {
        assert_eq!(stat(pid), None, "a zombie is left");
    }
    assert_eq!(foreign.wait().await.unwrap().code(), Some(3));
    assert_eq!((other.exit(), sleepers(&other_token).len()), (None, TREE_SIZE));
}

#[tokio::test]
async fn r35_a_guard_that_is_lost_while_it_ends_its_tree_leaves_nothing_either() {
    let supervisor = supervisor();
    for _ in 0..3 {
        let token = token();
        let script = format!(
            "i=0; while [ $i -lt 20 ]; do setsid sleep {token} & i=$((i+1)); done; read line; exit 6"
        );
        let mut child = supervisor.spawn(sh(&script)).await.unwrap();
        until(10 * SECOND, "all sleep", || sleepers(&token).len() == 20).await;
        let guard = guard_of(&child);
        let sleepers = sleepers(&token);
        drop(child.stdin.take());
        assert_eq!(child.wait().await.code, Some(6));
        // It tells the end before it ends the tree; when it was faster, it is the host's zombie or
        // nothing.
        kill(guard, Signal::SIGKILL).ok();
        assert_eq!(timeout(5 * SECOND, child.gone()).await.unwrap().code, Some(6));
        assert_eq!(sleepers.into_iter().filter(|pid| stat(*pid).is_some()).count(), 0);
    }
}

#[tokio::test]
async fn a_guard_that_was_stopped_does_not_stop_the_host() {
    let supervisor = supervisor();
    let (child, token) = tree(&supervisor).await;
    kill(guard_of(&child), Signal::SIGSTOP).unwrap();
    timeout(8 * SECOND, child.kill()).await.unwrap();
    assert_eq!(carrying(&token), [0; 0]);
}

#[tokio::test]
async fn a_guard_ignores_signals_that_are_meant_for_the_host() {
    let supervisor = supervisor();
    let child = supervisor.spawn(Command::new("cat")).await.unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        kill(guard_of(&child), signal).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(child.exit(), None);
}

#[tokio::test]
async fn many_generations_that_fork_and_exit_are_outrun() {
    let supervisor = supervisor();
    let token = token();
    let script = format!(
        "import os, time\ntoken = {token}\n\
         for i in range(3):\n    if os.fork() == 0: os.setsid()\n\
         while True:\n    if os.fork() != 0: os._exit(0)\n"
    );
    let child = supervisor.spawn(Command::new("python3").args(["-c", &script])).await.unwrap();
    timeout(5 * SECOND, child.gone()).await.unwrap();
    assert_eq!(carrying(&token), [0; 0]);
}

#[test]
fn a_child_outlives_the_thread_and_runtime_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let supervisor = {
        let _entered = runtime.enter();
        supervisor()
    };
    let asks = supervisor.clone();
    let mut child = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(asks.spawn(sh("sleep 0.3; echo alive"))).unwrap()
    })
    .join()
    .unwrap();
    let out = runtime.block_on(text(child.stdout.take()));
    assert_eq!((out.as_str(), runtime.block_on(child.wait()).code), ("alive\n", Some(0)));
}

#[test]
fn children_die_with_the_runtime_of_their_supervisor() {
    for guard in [Some(guarded()), None] {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let config = SupervisorConfig { guard, ..SupervisorConfig::default() };
        let token = token();
        let (supervisor, child) = runtime.block_on(async {
            let supervisor = Supervisor::new(config).unwrap();
            let mut command = Command::new("sleep").args([&token]);
            command.stdin = StdinMode::Null;
            let child = supervisor.spawn(command).await.unwrap();
            (supervisor, child)
        });
        drop(runtime);
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(until(SECOND, "all are dead", || carrying(&token).is_empty()));
        assert_eq!(other.block_on(child.wait()).signal, Some(9));
        other.block_on(supervisor.spawn(sh("true"))).unwrap_err();
    }
}

/// Kills a host with 20 trees; `uid`: run it all as this user.
fn kill_the_host(program: &Path, uid: Option<u32>) {
    let token = token();
    let mut host = std::process::Command::new(program);
    host.args(["20", &tree_script(&token)]).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(id) = uid {
        host.uid(id).gid(id);
    }
    let mut host = host.current_dir("/").spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let complete = || sleepers(&token).len() == 20 * TREE_SIZE;
        until(10 * SECOND, "20 trees are there", complete).await;
        if let Some(id) = uid {
            let folder = format!("/proc/{}", sleepers(&token)[0]);
            let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder).unwrap());
            assert_eq!(owner, id);
        }
        host.kill().unwrap();
        host.wait().unwrap();
        let took = until(SECOND, "none is alive", || carrying(&token).is_empty()).await;
        println!("none of 20 trees alive after {took:?}");
    });
}

#[test]
fn r35_kill_9_of_the_host_leaves_nothing() {
    kill_the_host(&guarded(), None);
}

#[test]
fn r35_kill_9_of_a_host_that_is_starting_children_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..20 {
        let token = token();
        let mut host = std::process::Command::new(guarded());
        host.args(["20", &tree_script(&token)]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut host = host.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 2));
        host.kill().unwrap();
        host.wait().unwrap();
        runtime.block_on(until(SECOND, "none is alive", || carrying(&token).is_empty()));
    }
}

#[test]
fn r35_kill_9_of_the_host_of_an_ordinary_user_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        // The test above runs as an ordinary user already.
        return;
    }
    let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let program = folder.path().join("guarded");
    copy_program(&guarded(), &program);
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    kill_the_host(&program, Some(65534));
}
