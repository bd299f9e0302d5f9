//! Servers over HTTP, streamable and the older way; their tokens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Set, failure, is, servers, text, tools, until};

/// A server that ends with this.
pub(super) struct Server(Child, u16);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(super) fn serve(mode: &str, token: Option<&Path>) -> Server {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/mcp/tests/upstream_http.py");
    let mut command = Command::new("python3");
    command.args([program, mode]).args(token).stdout(Stdio::piped());
    let mut child = command.env("PYTHONDONTWRITEBYTECODE", "1").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server(child, line.trim().parse().unwrap())
}

impl Server {
    pub(super) fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_http_is_used_in_either_way_and_era() {
    let (legacy, modern) = (serve("well", None), serve("modern", None));
    for (settings, version) in [
        (json!({ "url": legacy.at("/mcp") }), "2025-06-18"),
        (json!({ "url": legacy.at("/mcp"), "era": "legacy" }), "2025-06-18"),
        (json!({ "url": modern.at("/mcp") }), "2026-07-28"),
        (json!({ "url": legacy.at("/sse"), "transport": "sse" }), "2025-06-18"),
    ] {
        let set = Set::up(json!({ "far": settings })).await;
        let mut session = set.host.session();
        let info = until(&mut session, "far", is("ready")).await;
        assert_eq!(info["mcp_version"], version, "{info}");
        assert!(tools(&mut session).await.contains_key("far__echo"));
        assert_eq!(text(&mut session, "far__echo", json!({ "text": "ü" })).await, "ü");
        let request = json!({ "tool_name": "far__slow", "arguments": { "steps": 3 },
                              "streaming": true });
        let id = session.send("tool/call/req", request).await;
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["data"]["data"]["text"], "done", "{reply}");
        let events: Vec<Value> = session.others();
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(events[2]["data"]["pct"], 100);
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_and_read_again_when_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    let say = |token: &str| {
        std::fs::write(&theirs, token).unwrap();
        std::fs::write(&ours, format!("{token}\n")).unwrap();
    };
    say("one");
    let server = serve("well", Some(&theirs));
    let command = json!(["cat", ours.to_str().unwrap()]);
    let settings = json!({
        "file": { "url": server.at("/mcp"), "token_file": ours.to_str().unwrap() },
        "command": { "url": server.at("/sse"), "transport": "sse", "token_command": command },
    });
    let set = Set::up(settings).await;
    let mut session = set.host.session();
    for token in ["one", "two"] {
        say(token);
        for id in ["file", "command"] {
            until(&mut session, id, is("ready")).await;
            let tool = format!("{id}__echo");
            assert_eq!(text(&mut session, &tool, json!({ "text": "x" })).await, "x");
        }
    }
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_server_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t").unwrap();
    let (closed, open) = (serve("well", Some(&token)), serve("well", None));
    let (foreign, missing) = (serve("foreign", None), folder.path().join("missing"));
    for (settings, expected) in [
        (json!({ "url": closed.at("/mcp") }), "token_file"),
        (json!({ "url": closed.at("/sse"), "transport": "sse" }), "token_file"),
        (json!({ "url": open.at("/mcp"), "token_file": missing }), "missing"),
        (
            json!({ "url": open.at("/sse"), "transport": "sse", "token_command": "false" }),
            "exit code 1",
        ),
        (json!({ "url": "http://127.0.0.1:1/mcp?key=a)SECRET" }), "refused"),
        (json!({ "url": "http://127.0.0.1:1/sse?key=SECRET", "transport": "sse" }), "refused"),
        (json!({ "url": open.at("/none"), "transport": "sse" }), "405"),
        (json!({ "url": foreign.at("/sse"), "transport": "sse" }), "which is not its own"),
        // Where it leads is not followed: the token is for one address.
        (json!({ "url": open.at("/elsewhere") }), "307"),
    ] {
        let mut settings = settings;
        settings["restart"] = false.into();
        let set = Set::up(json!({ "far": settings })).await;
        let mut session = set.host.session();
        let info = until(&mut session, "far", |it| it["error"] != "").await;
        let why = info["error"].as_str().unwrap();
        assert!(why.contains(expected), "{expected}: {why}");
        assert!(!info.to_string().contains("SECRET"), "{info}");
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_told_and_found_again() {
    let server = serve("well", None);
    let port = server.1;
    let set = Set::up(json!({ "far": { "url": server.at("/mcp") } })).await;
    let mut session = set.host.session();
    until(&mut session, "far", is("ready")).await;
    // A call that is under way ends as well.
    let hangs = json!({ "tool_name": "far__never", "arguments": {}, "timeout": 300 });
    let id = session.send("tool/call/req", hangs).await;
    assert_eq!(text(&mut session, "far__echo", json!({ "text": "x" })).await, "x");
    drop(server);
    let cut = session.reply_to(&id).await;
    assert_eq!((&cut["type"], &cut["retryable"]), (&json!("error"), &json!(true)), "{cut}");
    let error = failure(&mut session, "far__echo", json!({ "text": "x" })).await;
    assert_eq!(error["retryable"], true, "{error}");
    assert!(error["message"].as_str().unwrap().contains("`far`"), "{error}");
    assert!(servers(&mut session).await["far"]["url"].is_null(), "{port}");
    set.host.stop().await;
}
