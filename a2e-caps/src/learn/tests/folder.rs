//! What is on the disk: over a restart, after a crash, when it is full, and what is exported of it.

use std::fs;

use a2e_core::Executor;
use a2e_core::snapshot::{FileStore, SnapshotStore};

use super::*;
use crate::learn::export::{Samples, export};

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn totals(session: &mut TestSession) -> Vec<(String, u64)> {
    let stats = call(session, "stats", json!({})).await;
    let total = |it: &Value| {
        (it["component_name"].as_str().unwrap().to_owned(), it["calls_total"].as_u64().unwrap())
    };
    stats["components"].as_array().unwrap().iter().map(total).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_outlives_the_host_and_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let root = folder.path().join("learned");
    let host = host_in(&root).await;
    let mut session = host.session();
    call(&mut session, "feedback", json!({ "feedbacks": [judged("gpt", 1.0)] })).await;
    experience(&mut session, &[stepped("grep", 1.0), stepped("sed", 0.0)]).await;
    call(&mut session, "adapt", json!({ "strategy": "softmax" })).await;
    call(&mut session, "refinement/apply", proposal("one", "prompt.template", json!("v1"))).await;
    call(&mut session, "refinement/apply", proposal("two", "prompt.template", json!("v2"))).await;
    experience(&mut session, &[stepped("sed", 0.0)]).await;
    // As after a power cut: the files as they are, one with half a line.
    for entry in fs::read_dir(&root).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let log = copy.path().join("experiences.jsonl");
    let mut cut = fs::read(&log).unwrap();
    cut.extend_from_slice(br#"{"experience_id":"half"#);
    fs::write(&log, cut).unwrap();
    host.stop().await;

    for root in [root.as_path(), copy.path()] {
        let host = host_in(root).await;
        let mut session = host.session();
        let expected =
            [("gpt", 1), ("grep", 1), ("sed", 2)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(totals(&mut session).await, expected, "{root:?}");
        let back =
            call(&mut session, "refinement/rollback", json!({ "refinement_id": "two" })).await;
        assert_eq!(back["rolled_back"], true, "{back}");
        experience(&mut session, &[stepped("sed", 0.0)]).await;
        host.stop().await;
        let state: Value =
            serde_json::from_slice(&fs::read(root.join("harness_state.json")).unwrap()).unwrap();
        for key in [
            "policy_name",
            "policy_version",
            "checkpoint_uri",
            "rollouts",
            "stats",
            "scope",
            "created_at",
            "updated_at",
        ] {
            assert!(state.get(key).is_some(), "{key}: {state}");
        }
        assert_eq!(state["prompt"]["template"], "v1", "the value before came back");
        assert!(state["router"]["weights"]["grep"].as_f64().unwrap() > 0.5, "{state}");
        assert!(state["policy_version"].as_str().unwrap().starts_with('v'));
        assert_eq!(lines(&root.join("experiences.jsonl")).len(), 4, "whole lines only");
        assert_eq!(lines(&root.join("refinements.jsonl")).len(), 4);
        assert_eq!(lines(&root.join("feedbacks.jsonl"))[0]["polarity"], "positive");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_behind_is_made_up_from_the_logs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let host = host_in(root).await;
    let mut session = host.session();
    experience(&mut session, &[stepped("a", 1.0)]).await;
    call(&mut session, "refinement/apply", proposal("one", "x", json!(1))).await;
    let before = fs::read(root.join("harness_state.json")).unwrap();
    experience(&mut session, &[stepped("a", 1.0)]).await;
    call(&mut session, "refinement/apply", proposal("two", "x", json!(2))).await;
    host.stop().await;
    // As if the last state had not been written; and once as if none had.
    for state in [Some(before), None] {
        match state {
            Some(state) => fs::write(root.join("harness_state.json"), state).unwrap(),
            None => fs::remove_file(root.join("harness_state.json")).unwrap(),
        }
        let host = host_in(root).await;
        let mut session = host.session();
        assert_eq!(totals(&mut session).await, [("a".to_owned(), 2)]);
        host.stop().await;
        let state: Value =
            serde_json::from_slice(&fs::read(root.join("harness_state.json")).unwrap()).unwrap();
        assert_eq!((&state["x"], &state["experiences"]), (&json!(2), &json!(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_is_put_aside_and_nothing_is_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        json!({ "store_root": folder.path(), "max_log_bytes": 1 << 16, "adapt_every": 0 });
    let host = host(settings.clone()).await;
    let mut session = host.session();
    let steps: Vec<Value> = (0..100).map(|_| stepped("a", 1.0)).collect();
    for _ in 0..6 {
        experience(&mut session, &steps).await;
    }
    host.stop().await;
    assert!(folder.path().join("experiences.1.jsonl").exists());
    assert!(fs::metadata(folder.path().join("experiences.jsonl")).unwrap().len() <= 1 << 16);
    let host = TestHost::start(config(settings)).await;
    assert_eq!(totals(&mut host.session()).await, [("a".to_owned(), 600)]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_had_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let host = host_in(&file.join("below")).await;
    let reply = host.session().call("learn/stats/req", json!({})).await;
    assert_eq!(reply["code"], "runtime_error", "{reply}");
    host.stop().await;

    let root = folder.path().join("broken");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("harness_state.json"), "{").unwrap();
    let host = host_in(&root).await;
    let feedbacks = json!({ "feedbacks": [judged("a", 1.0)] });
    let reply = host.session().call("learn/feedback/req", feedbacks.clone()).await;
    assert!(reply["message"].as_str().unwrap().contains("harness_state.json"), "{reply}");
    fs::remove_file(root.join("harness_state.json")).unwrap();
    // One host at a time.
    assert_eq!(call(&mut host.session(), "feedback", feedbacks.clone()).await["recorded"], 1);
    let second = host_in(&root).await;
    let reply = second.session().call("learn/feedback/req", feedbacks.clone()).await;
    assert!(reply["message"].as_str().unwrap().contains("another host"), "{reply}");
    // The first of them has waited for all.
    let others = async {
        for _ in 0..20 {
            let reply = second.session().call("learn/stats/req", json!({})).await;
            assert!(reply["message"].as_str().unwrap().contains("another host"), "{reply}");
        }
    };
    let limit = std::time::Duration::from_mins(1);
    tokio::time::timeout(limit, others).await.expect("they do not wait 5 s each");
    host.stop().await;
    assert_eq!(call(&mut second.session(), "feedback", feedbacks).await["recorded"], 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_waits_is_not_learned() {
    let folder = tempfile::tempdir().unwrap();
    let first = host_in(folder.path()).await;
    call(&mut first.session(), "feedback", json!({ "feedbacks": [judged("a", 1.0)] })).await;
    let second = host_in(folder.path()).await;
    let mut session = second.session();
    // They wait for the folder, one for the other.
    let mut sent = Vec::new();
    for (what, body) in [
        ("feedback", json!({ "feedbacks": [judged("b", 1.0)] })),
        ("experience", json!({ "experiences": [stepped("c", 1.0)] })),
        ("refinement/apply", proposal("one", "x", json!(1))),
    ] {
        sent.push(session.send(&format!("learn/{what}/req"), body).await);
    }
    for id in sent {
        session.send("cancel", json!({ "req_id": id })).await;
        assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    }
    first.stop().await;
    second.until("they have given up", |it| it.in_flight == 0).await;
    assert_eq!(totals(&mut session).await, [("a".to_owned(), 1)]);
    let history = call(&mut session, "refinement/history", json!({})).await;
    assert_eq!(history["entries"], json!([]));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_snapshots_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = || -> std::sync::Arc<dyn SnapshotStore> {
        std::sync::Arc::new(FileStore::open(folder.path()).unwrap())
    };
    for expected in [1, 2] {
        let builder = Executor::builder(config(json!({}))).snapshot_store(store());
        let host = TestHost::build(builder).await.unwrap();
        let mut session = host.session();
        call(&mut session, "feedback", json!({ "feedbacks": [judged("a", 1.0)] })).await;
        assert_eq!(totals(&mut session).await, [("a".to_owned(), expected)]);
        if expected == 1 {
            call(&mut session, "refinement/apply", proposal("one", "x", json!(1))).await;
        } else {
            let back =
                call(&mut session, "refinement/rollback", json!({ "refinement_id": "one" })).await;
            assert_eq!(back["rolled_back"], true);
        }
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let host = host_in(folder.path()).await;
    let mut session = host.session();
    let mut corrected = judged("m", -1.0);
    corrected["polarity"] = json!("corrective");
    corrected["correction"] = json!("ö");
    corrected["rated_turn"]["response"] = json!("Köln ist gross");
    corrected["correction_span"] = json!([1, 2]);
    let mut whole = corrected.clone();
    whole["correction_span"] = json!([5, 99]);
    let feedbacks = json!([judged("m", 0.5), judged("m", 0.75), judged("m", -0.5), judged("other", -0.5), corrected, whole, { "polarity": "neutral" }]);
    call(&mut session, "feedback", json!({ "feedbacks": feedbacks })).await;
    experience(
        &mut session,
        &[json!({ "reward": 0.5, "episode_id": "e", "step": 3, "done": true })],
    )
    .await;
    host.stop().await;
    let exported = |samples| {
        let mut out = Vec::new();
        let count = export(folder.path(), samples, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(u64::try_from(lines.len()).unwrap(), count);
        lines
    };
    let response = "Köln ist gross";
    assert_eq!(
        exported(Samples::Pairs),
        [
            json!({ "prompt": "p", "chosen": "r0.75", "rejected": "r-0.5", "model": "m" }),
            json!({ "prompt": "p", "chosen": response, "rejected": response, "model": "m" }),
            json!({ "prompt": "p", "chosen": "ö", "rejected": response, "model": "m" }),
        ]
    );
    let rewards = exported(Samples::Rewards);
    assert_eq!(rewards.len(), 7);
    assert_eq!(
        rewards[0],
        json!({ "prompt": "p", "completion": "r0.5", "reward": 0.5, "model": "m", "dimension": "helpfulness" })
    );
    assert_eq!(
        rewards[6],
        json!({ "state": {}, "action": {}, "reward": 0.5, "next_state": {}, "done": true, "episode_id": "e", "step": 3 })
    );
    let error = export(&folder.path().join("none"), Samples::Pairs, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("feedbacks.jsonl: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let file = root.join("harness_state.json");
    let host = host_in(root).await;
    let mut session = host.session();
    experience(&mut session, &[stepped("a", 0.5), stepped("a", 0.5)]).await;
    let path = ["p"; 16].join(".");
    for (levels, applied) in [(95, 0), (84, 1)] {
        let change = proposal(&format!("deep{levels}"), &path, nested(levels));
        let reply = call(&mut session, "refinement/apply", change).await;
        assert_eq!(reply["applied_edits"], applied, "{reply}");
        assert_eq!(reply["error"].as_str().unwrap().contains("levels"), applied == 0, "{reply}");
    }
    host.stop().await;
    // A sum as an older release has written one that had grown beyond any number.
    let mut written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["stats"]["a"]["rewards"]["sum"], 1.0);
    written["stats"]["a"]["rewards"]["sum"] = json!(null);
    fs::write(&file, written.to_string()).unwrap();
    let host = host_in(root).await;
    let mut session = host.session();
    let stats = call(&mut session, "stats", json!({})).await;
    assert_eq!(stats["components"][0]["avg_score"], 0.0, "{stats}");
    assert_eq!(stats["components"][0]["calls_total"], 2, "{stats}");
    host.stop().await;
}
