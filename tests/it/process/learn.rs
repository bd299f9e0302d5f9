//! `a2e learn export`, over a folder that a host has learned in.

use serde_json::{Value, json};

use super::support::program::{Host, PATIENCE, Place, a2e, outcome};

#[test]
fn a_folder_is_exported_while_its_host_runs() {
    let place = Place::new();
    let folder = place.path("learned");
    let config = place.config(
        "plugins:\n  - {name: learn, type: learn, cls: a2e.caps.learn.plugin.LearnPlugin, metadata: {store_root: \"{}/learned\"}}\n",
    );
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("learner");
    let turn = json!({ "prompt": "2+2", "response": "5", "model": "m" });
    let feedback =
        json!({ "polarity": "corrective", "score": -1, "correction": "4", "rated_turn": turn });
    let noted = wire.call("learn/feedback/req", json!({ "feedbacks": [feedback] }));
    assert_eq!(noted["recorded"], 1, "{noted}");
    let steps = json!([{ "action": { "component_name": "sum" }, "reward": 1 }]);
    assert_eq!(wire.call("learn/experience/req", json!({ "experiences": steps }))["stored"], 1);

    let folder = folder.to_str().unwrap();
    for (more, expected) in [
        (&[][..], vec![json!({ "prompt": "2+2", "chosen": "4", "rejected": "5", "model": "m" })]),
        (
            &["--samples", "rewards"],
            vec![
                json!({ "prompt": "2+2", "completion": "5", "reward": -1.0, "model": "m", "dimension": "helpfulness" }),
                json!({ "state": {}, "action": { "component_name": "sum" }, "reward": 1.0, "next_state": {}, "done": false, "episode_id": "", "step": 0 }),
            ],
        ),
    ] {
        let (code, stdout, stderr) = outcome(a2e(&["learn", "export", folder]).args(more));
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let lines: Vec<Value> =
            stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(lines, expected);
    }
    let (code, stdout, stderr) = outcome(&mut a2e(&["learn", "export", "/no/such"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("feedbacks.jsonl"), "{stderr}");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}
