//! Both families with the built-in worker.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_lower_family_from_spawn_to_end() {
    let (host, mut session) = start(plugin().with_setting("worker_ms", 30)).await;
    let spawned = session
        .call("multi_agent/spawn", json!({ "name": "a", "role": "reader", "metadata": { "k": 1 } }))
        .await;
    assert_eq!(
        (&spawned["type"], &spawned["status"]),
        (&json!("multi_agent/spawn/resp"), &json!("READY"))
    );
    let id = spawned["subagent_id"].clone();
    let waited = session.call("multi_agent/await", json!({ "subagent_id": id })).await;
    assert_eq!(
        (&waited["status"], &waited["result"]),
        (&json!("READY"), &json!(null)),
        "no task: at once"
    );
    let task = json!({ "subagent_id": id, "task_name": "t", "instruction": "do", "success_criteria": ["x"] });
    let taken = session.call("multi_agent/delegate", task.clone()).await;
    assert_eq!(
        (&taken["type"], &taken["accepted"], &taken["status"]),
        (&json!("multi_agent/delegate/resp"), &json!(true), &json!("RUNNING"))
    );
    let again = session.call("multi_agent/delegate", task).await;
    assert_eq!(
        (&again["accepted"], &again["status"]),
        (&json!(false), &json!("RUNNING")),
        "it has one"
    );
    let waited = session.call("multi_agent/await", json!({ "subagent_id": id })).await;
    assert_eq!(waited["type"], "multi_agent/await/resp");
    assert_eq!((&waited["status"], &waited["error"]), (&json!("COMPLETED"), &json!(null)));
    assert_eq!(waited["result"], json!({ "summary": "Completed task: t", "instruction": "do" }));
    let list = session.call("multi_agent/list", json!({})).await;
    let info = &list["subagents"][0];
    assert_eq!(
        (&info["subagent_id"], &info["status"], &info["depth"]),
        (&id, &json!("COMPLETED"), &json!(0))
    );
    assert_eq!(
        (&info["config"]["role"], &info["config"]["max_steps"], &info["config"]["model"]),
        (&json!("reader"), &json!(20), &json!("default"))
    );
    let ended = session.call("multi_agent/terminate", json!({ "subagent_id": id })).await;
    assert_eq!(
        (&ended["type"], &ended["success"], &ended["subagent_id"]),
        (&json!("multi_agent/terminate/resp"), &json!(true), &id)
    );
    let told = events(&mut session, id.as_str().unwrap());
    assert_eq!(told, ["waiting", "running", "completed", "terminated"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upper_family_and_its_states() {
    let (host, mut session) = start(plugin().with_setting("worker_ms", 30)).await;
    let agent =
        json!({ "name": "a", "model": "m", "system_prompt": "s", "capabilities": ["tools"] });
    let request = json!({ "agent": agent, "parent_agent_id": "p", "root_agent_id": "r" });
    let id = session.call("SUBAGENT_SPAWN_REQ", request).await["subagent_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = session.call("SUBAGENT_LIST_REQ", json!({})).await;
    let info = &list["subagents"][0];
    assert_eq!((&info["parent_agent_id"], &info["root_agent_id"]), (&json!("p"), &json!("r")));
    assert_eq!(
        (&info["config"]["memory_scope"], &info["config"]["tool_scope"]),
        (&json!("shared"), &json!("restricted"))
    );
    assert_eq!(
        (&info["config"]["max_steps"], &info["config"]["timeout_seconds"]),
        (&json!(40), &json!(600))
    );
    assert_eq!(done(&mut session, &id, "one").await["status"], "COMPLETED");
    assert_eq!(
        done(&mut session, &id, "two").await["result"]["instruction"],
        "two",
        "another task"
    );
    let ended = session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": id })).await;
    assert_eq!(
        (&ended["type"], &ended["status"]),
        (&json!("SUBAGENT_TERMINATE_RESP"), &json!("TERMINATED"))
    );
    let refused = delegate(&mut session, &id, "three").await;
    assert_eq!((&refused["accepted"], &refused["status"]), (&json!(false), &json!("TERMINATED")));
    let cancelled = session.call("SUBAGENT_CANCEL_REQ", json!({ "subagent_id": id })).await;
    assert_eq!(cancelled["status"], "TERMINATED", "nothing to cancel");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_cancelled_and_time_out_in_every_state() {
    let plugin = plugin().with_setting("worker_ms", 60_000).with_setting("max_running", 1);
    let (host, mut session) = start(plugin).await;
    let first = spawn(&mut session, json!({})).await;
    let second = spawn(&mut session, json!({ "timeout_seconds": 1 })).await;
    assert_eq!(delegate(&mut session, &first, "x").await["status"], "RUNNING");
    let waits = delegate(&mut session, &second, "x").await;
    assert_eq!(
        (&waits["accepted"], &waits["status"]),
        (&json!(true), &json!("WAITING")),
        "one at a time"
    );
    let over = settled(&mut session, &second).await;
    assert_eq!(over["status"], "FAILED");
    assert!(over["error"].as_str().unwrap().contains("timeout"), "{over}");
    assert_eq!(over["result"]["error"], over["error"]);
    let id = session.send("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": first })).await;
    let cancelled = session.call("SUBAGENT_CANCEL_REQ", json!({ "subagent_id": first })).await;
    assert_eq!(
        (&cancelled["type"], &cancelled["status"]),
        (&json!("SUBAGENT_CANCEL_RESP"), &json!("CANCELLED"))
    );
    assert_eq!(session.reply_to(&id).await["status"], "CANCELLED", "who waits is told");
    // One that waits for room, too.
    assert_eq!(delegate(&mut session, &first, "x").await["status"], "RUNNING");
    assert_eq!(delegate(&mut session, &second, "x").await["status"], "WAITING");
    let cancelled = session.call("SUBAGENT_CANCEL_REQ", json!({ "subagent_id": second })).await;
    assert_eq!(cancelled["status"], "CANCELLED");
    let id = session.send("multi_agent/await", json!({ "subagent_id": first })).await;
    session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": first })).await;
    assert_eq!(session.reply_to(&id).await["status"], "TERMINATED");
    // Its room is free again.
    assert_eq!(delegate(&mut session, &second, "x").await["status"], "RUNNING");
    // An await that is cancelled leaves the task alone.
    let id = session.send("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": second })).await;
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    let list = session.call("SUBAGENT_LIST_REQ", json!({})).await;
    assert_eq!(list["subagents"][1]["status"], "RUNNING", "{list}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wait_without_holding_a_worker() {
    let (host, mut session) = start(plugin().with_setting("worker_ms", 700)).await;
    let id = spawn(&mut session, json!({})).await;
    delegate(&mut session, &id, "x").await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(session.send("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": id })).await);
    }
    // The pool has far fewer threads than that; others are served meanwhile.
    let list = session.call("SUBAGENT_LIST_REQ", json!({})).await;
    assert_eq!(list["subagents"][0]["status"], "RUNNING");
    for id in waiting {
        assert_eq!(session.reply_to(&id).await["status"], "COMPLETED");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_merges() {
    let (host, mut session) = start(plugin().with_setting("worker_ms", 10)).await;
    let a = spawn(&mut session, json!({ "name": "a" })).await;
    let b = spawn(&mut session, json!({ "name": "b" })).await;
    let note = |from: &str, to: &str| json!({ "from_subagent_id": from, "to_subagent_id": to, "message": { "type": "hint", "content": [1] } });
    let sent = session.call("SUBAGENT_MESSAGE_REQ", note(&a, &b)).await;
    assert_eq!(
        (&sent["type"], &sent["delivered"]),
        (&json!("SUBAGENT_MESSAGE_RESP"), &json!(true))
    );
    assert_eq!(events(&mut session, &b), ["message"]);
    let got = done(&mut session, &b, "x").await;
    assert_eq!(got["result"]["messages"][0]["message"], json!({ "type": "hint", "content": [1] }));
    assert_eq!(got["result"]["messages"][0]["from_subagent_id"], a);
    for _ in 0..64 {
        assert_eq!(session.call("SUBAGENT_MESSAGE_REQ", note(&b, &a)).await["delivered"], true);
    }
    assert_eq!(
        session.call("SUBAGENT_MESSAGE_REQ", note(&b, &a)).await["delivered"],
        false,
        "full"
    );
    session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": b })).await;
    assert_eq!(
        session.call("SUBAGENT_MESSAGE_REQ", note(&a, &b)).await["delivered"],
        false,
        "ended"
    );

    let c = spawn(&mut session, json!({})).await;
    done(&mut session, &c, "y").await;
    let merge = |strategy: &str| json!({ "subagent_ids": [a, b, c], "strategy": strategy });
    let merged = session.call("SUBAGENT_MERGE_REQ", json!({ "subagent_ids": [a, c] })).await;
    assert_eq!(merged["type"], "SUBAGENT_MERGE_RESP");
    assert_eq!(merged["merged_result"][&a], json!(null));
    assert_eq!(merged["merged_result"][&c]["instruction"], "y");
    let merged = session.call("SUBAGENT_MERGE_REQ", merge("voting")).await;
    assert_eq!(merged["merged_result"]["votes"].as_array().unwrap().len(), 2);
    let merged = session.call("SUBAGENT_MERGE_REQ", merge("custom")).await;
    assert_eq!(merged["merged_result"]["subagents"][1]["status"], "TERMINATED");
    assert_eq!(session.call_error("SUBAGENT_MERGE_REQ", merge("guess")).await, "schema_violation");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_makes_no_line_is_refused() {
    let mut config = HostConfig::new().plugin(plugin().with_setting("worker_ms", 1));
    config.limits.max_line_bytes = 64 << 10;
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(spawn(&mut session, json!({})).await);
        done(&mut session, ids.last().unwrap(), &"\u{e9}".repeat(5000)).await;
    }
    for (ids, fits) in [(&ids[..1], true), (&ids[..], false)] {
        for strategy in ["collect", "custom"] {
            let asked = json!({ "subagent_ids": ids, "strategy": strategy });
            let reply = session.call("SUBAGENT_MERGE_REQ", asked).await;
            assert_eq!(reply["code"] != "out_of_memory", fits, "{strategy}: {reply}");
        }
    }
    host.stop().await;
}
