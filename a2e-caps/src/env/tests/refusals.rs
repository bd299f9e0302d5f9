//! What is refused, and how it is said.

use a2e_core::config::PrincipalConfig;
use a2e_core::executor::StartError;
use a2e_core::transport::{Identity, Rights};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_field() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let action = json!({ "type": "inc" });
    let snapshot = session.call("env/snapshot/req", json!({ "episode_id": id })).await;
    let without = |key: &str| {
        let mut snapshot = snapshot["snapshot"].clone();
        snapshot.as_object_mut().unwrap().remove(key);
        json!({ "snapshot": snapshot })
    };
    let many = vec![id.clone(); 1001];
    for (wire_type, body, loc) in [
        ("env/reset/req", json!({}), ""),
        ("env/reset/req", json!({ "env_name": 1 }), "env_name"),
        ("env/reset/req", json!({ "env_name": "counter_env", "seed": "7" }), "seed"),
        ("env/reset/req", json!({ "env_name": "counter_env", "seed": 1.5 }), "seed"),
        ("env/reset/req", json!({ "env_name": "counter_env", "options": [] }), "options"),
        ("env/reset/req", json!({ "env_name": "counter_env", "options": null }), "options"),
        ("env/step/req", json!({ "action": action }), ""),
        ("env/step/req", json!({ "episode_id": id }), ""),
        ("env/step/req", json!({ "episode_id": 5, "action": action }), "episode_id"),
        ("env/step/req", json!({ "episode_id": id, "action": "inc" }), "action"),
        ("env/step/req", json!({ "episode_id": id, "action": {} }), "action.type"),
        ("env/step/req", json!({ "episode_id": id, "action": { "type": 1 } }), "action.type"),
        ("env/observe/req", json!({}), ""),
        ("env/observe/req", json!({ "episode_id": null }), "episode_id"),
        ("env/close/req", json!({}), ""),
        ("env/space/req", json!({}), ""),
        ("env/spaces/req", json!({ "env_name": [] }), "env_name"),
        ("env/render/req", json!({}), ""),
        ("env/render/req", json!({ "episode_id": id, "mode": 1 }), "mode"),
        ("env/plan/req", json!({ "episode_id": 1 }), "episode_id"),
        ("env/plan/resp", json!({ "state": 1 }), "state"),
        ("env/plan/req", json!({ "state": { "count": "x" } }), "state"),
        ("env/batch_step/req", json!({ "actions": [] }), ""),
        ("env/batch_step/req", json!({ "episode_ids": [] }), ""),
        ("env/batch_step/req", json!({ "episode_ids": [id], "actions": [] }), "actions"),
        (
            "env/batch_step/req",
            json!({ "episode_ids": [1], "actions": [action] }),
            "episode_ids[0]",
        ),
        ("env/batch_step/req", json!({ "episode_ids": [id], "actions": [1] }), "actions[0]"),
        ("env/batch_step/req", json!({ "episode_ids": many, "actions": [] }), "episode_ids"),
        ("env/exp/list/req", json!({ "limit": -1 }), "limit"),
        ("env/exp/list/req", json!({ "episode_id": null }), "episode_id"),
        ("env/snapshot/req", json!({}), ""),
        ("env/restore/req", json!({}), ""),
        ("env/restore/req", without("env_name"), "snapshot"),
        ("env/restore/req", without("seed"), "snapshot"),
        ("env/restore/req", without("obs"), "snapshot"),
        ("env/fork/req", json!({}), ""),
        ("env/fork/req", json!({ "episode_id": id, "count": 0 }), "count"),
        ("env/fork/req", json!({ "episode_id": id, "count": 65 }), "count"),
        ("env/fork/req", json!({ "episode_id": id, "count": -1 }), "count"),
    ] {
        let reply = session.call(wire_type, body.clone()).await;
        let said = (&reply["type"], &reply["code"]);
        assert_eq!(
            said,
            (&json!("error"), &json!("schema_violation")),
            "{wire_type} {body}: {reply}"
        );
        let found = reply["detail"]["errors"][0]["loc"].as_str().unwrap();
        assert!(
            found == loc || found.starts_with(&format!("{loc}.")),
            "{wire_type} {body}: {reply}"
        );
        assert_eq!(reply["capability_name"], "env");
    }
    let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
    assert_eq!(seen["obs"]["step_num"], 0, "what was refused changed nothing");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_is_its_sessions_own() {
    let host = host_with(json!({})).await;
    let (mut session, mut other) = (host.session(), host.session());
    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    reset(&mut other, json!({ "env_name": "counter_env" })).await;
    let action = json!({ "type": "inc" });
    for id in [id.clone(), json!("no such episode"), json!("")] {
        for (wire_type, body) in [
            ("env/step/req", json!({ "episode_id": id, "action": action })),
            ("env/observe/req", json!({ "episode_id": id })),
            ("env/render/req", json!({ "episode_id": id })),
            ("env/plan/req", json!({ "episode_id": id })),
            ("env/batch_step/req", json!({ "episode_ids": [id], "actions": [action] })),
            ("env/snapshot/req", json!({ "episode_id": id })),
            ("env/fork/req", json!({ "episode_id": id })),
        ] {
            let (code, text) = error(&mut other, wire_type, body).await;
            assert_eq!(code, "runtime_error", "{wire_type}");
            assert!(text.contains("No active episode"), "{text}");
        }
        other.call("env/close/req", json!({ "episode_id": id })).await;
    }
    assert_eq!(inc(&mut session, &id).await["step_num"], 1, "nobody closed it");
    let none = host.session().call("env/plan/req", json!({})).await;
    assert_eq!(none["code"], "runtime_error", "no episode to plan for");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_are_unknown_are_named() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    for (env_name, action, code) in [
        ("counter_env", json!({ "type": "dec" }), "unknown_action"),
        ("gridworld", json!({ "type": "jump" }), "unknown_action"),
        ("cartpole", json!({ "type": "jump" }), "unknown_action"),
        ("cartpole", json!({ "type": "push" }), "schema_violation"),
        ("cartpole", json!({ "type": "push", "direction": 2 }), "schema_violation"),
    ] {
        let obs = reset(&mut session, json!({ "env_name": env_name })).await;
        let request = json!({ "episode_id": obs["episode_id"], "action": action });
        assert_eq!(error(&mut session, "env/step/req", request).await.0, code, "{env_name}");
    }
    for (env_name, options) in [
        ("gridworld", json!({ "width": 1 })),
        ("gridworld", json!({ "height": 33 })),
        ("gridworld", json!({ "walls": 0.6 })),
        ("gridworld", json!({ "slip": -1 })),
        ("gridworld", json!({ "max_steps": 0 })),
        ("gridworld", json!({ "width": "wide" })),
        ("cartpole", json!({ "low": 1, "high": 0 })),
        ("cartpole", json!({ "low": -3 })),
        ("cartpole", json!({ "state": { "x": 9, "x_dot": 0, "theta": 0, "theta_dot": 0 } })),
        ("cartpole", json!({ "state": {} })),
    ] {
        let request = json!({ "env_name": env_name, "options": options });
        let (code, text) = error(&mut session, "env/reset/req", request).await;
        assert_eq!(code, "schema_violation", "{text}");
        assert!(text.starts_with("options."), "{text}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_names_the_step_that_failed() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let (inc, dec) = (json!({ "type": "inc" }), json!({ "type": "dec" }));
    for (ids, actions, code, taken) in [
        (json!([id, "other"]), json!([inc, inc]), "runtime_error", 0),
        (json!([id, id]), json!([inc, dec]), "unknown_action", 1),
    ] {
        let batch = json!({ "episode_ids": ids, "actions": actions });
        let reply = session.call("env/batch_step/req", batch).await;
        assert_eq!(
            (&reply["code"], &reply["detail"]["index"]),
            (&json!(code), &json!(1)),
            "{reply}"
        );
        assert!(reply["message"].as_str().unwrap().starts_with("episode_ids[1]: "), "{reply}");
        let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
        assert_eq!(seen["obs"]["step_num"], taken);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn episodes_are_bounded_and_one_that_is_over_makes_room() {
    let host = host_with(json!({ "max_episodes": 2, "max_host_episodes": 3 })).await;
    let (mut session, mut other) = (host.session(), host.session());
    let request = json!({ "env_name": "counter_env" });
    let first = reset(&mut session, request.clone()).await["episode_id"].clone();
    let second = reset(&mut session, request.clone()).await["episode_id"].clone();
    let (code, text) = error(&mut session, "env/reset/req", request.clone()).await;
    assert_eq!(code, "reset_denied", "{text}");
    let fork = error(&mut session, "env/fork/req", json!({ "episode_id": first })).await;
    assert_eq!(fork.0, "reset_denied");
    reset(&mut other, request.clone()).await;
    let full = other.call("env/reset/req", request.clone()).await;
    assert_eq!((&full["code"], &full["retryable"]), (&json!("overloaded"), &json!(true)), "{full}");
    for _ in 0..5 {
        inc(&mut session, &second).await;
    }
    let third = reset(&mut session, request.clone()).await["episode_id"].clone();
    assert_eq!(
        session.call_error("env/observe/req", json!({ "episode_id": second })).await,
        "runtime_error"
    );
    for id in [first, third] {
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    reset(&mut other, request.clone()).await;
    drop(other);
    host.until("places of a session that has ended", |it| it.sessions == 1).await;
    let wait =
        async { while session.call("env/reset/req", request.clone()).await["type"] == "error" {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("room again");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_principals_control_needs_the_right() {
    let token = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    let rights = Rights { env_control: true, ..Rights::default() };
    let mut config = HostConfig::new().plugin(plugin(json!({})));
    config.server.principals = vec![
        PrincipalConfig::new(
            Identity::of("trainer").with_rights(rights),
            token("trainer").as_str(),
        ),
        PrincipalConfig::new(Identity::of("agent"), token("agent").as_str()),
    ];
    let host = start(config).await;
    let (mut trainer, mut agent) = (host.session(), host.session());
    trainer.call("handshake/req", json!({ "auth_token": token("trainer") })).await;
    agent.call("handshake/req", json!({ "auth_token": token("agent") })).await;
    let id = reset(&mut trainer, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let snapshot = trainer.call("env/snapshot/req", json!({ "episode_id": id })).await;
    assert_eq!(inc(&mut trainer, &id).await["step_num"], 1);
    let snapshot = &snapshot["snapshot"];
    for (wire_type, body) in [
        ("env/reset/req", json!({ "env_name": "counter_env" })),
        ("env/restore/req", json!({ "snapshot": snapshot })),
    ] {
        assert_eq!(error(&mut agent, wire_type, body).await.0, "forbidden", "{wire_type}");
    }
    let spaces = agent.call("env/space/req", json!({ "env_name": "counter_env" })).await;
    assert_eq!(spaces["type"], "env/space/resp", "{spaces}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_hold_are_named() {
    for (settings, expected) in [
        (json!({ "environments": ["chess"] }), "no `chess` is built in"),
        (
            json!({ "environments": ["cartpole", "cartpole"] }),
            "`cartpole` is empty, or stands twice",
        ),
        (json!({ "processes": [{ "name": "p", "command": [] }] }), "`p` has no command"),
        (json!({ "processes": [{ "name": "", "command": ["p"] }] }), "`` is empty"),
        (json!({ "processes": [{ "name": "cartpole", "command": ["p"] }] }), "stands twice"),
        (json!({ "max_episodes": 0 }), "max_episodes"),
        (json!({ "openenv": [{ "name": "o" }] }), "`o` has no url and no command"),
        (
            json!({ "openenv": [{ "name": "o", "url": "http://a", "command": ["p"] }] }),
            "one of both",
        ),
        (json!({ "openenv": [{ "name": "o", "command": [""] }] }), "`o` has no command"),
        (json!({ "openenv": [{ "name": "cartpole", "command": ["p"] }] }), "stands twice"),
        (json!({ "openenv": [{ "name": "o", "command": ["p"], "start_s": 0 }] }), "start_s"),
        (
            json!({ "openenv": [{ "name": "o", "command": ["p"], "token_file": "t" }] }),
            "token_file",
        ),
    ] {
        let mut worlds = plugin(settings);
        worlds.metadata.required = true;
        let builder = Executor::builder(HostConfig::new().plugin(worlds)).lenient().guard(guard());
        match TestHost::build(builder).await {
            Err(StartError::RequiredPlugin { reason, .. }) => {
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}
