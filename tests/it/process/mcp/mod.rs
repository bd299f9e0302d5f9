//! MCP over stdio, line by line: both eras, and clients that break the rules.

mod extensions;
mod gateway;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::support::proc_fs::{sleepers, token};
use super::support::program::{A2E, PATIENCE, Place, a2e_at, now, outcome, until};

/// The program with tools that ask their client.
const FIXTURE: &str = env!("CARGO_BIN_EXE_a2e_fixture");

/// A client of MCP and its host.
struct Client {
    host: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Client {
    fn start(program: &str, config: &str) -> Self {
        let mut command = a2e_at(Path::new(program), &["serve", "--mcp", "-c", config]);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut host = command.spawn().unwrap();
        let (input, output) = (host.stdin.take(), host.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { host, input, lines }
    }

    fn raw(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn send(&mut self, id: u64, method: &str, params: Value) {
        let line = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.raw(&line.to_string());
    }

    fn notify(&mut self, method: &str, params: Value) {
        let line = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.raw(&line.to_string());
    }

    fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line, in time");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("stdout has JSON alone: {line}"))
    }

    /// The answer under an id; what comes before it is let go.
    fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.next();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.send(id, method, params);
        self.answer(id)
    }

    fn call(&mut self, id: u64, tool: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn initialize(&mut self, version: &str, capabilities: Value) -> Value {
        let client = json!({ "name": "test", "version": "1" });
        let params = json!({
            "protocolVersion": version, "capabilities": capabilities, "clientInfo": client,
        });
        let answer = self.ask(1, "initialize", params);
        self.notify("notifications/initialized", json!({}));
        answer
    }

    /// Ends the input; the host must end by itself.
    fn end(mut self) {
        drop(self.input.take());
        let start = now();
        let status = loop {
            if let Some(status) = self.host.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the host goes on after the end of its input");
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended before.
        let _gone = self.host.kill();
        let _reaped = self.host.wait();
    }
}

const CONFIG: &str = "
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin, metadata: {roots: [\"{}\"]}}
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}
  - {name: proc, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: [sleep]}}
mcp_server: {expose: [\"memory/*\", \"proc/*\", \"host/*\"], inline_bytes: 1000}
audit: {enabled: true, path: '{}/audit.jsonl'}
";

fn modern(mut params: Value, capabilities: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "2" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    params
}

#[test]
fn a_session_lists_calls_reads_and_is_audited() {
    let place = Place::new();
    std::fs::write(place.path("note.txt"), "a note").unwrap();
    std::fs::write(place.path("dot.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    std::fs::write(place.path("long.txt"), "x".repeat(5000)).unwrap();
    let mut client = Client::start(A2E, &place.config(CONFIG));
    let hello = client.initialize("2025-06-18", json!({}));
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    let tools = client.ask(2, "tools/list", json!({}))["result"]["tools"].clone();
    let names: Vec<&str> =
        tools.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in ["read_file", "echo", "memory_store", "proc_spawn", "tool_search", "tool_call"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("host")), "{names:?}");
    let read = tools.as_array().unwrap().iter().find(|it| it["name"] == "read_file").unwrap();
    assert_eq!(read["annotations"]["readOnlyHint"], true);
    let again = client.ask(3, "tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools, again, "the order stays");
    let refused = client.ask(4, "tools/list", json!({ "cursor": "nonsense" }));
    assert_eq!(refused["error"]["code"], -32602);

    let echo = client.call(5, "echo", json!({ "a": 1 }));
    assert_eq!(echo["result"]["structuredContent"], json!({ "a": 1 }));
    // A memory is opened for the model, once.
    let entry = json!({ "entries": [{ "tier": "working", "key": { "k": 1 }, "content": "v" }] });
    let stored = client.call(6, "memory_store", entry);
    assert_eq!(stored["result"]["structuredContent"]["errors"], json!([]), "{stored}");
    let found = client.call(7, "memory_retrieve", json!({ "query": "v" }));
    assert_eq!(found["result"]["structuredContent"]["total"], 1, "{found}");
    // An image is one for a client that can show it.
    let image = client.call(8, "read_file", json!({ "path": "dot.png" }));
    assert_eq!(image["result"]["content"][0]["type"], "image", "{image}");
    assert_eq!(image["result"]["content"][0]["mimeType"], "image/png");
    // What is large comes as its beginning and a link.
    let long = client.call(9, "read_file", json!({ "path": "long.txt" }));
    let link = long["result"]["content"].as_array().unwrap().last().unwrap()["uri"].clone();
    let whole = client.ask(10, "resources/read", json!({ "uri": link }));
    assert!(whole["result"]["contents"][0]["text"].as_str().unwrap().len() > 5000, "{whole}");
    let file = client.ask(11, "resources/read", json!({ "uri": "file:///note.txt" }));
    assert_eq!(file["result"]["contents"][0]["text"], "a note");
    for outside in ["file:///../etc/passwd", "file:///%2e%2e/etc/passwd", "file:///etc/passwd"] {
        let refused = client.ask(12, "resources/read", json!({ "uri": outside }));
        assert!(refused["error"]["code"].is_i64(), "{outside}: {refused}");
    }
    let none = client.ask(13, "resources/read", json!({ "uri": "none://x" }));
    assert_eq!(none["error"]["code"], -32002, "the code of the older era");
    client.end();
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let record = audit.lines().find(|line| line.contains("memory/store/req")).unwrap();
    assert!(record.contains("mcp:test/1"), "{record}");
}

#[test]
fn errors_are_of_the_protocol_or_for_the_model_as_the_revision_wants() {
    for (version, bad_arguments_are_read) in [("2025-06-18", false), ("2025-11-25", true)] {
        let place = Place::new();
        let mut client = Client::start(A2E, &place.config(CONFIG));
        client.initialize(version, json!({}));
        let unknown = client.call(2, "nope", json!({}));
        assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
        let bad = client.call(3, "sleep", json!({ "ms": "x" }));
        assert_eq!(bad["result"]["isError"] == true, bad_arguments_are_read, "{version}: {bad}");
        assert_eq!(bad["error"]["code"] == -32602, !bad_arguments_are_read, "{version}: {bad}");
        let failed = client.call(4, "fail", json!({ "message": "because" }));
        assert_eq!(failed["result"]["isError"], true);
        assert_eq!(failed["result"]["content"][0]["text"], "tool_error: because");
        let odd = client.ask(5, "no/such/method", json!({}));
        assert_eq!(odd["error"]["code"], -32601, "{odd}");
        client.end();
    }
}

#[test]
fn whoever_breaks_the_rules_is_answered_and_the_session_goes_on() {
    let place = Place::new();
    let mut client = Client::start(A2E, &place.config(CONFIG));
    // Before `initialize` there is nothing to be had, and no harm.
    assert_eq!(client.ask(90, "tools/list", json!({}))["error"]["code"], -32602);
    assert!(client.ask(91, "ping", json!({}))["result"].is_object());
    let hello = client.initialize("2025-11-25", json!({}));
    assert_eq!(hello["result"]["serverInfo"]["name"], "a2e");
    // No JSON, no JSON-RPC, what is too deep.
    for garbage in ["{", "[]", "5", "\"x\"", r#"{"jsonrpc":"1.0","id":1}"#, &"[".repeat(5000)] {
        client.raw(garbage);
    }
    assert!(client.ask(92, "ping", json!({}))["result"].is_object());
    // The other era, in the middle: answered, and the session is what it was.
    let other = client.ask(93, "tools/list", modern(json!({}), json!({})));
    assert!(other["result"].is_object() || other["error"].is_object(), "{other}");
    // A cancel of what has ended, and of what never was.
    for gone in [json!(92), json!("never")] {
        client.notify("notifications/cancelled", json!({ "requestId": gone }));
    }
    // A cancel of what runs: no answer, and the tool ends.
    client.send(94, "tools/call", json!({ "name": "sleep", "arguments": { "ms": 600_000 } }));
    client.notify("notifications/cancelled", json!({ "requestId": 94 }));
    assert_eq!(client.call(95, "echo", json!({ "b": 2 }))["result"]["isError"], false);
    client.end();
}

#[test]
fn processes_end_with_their_client() {
    let place = Place::new();
    let (mut client, token) = (Client::start(A2E, &place.config(CONFIG)), token());
    client.initialize("2025-11-25", json!({}));
    let spawned = client.call(2, "proc_spawn", json!({ "cmd": ["sleep", token] }));
    assert_eq!(spawned["result"]["structuredContent"]["ok"], true, "{spawned}");
    until(PATIENCE, "the process runs", || !sleepers(&token).is_empty());
    client.end();
    until(PATIENCE, "the process ends", || sleepers(&token).is_empty());
}

#[test]
fn a_question_is_answered_refused_or_times_out() {
    let place = Place::new();
    let config = place.config(
        "plugins: [{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}]\n\
         mcp_server: {call_timeout_s: 1}",
    );
    let mut client = Client::start(FIXTURE, &config);
    client.initialize("2025-11-25", json!({ "elicitation": {} }));
    let call = json!({ "name": "test_elicitation", "arguments": { "message": "who?" } });
    client.send(2, "tools/call", call.clone());
    let asked = client.next();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert_eq!(asked["params"]["message"], "who?");
    let answer = json!({ "action": "accept", "content": { "username": "ada", "email": "a@b" } });
    let reply = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": answer });
    client.raw(&reply.to_string());
    let done = client.answer(2);
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("ada"), "{done}");
    // Refused, with an error of the client's.
    client.send(3, "tools/call", call.clone());
    let asked = client.next();
    let error = json!({ "code": -1, "message": "not now" });
    client.raw(&json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error }).to_string());
    let refused = client.answer(3);
    assert_eq!(refused["result"]["isError"], true);
    assert!(refused.to_string().contains("not now"), "{refused}");
    // Never answered.
    let late = client.ask(4, "tools/call", call);
    assert!(late["result"]["content"][0]["text"].as_str().unwrap().contains("timeout"), "{late}");
    // Not asked, since the client did not say that it can.
    let unable = client.call(5, "test_sampling", json!({ "prompt": "hello" }));
    assert_eq!(unable["result"]["isError"], true);
    assert!(unable.to_string().contains("mcp_capability_missing"), "{unable}");
    client.end();
}

#[test]
fn a_large_result_of_a_named_session_comes_whole() {
    let place = Place::new();
    std::fs::write(place.path("long.txt"), "x".repeat(5000)).unwrap();
    let mut client = Client::start(A2E, &place.config(CONFIG));
    let opened = modern(json!({ "name": "session_open", "arguments": {} }), json!({}));
    let opened = client.ask(1, "tools/call", opened);
    let params = json!({ "name": "read_file", "arguments": { "path": "long.txt" } });
    let mut params = modern(params, json!({}));
    params["_meta"]["dev.a2e/session"] = opened["result"]["structuredContent"]["session"].clone();
    let read = client.ask(2, "tools/call", params)["result"]["content"].clone();
    // A link would be looked for in the session of the request that reads it, which is another.
    assert!(read[0]["text"].as_str().unwrap().len() > 5000, "{read}");
    assert!(!read.to_string().contains("a2e://result"), "{read}");
    client.end();
}

#[test]
fn requests_stand_alone_in_the_newest_revision() {
    let place = Place::new();
    let mut client = Client::start(FIXTURE, &place.config(CONFIG));
    let discovered = client.ask(1, "server/discover", modern(json!({}), json!({})));
    let versions = &discovered["result"]["supportedVersions"];
    assert!(versions.as_array().unwrap().contains(&json!("2026-07-28")), "{discovered}");
    let listed = client.ask(2, "tools/list", modern(json!({}), json!({})));
    assert!(listed["result"]["tools"].to_string().contains("session_open"), "{listed}");
    assert_eq!(listed["result"]["resultType"], "complete");
    // A question is a result, and the answer repeats the call.
    let call = |more: Value| {
        let mut params = json!({
            "name": "test_input_required_result_elicitation", "arguments": {},
        });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        modern(params, json!({ "elicitation": {} }))
    };
    let asked = client.ask(3, "tools/call", call(json!({})));
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    let answer = json!({ "user_name": { "action": "accept", "content": { "name": "Ada" } } });
    let again = json!({ "requestState": state, "inputResponses": answer });
    let done = client.ask(4, "tools/call", call(again.clone()));
    assert_eq!(done["result"]["content"][0]["text"], "Hello, Ada!", "{done}");
    // Good once, and only for what it was given for.
    let used = client.ask(5, "tools/call", call(again.clone()));
    assert_eq!(used["error"]["code"], -32602, "{used}");
    let mut other = call(again);
    other["name"] = "test_input_required_result_request_state".into();
    assert_eq!(client.ask(6, "tools/call", other)["error"]["code"], -32602);
    // A session that is named keeps its memory; an unknown name is refused.
    let opened = modern(json!({ "name": "session_open", "arguments": {} }), json!({}));
    let opened = client.ask(7, "tools/call", opened);
    let session = opened["result"]["structuredContent"]["session"].clone();
    let entry = json!({ "tier": "working", "key": { "k": 1 }, "content": "v" });
    let arguments = json!({ "entries": [entry], "session": session });
    let store = modern(json!({ "name": "memory_store", "arguments": arguments }), json!({}));
    assert_eq!(client.ask(8, "tools/call", store)["result"]["isError"], false);
    let found = |session: &Value| {
        let arguments = json!({ "query": "v", "session": session });
        modern(json!({ "name": "memory_retrieve", "arguments": arguments }), json!({}))
    };
    let kept = client.ask(9, "tools/call", found(&session));
    assert_eq!(kept["result"]["structuredContent"]["total"], 1, "{kept}");
    assert_eq!(client.ask(10, "tools/call", found(&json!("x")))["error"]["code"], -32602);
    client.end();
}

#[test]
fn views_and_mistakes_in_the_settings() {
    let place = Place::new();
    let config = place.config(&format!(
        "{}\n",
        CONFIG.replace("inline_bytes: 1000", "views: {few: [\"echo\", \"memory_*\"]}")
    ));
    let names = |view: &str| {
        let args = ["serve", "--mcp", "--view", view, "-c", &config];
        let mut client = Client::of(&mut a2e_at(Path::new(A2E), &args));
        client.initialize("2025-11-25", json!({}));
        let listed = client.ask(2, "tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("search"), ["tool_search", "tool_call"]);
    let few = names("few");
    assert!(few[0] == "echo" && few.iter().skip(1).all(|it| it.starts_with("memory_")), "{few:?}");
    for (settings, expected) in [
        ("{pth: /x}", "did you mean \"path\"?"),
        ("{path: mcp}", "path: must begin with /"),
        ("{path: /ws}", "something else is served there"),
        ("{session_ttl: 0}", "expected seconds"),
        ("{page: 0}", "page: must be at least 1"),
        ("{views: {search: []}}", "cannot be the name of a view"),
        ("5", "expected a map"),
    ] {
        let config = place.config(&format!("mcp_server: {settings}"));
        for command in [&["check", &config][..], &["serve", "--mcp", "-c", &config]] {
            let (code, out, err) = outcome(&mut a2e_at(Path::new(A2E), command));
            assert_eq!(code, Some(1), "{settings}: {out}{err}");
            let told = format!("{out}{err}");
            assert!(told.contains(expected) && told.contains(":1:"), "{settings}: {told}");
        }
    }
    let config = place.config("mcp_server: {session_ttl: 60}");
    let (code, told, err) = outcome(&mut a2e_at(Path::new(A2E), &["check", &config]));
    assert!(code == Some(0) && told.contains("shorter than call_timeout_s"), "{told}{err}");
}

#[test]
fn the_block_for_each_client_names_program_file_and_variables() {
    let place = Place::new();
    let config = place.config("x-unused: ${A2E_SOME:-none}");
    let whole = std::fs::canonicalize(&config).unwrap();
    for (client, variable) in [
        ("claude", "\"${A2E_SOME}\""),
        ("cursor", "\"${env:A2E_SOME}\""),
        ("vscode", "\"servers\""),
        ("goose", "env_keys: [\"A2E_SOME\"]"),
    ] {
        let args = ["mcp", "config", "--client", client, "-c", &config];
        let (code, out, err) = outcome(&mut a2e_at(Path::new(A2E), &args));
        assert_eq!(code, Some(0), "{err}");
        for part in [A2E, whole.to_str().unwrap(), "\"--mcp\"", variable] {
            assert!(out.contains(part), "{client}: {part} in {out}");
        }
    }
    let none = ["mcp", "config", "-c", "/none.yaml"];
    assert_eq!(outcome(&mut a2e_at(Path::new(A2E), &none)).0, Some(1));
}
