//! What is refused: fields, bounds, files.

use a2e_core::Executor;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_schema_violations() {
    let root = tempfile::tempdir().unwrap();
    let (host, mut session) = start(plugin(root.path())).await;
    let own = plan(&mut session, json!({})).await;
    let long = "x".repeat(1025);
    let many: Vec<String> = (0..300).map(|it| it.to_string()).collect();
    for (kind, body, loc) in [
        ("plan/create", json!({ "name": 5 }), "name"),
        ("plan/create", json!({ "name": null }), "name"),
        ("plan/create", json!({ "columns": "todo" }), "columns"),
        ("plan/create", json!({ "columns": [5] }), "columns[0]"),
        ("plan/create", json!({ "columns": ["a", " "] }), "columns[1]"),
        ("plan/create", json!({ "columns": ["a", "b", "a"] }), "columns[2]"),
        ("plan/create", json!({ "columns": many }), "columns"),
        ("plan/create", json!({ "columns": [long] }), "columns[0]"),
        ("plan/create", json!({ "description": [] }), "description"),
        ("plan/create", json!({ "description": "x".repeat(70_000) }), "description"),
        ("plan/create", json!({ "name": long }), "name"),
        ("task/add", json!({ "title": "t" }), ""),
        ("task/add", json!({ "plan_id": own }), ""),
        ("task/add", json!({ "plan_id": 5, "title": "t" }), "plan_id"),
        ("task/add", json!({ "plan_id": own, "title": {} }), "title"),
        ("task/add", json!({ "plan_id": own, "title": long }), "title"),
        ("task/add", json!({ "plan_id": own, "title": "t", "status": 1 }), "status"),
        ("task/add", json!({ "plan_id": own, "title": "t", "status": long }), "status"),
        ("task/add", json!({ "plan_id": own, "title": "t", "description": 1 }), "description"),
        ("task/add", json!({ "plan_id": own, "title": "t", "assignee": 1 }), "assignee"),
        ("task/add", json!({ "plan_id": own, "title": "t", "deps": "a" }), "deps"),
        ("task/add", json!({ "plan_id": own, "title": "t", "deps": [1] }), "deps[0]"),
        ("task/add", json!({ "plan_id": own, "title": "t", "deps": many }), "deps"),
        ("task/add", json!({ "plan_id": own, "title": "t", "deps": ["x".repeat(65)] }), "deps[0]"),
        ("task/add", json!({ "plan_id": own, "title": "t", "metadata": [] }), "metadata"),
        (
            "task/add",
            json!({ "plan_id": own, "title": "t", "metadata": { "x": "x".repeat(70_000) } }),
            "metadata",
        ),
        ("task/update", json!({ "task_id": "t" }), ""),
        ("task/update", json!({ "plan_id": own }), ""),
        ("task/update", json!({ "plan_id": own, "task_id": 5 }), "task_id"),
        ("task/update", json!({ "plan_id": own, "task_id": "t", "status": 5 }), "status"),
        ("task/update", json!({ "plan_id": own, "task_id": "t", "assignee": long }), "assignee"),
        ("task/update", json!({ "plan_id": own, "task_id": "t", "deps": [null] }), "deps[0]"),
        (
            "task/update",
            json!({ "plan_id": own, "task_id": "t", "deps": ["a", "x".repeat(65)] }),
            "deps[1]",
        ),
        ("task/list", json!({ "plan_id": 5 }), "plan_id"),
        ("task/list", json!({ "status": [] }), "status"),
        ("plan/board", json!({ "plan_id": false }), "plan_id"),
    ] {
        let reply = session.call(&format!("planning/{kind}"), body.clone()).await;
        assert_eq!(reply["code"], "schema_violation", "{kind} {body}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{kind} {body}: {reply}");
        assert_eq!(reply["capability_name"], "planning");
    }
    assert!(tasks(&mut session, "", "").await.is_empty(), "nothing was added");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_full_is_told_in_the_reply() {
    let root = tempfile::tempdir().unwrap();
    let small = plugin(root.path()).with_setting("max_plans", 1).with_setting("max_tasks", 2);
    let (host, mut session) = start(small).await;
    let own = plan(&mut session, json!({})).await;
    task(&mut session, &own, "a", json!({})).await;
    task(&mut session, &own, "b", json!({})).await;
    for (kind, body, code) in [
        ("plan/create", json!({}), "out_of_memory"),
        ("task/add", json!({ "plan_id": own, "title": "c" }), "out_of_memory"),
        ("task/add", json!({ "plan_id": "nothing", "title": "c" }), "runtime_error"),
        ("task/add", json!({ "plan_id": "", "title": "c" }), "runtime_error"),
    ] {
        let reply = session.call(&format!("planning/{kind}"), body).await;
        assert_eq!(reply["type"], format!("planning/{kind}/resp"), "{reply}");
        assert_eq!((&reply["success"], &reply["code"]), (&json!(false), &json!(code)), "{reply}");
        assert_ne!(reply["error"], "", "{reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_stops_the_host() {
    let root = tempfile::tempdir().unwrap();
    let (text, other) = (root.path().join("text"), root.path().join("other"));
    for folder in [&text, &other] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(text.join("planning.db"), "no database").unwrap();
    let file = rusqlite::Connection::open(other.join("planning.db")).unwrap();
    file.execute_batch("CREATE TABLE x (y)").unwrap();
    for (folder, why) in [(&text, "not an SQLite database"), (&other, "another program")] {
        let builder = Executor::builder(HostConfig::new().plugin(plugin(folder)));
        let error = TestHost::build(builder).await.err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}
