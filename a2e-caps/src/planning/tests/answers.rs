//! What each request does.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_tasks_and_their_board() {
    let root = tempfile::tempdir().unwrap();
    let (host, mut session) = start(plugin(root.path())).await;
    let first = plan(&mut session, json!({})).await;
    let odd = json!({ "name": "od,d", "columns": ["a,b", "ü", "'; DROP TABLE plans; --"], "description": "d" });
    let second = plan(&mut session, odd.clone()).await;
    let reply = session.call("planning/plan/list", json!({})).await;
    assert_eq!(reply["type"], "planning/plan/list/resp");
    let usual = json!(["backlog", "todo", "in_progress", "done"]);
    let expected = json!([
        { "plan_id": first, "name": "default", "columns": usual },
        { "plan_id": second, "name": "od,d", "columns": odd["columns"] },
    ]);
    assert_eq!(reply["plans"], expected);

    let design = task(&mut session, &first, "design", json!({})).await;
    let build =
        json!({ "deps": [design], "status": "todo", "assignee": "Ada", "metadata": { "n": 1 } });
    let build = task(&mut session, &first, "build", build).await;
    task(&mut session, &second, "elsewhere", json!({ "status": "" })).await;
    task(&mut session, &second, "foreign", json!({ "status": "some'where" })).await;
    for (plan, status, expected) in [
        ("", "", vec!["design", "build", "elsewhere", "foreign"]),
        (&*first, "", vec!["design", "build"]),
        (&first, "todo", vec!["build"]),
        ("", "todo", vec!["build"]),
        ("", "a,b", vec!["elsewhere"]),
        (&second, "todo", vec![]),
        ("nothing", "", vec![]),
        ("", "' OR 1 --", vec![]),
    ] {
        assert_eq!(tasks(&mut session, plan, status).await, expected, "{plan} {status}");
    }

    let reply = session.call("planning/plan/board", json!({})).await;
    assert_eq!(reply["type"], "planning/plan/board/resp");
    let on_board = |id: &str, title: &str, status: &str, assignee: &str| json!({ "task_id": id, "title": title, "status": status, "assignee": assignee });
    let boards = reply["boards"].as_array().unwrap();
    assert_eq!(boards.len(), 2);
    assert_eq!(
        boards[0],
        json!({
            "plan_id": first, "name": "default", "columns": usual, "tasks": {
                "backlog": [on_board(&design, "design", "backlog", "")],
                "todo": [on_board(&build, "build", "todo", "Ada")],
                "in_progress": [], "done": [],
            },
        })
    );
    let columns = boards[1]["tasks"].as_object().unwrap();
    assert_eq!(columns.len(), 4, "one for each column and one for the foreign status: {columns:?}");
    assert_eq!(columns["some'where"][0]["title"], "foreign");
    let one = session.call("planning/plan/board", json!({ "plan_id": second })).await;
    assert_eq!(one["boards"], json!([boards[1]]));
    let none = session.call("planning/plan/board", json!({ "plan_id": "x" })).await;
    assert_eq!(none["boards"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_change_what_they_name() {
    let root = tempfile::tempdir().unwrap();
    let (host, mut session) = start(plugin(root.path())).await;
    let own = plan(&mut session, json!({})).await;
    let other = plan(&mut session, json!({})).await;
    let a = task(&mut session, &own, "a", json!({ "assignee": "Ada" })).await;
    let b = task(&mut session, &own, "b", json!({ "deps": [a] })).await;
    let c = task(&mut session, &own, "c", json!({ "deps": [b, "no task"] })).await;
    let cases = [
        ("moved", json!({ "status": "done" }), true, json!(["done", "Ada", []])),
        ("given", json!({ "assignee": "Bo" }), true, json!(["done", "Bo", []])),
        ("nothing", json!({}), true, json!(["done", "Bo", []])),
        (
            "empty",
            json!({ "status": "", "assignee": "", "deps": [] }),
            true,
            json!(["done", "Bo", []]),
        ),
        ("no task", json!({ "deps": ["free text"] }), true, json!(["done", "Bo", ["free text"]])),
        ("itself", json!({ "deps": [a] }), false, json!(["done", "Bo", ["free text"]])),
        (
            "a circle",
            json!({ "deps": [c], "status": "todo" }),
            false,
            json!(["done", "Bo", ["free text"]]),
        ),
    ];
    for (name, change, success, expected) in cases {
        let mut body = json!({ "plan_id": own, "task_id": a });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let reply = session.call("planning/task/update", body).await;
        assert_eq!(reply["type"], "planning/task/update/resp", "{name}: {reply}");
        assert_eq!(
            (&reply["success"], &reply["task_id"]),
            (&json!(success), &json!(a)),
            "{name}: {reply}"
        );
        assert_eq!(reply.get("code").is_some(), !success, "{name}: {reply}");
        if name == "a circle" {
            let way = format!("{a} -> {c} -> {b} -> {a}");
            assert!(reply["error"].as_str().unwrap().contains(&way), "{reply}");
        }
        let list = session.call("planning/task/list", json!({ "plan_id": own })).await;
        let now = &list["tasks"][0];
        assert_eq!(json!([now["status"], now["assignee"], now["deps"]]), expected, "{name}");
    }
    for (plan, task) in [(&other, &a), (&own, &"nothing".to_owned()), (&"x".to_owned(), &a)] {
        let body = json!({ "plan_id": plan, "task_id": task, "status": "todo" });
        let reply = session.call("planning/task/update", body).await;
        assert_eq!(
            (&reply["success"], &reply["code"]),
            (&json!(false), &json!("runtime_error")),
            "{reply}"
        );
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_cut_before_it_is_too_large() {
    let root = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new().plugin(plugin(root.path()));
    config.limits.max_line_bytes = 64 << 10;
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let own = plan(&mut session, json!({})).await;
    for n in 0..20 {
        task(&mut session, &own, &format!("{n}{}", "\u{e9}".repeat(400)), json!({})).await;
    }
    let list = session.call("planning/task/list", json!({})).await;
    assert_eq!(list["total"], 20);
    let sent = list["tasks"].as_array().unwrap().len();
    assert!((1..20).contains(&sent), "{sent}");
    let board = session.call("planning/plan/board", json!({})).await;
    assert_eq!(board["truncated"], true);
    assert!(board.to_string().len() < 64 << 10);
    host.stop().await;
}
