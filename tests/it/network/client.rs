//! The client library over HTTP and `WebSocket`s, also where the way to the host is cut again and again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_caps::tools::client::ToolClient;
use a2e_client::{CallOptions, Client, ConnectionState, Options, Reconnect, SessionStart};
use serde_json::{Value, json};

use super::host;
use crate::process::support::program::{PATIENCE, Place, a2e, outcome, until, workspace};

/// A way to the host on which each connection is cut after a number of bytes of the host.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn bind() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn start(listener: TcpListener, host: String, after: usize) -> Self {
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&host) else { break };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _over = std::io::copy(&mut from, &mut to);
                    let _gone = to.shutdown(Shutdown::Write);
                });
                let cuts = Arc::clone(&counted);
                std::thread::spawn(move || pass(server, client, after, &cuts));
            }
        });
        Self { port, cuts }
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Passes on what the host says, and cuts the connection at a place that neither end knows.
fn pass(mut host: TcpStream, mut client: TcpStream, after: usize, cuts: &AtomicUsize) {
    let mut left = after;
    let mut block = vec![0; 1500];
    while let Ok(read) = host.read(&mut block) {
        let passed = read.min(left);
        if read == 0 || client.write_all(&block[..passed]).is_err() {
            break;
        }
        left -= passed;
        if left == 0 {
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    let _gone = client.shutdown(Shutdown::Both);
    let _gone = host.shutdown(Shutdown::Both);
}

/// What every transport has to do.
async fn exercise(client: &Client, count: usize, length: usize) {
    client.ping().await.unwrap();
    let tools = ToolClient::new(client);
    assert!(!tools.list().await.unwrap().is_empty());
    let mut seen = Vec::new();
    let arguments = json!({ "n": count });
    let reply = tools.call_with_events("stream", &arguments, |event| seen.push(event.seq()));
    let reply = reply.await.unwrap();
    assert!(reply.success, "{reply:?}");
    let expected: Vec<Option<u64>> = (0..count as u64).map(Some).collect();
    assert_eq!(seen, expected, "each event once and in order");
    let text = "é\u{2028}\n\"".repeat(length);
    let echo = tools.call("echo", &json!({ "text": text })).await.unwrap();
    assert!(echo.success);
    let unknown = tools.call("none", &json!({})).await.unwrap_err();
    assert_eq!(unknown.code().map(ToString::to_string).as_deref(), Some("unknown_tool"));
    let arguments = json!({ "ms": 50 });
    let slow = [1, 2, 3].map(|_| tools.call("sleep", &arguments));
    let [one, two, three] = slow;
    let (one, two, three) = tokio::join!(one, two, three);
    assert!(one.unwrap().success && two.unwrap().success && three.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_does_over_http_and_websockets_what_it_does_over_sockets() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    for scheme in ["http", "ws"] {
        let address = format!("{scheme}://{}", site.address());
        let options = Options::new("tester").handshake_timeout(PATIENCE);
        let client = Client::connect_to(&address, options).await.unwrap();
        exercise(&client, 100, 20_000).await;
        client.shutdown(Duration::from_secs(1)).await.unwrap();
        tokio::time::timeout(PATIENCE, client.closed()).await.expect("the session ends");
        client.close().await;
    }
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_way_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    let place = Place::new();
    let (listener, port) = Cutter::bind();
    let (host, site) = host(&place, &format!("server: {{allowed_hosts: ['127.0.0.1:{port}']}}"));
    let cutter = Cutter::start(listener, site.address().to_owned(), 20_000);
    let address = format!("http://127.0.0.1:{}", cutter.port);
    let options = Options::new("tester").handshake_timeout(PATIENCE);
    let client = Client::connect_to(&address, options).await.unwrap();
    // One message must fit between two cuts, or it can never come through.
    exercise(&client, 1000, 100).await;
    assert!(cutter.cuts() > 5, "{} cuts", cutter.cuts());
    client.close().await;
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_websocket_that_is_cut_comes_back_with_its_session() {
    let place = Place::new();
    let (listener, port) = Cutter::bind();
    let (host, site) = host(&place, &format!("server: {{allowed_hosts: ['127.0.0.1:{port}']}}"));
    let cutter = Cutter::start(listener, site.address().to_owned(), 5_000);
    let delays = (Duration::from_millis(1), Duration::from_millis(50));
    let (resumed, fresh) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, anew) = (Arc::clone(&resumed), Arc::clone(&fresh));
    let builder =
        Client::builder().handshake_timeout(PATIENCE).on_state(move |state| match state {
            ConnectionState::Connected(SessionStart::Resumed { gap: Some(0) }) => {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            ConnectionState::Connected(SessionStart::First)
            | ConnectionState::Reconnecting { .. } => {}
            _ => {
                anew.fetch_add(1, Ordering::SeqCst);
            }
        });
    let builder = builder.reconnect(Reconnect::new().delays(delays.0, delays.1));
    let client = builder.connect_to(&format!("ws://127.0.0.1:{}", cutter.port)).await.unwrap();
    let mut asked = 0;
    while resumed.load(Ordering::SeqCst) < 5 {
        asked += 1;
        let fields = json!({ "tool_name": "echo", "arguments": { "n": asked } });
        let options = CallOptions::within(PATIENCE).repeatable();
        let calling = client.call_raw("tool/call/req", &fields, options).await.unwrap();
        let reply: Value = calling.reply().await.unwrap().decode().unwrap();
        assert_eq!(reply["data"]["data"]["n"], asked);
        assert!(asked < 10_000, "{} cuts", cutter.cuts());
    }
    assert_eq!(fresh.load(Ordering::SeqCst), 0, "the session was lost");
    client.close().await;
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_session_that_the_host_ends_fails_what_waits_at_once() {
    let place = Place::new();
    let (mut host, site) = host(&place, "");
    let address = format!("http://{}", site.address());
    let client = Client::connect_to(&address, Options::new("tester")).await.unwrap();
    let tools = ToolClient::new(&client);
    let (arguments, session) = (json!({ "ms": 60_000 }), client.session().unwrap());
    let call = tools.call("sleep", &arguments);
    let ends = async {
        client.ping().await.unwrap();
        let headers = [("X-Session-Id", session.session_id.as_str())];
        assert_eq!(site.request("DELETE /session", &headers, b"").status, 200);
    };
    let both = async { tokio::join!(call, ends) };
    let (reply, ()) = tokio::time::timeout(PATIENCE, both).await.expect("it does not hang");
    assert!(reply.is_err(), "{reply:?}");
    client.close().await;
    // A host that is killed is given up after a while; here the address is gone for good.
    host.kill9();
    let gone = Client::connect_to(&address, Options::new("tester")).await;
    assert!(gone.is_err());
}

#[test]
fn the_command_line_calls_over_http_and_websockets() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    for scheme in ["http", "ws"] {
        let address = format!("{scheme}://{}", site.address());
        let (code, stdout, stderr) = outcome(&mut a2e(&["call", "ping", "--to", &address]));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("uptime_seconds"), "{stdout}");
    }
    let (code, _, stderr) = outcome(&mut a2e(&["call", "ping", "--to", "http://127.0.0.1:1"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("http://127.0.0.1:1"), "{stderr}");
    host.stop();
}

/// nginx with the example's file, between these ports.
struct Nginx {
    process: std::process::Child,
    _folder: Place,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn nginx(port: u16, host: &str) -> Option<Nginx> {
    let place = Place::new();
    let example = workspace().join("a2e-server/examples/deploy/nginx.conf");
    let server = std::fs::read_to_string(example).unwrap();
    let server = server.replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
    let server = server.replace("http://127.0.0.1:8765", &format!("http://{host}"));
    let folder = place.text("");
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        kinds.iter().map(|kind| format!("{kind}_temp_path {folder}/{kind};\n")).collect();
    let main = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n\
        http {{ access_log off;\n{temporary}{server}}}"
    );
    std::fs::write(place.path("nginx.conf"), main).unwrap();
    let file = place.text("nginx.conf");
    let started = std::process::Command::new("nginx").args(["-c", &file, "-p", &folder]).spawn();
    match started {
        Ok(process) => Some(Nginx { process, _folder: place }),
        Err(error) => {
            crate::faults::skipped(&format!("no nginx: {error}"));
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_behind_nginx_serves_streams_and_sockets_and_hides_the_operators_side() {
    let place = Place::new();
    let (host, site) = host(&place, "server: {allowed_hosts: ['127.0.0.1']}");
    let (listener, port) = Cutter::bind();
    drop(listener);
    let Some(_nginx) = nginx(port, site.address()) else { return };
    until(PATIENCE, "nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    for scheme in ["http", "ws"] {
        let options = Options::new("tester").handshake_timeout(PATIENCE);
        let address = format!("{scheme}://127.0.0.1:{port}");
        let client = Client::connect_to(&address, options).await.unwrap();
        exercise(&client, 100, 20_000).await;
        client.close().await;
    }
    let front = super::raw::Site::at(&format!("http://127.0.0.1:{port}"));
    for path in ["/api/status", "/metrics"] {
        assert_eq!(front.get(path, &[]).status, 404);
    }
    assert_eq!(front.get("/health", &[]).status, 200);
    host.stop();
}
