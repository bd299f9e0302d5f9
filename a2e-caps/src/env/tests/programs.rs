//! Environments that programs serve, and programs that misbehave.

use std::time::Duration;

use super::copies::{COUNTER, program};
use super::*;

async fn served(settings: Value) -> TestHost {
    let mut it = program(COUNTER);
    for (key, value) in settings.as_object().unwrap() {
        it[key] = value.clone();
    }
    host_with(json!({ "environments": [], "processes": [it] })).await
}

/// Waits until the host has this many children.
async fn children(host: &TestHost, count: usize) {
    host.until("as many children", |it| it.children == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_asked_as_an_environment_is() {
    let host = served(json!({})).await;
    let mut session = host.session();
    let spaces = session.call("env/space/req", json!({ "env_name": "program" })).await;
    assert_eq!(spaces["action_space"], json!({ "program": true }), "{spaces}");
    let obs = reset(&mut session, json!({ "env_name": "program", "seed": 3 })).await;
    assert_eq!((&obs["state"], &obs["step_num"]), (&json!({ "count": 3 }), &json!(0)));
    assert_ne!(obs["episode_id"], "mine", "the id is the host's");
    assert_eq!(obs["metadata"]["seed"], 3);
    let id = obs["episode_id"].clone();
    let obs = inc(&mut session, &id).await;
    assert_eq!(
        (&obs["state"]["count"], &obs["reward"], &obs["step_num"]),
        (&json!(4), &json!(0.5), &json!(1))
    );
    let shown = session.call("env/render/req", json!({ "episode_id": id, "mode": "ink" })).await;
    assert_eq!(shown["render"], "picture in ink");
    let plan = session.call("env/plan/req", json!({ "episode_id": id })).await;
    assert_eq!(plan["suggested_actions"], json!([{ "type": "inc" }]));
    let request = json!({ "episode_id": id, "action": { "type": "refuse" } });
    assert_eq!(
        error(&mut session, "env/step/req", request).await,
        ("unknown_action".into(), "no".into())
    );
    assert_eq!(inc(&mut session, &id).await["state"]["count"], 5, "it goes on");
    step(&mut session, &id, json!({ "type": "push" })).await;
    for number in 0..3 {
        let push = session.next().await.unwrap();
        assert_eq!(push["type"], "env/state/push", "{push}");
        assert_eq!((&push["episode_id"], &push["delta"]["number"]), (&id, &json!(number)));
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_one_episode_and_then_the_next() {
    let host = served(json!({ "env": { "SHOW_PID": "1" }, "max_processes": 2 })).await;
    let mut session = host.session();
    let request = json!({ "env_name": "program" });
    let first = reset(&mut session, request.clone()).await;
    let second = reset(&mut session, request.clone()).await;
    assert_ne!(first["state"]["pid"], second["state"]["pid"]);
    let full = session.call("env/reset/req", request.clone()).await;
    assert_eq!((&full["code"], &full["retryable"]), (&json!("overloaded"), &json!(true)), "{full}");
    session.call("env/close/req", json!({ "episode_id": first["episode_id"] })).await;
    let wait = async {
        loop {
            let reply = session.call("env/reset/req", request.clone()).await;
            if reply["type"] == "env/reset/resp" {
                return reply["obs"].clone();
            }
        }
    };
    let third = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a free process");
    assert_eq!(third["state"]["pid"], first["state"]["pid"], "the one that is free");
    children(&host, 2).await;
    // One is kept, no more.
    drop(session);
    children(&host, 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_breaks_is_had_again_where_it_stood() {
    let host = served(json!({})).await;
    let mut session = host.session();
    for (verb, expected) in [
        ("crash", "has ended with exit code 3; it said last: it hurts"),
        ("garbage", "what is no message"),
        ("long", "a line longer than `max_line_bytes`"),
        ("other", "answered `env/step/req` with `env/close/resp`"),
        ("stray", "answered `stray`, which was not asked"),
        ("silent", "has ended"),
        ("stateless", "missing field `state`"),
    ] {
        let id =
            reset(&mut session, json!({ "env_name": "program", "seed": 10 })).await["episode_id"]
                .clone();
        inc(&mut session, &id).await;
        let request = json!({ "episode_id": id, "action": { "type": verb } });
        let broken = session.call("env/step/req", request).await;
        let said = (&broken["code"], &broken["retryable"]);
        assert_eq!(said, (&json!("sandbox_crash"), &json!(true)), "{verb}: {broken}");
        assert!(broken["message"].as_str().unwrap().contains(expected), "{verb}: {broken}");
        let obs = inc(&mut session, &id).await;
        assert_eq!((&obs["state"]["count"], &obs["step_num"]), (&json!(12), &json!(2)), "{verb}");
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    drop(session);
    children(&host, 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_hangs_ends_with_its_request_and_has_no_effect() {
    let host = served(json!({ "keep_idle": 0 })).await;
    let hang = json!({ "type": "hang" });
    // Cancelled, closed, left by its session.
    for way in ["cancel", "close", "leave"] {
        let mut session = host.session();
        let id =
            reset(&mut session, json!({ "env_name": "program", "seed": 1 })).await["episode_id"]
                .clone();
        let request = json!({ "episode_id": id, "action": hang });
        let hanging = session.send("env/step/req", request).await;
        let behind = session
            .send("env/step/req", json!({ "episode_id": id, "action": { "type": "inc" } }))
            .await;
        match way {
            "cancel" => {
                session.send("cancel", json!({ "req_id": hanging })).await;
                assert_eq!(session.reply_to(&hanging).await["code"], "cancelled");
                let obs = session.reply_to(&behind).await;
                assert_eq!(obs["obs"]["state"]["count"], 2, "{obs}");
                assert_eq!(inc(&mut session, &id).await["state"]["count"], 3);
            }
            "close" => {
                let closed = session.call("env/close/req", json!({ "episode_id": id })).await;
                assert_eq!(closed["closed"], true);
                for waiting in [hanging, behind] {
                    let reply = session.reply_to(&waiting).await;
                    assert_eq!(
                        (&reply["code"], &reply["message"]),
                        (&json!("runtime_error"), &json!("the episode was closed"))
                    );
                }
            }
            _ => {}
        }
        drop(session);
        children(&host, 0).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_when_it_should_close_is_killed() {
    let host = served(json!({ "env": { "HANG_CLOSE": "1" }, "max_processes": 1 })).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "program" })).await["episode_id"].clone();
    let closed = session.call("env/close/req", json!({ "episode_id": id })).await;
    assert_eq!(closed["closed"], true, "the agent does not wait for it");
    children(&host, 0).await;
    reset(&mut session, json!({ "env_name": "program" })).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_takes_too_long_times_out() {
    let processes = json!([program(COUNTER)]);
    let mut worlds = plugin(json!({ "environments": [], "processes": processes }));
    worlds.metadata.deadline = Some(Duration::from_secs(2));
    let host = start(HostConfig::new().plugin(worlds)).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "program", "seed": 1 })).await["episode_id"]
        .clone();
    let request = json!({ "episode_id": id, "action": { "type": "hang" } });
    assert_eq!(session.call_error("env/step/req", request).await, "timeout");
    assert_eq!(inc(&mut session, &id).await["state"]["count"], 2, "as if it had not been asked");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_how_long_it_may_take() {
    let host = served(json!({})).await;
    let mut session = host.session();
    let request = json!({ "env_name": "program", "seed": 1, "timeout": 600 });
    let id = reset(&mut session, request).await["episode_id"].clone();
    let hang = json!({ "type": "hang" });
    for (wire_type, body) in [
        ("env/step/req", json!({ "episode_id": id, "action": hang, "timeout": 0.5 })),
        ("env/batch_step/req", json!({ "episode_ids": [id], "actions": [hang], "timeout": 0.5 })),
    ] {
        assert_eq!(session.call_error(wire_type, body).await, "timeout", "{wire_type}");
    }
    assert_eq!(inc(&mut session, &id).await["state"]["count"], 2, "as if it had not been asked");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_floods_is_held_back_and_one_that_is_not_there_is_named() {
    let flood = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    reply = {"type": "env/reset/resp", "req_id": message["id"],
        "obs": {"episode_id": "mine", "step_num": 0, "state": {}}}
    print(json.dumps(reply), flush=True)
    while True:
        print(json.dumps({"type": "env/state/push", "episode_id": "mine", "step_id": 0,
            "event_type": "status", "delta": {"text": "x" * 10000}}), flush=True)
"#;
    let missing = json!({ "name": "missing", "command": ["no-such-program"] });
    let dying = json!({ "name": "dying", "command": ["sh", "-c", "echo too early >&2"] });
    let processes = json!([program(flood), missing, dying]);
    let host = host_with(json!({ "processes": processes })).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "program" })).await["episode_id"].clone();
    // Nothing is read for a while; then others are served still.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = reset(&mut session, json!({ "env_name": "counter_env" })).await;
    assert_eq!(begun["step_num"], 0);
    session.call("env/close/req", json!({ "episode_id": id })).await;
    session.others();
    let (code, text) = error(&mut session, "env/reset/req", json!({ "env_name": "missing" })).await;
    assert_eq!(code, "runtime_error", "{text}");
    let (code, text) = error(&mut session, "env/reset/req", json!({ "env_name": "dying" })).await;
    assert_eq!(code, "sandbox_crash", "{text}");
    assert!(text.contains("too early"), "{text}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_an_episode_reach_its_agent_alone() {
    // Each reset is answered with the next id, and followed by a late push of the episode before and one of its own.
    let script = r#"
import json, sys
ids, begun = ["e1", "e2", "e2"], -1
for line in sys.stdin:
    message = json.loads(line)
    kind = message["type"].removesuffix("/req")
    reply = {"type": kind + "/resp", "req_id": message["id"]}
    if kind == "env/reset":
        begun += 1
    if kind in ("env/reset", "env/step"):
        reply["obs"] = {"episode_id": ids[begun], "step_num": 0, "state": {}}
    print(json.dumps(reply), flush=True)
    if kind == "env/reset":
        for id in (ids[begun - 1] if begun else "e0", ids[begun]):
            print(json.dumps({"type": "env/state/push", "episode_id": id, "step_id": 0,
                "event_type": "status", "delta": {"of": id}}), flush=True)
"#;
    let mut one = program(script);
    one["max_processes"] = json!(1);
    let host = host_with(json!({ "environments": [], "processes": [one] })).await;
    // The last gives an id again, whose late pushes cannot be told from its own.
    for expected in [&["e1"][..], &["e2"], &[]] {
        let mut session = host.session();
        let wait = async {
            loop {
                let reply = session.call("env/reset/req", json!({ "env_name": "program" })).await;
                if reply["type"] == "env/reset/resp" {
                    return reply["obs"]["episode_id"].clone();
                }
                assert_eq!(reply["code"], "overloaded", "{reply}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let id = tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the process");
        // Its answer comes behind the pushes.
        step(&mut session, &id, json!({ "type": "x" })).await;
        let pushes = session.others();
        let of: Vec<&Value> = pushes.iter().map(|it| &it["delta"]["of"]).collect();
        assert_eq!(of, *expected, "{pushes:?}");
        assert!(pushes.iter().all(|it| it["episode_id"] == id), "{pushes:?}");
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_had_again_pushes_nothing_again() {
    let host = served(json!({})).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "program", "seed": 0 })).await["episode_id"]
        .clone();
    step(&mut session, &id, json!({ "type": "push" })).await;
    assert_eq!(session.others().len(), 3);
    let request = json!({ "episode_id": id, "action": { "type": "crash" } });
    assert_eq!(session.call_error("env/step/req", request).await, "sandbox_crash");
    assert_eq!(inc(&mut session, &id).await["state"]["count"], 2, "with the push taken again");
    assert_eq!(session.others(), Vec::<Value>::new());
    step(&mut session, &id, json!({ "type": "push" })).await;
    assert_eq!(session.others().len(), 3, "those of now are sent");
    host.stop().await;
}
