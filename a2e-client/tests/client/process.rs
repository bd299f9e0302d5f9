//! A host as a child process: its life, its death, and that nothing of it stays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use a2e_client::{Client, ClientError, Closed, HostCommand, Options, Stderr};

use crate::support::*;

/// The example `stdio_host`, which Cargo builds beside the tests of the package.
pub(crate) fn stdio_host() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let host = test.ancestors().nth(2).unwrap().join("examples/stdio_host");
    if !host.exists() {
        let args = ["build", "-q", "-p", "a2e-client", "--example", "stdio_host"];
        assert!(Command::new(env!("CARGO")).args(args).status().unwrap().success());
    }
    host
}

fn command(way: &str) -> HostCommand {
    HostCommand::new(stdio_host()).args([way])
}

pub(crate) async fn start(way: &str) -> Client {
    Client::spawn_process(command(way), Options::new("test")).await.unwrap()
}

pub(crate) fn lives(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

pub(crate) fn was_reaped(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_serves_and_ends_with_its_client() {
    let client = start("normal").await;
    let pid = client.process_id().unwrap();
    for text in ["a", "é🦀", &"z".repeat(1 << 20)] {
        assert_eq!(client.rpc(&echo(text)).await.unwrap().text, text);
    }
    let calls = (0..100).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.rpc(&Sleep { ms: number % 7 }).await.unwrap() })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    let started = now();
    client.close().await;
    assert!(started.elapsed() < Duration::from_secs(3), "it ended by itself");
    assert!(was_reaped(pid));
    assert_eq!(client.process_id(), None);
    assert!(matches!(client.closed().await, Closed::ByUs));
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_a_process_that_has_its_input_still() {
    let client = start("normal").await;
    let pid = client.process_id().unwrap();
    client.shutdown(Duration::from_secs(2)).await.unwrap();
    assert!(was_reaped(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_a_killed_process_fails_its_calls_at_once_with_the_reason() {
    let client = start("normal").await;
    let pid = client.process_id().unwrap();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { (client.rpc(&Sleep { ms: 60_000 }).await, now()) })
        })
        .collect();
    until("all calls", || client.stats().pending == 50).await;
    let killed = now();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    for call in futures_util::future::join_all(calls).await {
        let (result, at) = call.unwrap();
        let error = result.unwrap_err();
        assert!(matches!(error, ClientError::Closed(Closed::Exited { .. })), "{error:?}");
        assert!(error.to_string().contains("signal: 9"), "{error}");
        assert!(at.duration_since(killed) < AT_ONCE, "{:?}", at - killed);
    }
    assert!(was_reaped(pid));
    nothing_is_left(&client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_early_says_why() {
    let result = Client::spawn_process(command("brief"), Options::default()).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("exit status: 1"), "{error}");
    assert!(error.contains("the registry file is missing"), "{error}");

    let quiet = command("brief").stderr(Stderr::Null);
    let error = Client::spawn_process(quiet, Options::default()).await.unwrap_err().to_string();
    assert!(error.ends_with("(exit status: 1)"), "{error}");

    let missing = HostCommand::new("/no/such/host").args(["serve"]);
    let error = Client::spawn_process(missing, Options::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot reach /no/such/host serve: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_never_answers_does_not_stay() {
    let options = Options::default().handshake_timeout(Duration::from_millis(300));
    let script = r#"echo $$ > "$PID_FILE"; exec "$HOST" mute"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let command = HostCommand::new("sh")
        .args(["-c", script])
        .env("PID_FILE", &file)
        .env("HOST", stdio_host())
        .current_dir(folder.path());
    let error = Client::spawn_process(command, options).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let pid: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    until("its end", || was_reaped(pid)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_client_leaves_no_process() {
    for way in ["normal", "deaf"] {
        let client = start(way).await;
        let pid = client.process_id().unwrap();
        drop(client);
        until("its end", || was_reaped(pid)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_a_process_that_does_not_want_to() {
    let client = start("deaf").await;
    let pid = client.process_id().unwrap();
    let started = now();
    client.close().await;
    let took = started.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&took), "{took:?}");
    assert!(was_reaped(pid) && !lives(pid));
    nothing_is_left(&client);
}

#[test]
fn a_runtime_that_ends_leaves_no_process() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(start("deaf"));
    let pid = client.process_id().unwrap();
    drop(runtime);
    drop(client);
    for _ in 0..400 {
        if !lives(pid) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the host process outlived the runtime");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_writes_much_to_stderr_is_not_held_up() {
    let script =
        r#"head -c 300000 /dev/zero | tr '\0' e >&2; echo the end >&2; exec "$HOST" normal"#;
    let command = HostCommand::new("sh").args(["-c", script]).env("HOST", stdio_host());
    let client = Client::spawn_process(command, Options::default()).await.unwrap();
    let pid = client.process_id().unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let Closed::Exited { stderr, .. } = client.closed().await else { panic!("not an exit") };
    assert!(stderr.len() <= 8 * 1024 && stderr.contains("eee"), "{} bytes", stderr.len());
    assert!(stderr.contains("the end"), "{stderr}");
}
