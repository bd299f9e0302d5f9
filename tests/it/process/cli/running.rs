//! `a2e status`, `reload` and `stop`: what an operator does with a running host.

use serde_json::{Value, json};

use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome};
use crate::process::support::wire::Wire;

#[test]
fn status_of_an_idle_host_fits_one_screen() {
    let place = Place::new();
    let socket = place.socket();
    let host = Host::at_socket(&place, &[]);
    let (code, stdout, stderr) = outcome(&mut a2e(&["status", "--to", &socket]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.lines().count() <= 24, "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    for part in ["host ", "sessions ", "memory ", "serving", "audit "] {
        assert!(stdout.contains(part), "{stdout}");
    }
    let (code, stdout, _) = outcome(&mut a2e(&["status", "--json", "--to", &socket]));
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert!(status["plugins"].as_array().unwrap().len() >= 3, "{status}");
    host.stop();
    let (code, stdout, stderr) = outcome(&mut a2e(&["status"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("no host runs") && stderr.contains("--to"), "{stderr}");
}

#[test]
fn status_exits_1_when_a_plugin_does_not_serve() {
    let place = Place::new();
    let config = place.config(
        "plugins:\n  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}\n  \
         - {name: bad, type: test, cls: test.Unbuilt}\n",
    );
    let host = Host::at_socket(&place, &["-c", &config]);
    let (code, stdout, _) = outcome(&mut a2e(&["status", "--to", &place.socket()]));
    assert_eq!(code, Some(1));
    assert!(stdout.contains("failed") && stdout.contains("never built"), "{stdout}");
    host.stop();
}

#[test]
fn reload_says_what_it_did() {
    let place = Place::new();
    let demo = "  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}\n";
    let config = place.config(&format!("plugins:\n{demo}"));
    let to = place.socket();
    let host = Host::at_socket(&place, &["-c", &config]);
    place.config(&format!(
        "global_limits: {{max_queue: 5}}\nplugins:\n{demo}  - {{name: m, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}}\n"
    ));
    let (code, stdout, stderr) = outcome(&mut a2e(&["reload", "--to", &to]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    for part in ["generation 2", "added", " m\n", "kept", "demo", "at restart", "global_limits"] {
        assert!(stdout.contains(part), "`{part}`: {stdout}");
    }
    let (code, stdout, _) = outcome(&mut a2e(&["reload", "--rebuild", "m", "--json", "--to", &to]));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &report["rebuilt"]), (Some(0), &json!(["m"])), "{report}");
    let (code, stdout, stderr) = outcome(&mut a2e(&["reload", "--rebuild", "dmo", "--to", &to]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("dmo") && stderr.contains("\"demo\""), "the nearest name: {stderr}");
    host.stop();
    // A host without a file has none to read again.
    let host = Host::at_socket(&place, &[]);
    let (code, _, stderr) = outcome(&mut a2e(&["reload", "--to", &to]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("without a configuration file"), "{stderr}");
    host.stop();
}

#[test]
fn stop_ends_a_host_after_its_work_is_done() {
    let place = Place::new();
    let socket = place.socket();
    let mut host = Host::at_socket(&place, &[]);
    let mut wire = Wire::connect(&socket);
    wire.handshake("worker");
    let body = json!({ "tool_name": "sleep", "arguments": { "ms": 300 } });
    let id = wire.send("tool/call/req", body);
    // Another client is answered while that runs, so it has been accepted.
    super::until_in_flight(&socket, 1);
    let (code, stdout, stderr) = outcome(&mut a2e(&["stop", "--drain", "20", "--to", &socket]));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "stopped\n", ""));
    assert_eq!(wire.reply_to(&id)["data"]["success"], true, "it was finished");
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    assert!(host.log().contains("an operator asked for the end"), "{}", host.log());
    assert!(!place.path("a2e.sock").exists());
}

#[test]
fn stop_is_for_operators_and_its_time_is_bounded() {
    let place = Place::new();
    let config = place
        .config("server: {operators: token}\noperator_token: c4nary00112233445566778899aabbcc\n");
    let to = place.socket();
    let mut host = Host::at_socket(&place, &["-c", &config]);
    for command in ["stop", "reload", "status"] {
        let (code, stdout, stderr) = outcome(&mut a2e(&[command, "--to", &to]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains("error unauthorized"), "{command}: {stderr}");
    }
    let mut wire = Wire::connect(&to);
    let token = "c4nary00112233445566778899aabbcc";
    wire.call("handshake/req", json!({ "agent_id": "operator", "auth_token": token }));
    for drain in [json!(-1), json!(3601), json!(1e300), json!("soon")] {
        let answer = wire.call("host/stop/req", json!({ "drain_s": drain }));
        assert_eq!(answer["code"], "schema_violation", "{drain}: {answer}");
    }
    let answer = wire.call("host/stop/req", json!({}));
    assert_eq!((&answer["type"], &answer["drain_s"]), (&json!("host/stop/resp"), &json!(2.0)));
    assert_eq!(answer["pid"], host.pid());
    assert_eq!(host.code(PATIENCE), Some(0));
    let (_, _, stderr) = outcome(&mut a2e(&["stop", "--to", &to, "--timeout", "1"]));
    assert!(stderr.contains("cannot reach"), "{stderr}");
}
