//! The typed client.

use a2e_client::{Client, ClientError, Options};

use super::*;
use crate::planning::{Planning, TaskAddRequest, TaskUpdateRequest};

#[tokio::test(flavor = "multi_thread")]
async fn typed_plans() {
    let root = tempfile::tempdir().unwrap();
    let (host, _) = start(plugin(root.path())).await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    let planning = Planning::new(&client);
    let plan = planning.create("typed", &[]).await.unwrap();
    assert_eq!(planning.plans().await.unwrap()[0].columns.len(), 4);
    let task = planning.add(&TaskAddRequest::new(&plan, "t")).await.unwrap();
    let change =
        TaskUpdateRequest { assignee: "Ada".into(), ..TaskUpdateRequest::new(&plan, &task) };
    planning.update(&change).await.unwrap();
    assert_eq!(planning.tasks(&plan, "backlog").await.unwrap()[0].assignee, "Ada");
    assert_eq!(planning.board(&plan).await.unwrap().unwrap().tasks["backlog"].len(), 1);
    assert!(planning.board("x").await.unwrap().is_none());
    let own =
        TaskUpdateRequest { deps: vec![task.clone()], ..TaskUpdateRequest::new(&plan, &task) };
    let error = planning.update(&own).await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol(text) if text.contains("circle")), "{error}");
    client.close().await;
    host.stop().await;
}
