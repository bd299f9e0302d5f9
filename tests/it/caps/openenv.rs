//! OpenEnv both ways, with its own package of Python: its server run by a host, its client and its judge at a host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::faults::skipped;
use crate::process::support::program::{Host, Place, until};

/// The version that is held to.
const PACKAGE: &str = "openenv-core==0.3.0";

/// How long processes that were killed may take to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of programs of a Python that has OpenEnv; made once below the target folder.
fn programs() -> Option<&'static Path> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(make).as_deref()
}

fn make() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openenv");
    let programs = folder.join("bin");
    let python = programs.join("python");
    let runs = |command: &mut Command| command.output().is_ok_and(|it| it.status.success());
    let has_it = || runs(Command::new(&python).args(["-c", "import openenv.core"]));
    if has_it() {
        return Some(programs);
    }
    let made = runs(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && runs(Command::new(&python).args(["-m", "pip", "-q", "install", PACKAGE]));
    if made && has_it() {
        return Some(programs);
    }
    skipped("no OpenEnv: no python3 with venv, or no PyPI");
    None
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    path.to_str().unwrap().to_owned()
}

async fn reset(session: &mut TestSession, request: Value) -> Value {
    let reply = session.call("env/reset/req", request).await;
    assert_eq!(reply["type"], "env/reset/resp", "{reply}");
    reply["obs"].clone()
}

async fn say(session: &mut TestSession, id: &Value, message: &str) -> Value {
    let request = json!({ "episode_id": id, "action": { "message": message } });
    session.call("env/step/req", request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_openenv_is_run() {
    let Some(programs) = programs() else { return };
    let python = programs.join("python");
    let echo = json!({ "name": "echo", "command": [python, data("openenv_echo.py")] });
    let plugin = PluginConfig::new("env", "env", "a2e.caps.env.plugin.EnvPlugin");
    let mut plugin = plugin.with_setting("openenv", json!([echo]));
    // A first import of Python packages takes its time.
    plugin.metadata.deadline = Some(Duration::from_mins(2));
    let builder = Executor::builder(HostConfig::new().plugin(plugin));
    let builder = builder.guard(env!("CARGO_BIN_EXE_a2e-under-test"));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();

    let spaces = session.call("env/space/req", json!({ "env_name": "echo" })).await;
    assert_eq!(spaces["action_space"]["properties"]["message"]["type"], "string", "{spaces}");
    assert_eq!(spaces["state_schema"]["properties"]["total"]["type"], "integer", "{spaces}");
    let request = json!({ "env_name": "echo", "seed": 3, "options": { "greeting": "hello" } });
    let obs = reset(&mut session, request.clone()).await;
    assert_eq!(obs["state"], json!({ "echoed": "hello", "total": 3 }), "{obs}");
    let id = obs["episode_id"].clone();
    let obs = say(&mut session, &id, "hi").await["obs"].clone();
    assert_eq!((&obs["state"]["echoed"], &obs["reward"]), (&json!("hi"), &json!(0.5)), "{obs}");
    assert_eq!((&obs["state"]["total"], &obs["step_num"]), (&json!(5), &json!(1)), "{obs}");

    // One place is what OpenEnv's servers have unless they say more.
    let full = session.call("env/reset/req", request.clone()).await;
    let said = (&full["code"], &full["retryable"], &full["detail"]["openenv_code"]);
    assert_eq!(said, (&json!("overloaded"), &json!(true), &json!("CAPACITY_REACHED")), "{full}");

    let wrong = json!({ "episode_id": id, "action": { "text": "hi" } });
    let wrong = session.call("env/step/req", wrong).await;
    assert_eq!(wrong["code"], "schema_violation", "{wrong}");
    assert_eq!(wrong["detail"]["errors"][0]["loc"], json!(["message"]), "{wrong}");
    let raised = say(&mut session, &id, "raise").await;
    assert_eq!(raised["code"], "runtime_error", "{raised}");
    assert!(raised["message"].as_str().unwrap().contains("as it was told"), "{raised}");

    // Its program dies in a step, is started again, and the episode goes on where it stood.
    let died = say(&mut session, &id, "die").await;
    let said = (&died["code"], &died["retryable"]);
    assert_eq!(said, (&json!("unavailable"), &json!(true)), "{died}");
    assert!(died["message"].as_str().unwrap().contains("exit code 3"), "{died}");
    let obs = say(&mut session, &id, "you").await["obs"].clone();
    assert_eq!((&obs["state"]["total"], &obs["step_num"]), (&json!(8), &json!(2)), "{obs}");

    let shown = session.call("env/render/req", json!({ "episode_id": id, "mode": "state" })).await;
    assert_eq!(shown["render"]["step_count"], 2, "{shown}");
    let program = format!("/proc/{}", shown["render"]["pid"]);
    let done = say(&mut session, &id, "done").await["obs"].clone();
    assert_eq!(done["done"], true, "{done}");
    session.call("env/close/req", json!({ "episode_id": id })).await;
    reset(&mut session, request).await;
    assert!(Path::new(&program).exists(), "{program}");
    host.stop().await;
    until(PATIENCE, "the program ends with the host", || !Path::new(&program).exists());
}

const SERVED: &str = "
plugins:
  - {name: env, type: env, cls: a2e.caps.env.plugin.EnvPlugin, metadata: {max_host_episodes: 1}}
";

#[test]
fn the_client_and_the_judge_of_openenv_are_content() {
    let Some(programs) = programs() else { return };
    let place = Place::new();
    let config = place.config(SERVED);
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let base = host.addresses(1)[0].clone();

    for name in ["counter_env", "gridworld", "cartpole"] {
        let mut command = Command::new(programs.join("openenv"));
        command.args(["validate", "--timeout", "60", "--url", &format!("{base}/env/{name}")]);
        let judged = command.output().unwrap();
        let text = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{text}{}", String::from_utf8_lossy(&judged.stderr));
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["passed"], true, "{report:#}");
        assert_eq!(report["mode"], "simulation", "{report:#}");
        assert_eq!(report["standard_profile"], "openenv-http/1.x", "{report:#}");
        let summary = &report["summary"];
        assert_eq!(summary["passed_count"], summary["total_count"], "{report:#}");
    }

    let mut command = Command::new(programs.join("python"));
    let seen = command.arg(data("openenv_client.py")).arg(&base).output().unwrap();
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success(), "{text}{}", String::from_utf8_lossy(&seen.stderr));
    let seen: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(seen["before"], json!({ "episode_id": null, "step_count": 0 }), "{seen:#}");
    assert_eq!(seen["begun"]["done"], false, "{seen:#}");
    let steps = seen["steps"].as_array().unwrap();
    let counts: Vec<&Value> = steps.iter().map(|it| &it["observation"]["count"]).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5], "{seen:#}");
    let last = (&steps[4]["done"], &steps[4]["reward"]);
    assert_eq!(last, (&json!(true), &json!(1.0)), "{seen:#}");
    let state = (&seen["state"]["episode_id"], &seen["state"]["step_count"]);
    assert_eq!(state, (&json!("mine"), &json!(5)), "{seen:#}");
    assert_eq!(seen["again"]["observation"]["count"], 0, "{seen:#}");
    for (what, expected) in [
        ("early", "(code: EXECUTION_ERROR)"),
        ("late", "(code: EXECUTION_ERROR)"),
        ("wrong", "(code: VALIDATION_ERROR)"),
        ("full", "(code: CAPACITY_REACHED)"),
        ("nowhere", "404"),
    ] {
        let text = seen[what].as_str().unwrap_or_default();
        assert!(text.contains(expected), "{what}: {seen:#}");
    }
    assert_eq!(seen["free"]["observation"]["count"], 0, "{seen:#}");
    assert_eq!(seen["equal"], true, "{seen:#}");
    host.stop();
}
