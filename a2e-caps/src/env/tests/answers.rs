//! Each request type and its reply, field by field.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_goes_as_the_protocol_says() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let begun = session.call("env/reset/req", json!({ "env_name": "counter_env" })).await;
    assert_eq!(begun["type"], "env/reset/resp");
    let obs = &begun["obs"];
    let id = obs["episode_id"].as_str().unwrap();
    let dashes: Vec<usize> = id.match_indices('-').map(|it| it.0).collect();
    assert_eq!((id.len(), dashes), (36, vec![8, 13, 18, 23]), "a UUID");
    assert_eq!(obs["step_num"], 0);
    assert_eq!(obs["state"], json!({ "count": 0, "step_num": 0 }));
    assert_eq!((&obs["done"], &obs["truncated"]), (&json!(false), &json!(false)));
    assert!(obs["created_at"].as_f64().unwrap() > 0.0);
    assert!(obs["metadata"]["seed"].is_i64(), "{obs}");

    for count in 1..=5 {
        let obs = inc(&mut session, &json!(id)).await;
        assert_eq!(obs["step_num"], count);
        assert_eq!(obs["state"], json!({ "count": count, "step_num": count }));
        assert_eq!(obs["done"], count == 5);
        assert_eq!(obs["reward"], if count == 5 { 1.0 } else { 0.0 });
        let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
        assert_eq!(seen["type"], "env/observe/resp");
        assert_eq!(seen["obs"], obs, "looking changes nothing");
    }
    let request = json!({ "episode_id": id, "action": { "type": "inc" } });
    let refused = error(&mut session, "env/step/req", request).await;
    assert_eq!(
        refused,
        ("runtime_error".into(), "Episode already completed. Call reset().".into())
    );
    for _ in 0..2 {
        let closed = session.call("env/close/req", json!({ "episode_id": id })).await;
        assert_eq!((&closed["type"], &closed["closed"]), (&json!("env/close/resp"), &json!(true)));
        assert!(closed["req_id"].is_string());
    }
    let gone = error(&mut session, "env/observe/req", json!({ "episode_id": id })).await;
    assert_eq!(gone, ("runtime_error".into(), "No active episode. Call reset().".into()));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_requests_are_answered_under_both_names() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    for wire_type in ["env/space/req", "env/spaces/req"] {
        let spaces = session.call(wire_type, json!({ "env_name": "counter_env" })).await;
        assert_eq!(spaces["type"], "env/space/resp");
        assert_eq!(spaces["action_space"]["properties"]["type"]["enum"], json!(["inc", "push"]));
        assert_eq!(spaces["state_schema"]["required"], json!(["count", "step_num"]));
    }
    let inc = json!({ "type": "inc" });
    for (body, expected) in [
        (json!({ "episode_id": id }), 5),
        (json!({}), 5),
        (json!({ "episode_id": null, "state": { "count": 3, "step_num": 9 } }), 2),
    ] {
        // The second is what clients of the reference send.
        for wire_type in ["env/plan/req", "env/plan/resp"] {
            let plan = session.call(wire_type, body.clone()).await;
            assert_eq!(plan["type"], "env/plan/resp", "{plan}");
            assert_eq!(plan["suggested_actions"], json!(vec![inc.clone(); expected]));
        }
    }
    for (mode, expected) in [
        (json!("text"), json!(r#"{"count":0,"step_num":0}"#)),
        (json!("json"), json!({ "count": 0, "step_num": 0 })),
        (json!("screenshot"), json!(null)),
        (json!("rgb_array"), json!(null)),
        (json!(null), json!(null)),
    ] {
        let request = json!({ "episode_id": id, "mode": mode });
        let shown = session.call("env/render/req", request).await;
        assert_eq!(shown["type"], "env/render/resp");
        assert_eq!(shown["render"], expected, "{mode}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_in_order_and_answered_with_whole_messages() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let obs = reset(&mut session, json!({ "env_name": "counter_env" })).await;
        ids.push(obs["episode_id"].clone());
    }
    for size in [2_usize, 30] {
        let before = session.call("env/observe/req", json!({ "episode_id": ids[0] })).await;
        let before = before["obs"]["step_num"].as_u64().unwrap();
        let chosen: Vec<&Value> = (0..size).map(|it| &ids[it % 2]).collect();
        let actions = vec![json!({ "type": "push" }); size];
        let batch = json!({ "episode_ids": chosen, "actions": actions });
        let id = session.send("env/batch_step/req", batch).await;
        let reply = session.reply_to(&id).await;
        assert_eq!(reply["type"], "env/batch_step/resp", "{reply}");
        let results = reply["results"].as_array().unwrap();
        assert_eq!(results.len(), size);
        for (place, result) in results.iter().enumerate() {
            assert_eq!((&result["type"], &result["req_id"]), (&json!("env/step/resp"), &json!(id)));
            assert_eq!(&result["obs"]["episode_id"], chosen[place]);
            let step_num = before + u64::try_from(place / 2).unwrap() + 1;
            assert_eq!(result["obs"]["step_num"], step_num, "one that stands twice goes on");
        }
    }
    let empty = json!({ "episode_ids": [], "actions": [] });
    assert_eq!(session.call("env/batch_step/req", empty).await["results"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_comes_by_itself_and_not_after_the_end() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let other =
        reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    step(&mut session, &other, json!({ "type": "push" })).await;
    session.call("env/close/req", json!({ "episode_id": other })).await;
    inc(&mut session, &id).await;
    step(&mut session, &id, json!({ "action_type": "push" })).await;
    let push = session.next().await.unwrap();
    assert_eq!(push["type"], "env/state/push", "{push}");
    assert_eq!((&push["episode_id"], &push["step_id"]), (&id, &json!(2)), "{push}");
    assert_eq!((&push["event_type"], &push["terminal"]), (&json!("observation"), &json!(false)));
    assert_eq!(push["delta"], json!({ "count": 1, "step_num": 2 }));
    assert_eq!((&push["reward"], &push["action_id"]), (&json!(null), &json!("push")));
    assert!(push.get("req_id").is_none());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn experience_is_kept_for_the_session() {
    let host = host_with(json!({ "max_history": 4 })).await;
    let (mut session, mut other) = (host.session(), host.session());
    let list = |body: Value| async { body };
    let first =
        reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    let second =
        reset(&mut session, json!({ "env_name": "counter_env" })).await["episode_id"].clone();
    assert_eq!(session.call("env/exp/list/req", json!({})).await["episodes"], json!([]));
    for id in [&first, &second, &first, &second, &first] {
        inc(&mut session, id).await;
    }
    session.call("env/close/req", json!({ "episode_id": first })).await;
    let all = session.call("env/exp/list/req", list(json!({})).await).await;
    assert_eq!(all["type"], "env/exp/list/resp");
    let steps: Vec<_> = all["episodes"].as_array().unwrap().iter().map(|it| &it["step"]).collect();
    assert_eq!(steps, [&json!(1), &json!(2), &json!(2), &json!(3)], "the oldest has left");
    let one = session.call("env/exp/list/req", json!({ "episode_id": first, "limit": 1 })).await;
    assert_eq!(
        one["episodes"],
        json!([{
            "episode_id": first, "step": 3, "action": { "type": "inc" }, "reward": 0.0, "done": false,
            "state": { "count": 2, "step_num": 2 }, "next_state": { "count": 3, "step_num": 3 },
        }])
    );
    assert_eq!(other.call("env/exp/list/req", json!({})).await["episodes"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_plugins_serve_each_their_own() {
    let other = PluginConfig::new("others", "env", CLS).with_setting("environments", ["cartpole"]);
    let worlds = plugin(json!({ "environments": ["counter_env"] }));
    let host = start(HostConfig::new().plugin(worlds).plugin(other)).await;
    let mut session = host.session();
    let mut ids = Vec::new();
    for (env_name, field) in
        [("counter_env", "count"), ("cartpole", "theta"), ("worlds", "count"), ("others", "theta")]
    {
        let obs = reset(&mut session, json!({ "env_name": env_name })).await;
        assert!(obs["state"][field].is_number(), "{env_name}: {obs}");
        ids.push(obs["episode_id"].clone());
    }
    inc(&mut session, &ids[0]).await;
    step(&mut session, &ids[1], json!({ "type": "left" })).await;
    let all = session.call("env/exp/list/req", json!({})).await;
    assert_eq!(all["episodes"].as_array().unwrap().len(), 2, "of both");
    for id in &ids {
        session.call("env/close/req", json!({ "episode_id": id })).await;
        assert_eq!(
            session.call_error("env/observe/req", json!({ "episode_id": id })).await,
            "runtime_error"
        );
    }
    let unknown = error(&mut session, "env/reset/req", json!({ "env_name": "chess" })).await;
    assert_eq!(unknown.0, "runtime_error");
    assert!(unknown.1.contains("no environment `chess` here"), "{}", unknown.1);
    host.stop().await;
}
