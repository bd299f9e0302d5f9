//! Environments of Gymnasium, a package of Python, through `examples/gymnasium_env.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::faults::skipped;

/// A Python that has Gymnasium; made once below the target folder.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gymnasium");
    let python = folder.join("bin/python");
    let runs = |command: &mut Command| command.output().is_ok_and(|it| it.status.success());
    let has_it = || runs(Command::new(&python).args(["-c", "import gymnasium"]));
    if has_it() {
        return Some(python);
    }
    let made = runs(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && runs(Command::new(&python).args(["-m", "pip", "-q", "install", "gymnasium==1.4.0"]));
    if made && has_it() {
        return Some(python);
    }
    skipped("no Gymnasium: no python3 with venv, or no PyPI");
    None
}

fn config(python: &Path) -> HostConfig {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../a2e-server/examples/gymnasium_env.py");
    let process = |name: &str, more: &[&str]| {
        let mut command = vec![python.to_str().unwrap(), script.to_str().unwrap()];
        command.extend(more);
        json!({ "name": name, "command": command })
    };
    let processes = json!([
        process("gym-cartpole", &["CartPole-v1"]),
        process("lake", &["FrozenLake-v1", r#"{"is_slippery": false}"#]),
        process("slippery", &["FrozenLake-v1"]),
        process("pendulum", &["Pendulum-v1"]),
        process("none", &["NoSuchEnv-v0"]),
    ]);
    let plugin = PluginConfig::new("env", "env", "a2e.caps.env.plugin.EnvPlugin");
    HostConfig::new().plugin(plugin.with_setting("processes", processes))
}

async fn reset(session: &mut TestSession, env_name: &str, seed: i64) -> Value {
    let reply = session.call("env/reset/req", json!({ "env_name": env_name, "seed": seed })).await;
    assert_eq!(reply["type"], "env/reset/resp", "{reply}");
    reply["obs"].clone()
}

async fn step(session: &mut TestSession, id: &Value, action: Value) -> Value {
    let request = json!({ "episode_id": id, "action": { "action": action } });
    let reply = session.call("env/step/req", request).await;
    assert_eq!(reply["type"], "env/step/resp", "{reply}");
    reply["obs"].clone()
}

/// What Gymnasium itself says of this run.
fn directly(python: &Path, env: &str, seed: i64, actions: &[i64]) -> Value {
    let script = format!(
        "import gymnasium, json\n\
         made = gymnasium.make('{env}')\n\
         seen = [made.reset(seed={seed})[0].tolist()]\n\
         for action in {actions:?}:\n    seen.append(made.step(action)[0].tolist())\n\
         print(json.dumps(seen))"
    );
    let output = Command::new(python).args(["-c", &script]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_of_gymnasium_are_served() {
    let Some(python) = python() else { return };
    let builder = Executor::builder(config(&python)).guard(env!("CARGO_BIN_EXE_a2e-under-test"));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();

    let actions = [1, 0, 1, 1, 0];
    let expected = directly(&python, "CartPole-v1", 42, &actions);
    let obs = reset(&mut session, "gym-cartpole", 42).await;
    assert_eq!(obs["state"]["observation"], expected[0]);
    let id = obs["episode_id"].clone();
    let [x, x_dot, theta, theta_dot] = numbers(&expected[0])[..] else { panic!("{expected}") };
    let state = json!({ "x": x, "x_dot": x_dot, "theta": theta, "theta_dot": theta_dot });
    let own = json!({ "env_name": "cartpole", "options": { "state": state } });
    let own = session.call("env/reset/req", own).await["obs"]["episode_id"].clone();
    for (place, action) in actions.into_iter().enumerate() {
        let obs = step(&mut session, &id, json!(action)).await;
        assert_eq!(obs["state"]["observation"], expected[place + 1]);
        assert_eq!(obs["metadata"], json!({ "terminated": false, "truncated": false }));
        // The built-in cart moves alike, but for the 32 bits that Gymnasium shows.
        let request =
            json!({ "episode_id": own, "action": { "type": "push", "direction": action } });
        let state = session.call("env/step/req", request).await["obs"]["state"].clone();
        let names = ["x", "x_dot", "theta", "theta_dot"];
        for (name, theirs) in names.iter().zip(numbers(&expected[place + 1])) {
            assert!((state[name].as_f64().unwrap() - theirs).abs() < 1e-5, "{name}: {state}");
        }
    }
    let spaces = session.call("env/space/req", json!({ "env_name": "gym-cartpole" })).await;
    let action = &spaces["action_space"]["properties"]["action"];
    assert_eq!(
        (&action["maximum"], &action["space"]),
        (&json!(1), &json!("Discrete(2)")),
        "{spaces}"
    );
    for (action, code) in [
        (json!({ "action": 2 }), "unknown_action"),
        (json!({ "action": "left" }), "unknown_action"),
        (json!({}), "schema_violation"),
    ] {
        let request = json!({ "episode_id": id, "action": action });
        assert_eq!(session.call_error("env/step/req", request).await, code);
    }

    // A fork takes the same way again, to the goal; then it is over.
    let lake = reset(&mut session, "lake", 1).await["episode_id"].clone();
    for action in [1, 1] {
        step(&mut session, &lake, json!(action)).await;
    }
    let forked = session.call("env/fork/req", json!({ "episode_id": lake })).await;
    let fork = forked["episodes"][0]["episode_id"].clone();
    let mut last = Value::Null;
    for action in [2, 1, 2, 2] {
        last = step(&mut session, &fork, json!(action)).await;
    }
    assert_eq!((&last["done"], &last["reward"]), (&json!(true), &json!(1.0)), "{last}");
    assert_eq!(last["metadata"]["terminated"], true);
    let seen = session.call("env/observe/req", json!({ "episode_id": lake })).await;
    assert_eq!(seen["obs"]["state"]["observation"], 8, "the original stays");
    let request = json!({ "episode_id": lake, "mode": "text" });
    let shown = session.call("env/render/req", request).await;
    assert!(shown["render"].is_string(), "{shown}");

    // Chance comes from the seed: a snapshot goes the same way elsewhere.
    let ice = reset(&mut session, "slippery", 7).await["episode_id"].clone();
    for action in [2, 2, 1] {
        step(&mut session, &ice, json!(action)).await;
    }
    let taken = session.call("env/snapshot/req", json!({ "episode_id": ice })).await;
    let mut other = host.session();
    let restored = other.call("env/restore/req", json!({ "snapshot": taken["snapshot"] })).await;
    assert_eq!(restored["obs"]["state"], taken["snapshot"]["obs"]["state"], "{restored}");

    let pendulum = reset(&mut session, "pendulum", 3).await["episode_id"].clone();
    let obs = step(&mut session, &pendulum, json!([0.5])).await;
    assert!(obs["reward"].as_f64().unwrap() < 0.0, "{obs}");
    let request = json!({ "episode_id": pendulum, "action": { "action": [1, 2] } });
    assert_eq!(session.call_error("env/step/req", request).await, "schema_violation");
    let missing = session.call("env/reset/req", json!({ "env_name": "none" })).await;
    assert!(missing["message"].as_str().unwrap().contains("NoSuchEnv"), "{missing}");
    host.stop().await;
}
