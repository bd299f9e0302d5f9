//! Visibility of processes, and the limits on their number and output.

use super::super::procs::KEPT;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r65_a_session_does_not_know_the_processes_of_another() {
    let host = host().await;
    let (mut owner, mut other) = (host.session(), host.session());
    let owner_id = owner.handshake(&["proc"]).await["session_id"].clone();
    let id = spawn(&mut owner, json!({ "cmd": ["cat"] })).await;
    // The owner's session id, put into the message, opens nothing.
    let body = json!({ "proc_id": id, "session_id": owner_id, "data": "x\n" });
    for (kind, place, text) in [
        ("write", "error", "session not found"),
        ("kill", "error", "session not found"),
        ("status", "status", "not_found"),
    ] {
        let reply = other.call(&format!("proc/{kind}/req"), body.clone()).await;
        assert_eq!(reply[place], text, "{reply}");
    }
    let request = json!({ "cmd": ["sh", "-c", "echo mine"], "session_id": owner_id });
    let mine = spawn(&mut other, request).await;
    assert_eq!(told(&mut other, &mine).await.stdout, ["mine\n"]);
    assert_eq!(status(&mut owner, &mine).await, "not_found");
    for (session, known) in [(&mut owner, &id), (&mut other, &mine)] {
        let all = session.call("proc/status/req", json!({ "session_id": owner_id })).await;
        assert_eq!(all["procs"].as_array().unwrap().len(), 1);
        assert_eq!(all["procs"][0]["proc_id"], *known);
    }
    assert_eq!(write(&mut owner, &id, "ours\n", true).await["ok"], true);
    assert_eq!(told(&mut owner, &id).await.stdout, ["ours\n"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_id_all_processes_are_listed() {
    let host = host().await;
    let mut session = host.session();
    let empty = session.call("proc/status/req", json!({})).await;
    assert_eq!((&empty["proc_id"], &empty["status"]), (&json!(""), &json!("not_found")));
    assert_eq!((&empty["error"], &empty["procs"]), (&json!(""), &json!([])));
    let done = spawn(&mut session, sh("exit 3")).await;
    told(&mut session, &done).await;
    let spawned = session.call("proc/spawn/req", json!({ "cmd": ["cat", "-", "-"] })).await;
    let all = session.call("proc/status/req", json!({ "proc_id": "" })).await;
    let procs = all["procs"].as_array().unwrap();
    assert_eq!(procs.len(), 2);
    assert_eq!(procs[0]["cmd"], json!(["sh", "-c", "exit 3"]));
    assert_eq!((&procs[0]["proc_id"], &procs[0]["state"]), (&json!(done), &json!("failed")));
    assert_eq!(procs[0]["exit_code"], 3);
    assert_eq!(procs[1]["cmd"], json!(["cat", "-", "-"]));
    for key in ["proc_id", "pid"] {
        assert_eq!(procs[1][key], spawned[key]);
    }
    assert_eq!((&procs[1]["state"], &procs[1]["exit_code"]), (&json!("running"), &Value::Null));
    let started = |at: usize| procs[at]["started_at"].as_f64().unwrap();
    assert!(started(0) > 1.6e9 && started(0) <= started(1));
    // One that is asked for by its id comes without a list.
    let one = session.call("proc/status/req", json!({ "proc_id": done })).await;
    assert_eq!((&one["status"], one.get("procs")), (&json!("failed"), None));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_max_procs_holds_per_session_and_is_named() {
    let host = host_with(plugin().with_setting("max_procs", 3)).await;
    let (mut session, mut other) = (host.session(), host.session());
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(spawn(&mut session, json!({ "cmd": ["cat"] })).await);
    }
    let why = refusal(&mut session, json!({ "cmd": ["cat"] })).await;
    for hint in ["3 run", "`metadata.max_procs`", "`runner`"] {
        assert!(why.contains(hint), "{why}");
    }
    // What is wrong otherwise is said first.
    let why = refusal(&mut session, json!({ "cmd": ["rm"] })).await;
    assert!(why.starts_with("Command not allowed"), "{why}");
    spawn(&mut other, json!({ "cmd": ["cat"] })).await;
    // A place is free when the end of a process was told.
    assert_eq!(kill(&mut session, &ids[0], "SIGTERM").await["ok"], true);
    spawn(&mut session, json!({ "cmd": ["cat"] })).await;
    host.stop().await;

    let host = host_with(plugin().with_setting("max_procs", 0)).await;
    let why = refusal(&mut host.session(), json!({ "cmd": ["cat"] })).await;
    assert!(why.starts_with("Too many processes: 0 run"), "{why}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_who_heard_of_an_end_finds_its_place_free() {
    let host = host_with(plugin().with_setting("max_procs", 1)).await;
    let mut session = host.session();
    for _ in 0..100 {
        let id = spawn(&mut session, sh("echo done")).await;
        told(&mut session, &id).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_the_oldest_ended_processes_are_forgotten() {
    let host = host().await;
    let mut session = host.session();
    let runs = spawn(&mut session, json!({ "cmd": ["cat"] })).await;
    let mut ids = Vec::new();
    for _ in 0..KEPT + 20 {
        let id = spawn(&mut session, json!({ "cmd": ["sh", "-c", ":"] })).await;
        told(&mut session, &id).await;
        ids.push(id);
    }
    // The last record is counted as ended a moment after its end was told.
    let mut all = session.call("proc/status/req", json!({})).await;
    for _ in 0..1_000 {
        if all["procs"].as_array().unwrap().len() == KEPT + 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        all = session.call("proc/status/req", json!({})).await;
    }
    let procs = all["procs"].as_array().unwrap();
    assert_eq!(procs.len(), KEPT + 1);
    assert_eq!((&procs[0]["proc_id"], &procs[1]["proc_id"]), (&json!(runs), &json!(ids[20])));
    assert_eq!(status(&mut session, &ids[19]).await, "not_found");
    assert_eq!(status(&mut session, &ids[20]).await, "completed");
    assert_eq!(status(&mut session, &runs).await, "running");
    host.stop().await;
}
