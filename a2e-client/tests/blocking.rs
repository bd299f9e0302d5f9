//! The client for threads, against real hosts over sockets and as child processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use a2e_client::blocking::Client;
use a2e_client::{
    CallOptions, Client as AsyncClient, ClientError, Closed, ConnectionState, HostCommand,
    Reconnect, SessionStart,
};
use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::transport::from_unix;
use serde_json::{Value, json};

#[path = "client/probe.rs"]
mod probe;

use probe::{Echo, Notice, Push, Sleep, Story};

/// The example `stdio_host`, which Cargo builds beside the tests of the package.
fn stdio_host() -> HostCommand {
    let test = std::env::current_exe().unwrap();
    let host: PathBuf = test.ancestors().nth(2).unwrap().join("examples/stdio_host");
    if !host.exists() {
        let args = ["build", "-q", "-p", "a2e-client", "--example", "stdio_host"];
        assert!(Command::new(env!("CARGO")).args(args).status().unwrap().success());
    }
    HostCommand::new(host)
}

fn echo(text: &str) -> Echo {
    Echo { text: text.into() }
}

/// A host at a Unix socket, in a runtime of its own.
struct Host {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Host {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let this = Self { runtime, folder };
        this.serve();
        this
    }

    fn serve(&self) {
        let path = self.folder.path().join("a2e.sock");
        // Left by the host before.
        drop(std::fs::remove_file(&path));
        self.runtime.block_on(async {
            let plugin = PluginConfig::new("probe", "test", "test.Probe");
            let host = Executor::builder(HostConfig::new().plugin(plugin)).start().await.unwrap();
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    host.spawn(from_unix(stream));
                }
            });
        });
    }

    fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("a2e.sock").display())
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come true");
}

#[test]
fn threads_call_over_a_socket() {
    let host = Host::start();
    let client = Client::connect(&host.address()).unwrap();
    assert!(client.session().unwrap().ok);
    let threads: Vec<_> = (0..8_u64)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || {
                for round in 0..25 {
                    let text = format!("{thread} {round}");
                    assert_eq!(client.rpc(&echo(&text)).unwrap().text, text);
                }
                assert_eq!(client.rpc(&Sleep { ms: thread }).unwrap().ms, thread);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let raw = client.rpc_raw("test/echo/req", &json!({ "text": "raw" }), CallOptions::default());
    assert_eq!(raw.unwrap().decode::<Value>().unwrap()["text"], "raw");
    assert!(client.ping().unwrap().uptime_seconds >= 0.0);
    let error = client.rpc_raw("no/such/req", &json!({}), CallOptions::default()).unwrap_err();
    assert!(error.remote().is_some(), "{error}");
    let limit = CallOptions::within(Duration::from_millis(20));
    let error = client.rpc_with(&Sleep { ms: 60_000 }, limit).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert_eq!(client.stats().pending, 0);
    assert!(client.closed_within(Duration::from_millis(5)).unwrap().is_none());
    client.close().unwrap();
    assert!(matches!(client.closed_within(Duration::ZERO).unwrap(), Some(Closed::ByUs)));
    assert!(matches!(client.ping(), Err(ClientError::Closed(_))));
}

#[test]
fn events_come_before_the_reply() {
    let host = Host::start();
    let client = Client::connect(&host.address()).unwrap();
    let mut calling = client.call(&Story { events: 30 }).unwrap();
    let first = calling.next_event().unwrap().unwrap();
    assert_eq!(first.seq(), Some(0));
    let rest: Vec<_> = calling.events().collect::<Result<_, _>>().unwrap();
    assert_eq!(rest.len(), 29);
    assert!(calling.events().next().is_none());
    assert_eq!(calling.reply().unwrap().events, 30);
    // A call that is dropped is cancelled, one by its id too.
    drop(client.call(&Sleep { ms: 60_000 }).unwrap());
    let calling = client.call(&Sleep { ms: 60_000 }).unwrap();
    client.cancel(calling.id()).unwrap();
    assert_eq!(calling.reply().unwrap_err().code().unwrap().to_string(), "cancelled");
    assert_eq!(client.stats().pending, 0);
}

#[test]
fn pushes_reach_handlers_and_receivers() {
    let host = Host::start();
    let early: Arc<Mutex<Vec<u64>>> = Arc::default();
    let heard = Arc::clone(&early);
    let agent = AsyncClient::builder().name("test").on_push("test/notice/push", move |push| {
        heard.lock().unwrap().push(push.decode::<Notice>().unwrap().number);
    });
    let client = Client::connect_with(agent, &host.address()).unwrap();
    let mut pushes = client.pushes("test/notice/push").unwrap();
    let (sender, later) = sync_channel(100);
    let guard = client.on_push("test/notice/push", move |_| sender.send(()).unwrap());
    client.rpc(&Push { before: 3, after: 2 }).unwrap();
    for _ in 0..5 {
        assert!(pushes.next().unwrap().is_some());
        later.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    drop(guard);
    assert!(pushes.next_within(Duration::from_millis(10)).unwrap().is_none());
    assert_eq!((early.lock().unwrap().len(), pushes.dropped()), (5, 0));
    client.close().unwrap();
    assert!(pushes.next().unwrap().is_none(), "it ends with the connection");
}

#[test]
fn a_process_is_spawned_and_ends_with_its_client() {
    for is_closed in [true, false] {
        let client = Client::spawn(stdio_host()).unwrap();
        let pid = client.process_id().unwrap();
        let calling = client.call(&Sleep { ms: 20 }).unwrap();
        if is_closed {
            client.close().unwrap();
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        } else {
            drop(client);
            assert_eq!(calling.reply().unwrap().ms, 20, "a call keeps it");
            until("its end", || !Path::new(&format!("/proc/{pid}")).exists());
        }
    }
    let error = Client::spawn(HostCommand::new("/no/such/host")).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let error = Client::spawn(stdio_host().args(["brief"])).unwrap_err();
    assert!(error.to_string().contains("the registry file is missing"), "{error}");
}

#[test]
fn a_lost_connection_comes_back() {
    let host = Host::start();
    let policy = Reconnect::new().delays(Duration::from_millis(5), Duration::from_millis(50));
    let agent = AsyncClient::builder().reconnect(policy);
    let client = Client::connect_with(agent, &host.address()).unwrap();
    let calling = client.call(&Sleep { ms: 60_000 }).unwrap();
    // The runtime of the old host goes with all its connections; whether its last words still get
    // through is a matter of which of its tasks goes first.
    let Host { runtime, folder } = host;
    runtime.shutdown_background();
    match calling.reply().unwrap_err() {
        ClientError::Interrupted(_) => {}
        ClientError::Remote(error) => assert_eq!(error.code.as_str(), "shutting_down"),
        error => panic!("{error}"),
    }
    until("the loss", || !matches!(client.state(), ConnectionState::Connected(_)));
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || client.rpc(&echo("waits")).unwrap().text
    });
    let host = Host { runtime: tokio::runtime::Runtime::new().unwrap(), folder };
    host.serve();
    assert_eq!(waiting.join().unwrap(), "waits");
    assert!(matches!(client.state(), ConnectionState::Connected(SessionStart::New)));
}

/// Everything that would block fails; what does not, works.
fn refuses(client: &Client, address: &str) {
    let errors = [
        Client::connect(address).map(drop),
        client.ping().map(drop),
        client.rpc(&echo("x")).map(drop),
        client.call(&echo("x")).map(drop),
        client.send(&Notice { number: 1 }),
        client.cancel("x"),
        client.pushes("test/notice/push").map(drop),
        client.closed_within(Duration::from_mins(1)).map(drop),
        client.shutdown(Duration::ZERO),
        client.close(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.expect_err("this may not block");
        assert!(matches!(error, ClientError::WouldDeadlock(_)), "{number}: {error}");
    }
    assert!(matches!(client.state(), ConnectionState::Connected(_)));
}

#[test]
fn within_a_runtime_it_fails_and_does_not_hang() {
    let host = Host::start();
    let client = Client::connect(&host.address()).unwrap();
    let mut calling = client.call(&Story { events: 3 }).unwrap();
    for runtime in [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
    ] {
        runtime.block_on(async { refuses(&client, &host.address()) });
        // In a task, and dropped there.
        let (task, address) = (client.clone(), host.address());
        runtime.block_on(async {
            tokio::spawn(async move { refuses(&task, &address) }).await.unwrap();
        });
        runtime.block_on(async {
            assert!(matches!(calling.next_event(), Err(ClientError::WouldDeadlock(_))));
            let events: Vec<_> = calling.events().collect();
            assert!(matches!(events[..], [Err(ClientError::WouldDeadlock(_))]), "one error");
        });
    }
    assert_eq!(calling.events().count(), 3, "and outside it goes on");
    assert!(client.ping().is_ok());
    // The last one, dropped within a runtime.
    drop(calling);
    let process = Client::spawn(stdio_host()).unwrap();
    let pid = process.process_id().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move {
        drop(process);
        drop(client);
    });
    until("the end of the process", || !Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn within_its_own_handler_it_fails_and_does_not_hang() {
    let host = Host::start();
    let client = Client::connect(&host.address()).unwrap();
    let (sender, results) = sync_channel(10);
    let (inner, address) = (client.clone(), host.address());
    let guard = client.on_push("test/notice/push", move |_| {
        refuses(&inner, &address);
        sender.send(()).unwrap();
    });
    client.rpc(&Push { before: 1, after: 1 }).unwrap();
    for _ in 0..2 {
        results.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    assert_eq!(client.stats().handler_panics, 0);
    drop(guard);
    client.close().unwrap();
}

#[test]
fn the_last_clone_may_go_in_its_own_handler() {
    let host = Host::start();
    let client = Client::connect(&host.address()).unwrap();
    let slot = Arc::new(Mutex::new(Some(client.clone())));
    let (taken, (sender, done)) = (Arc::clone(&slot), sync_channel(10));
    let guard = client.on_push("test/notice/push", move |_| {
        drop(taken.lock().unwrap().take());
        sender.send(()).unwrap();
    });
    client.rpc(&Push { before: 0, after: 1 }).unwrap();
    drop(client);
    done.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(slot.lock().unwrap().is_none());
    drop(guard);
}

#[test]
fn its_thread_ends_with_it() {
    let host = Host::start();
    for _ in 0..100 {
        Client::connect(&host.address()).unwrap().ping().unwrap();
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "a2e-client")).count()
    };
    // Other tests have some, too.
    until("the end of the threads", || threads() < 50);
}
