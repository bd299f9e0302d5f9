//! The typed client against a host in the same program.

use std::time::Duration;

use a2e_client::{CallOptions, Client, EventMessage, Options};
use a2e_core::config::PluginConfig;
use a2e_core::protocol::{ErrorCode, EventKind};
use serde_json::{Value, json};

use super::{DEMO, start, tools};
use crate::tools::client::ToolClient;
use crate::tools::contract::ToolListRequest;

/// What `read_file` gives, as far as it is looked at.
#[derive(serde::Deserialize)]
struct Read {
    content: String,
    size: u64,
}

#[tokio::test]
async fn the_typed_client_lists_calls_streams_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "x").unwrap();
    let demo = PluginConfig::new("demo", "tools", DEMO);
    let plugin = tools("tools", &[folder.path()]);
    let plugin = plugin.with_setting("providers", ["read_file", "list_dir"]);
    let (host, _) = start([demo, plugin]).await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    let it = ToolClient::new(&client);
    assert_eq!(it.list().await.unwrap().len(), 6);
    let request =
        ToolListRequest { query: "list".into(), include_deferred: true, ..Default::default() };
    let found = it.find(&request).await.unwrap();
    let found: Vec<&str> = found.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(found, ["hidden", "list_dir"]);
    let result = it.call("read_file", &json!({ "path": "f" })).await.unwrap();
    assert!(result.success && result.data.unwrap().get().contains(r#""content":"x""#));
    let read: Read = it.call_as("read_file", &json!({ "path": "f" })).await.unwrap();
    assert_eq!((read.content.as_str(), read.size), ("x", 1));
    let other = it.call_as::<Vec<u8>>("read_file", &json!({ "path": "f" })).await;
    assert!(other.unwrap_err().to_string().contains("read_file"));
    assert_eq!(it.quarantined().await.unwrap(), 0);
    let mut kinds = Vec::new();
    let three = json!({ "n": 3 });
    let note = |event: EventMessage| kinds.push(event.kind().clone());
    assert!(it.call_with_events("stream", &three, note).await.unwrap().success);
    assert_eq!(kinds, vec![EventKind::Progress; 3]);
    for (tool, arguments, code) in [
        ("nope", json!({}), "unknown_tool"),
        ("echo", json!([]), "schema_violation"),
        ("read_file", json!({ "path": "../x" }), "tool_denied"),
        ("sleep", json!({ "ms": 60_000 }), "timeout"),
    ] {
        let short = it.clone().timeout(Duration::from_secs(1));
        let error = short.call(tool, &arguments).await.unwrap_err();
        assert_eq!(error.code().map(ErrorCode::as_str), Some(code), "{tool}: {error}");
    }
    assert!(it.call("echo", &f64::NAN).await.is_err());
    client.close().await;
    host.stop().await;
}

#[tokio::test]
async fn r11_arguments_of_the_allowed_depth_are_echoed() {
    // The request itself is the first level of the 127.
    let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!({ "a": inner }));
    for run in ["inline", "pool", "blocking", "future"] {
        let demo = PluginConfig::new("demo", "tools", DEMO).with_setting("run", run);
        let (host, _) = start([demo]).await;
        let options = Options::new("test");
        let client = Client::connect(host.executor().connect(), options).await.unwrap();
        let it = ToolClient::new(&client);
        for levels in [1, 124, 125, 126] {
            let deep = nested(levels);
            let result = it.call("echo", &deep).await.unwrap();
            assert_eq!(result.data.unwrap().decode::<Value>().unwrap(), deep, "{run} {levels}");
            let reply: Value = it.call_as("echo", &deep).await.unwrap();
            assert_eq!(reply, deep, "{run} {levels}");
            let body = json!({ "tool_name": "echo", "arguments": deep });
            let calling = client.call_raw("tool/call/req", &body, CallOptions::default()).await;
            let reply: Value = calling.unwrap().reply().await.unwrap().decode().unwrap();
            assert_eq!(reply["data"]["data"], deep, "{run} {levels}, as a value");
        }
        // A deeper one is not sent: the host would not read it.
        let error = it.call("echo", &nested(127)).await.unwrap_err();
        assert!(error.to_string().contains("127"), "{run}: {error}");
        client.close().await;
        host.stop().await;
    }
}
