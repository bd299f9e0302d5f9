//! The typed client, and the example program.

use std::sync::{Arc, Mutex};

use a2e_client::{Client, ClientError, Options};

use super::*;
use crate::subagents::{MergeStrategy, SubagentConfig, SubagentStatus, SubagentTask, Subagents};

#[tokio::test(flavor = "multi_thread")]
async fn typed_subagents() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../a2e-server/examples/subagent.py");
    let (host, _) = start(plugin().with_setting("command", ["python3", example])).await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    let subagents = Subagents::new(&client);
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let _subscription = subagents.on_event(move |event| seen.lock().unwrap().push(event.event));
    let id = subagents.spawn(SubagentConfig::new("reader")).await.unwrap();
    let instruction = r#"{"tool": "echo", "arguments": {"text": "hi"}}"#;
    assert!(subagents.delegate(&id, SubagentTask::new("t", instruction)).await.unwrap());
    let done = subagents.settled(&id).await.unwrap();
    assert_eq!(done.status, SubagentStatus::Completed, "{done:?}");
    assert_eq!(done.result.unwrap()["data"], json!({ "text": "hi" }));
    let unknown = r#"{"tool": "nothing", "arguments": {}}"#;
    assert!(subagents.delegate(&id, SubagentTask::new("t", unknown)).await.unwrap());
    let done = subagents.settled(&id).await.unwrap();
    assert!(done.error.unwrap().contains("unknown_tool"));
    assert_eq!(subagents.list().await.unwrap().len(), 1);
    assert!(
        subagents
            .merge(std::slice::from_ref(&id), MergeStrategy::Collect)
            .await
            .unwrap()
            .contains_key(&id)
    );
    assert!(subagents.send(&id, &id, "note", json!(1)).await.unwrap());
    assert_eq!(subagents.cancel(&id).await.unwrap(), SubagentStatus::Failed, "nothing to cancel");
    subagents.terminate(&id).await.unwrap();
    let error = subagents.settled("nothing").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Remote(it) if it.code.as_str() == "runtime_error"),
        "{error:?}"
    );
    until("events", || told.lock().unwrap().last().is_some_and(|it| it == "terminated")).await;
    client.close().await;
    host.stop().await;
}
