//! What ends while calls are under way: sessions, connections, the host.

use std::io::Read as _;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{TOKEN, ask, call, exchange, initialize, modern, open, post, read, sent, session_of};
use crate::network::raw::Site;
use crate::process::support::proc_fs::{sleepers, token};
use crate::process::support::program::{Host, Place, until};
use crate::upstream::{PATIENCE, program};

/// Longer than any test.
const LONG: u64 = 3_600_000;

fn host(place: &Place) -> (Host, Site) {
    let upstream = format!("{{command: [python3, {:?}, well]}}", program());
    let config = place.config(&format!(
        "
mcp_server: {{expose: [\"proc/*\"], task_after_s: 0.1}}
server: {{principals: [{{name: ada, token: {TOKEN}, rights: [operator]}}]}}
audit: {{enabled: true, path: '{{}}/audit.jsonl'}}
plugins:
  - {{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}}
  - {{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}}
  - {{name: proc, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {{allowed_commands: [sleep]}}}}
  - name: mcp
    type: mcp
    cls: a2e.caps.mcp.plugin.MCPPlugin
    metadata: {{state_dir: \"\", start_wait: 60, servers: {{one: {upstream}}}}}
"
    ));
    let listen = ["-c", &config, "--listen", "http://127.0.0.1:0", "--drain", "60"];
    let host = Host::serve(&listen);
    let mut site = Site::at(&host.addresses(1)[0]);
    site.token = Some(TOKEN);
    (host, site)
}

/// Waits until this number of requests is in flight.
fn in_flight(site: &Site, number: usize) {
    let line = format!("\na2e_requests_in_flight {number}\n");
    until(PATIENCE, &line, || site.get("/metrics", &[]).body.contains(&line));
}

fn audit_has(place: &Place, parts: &[&str]) -> bool {
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap_or_default();
    audit.lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn a_session_that_ends_ends_its_tasks_and_processes() {
    let place = Place::new();
    let (host, site) = host(&place);
    let mut hello = initialize();
    hello["params"]["capabilities"] =
        json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let session = session_of(&post(&site, None, &hello));
    let token = token();
    post(&site, Some(&session), &call("proc_spawn", json!({ "cmd": ["sleep", token] })));
    until(PATIENCE, "the process runs", || !sleepers(&token).is_empty());
    let made = post(&site, Some(&session), &call("sleep", json!({ "ms": LONG })));
    let id =
        made.message["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{}", made.message));
    let headers = [("Mcp-Session-Id", session.as_str())];
    assert!(exchange(&site, "DELETE /mcp", &headers, b"").status < 300);
    until(PATIENCE, "its processes end", || sleepers(&token).is_empty());
    until(PATIENCE, "its task ends", || {
        let seen = ask(&site, "tasks/get", id, json!({ "taskId": id }));
        seen["result"]["status"] == "cancelled"
    });
    host.stop();
}

#[test]
fn a_stream_that_its_client_closes_is_a_cancel() {
    let place = Place::new();
    let (host, site) = host(&place);
    // No task: its client waits for it.
    let body = call("sleep", json!({ "ms": LONG })).to_string();
    let connection = sent(&site, "POST /mcp", &[], body.as_bytes());
    in_flight(&site, 1);
    drop(connection);
    in_flight(&site, 0);
    let parts = ["mcp:unknown", "\"sleep\"", "cancelled"];
    until(PATIENCE, "it was cancelled", || audit_has(&place, &parts));
    host.stop();
}

/// Reads on until a text has come.
fn until_read(stream: &mut TcpStream, text: &str) {
    let mut seen = String::new();
    let mut block = [0; 4096];
    while !seen.contains(text) {
        let read = stream.read(&mut block).unwrap();
        assert_ne!(read, 0, "the end, without {text}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&block[..read]));
    }
}

#[test]
fn r44_what_clients_wait_for_is_answered_while_the_host_drains() {
    let place = Place::new();
    let (mut host, site) = host(&place);
    let session = open(&site);
    let idle = open(&site);
    // A stream in which nothing is asked holds nothing up.
    let listens = [("Mcp-Session-Id", idle.as_str()), ("Accept", "text/event-stream")];
    let mut listener = sent(&site, "GET /mcp", &listens, b"");
    let mut slow = call("one__slow", json!({ "steps": 100 }));
    let mut alone = sent(&site, "POST /mcp", &[], slow.to_string().as_bytes());
    in_flight(&site, 1);
    slow["params"]["_meta"] = json!({ "progressToken": 1 });
    let headers = [("Mcp-Session-Id", session.as_str())];
    let mut in_session = sent(&site, "POST /mcp", &headers, slow.to_string().as_bytes());
    until_read(&mut in_session, "notifications/progress");
    host.signal(Signal::SIGTERM);
    let reply = read(&mut alone);
    assert_eq!(reply.message["result"]["content"][0]["text"], "done", "{}", reply.message);
    let mut rest = String::new();
    in_session.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"done\""), "{rest}");
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    let _cut = listener.read_to_end(&mut Vec::new());
    assert!(!audit_has(&place, &["one__slow", "cancelled"]));
}

#[test]
fn r44_a_task_is_a_request_in_flight_until_it_ends() {
    let place = Place::new();
    let (host, site) = host(&place);
    let params = json!({ "name": "sleep", "arguments": { "ms": LONG } });
    let made = read(&mut modern(&site, "tools/call", "sleep", params)).message;
    let id = made["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    for _ in 0..3 {
        in_flight(&site, 1);
        let seen: Value = ask(&site, "tasks/get", &id, json!({ "taskId": id }));
        assert_eq!(seen["result"]["status"], "working", "{seen}");
    }
    ask(&site, "tasks/cancel", &id, json!({ "taskId": id }));
    in_flight(&site, 0);
    host.stop();
}
