//! What the audit says of a request beyond its type: its subject, its payload, no secret.

use std::path::Path;

use a2e_core::config::{AuditDetail, HostConfig, PluginConfig};
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::plugins::echo;
use crate::support::{audited, end, plugin, records, records_of, with};

const CAPS: &str = "a2e.caps";

fn capability(name: &str, class: &str) -> PluginConfig {
    PluginConfig::new(name, name, format!("{CAPS}.{name}.plugin.{class}"))
}

/// A host with files to read, programs to start and a memory, and its audit file.
async fn host(folder: &Path, backend: &str) -> TestHost {
    std::fs::write(folder.join("notes.md"), "text").unwrap();
    let root = folder.to_str().unwrap();
    let mut memory = capability("memory", "MemoryPlugin").with_setting("backend", backend);
    if backend == "sqlite" {
        memory = memory.with_setting("path", format!("{root}/memory.db"));
    }
    let config = with([
        capability("tools", "ToolPlugin")
            .with_setting("roots", json!([root]))
            .with_setting("http_get", json!({})),
        capability("proc", "ProcPlugin").with_setting("allowed_commands", json!(["sh", "true"])),
        memory,
    ]);
    TestHost::start(audited(config, &folder.join("audit.jsonl"))).await
}

fn subject_of(folder: &Path, id: &str) -> Value {
    let found = records_of(&folder.join("audit.jsonl"), id);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].get("payload").is_none(), "{}", found[0]);
    found[0]["subject"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_capability_says_what_was_done() {
    for backend in ["memory", "sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), backend).await;
        let mut session = host.session();
        session.handshake(&["tools", "memory", "proc"]).await;
        let id = session.send("memory/init/req", json!({ "namespace": "diary" })).await;
        let opened = session.reply_to(&id).await;
        assert_eq!(subject_of(folder.path(), &id), json!({ "namespace": "diary" }));
        let memory = &opened["memory_id"];
        let entry = json!({ "key": { "k": 1 }, "content": "c", "tier": "working" });
        for (kind, body) in [
            ("memory/store/req", json!({ "memory_id": memory, "entries": [entry] })),
            ("memory/retrieve/req", json!({ "memory_id": memory, "query": "c" })),
            ("memory/forget/req", json!({ "memory_id": memory, "keys": [{ "k": 1 }] })),
        ] {
            let id = session.send(kind, body).await;
            assert_ne!(session.reply_to(&id).await["type"], "error", "{kind}");
            assert_eq!(subject_of(folder.path(), &id), json!({ "namespace": "diary" }), "{kind}");
        }
        for (tool, arguments, path) in [
            ("read_file", json!({ "path": "notes.md" }), Some("notes.md")),
            ("list_files", json!({}), None),
            ("read_file", json!({ "path": "../../etc/shadow" }), Some("../../etc/shadow")),
            ("no_such_tool", json!({ "path": "x", "more": 1 }), Some("x")),
        ] {
            let body = json!({ "tool_name": tool, "arguments": arguments });
            let id = session.send("tool/call/req", body).await;
            session.reply_to(&id).await;
            let mut expected = json!({ "tool_name": tool });
            if let Some(path) = path {
                expected["arguments.path"] = path.into();
            }
            assert_eq!(subject_of(folder.path(), &id), expected);
        }
        // What is asked of another machine, also where it is refused.
        let url = "http://127.0.0.1:9/p?q=1&token=hunter2";
        let body = json!({ "tool_name": "http_get", "arguments": { "url": url } });
        let id = session.send("tool/call/req", body).await;
        assert_eq!(session.reply_to(&id).await["code"], "tool_denied");
        let shown = "http://127.0.0.1:9/p?q=1&token=***";
        let expected = json!({ "tool_name": "http_get", "arguments.url": shown });
        assert_eq!(subject_of(folder.path(), &id), expected);
        let cmd = ["sh", "-c", "exit 0", "--token", "hunter2", "K_TOKEN=hunter2"];
        let shown = "sh -c 'exit 0' --token *** K_TOKEN=***";
        let id = session.send("proc/spawn/req", json!({ "cmd": cmd })).await;
        let proc_id = session.reply_to(&id).await["proc_id"].clone();
        assert_eq!(subject_of(folder.path(), &id), json!({ "cmd": shown, "proc_id": proc_id }));
        let id = session.send("proc/spawn/req", json!({ "cmd": ["rm", "-rf", "/"] })).await;
        assert_eq!(session.reply_to(&id).await["ok"], false);
        assert_eq!(subject_of(folder.path(), &id), json!({ "cmd": "rm -rf /" }));
        let body = json!({ "proc_id": proc_id, "signal": "SIGKILL" });
        let id = session.send("proc/kill/req", body.clone()).await;
        session.reply_to(&id).await;
        assert_eq!(subject_of(folder.path(), &id), body);
        session.finish().await;
        end(host).await;
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Sends one request and gives its record.
async fn record(config: HostConfig, kind: &str, body: Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let host = TestHost::start(audited(config, &path)).await;
    let mut session = host.session();
    let id = session.send(kind, body).await;
    session.reply_to(&id).await;
    session.finish().await;
    end(host).await;
    let mut found = records_of(&path, &id);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_declared_at_every_door() {
    let body = json!({ "text": "a \u{e9}\"", "data": { "path": "p", "x": [1] }, "seq": 5 });
    for kind in echo::TYPES {
        let record = record(with([plugin("echo", "Echo")]), kind, body.clone()).await;
        assert_eq!(record["subject"], json!({ "text": "a \u{e9}\"", "data.path": "p" }), "{kind}");
        assert_eq!(record["outcome"], "ok", "{kind}");
    }
    // What declares none, has none.
    let record = record(with([plugin("echo", "Echo")]), "echo/wrap/req", body).await;
    assert!(record.get("subject").is_none(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_how_much_is_told() {
    let body = json!({ "text": "t", "data": { "auth_token": "abc" }, "more": "TOKEN=abc" });
    for detail in [AuditDetail::None, AuditDetail::Subject, AuditDetail::Payload] {
        let mut config = with([plugin("echo", "Echo")]);
        config.audit.detail = detail;
        let record = record(config, "echo/inline/req", body.clone()).await;
        let subject = (detail != AuditDetail::None).then(|| json!({ "text": "t" }));
        assert_eq!(record.get("subject").cloned(), subject, "{detail:?}");
        let payload = record.get("payload").map(|it| it.as_str().unwrap());
        let payload: Option<Value> = payload.map(|it| serde_json::from_str(it).unwrap());
        let told = json!({ "text": "t", "data": { "auth_token": "***" }, "more": "TOKEN=***" });
        assert_eq!(payload, (detail == AuditDetail::Payload).then_some(told), "{detail:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interceptor_made_of_a_request_is_what_is_told() {
    let guard = |name: &str, act: &str| {
        plugin(name, "Gatekeeper").with_setting("pattern", "echo/*").with_setting("act", act)
    };
    for (act, text) in
        [("modify", "t+guard"), ("later modify", "t+guard"), ("continue", "t"), ("cancel", "t")]
    {
        let config = with([plugin("echo", "Echo"), guard("guard", act)]);
        let record = record(config, "echo/pool/req", json!({ "text": "t" })).await;
        assert_eq!(record["subject"], json!({ "text": text }), "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_request_has_its_own_subject() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let host =
        TestHost::start(audited(with([plugin("caller", "Caller"), plugin("echo", "Echo")]), &path))
            .await;
    let mut session = host.session();
    let body =
        json!({ "to": "plugin echo", "wire_type": "echo/pool/req", "body": { "text": "inner" } });
    let id = session.send("caller/ask/req", body).await;
    session.reply_to(&id).await;
    session.finish().await;
    end(host).await;
    let records = records(&path);
    let inner: Vec<_> = records.iter().filter(|it| it["type"] == "echo/pool/req").collect();
    assert_eq!(inner.len(), 1, "{records:?}");
    assert_eq!(inner[0]["subject"], json!({ "text": "inner" }));
}
