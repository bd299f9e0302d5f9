//! What is refused, and how it is said.

use a2e_core::Executor;
use a2e_core::executor::StartError;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_field() {
    let host = host(json!({ "max_components": 2 })).await;
    let mut session = host.session();
    let with = |key: &str, value: Value| {
        let mut it = judged("m", 0.5);
        it[key] = value;
        json!({ "feedbacks": [it] })
    };
    let turn = |key: &str| {
        let mut it = judged("m", 0.5);
        it["rated_turn"].as_object_mut().unwrap().remove(key);
        json!({ "feedbacks": [it] })
    };
    let first = "feedbacks[0]";
    for (what, body, loc) in [
        ("feedback", json!({}), ""),
        ("feedback", json!({ "feedbacks": {} }), "feedbacks"),
        ("feedback", json!({ "feedbacks": [1] }), first),
        ("feedback", json!({ "feedbacks": [{}] }), first),
        ("feedback", json!({ "feedbacks": vec![judged("m", 0.5); 1001] }), "feedbacks"),
        ("feedback", with("polarity", json!("POSITIVE")), "feedbacks[0].polarity"),
        ("feedback", with("polarity", json!(null)), "feedbacks[0].polarity"),
        ("feedback", with("polarity", json!("corrective")), "feedbacks[0].correction"),
        ("feedback", with("score", json!(1.5)), "feedbacks[0].score"),
        ("feedback", with("score", json!("1")), "feedbacks[0].score"),
        ("feedback", with("dimension", json!("speed")), "feedbacks[0].dimension"),
        ("feedback", with("source", json!("robot")), "feedbacks[0].source"),
        ("feedback", with("correction_span", json!([1])), "feedbacks[0].correction_span"),
        ("feedback", with("comment", json!(null)), "feedbacks[0].comment"),
        ("feedback", turn("prompt"), "feedbacks[0].rated_turn"),
        ("feedback", turn("response"), "feedbacks[0].rated_turn"),
        ("feedback", turn("model"), "feedbacks[0].rated_turn"),
        ("experience", json!({ "experiences": 1 }), "experiences"),
        ("experience", json!({ "experiences": [{ "reward": "1" }] }), "experiences[0].reward"),
        ("experience", json!({ "experiences": [stepped("a", 1.7e308)] }), "experiences[0].reward"),
        ("experience", json!({ "experiences": [stepped("a", -2e12)] }), "experiences[0].reward"),
        ("experience", json!({ "experiences": [{ "action": [] }] }), "experiences[0].action"),
        ("experience", json!({ "experiences": [{ "step": 1.5 }] }), "experiences[0].step"),
        ("adapt", json!({ "strategy": "dqn" }), "strategy"),
        ("adapt", json!({ "strategy": "PPO" }), "strategy"),
        ("adapt", json!({ "component_name": 1 }), "component_name"),
        ("adapt", json!({ "strategy": "custom" }), "weights"),
        ("adapt", json!({ "strategy": "custom", "weights": { "a": -1 } }), "weights.a"),
        ("adapt", json!({ "strategy": "custom", "weights": { "a": "1" } }), "weights.a"),
        ("stats", json!({ "component_name": null }), "component_name"),
        ("refinement/plan", json!({ "scope": 1 }), "scope"),
        ("refinement/plan", json!({ "scope": "planet" }), "scope"),
        ("refinement/apply", json!({ "proposal": { "scope": "planet" } }), "proposal.scope"),
        ("refinement/review", json!({ "proposal": 1 }), "proposal"),
        ("refinement/review", json!({ "proposal": { "edits": 1 } }), "proposal.edits"),
        (
            "refinement/apply",
            json!({ "proposal": { "edits": [{ "path": 1 }] } }),
            "proposal.edits[0].path",
        ),
        ("refinement/apply", proposal("a", "x", json!("x".repeat(300_000))), "proposal"),
        ("refinement/review", proposal("a", "x", json!("\u{e9}".repeat(50_000))), "proposal"),
        ("refinement/apply", proposal("a", "x", nested(110)), "proposal.edits[0]"),
        ("adapt", json!({ "strategy": "custom", "weights": { ("n".repeat(300)): 1 } }), "weights"),
        ("refinement/rollback", json!({ "refinement_id": 1 }), "refinement_id"),
    ] {
        let reply = session.call(&format!("learn/{what}/req"), body.clone()).await;
        let said = (&reply["type"], &reply["code"]);
        assert_eq!(said, (&json!("error"), &json!("schema_violation")), "{what} {body}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{what} {body}: {reply}");
        assert_eq!(reply["capability_name"], "learning");
    }
    let stats = call(&mut session, "stats", json!({})).await;
    assert_eq!(stats["components"], json!([]), "what was refused left no trace");
    let many = [judged("a", 0.1), judged("b", 0.1), judged("c", 0.1)];
    let reply = session.call("learn/feedback/req", json!({ "feedbacks": many })).await;
    assert_eq!(reply["code"], "runtime_error", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("max_components"), "{reply}");
    let long = stepped(&"n".repeat(300), 1.0);
    let reply = session.call_error("learn/experience/req", json!({ "experiences": [long] })).await;
    assert_eq!(reply, "schema_violation");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_hold_are_named() {
    for (settings, expected) in [
        (json!({ "epsilon": 1.5 }), "epsilon"),
        (json!({ "temperature": 0 }), "temperature"),
        (json!({ "clip": 1 }), "clip"),
        (json!({ "confidence_threshold": -1 }), "confidence_threshold"),
        (json!({ "custom_weights": { "a": -1 } }), "custom_weights"),
        (json!({ "max_log_bytes": 10 }), "max_log_bytes"),
        (json!({ "strategy": "dqn" }), "dqn"),
    ] {
        let mut config = config(settings);
        for plugin in &mut config.plugins {
            plugin.metadata.required = true;
        }
        match TestHost::build(Executor::builder(config).lenient()).await {
            Err(StartError::RequiredPlugin { reason, .. }) => {
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}
