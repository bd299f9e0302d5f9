//! Each request type and its reply, field by field.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn judgements_count_for_their_component() {
    let host = host(json!({})).await;
    let mut session = host.session();
    let mut versioned = judged("gpt", -1.0);
    versioned["rated_turn"]["version"] = json!("agent-2");
    let neutral = json!({ "polarity": "neutral", "rated_turn": null });
    for (feedbacks, recorded, new_score) in [
        (json!([]), 0, json!(null)),
        (json!([judged("gpt", 0.5)]), 1, json!(0.5)),
        (json!([judged("gpt", 1.0), judged("gpt", -0.25)]), 2, json!(0.4167)),
        (json!([versioned]), 1, json!(-1.0)),
        (json!([neutral]), 1, json!(0.0)),
    ] {
        let reply = call(&mut session, "feedback", json!({ "feedbacks": feedbacks })).await;
        assert_eq!((&reply["recorded"], &reply["new_score"]), (&json!(recorded), &new_score));
    }
    let stats = call(&mut session, "stats", json!({})).await;
    let components = stats["components"].as_array().unwrap();
    let names: Vec<&Value> = components.iter().map(|it| &it["component_name"]).collect();
    assert_eq!(names, ["agent-2", "gpt", "unknown"]);
    let gpt = &components[1];
    let mut keys: Vec<&String> = gpt.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "avg_duration_ms",
            "avg_score",
            "calls_failed",
            "calls_success",
            "calls_total",
            "component_name",
            "last_called",
            "p95_duration_ms",
        ],
        "exactly these: clients of the reference make a model of them"
    );
    let counts = (&gpt["calls_total"], &gpt["calls_success"], &gpt["calls_failed"]);
    assert_eq!(counts, (&json!(3), &json!(2), &json!(1)));
    assert_eq!(gpt["avg_score"], 0.4167);
    assert!(gpt["last_called"].as_f64().unwrap() > 0.0);
    // What was learned is the host's: another session sees it.
    let mut other = host.session();
    let one = call(&mut other, "stats", json!({ "component_name": "gpt" })).await;
    assert_eq!(one["components"], json!([gpt]));
    let none = call(&mut other, "stats", json!({ "component_name": "nobody" })).await;
    assert_eq!(none["components"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_count_once_for_each_component_that_they_name() {
    let host = host(json!({ "adapt_every": 0 })).await;
    let mut session = host.session();
    let action = json!({
        "component_name": "a", "components": ["a", "b", 7, ""], "tools": [{ "name": "c" }, "b"],
        "duration_ms": 20,
    });
    let steps =
        [json!({ "action": action, "reward": 2.0, "done": true }), json!({}), stepped("a", -1.0)];
    experience(&mut session, &steps).await;
    experience(&mut session, &[]).await;
    let stats = call(&mut session, "stats", json!({})).await;
    let seen: Vec<(&str, u64, u64, u64, f64)> = stats["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let count = |key: &str| it[key].as_u64().unwrap();
            (
                it["component_name"].as_str().unwrap(),
                count("calls_total"),
                count("calls_success"),
                count("calls_failed"),
                it["avg_score"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("a", 2, 1, 1, 0.5), ("b", 1, 1, 0, 2.0), ("c", 1, 1, 0, 2.0)]);
    for place in 1..=100 {
        let action = json!({ "component_name": "slow", "duration_ms": place });
        experience(&mut session, &[json!({ "action": action })]).await;
    }
    let slow = call(&mut session, "stats", json!({ "component_name": "slow" })).await;
    let slow = &slow["components"][0];
    assert_eq!(slow["avg_duration_ms"], 50.5);
    let p95 = slow["p95_duration_ms"].as_f64().unwrap();
    assert!((94.0..=97.0).contains(&p95), "{p95}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_makes_weights() {
    for (strategy, check) in [
        ("ucb1", (|a, b| a > 0.999 && b < 1e-9) as fn(f64, f64) -> bool),
        ("epsilon_greedy", |a, b| (a - 0.95).abs() < 1e-9 && (b - 0.05).abs() < 1e-9),
        ("softmax", |a, b| a > b && (a + b - 1.0).abs() < 1e-9),
        ("ppo", |a, b| a > 0.5 && b < 0.5 && (a + b - 1.0).abs() < 1e-9),
        ("custom", |a, b| (a - 0.25).abs() < 1e-9 && (b - 3.0).abs() < 1e-9),
    ] {
        let host =
            host(json!({ "min_experiences": 4, "custom_weights": { "a.b": 0.25, "c": 3 } })).await;
        let mut session = host.session();
        let few = call(&mut session, "adapt", json!({ "strategy": strategy })).await;
        assert_eq!(few["updated"], json!([]));
        assert!(few["message"].as_str().unwrap().starts_with("0 experiences of 4"), "{few}");
        let good = stepped("a.b", 1.0);
        let steps = [
            good.clone(),
            good.clone(),
            good,
            stepped("c", 0.0),
            stepped("c", 0.2),
            stepped("c", 0.1),
        ];
        experience(&mut session, &steps).await;
        let adapted = call(&mut session, "adapt", json!({ "strategy": strategy })).await;
        assert_eq!(adapted["updated"].as_array().unwrap().len(), 2, "{adapted}");
        assert!(adapted["message"].as_str().unwrap().contains("in force as v"), "{adapted}");
        let history = call(&mut session, "refinement/history", json!({})).await;
        let entry = &history["entries"][0];
        assert_eq!((&entry["event"], &entry["failed_edits"]), (&json!("applied"), &json!(0)));
        let edits = entry["proposal"]["edits"].as_array().unwrap();
        let weight = |path: &str| {
            let edit =
                edits.iter().find(|it| it["path"] == path).unwrap_or_else(|| panic!("{edits:?}"));
            edit["new_value"].as_f64().unwrap()
        };
        let (a, b) = (weight(r"router.weights.a\.b"), weight("router.weights.c"));
        assert!(check(a, b), "{strategy}: {a} {b}");
        assert_eq!(few["weights"], Value::Null);
        assert_eq!(adapted["weights"], json!({ "a.b": a, "c": b }));
        if strategy != "ppo" {
            let again = call(&mut session, "adapt", json!({ "strategy": strategy })).await;
            assert_eq!(again["message"], "the weights stay as they are");
        }
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adaptation_may_be_of_one_component_and_come_by_itself() {
    let host = host(json!({ "min_experiences": 1, "adapt_every": 3, "strategy": "softmax" })).await;
    let mut session = host.session();
    let steps = [stepped("a", 1.0), stepped("b", 0.0)];
    experience(&mut session, &steps).await;
    let named =
        json!({ "component_name": "a", "strategy": "custom", "weights": { "a": 2, "b": 3 } });
    let adapted = call(&mut session, "adapt", named).await;
    assert_eq!(adapted["updated"].as_array().unwrap().len(), 1, "{adapted}");
    assert!(adapted["message"].as_str().unwrap().starts_with("1 of 1 values"), "{adapted}");
    assert_eq!(adapted["weights"], json!({ "a": 2.0 }));
    experience(&mut session, &[stepped("b", 0.5)]).await;
    let history = call(&mut session, "refinement/history", json!({})).await;
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "the third step had weights made: {history}");
    assert_eq!(entries[1]["proposal"]["feedback_summary"], "weights by softmax");
    assert_eq!(entries[1]["proposal"]["edits"][0]["old_value"], 2.0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_reviewed_applied_and_taken_back() {
    let host = host(json!({ "min_experiences": 2, "adapt_every": 0 })).await;
    let mut session = host.session();
    let empty = call(&mut session, "refinement/plan", json!({})).await;
    assert_eq!((&empty["status"], &empty["proposals"]), (&json!("empty"), &json!([])));
    assert_eq!(empty["plan_id"].as_str().unwrap().len(), 12);
    experience(&mut session, &[stepped("poor", 0.1), stepped("poor", 0.3), stepped("good", 0.9)])
        .await;
    let mut feedback = judged("gpt", -0.5);
    feedback["polarity"] = json!("corrective");
    feedback["correction"] = json!("say please");
    call(&mut session, "feedback", json!({ "feedbacks": [judged("gpt", 0.0), feedback] })).await;
    let plan = call(&mut session, "refinement/plan", json!({ "scope": "global" })).await;
    assert_eq!(plan["status"], "ready");
    let proposals = plan["proposals"].as_array().unwrap().clone();
    assert_eq!(proposals.len(), 2, "{plan}");
    let [poor, gpt] = &proposals[..] else { panic!("{plan}") };
    assert_eq!((&poor["component_name"], &poor["scope"]), (&json!("poor"), &json!("global")));
    assert_eq!(
        poor["edits"],
        json!([{
            "target": "router_weight", "op": "update", "path": "router.weights.poor",
            "old_value": null, "new_value": 0.4, "reason": "2 steps with a mean reward of 0.2",
        }])
    );
    assert_eq!((&poor["confidence"], &poor["status"]), (&json!(0.8), &json!("proposed")));
    let values: Vec<&Value> =
        gpt["edits"].as_array().unwrap().iter().map(|it| &it["new_value"]).collect();
    assert_eq!(values, [&json!("say please"), &json!(0.35), &json!(0.1)]);
    assert_eq!(gpt["confidence"], 1.0);
    let local = call(&mut session, "refinement/plan", json!({ "component_name": "gpt" })).await;
    assert_eq!(local["proposals"].as_array().unwrap().len(), 1);

    let review = call(&mut session, "refinement/review", json!({ "proposal": poor })).await;
    assert_eq!((&review["approved"], &review["risk_level"]), (&json!(true), &json!("low")));
    assert_eq!((&review["confidence_adjusted"], &review["reasons"]), (&json!(0.8), &json!([])));
    let applied = call(&mut session, "refinement/apply", json!({ "proposal": poor })).await;
    let id = poor["refinement_id"].clone();
    assert_eq!(
        (&applied["refinement_id"], &applied["applied_edits"], &applied["failed_edits"]),
        (&id, &json!(1), &json!(0))
    );
    assert_eq!((&applied["rollback_available"], &applied["error"]), (&json!(true), &json!("")));
    let review = call(&mut session, "refinement/review", json!({ "proposal": poor })).await;
    assert_eq!(
        (&review["risk_level"], &review["confidence_adjusted"]),
        (&json!("medium"), &json!(0.64))
    );
    let twice = call(&mut session, "refinement/apply", json!({ "proposal": poor })).await;
    assert_eq!((&twice["applied_edits"], &twice["rollback_available"]), (&json!(0), &json!(false)));
    assert!(twice["error"].as_str().unwrap().contains("in force already"), "{twice}");

    for (rolled_back, error) in [
        (true, String::new()),
        (false, format!("No rollback snapshot for {}", id.as_str().unwrap())),
    ] {
        let reply = call(&mut session, "refinement/rollback", json!({ "refinement_id": id })).await;
        assert_eq!((&reply["rolled_back"], &reply["error"]), (&json!(rolled_back), &json!(error)));
    }
    let history = call(&mut session, "refinement/history", json!({})).await;
    let events: Vec<&Value> =
        history["entries"].as_array().unwrap().iter().map(|it| &it["event"]).collect();
    assert_eq!(events, ["applied", "rolled_back"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_change_the_sound_edits_are_made() {
    let host = host(json!({})).await;
    let mut session = host.session();
    let edit =
        |op: &str, path: &str| json!({ "target": "tool", "op": op, "path": path, "new_value": 1 });
    let edits = [
        edit("insert", "a.b"),
        edit("insert", "a.b"),
        edit("update", "stats"),
        edit("update", "c"),
    ];
    let applied =
        call(&mut session, "refinement/apply", json!({ "proposal": { "edits": edits } })).await;
    assert_eq!((&applied["applied_edits"], &applied["failed_edits"]), (&json!(2), &json!(2)));
    let error = applied["error"].as_str().unwrap();
    assert!(error.contains("edits[1]: `a.b` is there already; edits[2]: path"), "{error}");
    assert_eq!(applied["refinement_id"].as_str().unwrap().len(), 12);
    let nothing = call(&mut session, "refinement/apply", json!({})).await;
    assert_eq!(
        (&nothing["error"], &nothing["rollback_available"]),
        (&json!("there is no edit"), &json!(false))
    );
    for (place, applied) in [1, 1, 1, 1, 1, 0].into_iter().enumerate() {
        let id = format!("large{place}");
        let large = proposal(&id, &id, json!("x".repeat(200_000)));
        let large = call(&mut session, "refinement/apply", large).await;
        assert_eq!(large["applied_edits"], applied, "{large}");
        assert_eq!(large["error"].as_str().unwrap().contains("bytes"), applied == 0, "{large}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_changes_back_has_a_bound_of_bytes() {
    let host = host(json!({})).await;
    let mut session = host.session();
    for place in 0..20 {
        let change = proposal(&format!("p{place}"), "x", json!("x".repeat(250_000 + place)));
        assert_eq!(call(&mut session, "refinement/apply", change).await["applied_edits"], 1);
    }
    for (id, rolled_back) in [("p1", false), ("p19", true), ("p18", true)] {
        let asked = json!({ "refinement_id": id });
        let reply = call(&mut session, "refinement/rollback", asked).await;
        assert_eq!(reply["rolled_back"], rolled_back, "{id}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_the_beginning_of_a_long_text() {
    let host = host(json!({})).await;
    let mut session = host.session();
    let mut feedback = judged("gpt", -0.5);
    feedback["comment"] = json!("x".to_owned() + &"\u{e9}".repeat(100_000));
    call(&mut session, "feedback", json!({ "feedbacks": [feedback] })).await;
    let plan = call(&mut session, "refinement/plan", json!({})).await;
    let text = plan["proposals"][0]["edits"][0]["new_value"].as_str().unwrap();
    assert_eq!(text.len(), 4095, "whole characters of 4 KiB");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_numbers_are_answered() {
    let host = host(json!({ "adapt_every": 0 })).await;
    let mut session = host.session();
    let mut sure = proposal("a", "x", json!(1));
    sure["proposal"]["confidence"] = json!(1.7e308);
    let review = call(&mut session, "refinement/review", sure).await;
    assert_eq!(review["confidence_adjusted"], 1.7e308, "{review}");
    let mut long = stepped("a", 1e12);
    long["action"]["duration_ms"] = json!(1.7e308);
    experience(&mut session, &[long.clone(), long, stepped("a", 1e12)]).await;
    let stats = call(&mut session, "stats", json!({})).await;
    let it = &stats["components"][0];
    assert_eq!((&it["avg_score"], &it["avg_duration_ms"]), (&json!(1e12), &json!(10.0)), "{it}");
    host.stop().await;
}
