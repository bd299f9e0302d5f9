//! The built-in environments.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn equal_seeds_make_equal_runs() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let options = json!({ "width": 6, "height": 6, "slip": 0.5 });
    for (env_name, options, actions) in [
        ("gridworld", options, ["right", "down", "right", "down", "up"]),
        ("cartpole", json!({}), ["left", "right", "right", "left", "left"]),
    ] {
        let mut runs = Vec::new();
        let mut seed = json!(null);
        for run in 0..3 {
            // The first draws a seed, the second repeats it, the third has another.
            let given = if run == 2 { json!(seed.as_i64().unwrap() + 1) } else { seed.clone() };
            let request = json!({ "env_name": env_name, "seed": given, "options": options });
            let obs = reset(&mut session, request).await;
            seed = obs["metadata"]["seed"].clone();
            assert!(seed.as_i64().unwrap() >= 0);
            let mut states = vec![obs["state"].clone()];
            for action in actions {
                let obs = step(&mut session, &obs["episode_id"], json!({ "type": action })).await;
                states.push(obs["state"].clone());
            }
            runs.push(states);
        }
        assert_eq!(runs[0], runs[1], "{env_name}");
        assert_ne!(runs[1], runs[2], "{env_name}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_grid_has_a_way_that_the_plan_finds() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    for (seed, width, height, walls) in
        [(1, 5, 5, 0.2), (2, 2, 2, 0.5), (3, 32, 32, 0.5), (-4, 10, 3, 0.5), (i64::MAX, 7, 7, 0.0)]
    {
        let options = json!({ "width": width, "height": height, "walls": walls });
        let request = json!({ "env_name": "gridworld", "seed": seed, "options": options });
        let obs = reset(&mut session, request).await;
        let id = obs["episode_id"].clone();
        assert_eq!(obs["metadata"]["seed"], seed);
        let plan = session.call("env/plan/req", json!({ "episode_id": id })).await;
        let plan = plan["suggested_actions"].as_array().unwrap().clone();
        assert!(plan.len() >= width + height - 2, "{plan:?}");
        let mut total = 0.0;
        for (place, action) in plan.iter().enumerate() {
            let obs = step(&mut session, &id, action.clone()).await;
            total += obs["reward"].as_f64().unwrap();
            assert_eq!(obs["done"], place + 1 == plan.len(), "{obs}");
        }
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let expected = 1.0 - 0.01 * (plan.len() - 1) as f64;
        assert!((total - expected).abs() < 1e-9, "{total}");
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_is_drawn_as_text_and_as_a_picture() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let options = json!({ "width": 3, "height": 2, "walls": 0, "max_steps": 2 });
    let obs = reset(&mut session, json!({ "env_name": "gridworld", "options": options })).await;
    let id = obs["episode_id"].clone();
    let blocked = step(&mut session, &id, json!({ "type": "up" })).await;
    assert_eq!(blocked["state"]["agent"], json!([0, 0]), "the edge holds");
    let obs = step(&mut session, &id, json!({ "type": "right" })).await;
    assert_eq!((&obs["done"], &obs["truncated"]), (&json!(true), &json!(true)), "{obs}");
    let mut shown = Vec::new();
    for mode in ["text", "rgb_array", "screenshot"] {
        let request = json!({ "episode_id": id, "mode": mode });
        shown.push(session.call("env/render/req", request).await["render"].clone());
    }
    assert_eq!(shown[0], ".A.\n..G\n");
    let (rows, picture) = (shown[1].as_array().unwrap(), &shown[2]);
    assert_eq!((rows.len(), rows[0].as_array().unwrap().len()), (33, 49));
    assert_eq!(rows[8][24], json!([30, 110, 220]), "the agent");
    assert_eq!(rows[24][40], json!([40, 170, 80]), "the goal");
    assert_eq!((&picture["width"], &picture["height"]), (&json!(49), &json!(33)));
    assert_eq!((&picture["mime"], &picture["encoding"]), (&json!("image/png"), &json!("base64")));
    let data = picture["data"].as_str().unwrap();
    assert!(data.starts_with("iVBORw0KGgo"), "the mark of a PNG file");
    host.stop().await;
}

/// As Gymnasium 1.4.0 computes `CartPole-v1` from this state: left, right, right.
const PUBLISHED: [[f64; 4]; 3] = [
    [
        0.009_600_000_000_000_001,
        -0.215_539_017_102_789_36,
        0.030_799_999_999_999_998,
        0.341_995_223_776_039_14,
    ],
    [
        0.005_289_219_657_944_213,
        -0.020_868_498_014_729_647,
        0.037_639_904_475_520_78,
        0.059_181_706_756_417_596,
    ],
    [
        0.004_871_849_697_649_620_5,
        0.173_694_120_274_619_5,
        0.038_823_538_610_649_126,
        -0.221_391_989_244_081_43,
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn the_cart_moves_as_published() {
    let host = host_with(json!({})).await;
    let mut session = host.session();
    let state = json!({ "x": 0.01, "x_dot": -0.02, "theta": 0.03, "theta_dot": 0.04 });
    let request = json!({ "env_name": "cartpole", "options": { "state": state } });
    let id = reset(&mut session, request).await["episode_id"].clone();
    for (action, expected) in
        [("left", PUBLISHED[0]), ("right", PUBLISHED[1]), ("right", PUBLISHED[2])]
    {
        let obs = step(&mut session, &id, json!({ "type": action })).await;
        assert_eq!(obs["reward"], 1.0);
        let names = ["x", "x_dot", "theta", "theta_dot"];
        for (name, expected) in names.into_iter().zip(expected) {
            let value = obs["state"][name].as_f64().unwrap();
            assert!((value - expected).abs() < 1e-12, "{name}: {value}, {expected}");
        }
    }
    let request = json!({ "episode_id": id, "mode": "text" });
    let shown = session.call("env/render/req", request).await["render"].clone();
    assert_eq!(shown.as_str().unwrap().lines().count(), 3, "{shown}");

    // It falls without a hand, and stays up with its own plan to the end.
    for (is_planned, expected) in [(false, false), (true, true)] {
        let request = json!({ "env_name": "cartpole", "seed": 3 });
        let mut obs = reset(&mut session, request).await;
        let id = obs["episode_id"].clone();
        while obs["done"] == false {
            let mut action = json!({ "type": "left" });
            if is_planned {
                let plan = session.call("env/plan/req", json!({ "episode_id": id })).await;
                action = plan["suggested_actions"][0].clone();
            }
            obs = step(&mut session, &id, action).await;
        }
        assert_eq!(obs["truncated"], expected, "{obs}");
        assert_eq!(obs["step_num"] == 500, expected, "{obs}");
    }
    host.stop().await;
}
