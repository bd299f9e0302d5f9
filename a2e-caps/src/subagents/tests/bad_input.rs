//! What is refused: fields, ids, sizes, numbers.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_schema_violations() {
    let (host, mut session) = start(plugin()).await;
    let agent = |more: Value| {
        let mut agent = json!({ "name": "n", "model": "m" });
        agent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "agent": agent })
    };
    let large = "x".repeat(300_000);
    for (kind, body, loc) in [
        ("multi_agent/spawn", json!({}), ""),
        ("multi_agent/spawn", json!({ "name": 5 }), "name"),
        ("multi_agent/spawn", json!({ "name": "n", "role": 5 }), "role"),
        ("multi_agent/spawn", json!({ "name": "n", "model": [] }), "model"),
        ("multi_agent/spawn", json!({ "name": "n", "max_steps": "5" }), "max_steps"),
        ("multi_agent/spawn", json!({ "name": "n", "max_steps": -1 }), "max_steps"),
        ("multi_agent/spawn", json!({ "name": "n", "metadata": [] }), "metadata"),
        ("multi_agent/spawn", json!({ "name": large }), "config"),
        ("multi_agent/spawn", json!({ "name": "n", "role": "x".repeat(33_000) }), "config"),
        ("multi_agent/delegate", json!({ "task_name": "t", "instruction": "i" }), ""),
        ("multi_agent/delegate", json!({ "subagent_id": "s", "instruction": "i" }), ""),
        ("multi_agent/delegate", json!({ "subagent_id": "s", "task_name": "t" }), ""),
        (
            "multi_agent/delegate",
            json!({ "subagent_id": "s", "task_name": "t", "instruction": 5 }),
            "instruction",
        ),
        (
            "multi_agent/delegate",
            json!({ "subagent_id": "s", "task_name": "t", "instruction": "i",
            "success_criteria": [5] }),
            "success_criteria[0]",
        ),
        ("multi_agent/await", json!({}), ""),
        ("multi_agent/await", json!({ "subagent_id": 5 }), "subagent_id"),
        ("multi_agent/terminate", json!({}), ""),
        ("SUBAGENT_SPAWN_REQ", json!({}), ""),
        ("SUBAGENT_SPAWN_REQ", json!({ "agent": {} }), "agent"),
        ("SUBAGENT_SPAWN_REQ", json!({ "agent": { "name": "n" } }), "agent"),
        ("SUBAGENT_SPAWN_REQ", agent(json!({ "memory_scope": "all" })), "agent.memory_scope"),
        ("SUBAGENT_SPAWN_REQ", agent(json!({ "tool_scope": 5 })), "agent.tool_scope"),
        ("SUBAGENT_SPAWN_REQ", agent(json!({ "capabilities": "tools" })), "agent.capabilities"),
        ("SUBAGENT_SPAWN_REQ", agent(json!({ "timeout_seconds": 1.5 })), "agent.timeout_seconds"),
        ("SUBAGENT_SPAWN_REQ", agent(json!({ "metadata": { "x": large } })), "config"),
        ("SUBAGENT_DELEGATE_REQ", json!({ "subagent_id": "s" }), ""),
        ("SUBAGENT_DELEGATE_REQ", json!({ "subagent_id": "s", "task": {} }), "task"),
        ("SUBAGENT_DELEGATE_REQ", json!({ "subagent_id": "s", "task": { "name": "t" } }), "task"),
        (
            "SUBAGENT_DELEGATE_REQ",
            json!({ "subagent_id": "s", "task": { "name": "t", "instruction": large } }),
            "task",
        ),
        ("SUBAGENT_AWAIT_REQ", json!({}), ""),
        ("SUBAGENT_MESSAGE_REQ", json!({ "to_subagent_id": "s", "message": { "type": "t" } }), ""),
        ("SUBAGENT_MESSAGE_REQ", json!({ "from_subagent_id": "s", "to_subagent_id": "s" }), ""),
        (
            "SUBAGENT_MESSAGE_REQ",
            json!({ "from_subagent_id": "s", "to_subagent_id": "s", "message": {} }),
            "message",
        ),
        (
            "SUBAGENT_MESSAGE_REQ",
            json!({ "from_subagent_id": "s", "to_subagent_id": "s",
            "message": { "type": "t", "content": large } }),
            "message",
        ),
        ("SUBAGENT_CANCEL_REQ", json!({}), ""),
        ("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": null }), "subagent_id"),
        ("SUBAGENT_MERGE_REQ", json!({}), ""),
        ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": "s" }), "subagent_ids"),
        ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": vec!["s"; 300] }), "subagent_ids"),
        ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": ["a", "b", "a"] }), "subagent_ids[2]"),
        ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": [], "strategy": 5 }), "strategy"),
        ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": [], "strategy": "average" }), "strategy"),
    ] {
        let reply = session.call(kind, body.clone()).await;
        let shown: String = body.to_string().chars().take(120).collect();
        assert_eq!(reply["code"], "schema_violation", "{kind} {shown}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{kind} {shown}: {reply}");
        assert_eq!(reply["capability_name"], "multi_agent");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_unknown_or_of_another_session_are_told_so() {
    let (host, mut session) = start(plugin()).await;
    let own = spawn(&mut session, json!({})).await;
    let mut other = host.session();
    for id in ["nothing", "", own.as_str()] {
        let task = json!({ "name": "t", "instruction": "i" });
        for (kind, body) in [
            (
                "multi_agent/delegate",
                json!({ "subagent_id": id, "task_name": "t", "instruction": "i" }),
            ),
            ("multi_agent/await", json!({ "subagent_id": id })),
            ("multi_agent/terminate", json!({ "subagent_id": id })),
            ("SUBAGENT_DELEGATE_REQ", json!({ "subagent_id": id, "task": task })),
            ("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": id })),
            (
                "SUBAGENT_MESSAGE_REQ",
                json!({ "from_subagent_id": id, "to_subagent_id": id, "message": { "type": "t" } }),
            ),
            ("SUBAGENT_CANCEL_REQ", json!({ "subagent_id": id })),
            ("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": id })),
            ("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": [id] })),
        ] {
            let reply = other.call(kind, body).await;
            assert_eq!(
                (&reply["code"], &reply["detail"]["subagent_id"]),
                (&json!("runtime_error"), &json!(id)),
                "{kind}: {reply}"
            );
        }
    }
    let list = other.call("SUBAGENT_LIST_REQ", json!({})).await;
    assert_eq!(list["subagents"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_than_the_operator_allows() {
    let (host, mut session) = start(plugin().with_setting("max_subagents", 2)).await;
    let first = spawn(&mut session, json!({})).await;
    spawn(&mut session, json!({})).await;
    let one_more = json!({ "name": "n" });
    assert_eq!(session.call_error("multi_agent/spawn", one_more.clone()).await, "proc_limit");
    session.call("multi_agent/terminate", json!({ "subagent_id": first })).await;
    assert_eq!(session.call("multi_agent/spawn", one_more).await["status"], "READY");
    spawn(&mut host.session(), json!({})).await;
    host.stop().await;
}
