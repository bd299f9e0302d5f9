//! The client library against the program: every carrier, many calls at once, large ones.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use a2e_caps::memory::{Memory, MemoryTier};
use a2e_caps::proc::ProcClient;
use a2e_caps::tools::client::ToolClient;
use a2e_client::{Client, HostCommand, Options};
use serde_json::{Value, json};

use super::support::program::{A2E, Host, Place, now, outcome, workspace};

const CONFIG: &str = "
listen: [\"unix://{}/one.sock\", \"tcp://127.0.0.1:0\", \"unix://{}/two.sock\"]
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin, metadata: {roots: [\"{}\"]}}
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}
  - {name: proc, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: [sh]}}
";

/// A host at three sockets, and clients over each of them and over stdio of a host of its own.
async fn clients(place: &Place) -> (Host, Vec<(String, Client)>) {
    let config = place.config(CONFIG);
    let host = Host::serve(&["-c", &config]);
    let mut clients = Vec::new();
    for address in host.addresses(3) {
        let options = Options::new(format!("agent of {address}"));
        let client = Client::connect_to(&address, options).await.unwrap();
        clients.push((address, client));
    }
    let command = HostCommand::new(A2E).args(["serve", "--stdio", "-c", &config]);
    let command = command.current_dir(workspace());
    let client = Client::spawn_process(command, Options::new("stdio")).await.unwrap();
    clients.push(("stdio".to_owned(), client));
    (host, clients)
}

async fn close(host: Host, clients: Vec<(String, Client)>) {
    for (name, client) in clients {
        let stats = client.stats();
        assert_eq!(stats.pending, 0, "{name}: {stats:?}");
        client.close().await;
    }
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_calls_over_every_carrier() {
    let place = Place::new();
    std::fs::write(place.path("note"), "a note").unwrap();
    let (host, clients) = clients(&place).await;
    for (name, client) in &clients {
        let session = client.session().unwrap();
        assert!(session.ok, "{name}");
        let tools = ToolClient::new(client);
        assert!(tools.list().await.unwrap().iter().any(|tool| tool.name == "echo"), "{name}");
        let result = tools.call("read_file", &json!({ "path": "note" })).await.unwrap();
        assert!(result.success && result.data.unwrap().get().contains("a note"), "{name}");
        let error = tools.call("fail", &json!({ "message": "no" })).await.unwrap_err();
        assert_eq!(error.code().map(ToString::to_string).as_deref(), Some("tool_error"), "{name}");

        let mut events = 0;
        let arguments = json!({ "n": 10 });
        let result = tools.call_with_events("stream", &arguments, |_| events += 1).await.unwrap();
        assert!(result.success, "{name}");
        assert_eq!(events, 10, "{name}");

        let memory = Memory::open(client, "trips").await.unwrap();
        let key = json!({ "city": "Oslo" });
        memory.remember(&key, name, MemoryTier::Episodic).await.unwrap();
        assert_eq!(memory.recall::<String>(&key).await.unwrap().as_ref(), Some(name));

        let procs = ProcClient::new(client);
        let process = procs.run(["sh", "-c", "echo out; echo err >&2; exit 5"]).await.unwrap();
        let output = process.output().await;
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"), "{name}");
        assert_eq!(output.code, Some(5), "{name}");
    }
    close(host, clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_two_hundred_calls_at_once_each_get_their_own_answer() {
    let place = Place::new();
    let (host, clients) = clients(&place).await;
    let mut calls = Vec::new();
    for (name, client) in &clients {
        for number in 0..200 {
            let tools = ToolClient::new(client);
            // Those that sleep overtake each other.
            let ms = (number % 7) * 10;
            let name = name.clone();
            calls.push(tokio::spawn(async move {
                let result = if number % 2 == 0 {
                    tools.call("echo", &json!({ "n": number })).await.map(|it| (it, "n", number))
                } else {
                    tools.call("sleep", &json!({ "ms": ms })).await.map(|it| (it, "slept_ms", ms))
                };
                let (result, key, expected) = result.unwrap();
                let data: Value = result.data.unwrap().decode().unwrap();
                assert_eq!(data[key], expected, "{name}");
            }));
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    close(host, clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_payloads_of_a_mebibyte_at_once() {
    const SIZE: usize = 1 << 20;
    let place = Place::new();
    let content: Arc<str> = "0123456789abcdef".repeat(SIZE / 16).into();
    std::fs::write(place.path("large"), content.as_bytes()).unwrap();
    let (host, clients) = clients(&place).await;
    let start = now();
    for (name, client) in &clients {
        let mut calls = Vec::new();
        for number in 0..16 {
            let (tools, content) = (ToolClient::new(client), Arc::clone(&content));
            calls.push(tokio::spawn(async move {
                if number % 2 == 0 {
                    let arguments = json!({ "text": &*content, "n": number });
                    let data = tools.call("echo", &arguments).await.unwrap().data.unwrap();
                    assert_eq!(data.decode::<Value>().unwrap(), arguments);
                } else {
                    let arguments = json!({ "path": "large" });
                    let data = tools.call("read_file", &arguments).await.unwrap().data.unwrap();
                    assert!(data.get().contains(&*content));
                }
            }));
        }
        for call in calls {
            call.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
    close(host, clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_host_that_dies_fails_all_calls_at_once() {
    let place = Place::new();
    let mut host = Host::at_socket(&place, &[]);
    let client = Client::connect_to(&place.socket(), Options::new("left")).await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..20 {
        let tools = ToolClient::new(&client);
        calls
            .push(tokio::spawn(async move { tools.call("sleep", &json!({ "ms": 60_000 })).await }));
    }
    while client.stats().pending < 20 {
        tokio::task::yield_now().await;
    }
    client.ping().await.unwrap();
    host.kill9();
    let start = now();
    for call in calls {
        call.await.unwrap().expect_err("the host is gone");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(client.ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_process_that_cannot_start_says_why() {
    let command = HostCommand::new(A2E).args(["serve", "--stdio", "-c", "/no/such/file.yaml"]);
    let error = Client::spawn_process(command, Options::new("early")).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file.yaml"), "{error}");
    let error =
        Client::spawn_process(HostCommand::new(Path::new("/no/such/a2e")), Options::new("never"));
    let error = error.await.unwrap_err();
    assert!(error.to_string().contains("/no/such/a2e"), "{error}");
}

/// What the example for threads needs.
const DEMO: &str = "
listen: [\"unix://{}/one.sock\"]
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";

/// The example `blocking`, which Cargo builds with the workspace's tests.
fn blocking_example(args: &[&str]) -> (Option<i32>, String, String) {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/blocking");
    let advice = "cargo build -p a2e-client --features blocking --example blocking";
    assert!(path.exists(), "`cargo test --workspace` builds it; alone: {advice}");
    let mut command = Command::new(path);
    command.args(args).current_dir(workspace()).stdin(Stdio::null());
    outcome(&mut command)
}

#[test]
fn the_example_for_threads_talks_to_the_program() {
    let place = Place::new();
    let config = place.config(DEMO);
    let host = Host::serve(&["-c", &config]);
    let address = host.addresses(1).remove(0);
    for args in [&[&*address][..], &[A2E, "serve", "--stdio", "-c", &config]] {
        let (code, stdout, stderr) = blocking_example(args);
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert!(lines[0].ends_with(" tools") && lines[0] != "0 tools", "{stdout}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("event {")).count(), 3, "{stdout}");
        assert_eq!(lines[lines.len() - 2..], ["reply true", "closed"], "{stdout}");
    }
    host.stop();
}

#[test]
fn the_example_for_threads_says_what_went_wrong() {
    for (args, said) in [
        (&[][..], "usage: blocking ADDRESS"),
        (&["unix:///no/such/a2e.sock"], "/no/such/a2e.sock"),
        (&["carrier://pigeon"], "expected unix:///path"),
        (&["/no/such/a2e"], "/no/such/a2e"),
    ] {
        let (code, stdout, stderr) = blocking_example(args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
