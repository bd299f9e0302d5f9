//! MCP at `/mcp`, byte by byte: sessions, requests that stand alone, and requests that are refused.

mod ends;
mod named;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::raw::Site;
use crate::process::support::proc_fs::{sleepers, token};
use crate::process::support::program::{Host, PATIENCE, Place, a2e_at, until};

const TOKEN: &str = "token-0123456789abcdef0123456789abcdef";
const OTHER: &str = "other-0123456789abcdef0123456789abcdef";

const PLUGINS: &str = "
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: proc, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: [sleep]}}
";

fn host(place: &Place, more: &str) -> (Host, Site) {
    let config = place.config(&format!("{more}\n{PLUGINS}"));
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let site = Site::at(&host.addresses(1)[0]);
    (host, site)
}

/// A response with the message that it ends with, as JSON or as the last event.
struct Reply {
    status: u16,
    head: String,
    message: Value,
}

fn exchange(site: &Site, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    read(&mut sent(site, line, headers, body))
}

/// A request on a connection of its own.
fn sent(site: &Site, line: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let length = body.len().to_string();
    let own = [
        ("Accept", "application/json, text/event-stream;q=0.5"),
        ("Content-Type", "application/json"),
        ("Content-Length", length.as_str()),
        ("Connection", "close"),
    ];
    let own = own.into_iter().filter(|(name, _)| !headers.iter().any(|(it, _)| it == name));
    let all: Vec<(&str, &str)> = headers.iter().copied().chain(own).collect();
    let mut stream = site.connect();
    stream.write_all(site.head(line, &all).as_bytes()).unwrap();
    // A host that refuses does not read it.
    let _refused = stream.write_all(body);
    stream
}

/// Reads to the end of a connection.
fn read(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    let mut lines = body.lines().map(|line| line.strip_prefix("data:").unwrap_or(line));
    let message = lines.rfind(|line| line.trim_start().starts_with('{'));
    let message = message.map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    Reply { status, head: head.to_lowercase(), message }
}

fn post(site: &Site, session: Option<&str>, body: &Value) -> Reply {
    let session = session.map(|id| ("Mcp-Session-Id", id));
    let headers: Vec<_> = session.into_iter().collect();
    exchange(site, "POST /mcp", &headers, body.to_string().as_bytes())
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn call(tool: &str, arguments: Value) -> Value {
    request("tools/call", json!({ "name": tool, "arguments": arguments }))
}

fn initialize() -> Value {
    let client = json!({ "name": "raw", "version": "1" });
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    request("initialize", params)
}

/// A request of the newest revision, of a client that knows tasks.
fn modern(site: &Site, method: &str, name: &str, params: Value) -> TcpStream {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": { "io.modelcontextprotocol/tasks": {} },
        },
    });
    let headers =
        [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method), ("Mcp-Name", name)];
    let body = request(method, params).to_string();
    sent(site, "POST /mcp", &headers, body.as_bytes())
}

fn ask(site: &Site, method: &str, name: &str, params: Value) -> Value {
    read(&mut modern(site, method, name, params)).message
}

/// Opens a session and gives its id.
fn open(site: &Site) -> String {
    session_of(&post(site, None, &initialize()))
}

fn session_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.head);
    let line = reply.head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
    line.unwrap().to_owned()
}

#[test]
fn sessions_and_requests_without_one() {
    let place = Place::new();
    let (host, site) = host(&place, "mcp_server: {expose: [\"proc/*\"]}");
    let session = open(&site);
    let done = post(&site, Some(&session), &call("echo", json!({ "a": 1 })));
    assert_eq!(done.message["result"]["structuredContent"], json!({ "a": 1 }));
    assert!(done.head.contains("x-accel-buffering: no"), "{}", done.head);
    // Clients that never send the session back are served.
    let alone = post(&site, None, &call("echo", json!({ "b": 2 })));
    assert_eq!(alone.message["result"]["structuredContent"], json!({ "b": 2 }));
    let notified = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(post(&site, None, &notified).status, 202);
    // An unknown or ended session is not found.
    assert_eq!(post(&site, Some("never-was"), &call("echo", json!({}))).status, 404);
    let token = token();
    let spawn = call("proc_spawn", json!({ "cmd": ["sleep", token] }));
    post(&site, Some(&session), &spawn);
    until(PATIENCE, "the process runs", || !sleepers(&token).is_empty());
    let headers = [("Mcp-Session-Id", session.as_str())];
    assert!(exchange(&site, "DELETE /mcp", &headers, b"").status < 300);
    assert_eq!(post(&site, Some(&session), &call("echo", json!({}))).status, 404);
    until(PATIENCE, "its processes end", || sleepers(&token).is_empty());
    host.stop();
}

#[test]
fn a_session_in_which_nothing_happens_ends() {
    let place = Place::new();
    let (host, site) = host(&place, "mcp_server: {session_ttl: 0.2}");
    let session = open(&site);
    until(PATIENCE, "the session ends", || {
        std::thread::sleep(std::time::Duration::from_millis(400));
        post(&site, Some(&session), &call("echo", json!({}))).status == 404
    });
    host.stop();
}

#[test]
fn r27_one_principal_opens_only_so_many_sessions() {
    let place = Place::new();
    let (host, site) = host(&place, "global_limits: {max_sessions_per_principal: 3}");
    let ids: Vec<String> = (0..3).map(|_| open(&site)).collect();
    assert_eq!(post(&site, None, &initialize()).status, 503);
    assert_eq!(post(&site, None, &call("echo", json!({}))).status, 200, "alone it is served");
    exchange(&site, "DELETE /mcp", &[("Mcp-Session-Id", &ids[0])], b"");
    until(PATIENCE, "its place is free", || post(&site, None, &initialize()).status == 200);
    host.stop();
}

/// First line, headers, body, and the status codes that will do.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], &'a [u16]);

#[test]
fn what_is_no_request_is_refused_and_does_no_harm() {
    let place = Place::new();
    let (host, site) = host(&place, "global_limits: {max_line_bytes: 65536}");
    let json_body = call("echo", json!({})).to_string();
    let large = format!("{}{json_body}", " ".repeat(300_000));
    let rows: &[Row<'_>] = &[
        ("POST /mcp", &[], b"", &[400, 415, 422]),
        ("POST /mcp", &[], b"{", &[400, 415, 422]),
        ("POST /mcp", &[], b"\xff\xfe", &[400, 415, 422]),
        ("POST /mcp", &[], b"[]", &[400, 415, 422]),
        ("POST /mcp", &[], large.as_bytes(), &[413]),
        ("POST /mcp", &[("Content-Type", "text/plain")], json_body.as_bytes(), &[415]),
        ("POST /mcp", &[("Accept", "text/html")], json_body.as_bytes(), &[406]),
        ("POST /mcp", &[("Host", "evil.example")], json_body.as_bytes(), &[403]),
        ("POST /mcp", &[("Origin", "http://evil.example")], json_body.as_bytes(), &[403]),
        ("POST /mcp", &[("MCP-Protocol-Version", "1999-01-01")], json_body.as_bytes(), &[400]),
        ("GET /mcp", &[], b"", &[400, 405, 422]),
        ("DELETE /mcp", &[], b"", &[400, 405, 422]),
        ("PUT /mcp", &[], b"", &[405]),
        ("POST /mcp/none", &[], json_body.as_bytes(), &[404]),
    ];
    for (line, headers, body, expected) in rows {
        let reply = exchange(&site, line, headers, body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert!(expected.contains(&reply.status), "{line} {headers:?} {shown}: {}", reply.head);
    }
    assert_eq!(post(&site, None, &call("echo", json!({}))).status, 200);
    host.stop();
}

#[test]
fn r64_a_session_is_its_principals_alone() {
    let place = Place::new();
    let more = format!(
        "server: {{principals: [{{name: ada, token: {TOKEN}}}, {{name: bob, token: {OTHER}, \
         capabilities: [tool, mcp], tools: [echo]}}]}}"
    );
    let (host, mut site) = host(&place, &more);
    let refused = post(&site, None, &initialize());
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    site.token = Some(TOKEN);
    let session = open(&site);
    assert_eq!(post(&site, Some(&session), &call("echo", json!({}))).status, 200);
    site.token = Some(OTHER);
    assert_eq!(post(&site, Some(&session), &call("echo", json!({}))).status, 404);
    // The lists and the calls of a principal are what it may use.
    let own = open(&site);
    let listed = post(&site, Some(&own), &request("tools/list", json!({})));
    let tools = listed.message["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"echo") && !names.contains(&"sleep"), "{names:?}");
    let denied = post(&site, Some(&own), &call("sleep", json!({ "ms": 1 })));
    assert_ne!(denied.message["result"]["isError"], false, "{}", denied.message);
    host.stop();
}

#[test]
fn a_task_outlives_its_connection_and_is_its_principals_alone() {
    let place = Place::new();
    let more = format!(
        "mcp_server: {{task_after_s: 0.1}}\n\
         server: {{principals: [{{name: ada, token: {TOKEN}}}, {{name: bob, token: {OTHER}}}]}}"
    );
    let (host, mut site) = host(&place, &more);
    site.token = Some(TOKEN);
    let params = json!({ "name": "sleep", "arguments": { "ms": 600 } });
    let made = ask(&site, "tools/call", "sleep", params);
    let id = made["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let task = json!({ "taskId": id });
    site.token = Some(OTHER);
    for method in ["tasks/get", "tasks/cancel"] {
        let refused = ask(&site, method, &id, task.clone());
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
    }
    site.token = Some(TOKEN);
    // Each of these requests has a connection of its own.
    until(PATIENCE, "the task ends well", || {
        let seen = ask(&site, "tasks/get", &id, task.clone());
        assert!(seen["result"]["status"] != "cancelled", "{seen}");
        seen["result"]["status"] == "completed"
    });
    host.stop();
}

const ADA: &str = "ada-0123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef";
const CYD: &str = "cyd-0123456789abcdef0123456789abcdef";
const DEE: &str = "dee-0123456789abcdef0123456789abcdef";

/// A principal, the tools that it lists and does not list, and whether it has the resources of `mcp_a`.
type Sees<'a> = (&'static str, &'a [&'a str], &'a [&'a str], bool);

#[test]
fn r64_lists_and_offers_follow_tenant_and_capabilities() {
    let upstream = concat!(env!("CARGO_MANIFEST_DIR"), "/../a2e-caps/src/mcp/tests/upstream.py");
    let config = format!(
        "
mcp_server: {{expose: [\"memory/*\"]}}
tenants: {{a: {{max_in_flight: 8}}, b: {{max_in_flight: 8}}}}
server:
  principals:
    - {{name: ada, token: {ADA}, tenant: a}}
    - {{name: bob, token: {BOB}, tenant: b}}
    - {{name: cyd, token: {CYD}, tenant: a, capabilities: [tool, mcp]}}
    - {{name: dee, token: {DEE}, tenant: a, capabilities: [memory]}}
plugins:
  - {{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}}
  - {{name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {{tenants: [a]}}}}
  - name: mcp_a
    type: mcp
    cls: a2e.caps.mcp.plugin.MCPPlugin
    metadata:
      {{tenants: [a], state_dir: \"\", start_wait: 60,
       servers: {{up: {{command: [python3, \"{upstream}\"]}}}}}}
"
    );
    let place = Place::new();
    let host = Host::serve(&["-c", &place.config(&config), "--listen", "http://127.0.0.1:0"]);
    let mut site = Site::at(&host.addresses(1)[0]);
    let rows: [Sees<'_>; 4] = [
        (ADA, &["up__echo", "memory_store"], &[], true),
        (BOB, &[], &["up__echo", "memory_store"], false),
        (CYD, &["up__echo"], &["memory_store"], true),
        (DEE, &["memory_store"], &["up__echo"], false),
    ];
    for (token, has, lacks, has_resources) in rows {
        site.token = Some(token);
        let session = open(&site);
        let ask = |method: &str, params: Value| {
            post(&site, Some(&session), &request(method, params)).message
        };
        let listed = ask("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
        let is_listed = |name: &&str| tools.iter().any(|it| it["name"] == **name);
        assert!(has.iter().all(&is_listed), "{token}: {has:?} in {listed}");
        assert!(!lacks.iter().any(is_listed), "{token}: {lacks:?} in {listed}");
        for (method, key) in [
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
            ("prompts/list", "prompts"),
        ] {
            let listed = ask(method, json!({}));
            let all = listed["result"][key].as_array().unwrap_or_else(|| panic!("{listed}"));
            let is_of_a = all.iter().any(|it| {
                it["uri"] == "note://one"
                    || it["name"] == "up__greet"
                    || it["uriTemplate"] == "note://{name}"
            });
            assert_eq!(is_of_a, has_resources, "{token}: {listed}");
        }
        let greet = json!({ "name": "up__greet", "arguments": { "whom": "Ada" } });
        for (method, params) in
            [("resources/read", json!({ "uri": "note://one" })), ("prompts/get", greet)]
        {
            let got = ask(method, params);
            assert_eq!(got["error"].is_null(), has_resources, "{token}: {got}");
        }
    }
    host.stop();
}

#[test]
fn whoever_breaks_the_rules_of_a_session_is_answered_and_it_goes_on() {
    let place = Place::new();
    let (mut host, site) = host(&place, "");
    let session = open(&site);
    // The other era, in the middle.
    let mut params = json!({ "name": "echo", "arguments": { "a": 1 } });
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for version in ["2025-11-25", "2026-07-28"] {
        let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", version)];
        let body = request("tools/call", params.clone()).to_string();
        let other = exchange(&site, "POST /mcp", &headers, body.as_bytes());
        assert!([200, 400].contains(&other.status), "{version}: {}", other.head);
    }
    // A second beginning.
    let again = post(&site, Some(&session), &initialize());
    assert!(again.status < 500, "{}", again.head);
    // A cancel of what has ended, and of what never was; an answer that nobody waits for.
    for gone in [json!(7), json!("never")] {
        let params = json!({ "requestId": gone });
        let line =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        assert_eq!(post(&site, Some(&session), &line).status, 202);
        let line = json!({ "jsonrpc": "2.0", "id": gone, "result": {} });
        assert!(post(&site, Some(&session), &line).status < 500);
    }
    let done = post(&site, Some(&session), &call("echo", json!({ "b": 2 })));
    assert_eq!(done.message["result"]["structuredContent"], json!({ "b": 2 }));
    // The id of a session of a host that is gone, at the host that took its place.
    host.kill9();
    let listen = format!("http://{}", site.address());
    let config = place.path("a2e.yaml");
    let host = Host::serve(&["-c", config.to_str().unwrap(), "--listen", &listen]);
    host.addresses(1);
    let body = call("echo", json!({})).to_string();
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", "0")];
    for (line, body) in [("POST /mcp", body.as_str()), ("GET /mcp", "")] {
        assert_eq!(exchange(&site, line, &headers, body.as_bytes()).status, 404, "{line}");
    }
    assert!(exchange(&site, "DELETE /mcp", &headers, b"").status < 500);
    assert_eq!(post(&site, Some(&open(&site)), &call("echo", json!({}))).status, 200);
    host.stop();
}

#[test]
fn a_question_that_is_never_answered_ends_its_call() {
    let place = Place::new();
    let config = place.config(
        "plugins: [{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}]\n\
         mcp_server: {call_timeout_s: 1}",
    );
    let fixture = Path::new(env!("CARGO_BIN_EXE_a2e_fixture"));
    let listen = ["serve", "-c", &config, "--listen", "http://127.0.0.1:0"];
    let host = Host::start(&mut a2e_at(fixture, &listen));
    let site = Site::at(&host.addresses(1)[0]);
    let mut hello = initialize();
    hello["params"]["capabilities"] = json!({ "elicitation": {} });
    let session = session_of(&post(&site, None, &hello));
    let asks = call("test_elicitation", json!({ "message": "who?" }));
    let late = post(&site, Some(&session), &asks);
    assert!(late.message["result"].to_string().contains("timeout"), "{}", late.message);
    let done = post(&site, Some(&session), &call("test_simple_text", json!({})));
    assert_eq!(done.message["result"]["isError"], false, "{}", done.message);
    host.stop();
}
