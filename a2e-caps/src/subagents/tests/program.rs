//! Subagents that are programs: tasks, scopes, faults.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_takes_tasks_and_uses_the_host() {
    let (host, mut session) = start(program()).await;
    let id = spawn(&mut session, json!({ "role": "reader", "metadata": { "k": 1 } })).await;
    let got = done(&mut session, &id, "tell").await;
    let result = &got["result"];
    assert_eq!((&got["status"], &result["env"]), (&json!("COMPLETED"), &json!(id)), "{got}");
    assert_eq!(result["echo"]["name"], "t");
    assert_eq!(
        (&result["agent"]["role"], &result["agent"]["metadata"]),
        (&json!("reader"), &json!({ "k": 1 }))
    );
    let again = done(&mut session, &id, "tell").await;
    assert_eq!(again["result"]["pid"], result["pid"], "the same program");
    let call = r#"{"type":"tool/call/req","tool_name":"echo","arguments":{"text":"hi"}}"#;
    let used = done(&mut session, &id, call).await;
    assert_eq!(used["result"]["reply"]["data"]["data"], json!({ "text": "hi" }), "{used}");
    let other = spawn(&mut session, json!({})).await;
    let note = json!({ "from_subagent_id": other, "to_subagent_id": id, "message": { "type": "hint", "content": 5 } });
    assert_eq!(session.call("SUBAGENT_MESSAGE_REQ", note).await["delivered"], true);
    let notes = done(&mut session, &id, "notes").await;
    assert_eq!(
        notes["result"]["notes"][0]["message"],
        json!({ "type": "hint", "content": 5 }),
        "{notes}"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_program_is_kept_to_its_scopes() {
    let (host, mut session) = start(program()).await;
    let echo = r#"{"type":"tool/call/req","tool_name":"echo","arguments":{}}"#;
    let sleep = r#"{"type":"tool/call/req","tool_name":"sleep","arguments":{"ms":1}}"#;
    let store = r#"{"type":"memory/init/req"}"#;
    let keep = r#"{"type":"memory/store/req","memory_id":"x","entries":[]}"#;
    let proc = r#"{"type":"proc/status/req"}"#;
    let operator = r#"{"type":"host/status/req"}"#;
    for (scopes, asked, allowed) in [
        (json!({}), echo, true),
        (json!({}), store, true),
        (json!({}), proc, false),
        (json!({}), operator, false),
        (json!({ "tool_scope": "shared" }), proc, true),
        (json!({ "tool_scope": "shared" }), operator, false),
        (json!({ "capabilities": ["echo"] }), echo, true),
        (json!({ "capabilities": ["echo"] }), sleep, false),
        (json!({ "capabilities": ["proc"] }), proc, true),
        (json!({ "capabilities": ["proc"] }), echo, false),
        (json!({ "tool_scope": "isolated" }), echo, false),
        (json!({ "tool_scope": "isolated" }), store, true),
        (json!({ "memory_scope": "isolated" }), store, false),
        (json!({ "memory_scope": "isolated" }), echo, true),
        (json!({ "memory_scope": "snapshot" }), store, true),
        (json!({ "memory_scope": "snapshot" }), keep, false),
    ] {
        let id = spawn(&mut session, scopes.clone()).await;
        let got = done(&mut session, &id, asked).await;
        let code = &got["result"]["reply"]["code"];
        let is_refused = *code == "forbidden" || *code == "unauthorized";
        assert_eq!(!is_refused, allowed, "{scopes} {asked}: {got}");
        session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": id })).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subagents_spawn_subagents_only_so_deep() {
    let (host, mut session) = start(program().with_setting("max_depth", 2)).await;
    let id = spawn(&mut session, json!({})).await;
    let spawn_req = r#"{"type":"SUBAGENT_SPAWN_REQ","agent":{"name":"inner","model":"m"}}"#;
    let got = done(&mut session, &id, spawn_req).await;
    let inner = got["result"]["reply"]["subagent_id"].as_str().unwrap().to_owned();
    let delegated = json!({ "type": "SUBAGENT_DELEGATE_REQ", "subagent_id": inner,
        "task": { "name": "deep", "instruction": spawn_req } });
    let got = done(&mut session, &id, &delegated.to_string()).await;
    assert_eq!(got["result"]["reply"]["accepted"], true, "{got}");
    let waited = json!({ "type": "SUBAGENT_AWAIT_REQ", "subagent_id": inner });
    let got = done(&mut session, &id, &waited.to_string()).await;
    let innermost = &got["result"]["reply"]["result"]["reply"];
    assert_eq!(innermost["code"], "proc_limit", "{got}");
    // The outer session does not see it, and it goes with the one that spawned it.
    assert_eq!(
        session.call_error("SUBAGENT_AWAIT_REQ", json!({ "subagent_id": inner })).await,
        "runtime_error"
    );
    let from = json!({ "type": "SUBAGENT_MESSAGE_REQ", "from_subagent_id": id, "to_subagent_id": inner,
        "message": { "type": "t" } });
    let got = done(&mut session, &id, &from.to_string()).await;
    assert_eq!(got["result"]["reply"]["delivered"], true, "{got}");
    let forged = json!({ "type": "SUBAGENT_MESSAGE_REQ", "from_subagent_id": "sub_0", "to_subagent_id": inner,
        "message": { "type": "t" } });
    let got = done(&mut session, &id, &forged.to_string()).await;
    assert_eq!(got["result"]["reply"]["code"], "runtime_error", "{got}");
    let children = host.executor().status().children;
    assert_eq!(children, 2);
    session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": id })).await;
    host.until("both programs end", |it| it.children == 0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_program_fail_its_task_and_no_more() {
    let (host, mut session) = start(program()).await;
    let id = spawn(&mut session, json!({ "timeout_seconds": 2 })).await;
    for (instruction, why) in [
        ("fail", "no luck"),
        ("crash", "exit code 7: last words"),
        ("wrong", "RUNNING"),
        ("odd", "no result"),
        ("error", "refused"),
        ("huge", "bytes"),
        ("hang", "timeout"),
    ] {
        let got = done(&mut session, &id, instruction).await;
        assert_eq!(got["status"], "FAILED", "{instruction}: {got}");
        assert!(got["error"].as_str().unwrap().contains(why), "{instruction}: {got}");
        let next = done(&mut session, &id, "tell").await;
        assert_eq!(next["status"], "COMPLETED", "after {instruction}: {next}");
    }
    for instruction in ["garbage", "flood"] {
        let got = done(&mut session, &id, instruction).await;
        assert!(
            ["COMPLETED", "FAILED"].contains(&got["status"].as_str().unwrap()),
            "{instruction}: {got}"
        );
        let next = done(&mut session, &id, "tell").await;
        assert_eq!(next["status"], "COMPLETED", "after {instruction}: {next}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_is_told() {
    let missing = plugin().with_setting("command", ["/no/such/program"]);
    let (host, mut session) = start(missing).await;
    assert_eq!(
        session.call_error("multi_agent/spawn", json!({ "name": "n" })).await,
        "runtime_error"
    );
    let list = session.call("multi_agent/list", json!({})).await;
    assert_eq!(list["subagents"], json!([]), "nothing is left");
    host.stop().await;
    // One that ends at once fails its task.
    let (host, mut session) = start(plugin().with_setting("command", ["false"])).await;
    let id = spawn(&mut session, json!({})).await;
    delegate(&mut session, &id, "x").await;
    let got = settled(&mut session, &id).await;
    assert!(got["error"].as_str().unwrap().contains("exit code 1"), "{got}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_terminated_while_it_is_spawned_leaves_no_program() {
    let (host, mut session) = start(program()).await;
    for _ in 0..20 {
        let spawned = session.send("multi_agent/spawn", json!({ "name": "n" })).await;
        let id = loop {
            let list = session.call("multi_agent/list", json!({})).await;
            let alive = list["subagents"].as_array().unwrap().iter();
            if let Some(it) = alive.clone().find(|it| it["status"] != "TERMINATED") {
                break it["subagent_id"].clone();
            }
        };
        session.call("multi_agent/terminate", json!({ "subagent_id": id })).await;
        let reply = session.reply_to(&spawned).await;
        assert!(reply["status"] == "READY" || reply["code"] == "runtime_error", "{reply}");
        host.until("its program ends", |it| it.children == 0).await;
    }
    host.stop().await;
}
