//! A host process that dies is followed by another.

use std::time::Duration;

use a2e_client::{ClientError, Closed, ConnectionState, HostCommand, SessionStart};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::*;
use crate::process::{lives, stdio_host, was_reaped};
use crate::support::*;

fn end(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_process_that_dies_is_started_again() {
    let client = agent().spawn(HostCommand::new(stdio_host())).await.unwrap();
    for round in 0..3 {
        let pid = client.process_id().unwrap();
        let calling = client.call(&Sleep { ms: 60_000 }).await.unwrap();
        let repeatable = a2e_client::CallOptions::default().repeatable();
        let again = client.call_with(&Sleep { ms: 300 }, repeatable).await.unwrap();
        end(pid);
        let error = calling.reply().await.unwrap_err();
        assert!(matches!(error, ClientError::Interrupted(Closed::Exited { .. })), "{error}");
        assert_eq!(again.reply().await.unwrap().ms, 300, "round {round}");
        assert!(was_reaped(pid));
        assert_ne!(client.process_id(), Some(pid));
        assert_eq!(client.stats().repeated, round + 1);
    }
    let pid = client.process_id().unwrap();
    client.close().await;
    assert!(was_reaped(pid));
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_broken_by_now_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("works");
    std::fs::write(&flag, "").unwrap();
    let script = format!(
        "test -e {} || {{ echo the disk is gone >&2; exit 3; }}; exec {}",
        flag.display(),
        stdio_host().display()
    );
    let command = HostCommand::new("sh").args(["-c", &script]);
    let policy = brisk().attempts(Some(2));
    let client = agent().reconnect(policy).spawn(command).await.unwrap();
    std::fs::remove_file(&flag).unwrap();
    end(client.process_id().unwrap());
    let closed = client.closed().await;
    let Closed::GaveUp { attempts: 2, last, .. } = &closed else { panic!("{closed}") };
    assert!(last.to_string().contains("the disk is gone"), "{last}");
    assert_eq!(client.process_id(), None);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_while_a_process_is_greeted_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("mute");
    let pids = folder.path().join("pids");
    let script = format!(
        "echo $$ >> {}; test -e {} && exec {host} mute; exec {host}",
        pids.display(),
        flag.display(),
        host = stdio_host().display()
    );
    let client = agent().spawn(HostCommand::new("sh").args(["-c", &script])).await.unwrap();
    std::fs::write(&flag, "").unwrap();
    end(client.process_id().unwrap());
    let started = || std::fs::read_to_string(&pids).unwrap_or_default().lines().count();
    until("the second process", || started() == 2).await;
    client.close().await;
    let second = std::fs::read_to_string(&pids).unwrap().lines().nth(1).unwrap().parse().unwrap();
    until("its end", || !lives(second)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(started(), 2, "no third one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_its_output_is_not_left_beside_the_next() {
    // It closes its standard output and goes on.
    let script = format!("{} ; exec >&- ; exec sleep 100", stdio_host().display());
    let client = agent().spawn(HostCommand::new("sh").args(["-c", &script])).await.unwrap();
    let first = client.process_id().unwrap();
    client.send(&a2e_core::protocol::Shutdown { timeout: 0 }).await.unwrap();
    back(&client, 1).await;
    assert!(was_reaped(first));
    assert!(matches!(client.state(), ConnectionState::Connected(SessionStart::New)));
    client.close().await;
}
