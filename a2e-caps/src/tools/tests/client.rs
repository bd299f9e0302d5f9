//! The typed client against a host in the same program.

use std::time::Duration;

use a2e_client::{Client, EventMessage, Options};
use a2e_core::config::PluginConfig;
use a2e_core::protocol::{ErrorCode, EventKind};
use serde_json::json;

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
