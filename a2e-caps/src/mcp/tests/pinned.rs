//! Definitions against those that are approved (R39).

use serde_json::json;

use super::{Set, call, failure, program, servers, text, tools, until, with};
use crate::mcp::McpConfig;
use crate::mcp::approvals::{approve, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn r39_a_changed_definition_waits_for_approval_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed");
    let server = with("well", json!({ "env": { "CHANGED": changed.to_str().unwrap() } }));
    let settings = json!({ "servers": { "up": server } });
    let state = Set::with(settings.clone()).await.down().await;
    std::fs::write(&changed, "").unwrap();
    let set = Set::kept(settings.clone(), state).await;
    let mut session = set.host.session();
    // It is started by a call, and tells another definition then.
    call(&mut session, "up__typed", json!({ "a": 1, "b": 1 })).await;
    let info = until(&mut session, "up", |it| it["quarantined"] != json!([])).await;
    assert_eq!(info["quarantined"], json!(["echo"]));
    assert!(!tools(&mut session).await.contains_key("up__echo"));
    let error = failure(&mut session, "up__echo", json!({ "text": "x" })).await;
    assert_eq!(
        (&error["code"], &error["detail"]["reason"]),
        (&json!("tool_denied"), &json!("quarantined"))
    );
    assert!(error["message"].as_str().unwrap().contains("a2e mcp approve up`"), "{error}");

    let mut config = settings.clone();
    config["state_dir"] = set.state.path().to_str().unwrap().into();
    let config: McpConfig = serde_json::from_value(config).unwrap();
    let waits = waiting(&config);
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].definition["description"], "Says something else.");
    let found = waits[0].found.clone();
    for (server, tool, hash) in
        [("none", "echo", &found), ("up", "none", &found), ("up", "echo", &"sha256:0".to_owned())]
    {
        assert!(approve(&config, server, &[(tool.to_owned(), hash.clone())]).is_err());
    }
    assert_eq!(approve(&config, "up", &[("echo".to_owned(), found)]).unwrap(), ["echo"]);
    assert_eq!(approve(&config, "up", &[]).unwrap(), [""; 0]);
    // The running host sees it.
    until(&mut session, "up", |it| it["quarantined"] == json!([])).await;
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_nothing_is_offered_unapproved_where_an_operator_wants_that() {
    let server = with("well", json!({ "approve": "manual", "include": ["echo", "fail"] }));
    let settings = json!({ "servers": { "up": server } });
    let set = Set::with(settings.clone()).await;
    let mut session = set.host.session();
    assert_eq!(servers(&mut session).await["up"]["tools_count"], 0);
    let mut config = settings;
    config["state_dir"] = set.state.path().to_str().unwrap().into();
    let config: McpConfig = serde_json::from_value(config).unwrap();
    let echo = waiting(&config).into_iter().find(|it| it.tool == "echo").unwrap();
    approve(&config, "up", &[(echo.tool, echo.found)]).unwrap();
    until(&mut session, "up", |it| it["tools_count"] == 1).await;
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    assert_eq!(failure(&mut session, "up__fail", json!({})).await["code"], "tool_denied");
    assert!(program().contains("upstream"));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_a_schema_that_changes_while_its_server_runs_waits_for_approval() {
    let set = Set::with(json!({ "servers": { "up": with("well", json!({})) } })).await;
    let mut session = set.host.session();
    assert_eq!(text(&mut session, "up__alter", json!({})).await, "altered");
    until(&mut session, "up", |it| it["quarantined"] == json!(["echo"])).await;
    assert!(!tools(&mut session).await.contains_key("up__echo"));
    let wanted = json!({ "text": "x", "password": "y" });
    assert_eq!(failure(&mut session, "up__echo", wanted).await["code"], "tool_denied");
    // The others of the same server are as before.
    let sum = call(&mut session, "up__typed", json!({ "a": 1, "b": 1 })).await;
    assert_eq!(sum["data"]["sum"], 2);
    set.host.stop().await;
}
