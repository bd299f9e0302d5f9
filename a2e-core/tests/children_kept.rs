//! The child supervisor: programs that are kept running, and what status shows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use a2e_core::children::{
    Command, Isolation, KeepState, Kept, RestartPolicy, StdinMode, Supervisor,
};
use a2e_core::{Clock, SystemClock};
use guarded_host::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn keep(supervisor: &Arc<Supervisor>, command: Command, policy: RestartPolicy) -> Kept {
    let clock = Arc::new(SystemClock::new());
    Kept::start(Arc::clone(supervisor), "test", command, policy, clock, |_, _| {})
}

/// Short waits; five ends are borne.
fn brisk() -> RestartPolicy {
    let ms = Duration::from_millis;
    RestartPolicy { first: ms(5), longest: ms(20), ..RestartPolicy::default() }
}

/// So patient that a test never meets the quarantine.
fn patient() -> RestartPolicy {
    RestartPolicy { burst: 1000, ..brisk() }
}

async fn running(kept: &Kept, after: u32) -> u32 {
    until(10 * SECOND, "the next run", || {
        kept.restarts() >= after && matches!(kept.state(), KeepState::Running { .. })
    })
    .await;
    let KeepState::Running { pid } = kept.state() else { panic!("{}", kept.state()) };
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_program_that_crashes_runs_again() {
    let supervisor = supervisor();
    let token = token();
    let script = format!("echo run $$ >&2; exec sleep {token}");
    let kept = keep(&supervisor, sh(&script), patient());
    for round in 0..4 {
        let pid = running(&kept, round).await;
        until(10 * SECOND, "it sleeps", || sleepers(&token).len() == 1).await;
        let told = || supervisor.status().first().is_some_and(|it| it.tail.len() == 1);
        until(10 * SECOND, "its words are read", told).await;
        let status = supervisor.status();
        assert_eq!((status.len(), status[0].pid, status[0].restarts), (1, pid, round));
        assert_eq!((status[0].program.as_str(), status[0].state), ("sh", "running"));
        assert_eq!(status[0].isolation, Isolation::Guard);
        assert!(status[0].since.as_secs() > 1_700_000_000);
        // Each run has its own in status, and all of them in the handle.
        assert_eq!(status[0].tail.len(), 1, "{status:?}");
        assert_eq!(kept.tail().len(), round as usize + 1);
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    }
    running(&kept, 4).await;
    kept.stop(SECOND).await;
    assert_eq!(kept.state(), KeepState::Stopped);
    assert_eq!((supervisor.live(), supervisor.status(), sleepers(&token)), (0, vec![], vec![]));
    assert_eq!(kept.reset().await.unwrap_err().code().as_str(), "proc_dead");
    kept.stop(SECOND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_one_that_ends_too_often_is_left_until_an_operator_comes() {
    let supervisor = supervisor();
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("works");
    let script =
        format!("echo try >&2; test -e {} && exec sleep {}; exit 3", flag.display(), token());
    let kept = keep(&supervisor, sh(&script), brisk());
    let state = kept.until(|state| matches!(state, KeepState::Quarantined { .. })).await.unwrap();
    assert_eq!(state.to_string(), "quarantined after exit code 3");
    assert_eq!((kept.restarts(), kept.tail()), (5, vec!["try".to_owned(); 6]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((kept.restarts(), supervisor.live()), (5, 0), "it is left alone");
    // Still broken: six more tries.
    kept.reset().await.unwrap();
    let is_again =
        |state: &KeepState| kept.restarts() == 11 && matches!(state, KeepState::Quarantined { .. });
    kept.until(is_again).await.unwrap();
    // Repaired.
    std::fs::write(&flag, "").unwrap();
    kept.reset().await.unwrap();
    running(&kept, 12).await;
    kept.stop(SECOND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_program_that_cannot_start_is_an_end_too() {
    let supervisor = supervisor();
    let kept = keep(&supervisor, Command::new("/no/such/program"), brisk());
    let state = kept.until(|state| matches!(state, KeepState::Quarantined { .. })).await.unwrap();
    assert!(state.to_string().contains("cannot start `/no/such/program`"), "{state}");
    // And one that ends well.
    let kept = keep(&supervisor, Command::new("true"), brisk());
    let state = kept.until(|state| matches!(state, KeepState::Quarantined { .. })).await.unwrap();
    assert_eq!(state.to_string(), "quarantined after exit code 0");
    kept.stop(SECOND).await;
    assert_eq!(kept.state(), KeepState::Stopped, "a quarantine can be left for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_can_be_shortened_and_ended() {
    let supervisor = supervisor();
    let slow = RestartPolicy { first: 60 * SECOND, ..RestartPolicy::default() };
    let kept = keep(&supervisor, Command::new("false"), slow);
    let is_waiting = |state: &KeepState| matches!(state, KeepState::BackingOff { .. });
    let state = kept.until(is_waiting).await.unwrap();
    assert_eq!(state.to_string(), "backing_off after exit code 1");
    kept.reset().await.unwrap();
    until(5 * SECOND, "a second run", || kept.restarts() == 1).await;
    kept.until(is_waiting).await.unwrap();
    kept.stop(SECOND).await;
    assert_eq!(kept.state(), KeepState::Stopped);
    // The host's end ends the waiting as well.
    let kept = keep(&supervisor, Command::new("false"), slow);
    kept.until(is_waiting).await.unwrap();
    supervisor.shutdown(SECOND).await;
    kept.until(|state| *state == KeepState::Stopped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_handle_kills_the_program() {
    let supervisor = supervisor();
    let token = token();
    let kept = keep(&supervisor, sh(&tree_script(&token)), patient());
    until(5 * SECOND, "the tree", || sleepers(&token).len() == TREE_SIZE).await;
    drop(kept);
    until(5 * SECOND, "its end", || carrying(&token).is_empty() && supervisor.live() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_hands_over_its_pipes() {
    let supervisor = supervisor();
    let (sender, pipes) = sync_channel(10);
    let mut command = sh("read line; echo \"got $line\"; exit 1");
    command.stdin = StdinMode::Pipe;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut is_first = true;
    let take = move |pid, stdio| {
        sender.send((pid, stdio)).unwrap();
        // The next run goes on all the same.
        assert!(!std::mem::take(&mut is_first), "the handler of the test");
    };
    let kept = Kept::start(Arc::clone(&supervisor), "pipes", command, patient(), clock, take);
    for text in ["one", "two"] {
        let next = pipes.recv_timeout(10 * SECOND);
        let (pid, mut pipes_of_run): (u32, a2e_core::children::Stdio) = next.unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        let stdin = pipes_of_run.stdin.as_mut().unwrap();
        let line = format!("{text}\n");
        tokio::io::AsyncWriteExt::write_all(stdin, line.as_bytes()).await.unwrap();
        assert_eq!(guarded_host::text(pipes_of_run.stdout.take()).await, format!("got {text}\n"));
    }
    kept.stop(SECOND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r35_standard_error_is_kept_and_never_blocks() {
    let supervisor = supervisor();
    // More than a pipe holds, then a last line that is coloured and not ended.
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; \
                  printf '\\033[1mlast\\033[0m \\377' >&2; echo done; sleep 60";
    let mut child = supervisor.spawn(sh(script)).await.unwrap();
    assert!(child.tail().is_empty());
    child.drain_stderr();
    child.drain_stderr();
    assert!(child.stderr.is_none());
    let mut line = [0; 5];
    let out = child.stdout.as_mut().unwrap();
    tokio::io::AsyncReadExt::read_exact(out, &mut line).await.unwrap();
    let is_whole = || child.tail().last().is_some_and(|line| line == "[1mlast[0m \u{fffd}");
    until(5 * SECOND, "the last line", is_whole).await;
    let tail = child.tail();
    assert_eq!((tail.len(), tail[0].as_str()), (64, "line 19937"));
    assert_eq!(supervisor.status()[0].tail, tail);
    child.kill().await;
    assert_eq!(supervisor.status(), []);
    assert_eq!(child.tail(), tail, "it can be asked for later");
}
