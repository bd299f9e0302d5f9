//! Snapshots, restores, forks; and sessions that go on over another connection.

use std::sync::Arc;

use a2e_core::snapshot::MemoryStore;

use super::*;

/// A script that serves a counter and cannot save it: its run is had again.
pub(super) fn program(script: &str) -> Value {
    json!({ "name": "program", "command": ["python3", "-c", script] })
}

pub(super) const COUNTER: &str = r#"
import json, os, sys
count = 0
for line in sys.stdin:
    message = json.loads(line)
    kind = message["type"].removesuffix("/req")
    reply = {"type": kind + "/resp", "req_id": message["id"]}
    if kind == "env/close" and os.environ.get("HANG_CLOSE"):
        while True: pass
    if kind == "env/reset":
        count = message["seed"]
    elif kind == "env/step":
        verb = message["action"]["type"]
        if verb == "crash":
            sys.stderr.write("it hurts\n")
            os._exit(3)
        if verb == "hang":
            while True: pass
        if verb == "garbage":
            print("hello", flush=True)
            continue
        if verb == "long":
            print("x" * 9000000, flush=True)
            continue
        if verb == "other":
            print(json.dumps({"type": "env/close/resp", "req_id": message["id"]}), flush=True)
            continue
        if verb == "stray":
            reply["req_id"] = "stray"
        if verb == "refuse":
            reply = {"type": "error", "req_id": message["id"], "code": "unknown_action", "message": "no"}
        if verb == "push":
            for number in range(3):
                print(json.dumps({"type": "env/state/push", "episode_id": "mine", "step_id": 0,
                    "event_type": "status", "delta": {"number": number}}), flush=True)
        if verb == "silent":
            sys.stdout.close()
            os.close(1)
            while True: pass
        if verb == "stateless":
            reply["obs"] = {"episode_id": "mine", "step_num": 1}
            print(json.dumps(reply), flush=True)
            continue
        if verb in ("inc", "push"):
            count += int(message["action"].get("by", 1))
    state = {"count": count}
    if os.environ.get("SHOW_PID"):
        state["pid"] = os.getpid()
    if kind in ("env/reset", "env/step", "env/observe"):
        reply["obs"] = {"episode_id": "mine", "step_num": 0, "state": state, "reward": 0.5}
    if kind == "env/space":
        reply.update(action_space={"program": True}, state_schema={})
    if kind == "env/render":
        reply["render"] = "picture in " + str(message["mode"])
    if kind == "env/plan":
        reply["suggested_actions"] = [{"type": "inc"}]
    print(json.dumps(reply), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_goes_its_own_way() {
    let host = host_with(json!({ "processes": [program(COUNTER)] })).await;
    let mut session = host.session();
    for env_name in ["counter_env", "program"] {
        let obs = reset(&mut session, json!({ "env_name": env_name, "seed": 0 })).await;
        let id = obs["episode_id"].clone();
        for _ in 0..2 {
            inc(&mut session, &id).await;
        }
        let forked = session.call("env/fork/req", json!({ "episode_id": id, "count": 2 })).await;
        assert_eq!(forked["type"], "env/fork/resp", "{forked}");
        let forks = forked["episodes"].as_array().unwrap();
        assert_eq!(forks.len(), 2);
        for (steps, fork) in forks.iter().enumerate() {
            assert_ne!(fork["episode_id"], id);
            assert_eq!((&fork["state"]["count"], &fork["step_num"]), (&json!(2), &json!(2)));
            for _ in 0..=steps {
                inc(&mut session, &fork["episode_id"]).await;
            }
            let seen =
                session.call("env/observe/req", json!({ "episode_id": fork["episode_id"] })).await;
            assert_eq!(seen["obs"]["state"]["count"], 3 + steps);
        }
        let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
        assert_eq!(seen["obs"]["state"]["count"], 2, "the original stays");
        assert_eq!(inc(&mut session, &id).await["state"]["count"], 3, "and goes on");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_in_another_session() {
    let host = host_with(json!({ "processes": [program(COUNTER)] })).await;
    let (mut session, mut other) = (host.session(), host.session());
    for (env_name, action, then) in [
        ("counter_env", json!({ "type": "inc" }), json!({ "type": "inc" })),
        ("gridworld", json!({ "type": "right" }), json!({ "type": "down" })),
        ("cartpole", json!({ "type": "left" }), json!({ "type": "right" })),
        ("program", json!({ "type": "inc", "by": 7 }), json!({ "type": "inc" })),
    ] {
        let request = json!({ "env_name": env_name, "seed": 4, "options": { "slip": 0.3 } });
        let id = reset(&mut session, request).await["episode_id"].clone();
        step(&mut session, &id, action).await;
        let taken = session.call("env/snapshot/req", json!({ "episode_id": id })).await;
        assert_eq!(taken["type"], "env/snapshot/resp", "{taken}");
        let expected = step(&mut session, &id, then.clone()).await;
        session.call("env/close/req", json!({ "episode_id": id })).await;

        let request = json!({ "snapshot": taken["snapshot"] });
        let restored = other.call("env/restore/req", request).await;
        assert_eq!(restored["type"], "env/restore/resp", "{restored}");
        assert_ne!(restored["obs"]["episode_id"], id);
        assert_eq!(restored["obs"]["state"], taken["snapshot"]["obs"]["state"]);
        let again = step(&mut other, &restored["obs"]["episode_id"], then).await;
        assert_eq!(again["state"], expected["state"], "{env_name}");
        assert_eq!(again["step_num"], 2);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_made_up_is_refused() {
    let host = host_with(json!({ "processes": [program(COUNTER)] })).await;
    let mut session = host.session();
    for (env_name, key, value, code) in [
        ("gridworld", "saved", json!({}), "schema_violation"),
        ("gridworld", "saved", json!(5), "schema_violation"),
        ("cartpole", "saved", json!({ "at": { "x": 1e9 } }), "schema_violation"),
        ("gridworld", "env_name", json!("chess"), "runtime_error"),
        ("program", "seed", json!(6), "runtime_error"),
        ("program", "saved", json!({}), "runtime_error"),
        ("program", "actions", json!([{ "type": "inc" }]), "runtime_error"),
        ("program", "actions", json!([{ "by": "x".repeat(300_000) }]), "schema_violation"),
    ] {
        let id =
            reset(&mut session, json!({ "env_name": env_name, "seed": 5 })).await["episode_id"]
                .clone();
        let mut taken = session.call("env/snapshot/req", json!({ "episode_id": id })).await;
        taken["snapshot"][key] = value;
        let request = json!({ "snapshot": taken["snapshot"] });
        let refused = error(&mut session, "env/restore/req", request).await;
        assert_eq!(refused.0, code, "{env_name}.{key}: {}", refused.1);
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    host.until("only this session", |it| it.sessions == 1).await;
    assert!(host.executor().status().plugins[0].notes[0].starts_with("0 episodes of "));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn episodes_outlive_their_connection() {
    let config = HostConfig::new().plugin(plugin(json!({ "processes": [program(COUNTER)] })));
    let builder =
        Executor::builder(config).guard(guard()).snapshot_store(Arc::new(MemoryStore::default()));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    let resume = |id: &str| json!({ "resume": { "session_id": id, "last_seq": 0 } });
    let shaken = session.call("handshake/req", resume("")).await;
    let session_id = shaken["session_id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for env_name in ["counter_env", "gridworld", "program"] {
        let obs = reset(&mut session, json!({ "env_name": env_name, "seed": 1 })).await;
        ids.push(obs["episode_id"].clone());
    }
    inc(&mut session, &ids[0]).await;
    inc(&mut session, &ids[2]).await;
    drop(session);
    host.until("a session that waits", |it| it.parked_sessions == 1).await;

    let mut session = host.session();
    let shaken = session.call("handshake/req", resume(&session_id)).await;
    assert_eq!(shaken["resumed"], true, "{shaken}");
    // Past the ids of the first connection, whose answers are sent again.
    for _ in 0..10 {
        session.call("ping", json!({})).await;
    }
    for (id, count) in [(&ids[0], 1), (&ids[2], 2)] {
        let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
        assert_eq!(seen["obs"]["state"]["count"], count, "{seen}");
        assert_eq!(inc(&mut session, id).await["state"]["count"], count + 1);
    }
    step(&mut session, &ids[1], json!({ "type": "down" })).await;
    let all = session.call("env/exp/list/req", json!({})).await;
    assert_eq!(all["episodes"].as_array().unwrap().len(), 5, "the steps before as well");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_brings_is_bounded() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let large = json!({ "env_name": "counter_env", "options": { "text": "x".repeat(300 << 10) } });
    let (code, text) = error(&mut session, "env/reset/req", large.clone()).await;
    assert_eq!(code, "schema_violation", "{text}");
    assert!(text.starts_with("options"), "{text}");

    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let taken = session.call("env/snapshot/req", json!({ "episode_id": id })).await;
    let mut snapshot = taken["snapshot"].clone();
    snapshot["options"] = large["options"].clone();
    let (code, text) =
        error(&mut session, "env/restore/req", json!({ "snapshot": snapshot })).await;
    assert_eq!(code, "schema_violation", "{text}");
    assert!(text.starts_with("snapshot.options"), "{text}");

    // 16 MiB in all, whichever part they are in.
    let text = "x".repeat(3 << 20);
    let mut ids = Vec::new();
    for place in ["info", "metadata", "info", "metadata", "info"] {
        let mut snapshot = taken["snapshot"].clone();
        snapshot["obs"][place] = json!({ "text": text });
        let reply = session.call("env/restore/req", json!({ "snapshot": snapshot })).await;
        assert_eq!(reply["type"], "env/restore/resp", "{}", reply["message"]);
        ids.push(reply["obs"]["episode_id"].clone());
    }
    let mut snapshot = taken["snapshot"].clone();
    snapshot["saved"]["text"] = json!(text);
    let request = json!({ "snapshot": snapshot });
    let (code, text) = error(&mut session, "env/restore/req", request.clone()).await;
    assert_eq!(code, "reset_denied", "{text}");
    assert!(text.contains("16384 KiB"), "{text}");
    let fork = json!({ "episode_id": ids[0] });
    assert_eq!(error(&mut session, "env/fork/req", fork).await.0, "reset_denied");
    reset(&mut host.session(), json!({ "env_name": "counter_env" })).await;
    session.call("env/close/req", json!({ "episode_id": ids[0] })).await;
    let reply = session.call("env/restore/req", request).await;
    assert_eq!(reply["type"], "env/restore/resp", "{}", reply["message"]);
    host.stop().await;
}
