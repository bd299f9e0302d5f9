//! Errors: where they go, what `--json` shows, exit codes, time limits.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::process::support::program::{Host, PATIENCE, Place, a2e, now, outcome, workspace};

#[test]
fn errors_go_to_stderr_and_with_json_whole_to_stdout_as_well() {
    let place = Place::new();
    let socket = place.socket();
    let host = Host::at_socket(&place, &[]);
    let gone = place.text("gone.sock");
    let gone = format!("unix://{gone}");
    for (args, exit, code) in [
        (&["call", "no/such/req", "--to", &socket][..], 1, "unknown_type"),
        (&["call", "memory/retrieve/req", "{}", "--to", &socket], 1, "schema_violation"),
        (&["call", "ping", "--to", &gone], 1, "unavailable"),
        (&["call", "ping", "[1]"], 2, "invalid_message"),
        (&["call", "ping", "-c", "/no/such.yaml"], 1, "runtime_error"),
        (&["status", "--to", &gone], 1, "unavailable"),
        (&["reload", "--to", &gone], 1, "unavailable"),
        (&["stop", "--to", &gone], 1, "unavailable"),
        (&["plugins", "--to", &gone], 1, "unavailable"),
        (&["explain", "ping", "--to", &gone], 1, "unavailable"),
        (&["snapshot", "save", "--to", &gone], 1, "unavailable"),
        (&["audit", "verify", "/no/such.jsonl"], 1, "runtime_error"),
        (&["approve", "--list", "--to", &gone], 1, "unavailable"),
        (&["mcp", "list"], 1, "unknown_type"),
    ] {
        let (found, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!((found, stdout.as_str()), (Some(exit), ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("a2e: "), "{args:?}: {stderr}");
        let (found, stdout, again) = outcome(&mut a2e(&[args, &["--json"]].concat()));
        assert_eq!((found, again.as_str()), (Some(exit), stderr.as_str()), "{args:?}");
        let error: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{args:?}");
        assert!(stderr.contains(error["message"].as_str().unwrap()), "{args:?}: {stdout}");
        // One of the host is shown as it came.
        let is_of_host = args.contains(&socket.as_str());
        for field in ["id", "ts", "version", "req_id"] {
            assert_eq!(error.get(field).is_some(), is_of_host, "{args:?} {field}: {stdout}");
        }
    }
    host.stop();
}

#[test]
fn a_reply_that_refuses_exits_1_and_is_shown_all_the_same() {
    for (kind, body, is_refused) in [
        ("tool/call/req", r#"{"tool_name":"read_file","arguments":{"path":"LICENSE"}}"#, false),
        ("tool/call/req", r#"{"tool_name":"read_file","arguments":{"path":"no/such"}}"#, true),
        ("memory/init/req", r#"{"namespace":"n"}"#, false),
        ("memory/forget/req", r#"{"memory_id":"none","keys":[]}"#, true),
    ] {
        for json in [&[][..], &["--json"]] {
            let (code, stdout, stderr) = outcome(&mut a2e(&[&["call", kind, body], json].concat()));
            assert_eq!(code, Some(i32::from(is_refused)), "{body}: {stdout}{stderr}");
            assert_eq!(stderr.starts_with("a2e: "), is_refused, "{body}: {stderr}");
        }
    }
    // A process that may not be started is no error of the wire, and refused all the same.
    let place = Place::new();
    let config = place.config(
        "plugins: [{name: p, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: []}}]\n",
    );
    let spawn = ["call", "proc/spawn/req", r#"{"cmd":["ls"]}"#, &config];
    let (code, stdout, stderr) = outcome(&mut a2e(&spawn));
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let reply: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(reply["ok"], false);
    assert!(stderr.starts_with("a2e: refused") && stderr.contains("not allowed"), "{stderr}");
}

#[test]
fn the_time_limit_covers_connecting_and_the_handshake() {
    // Connections wait in its queue for ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", silent.local_addr().unwrap());
    for args in [
        &["call", "ping"][..],
        &["status"],
        &["reload"],
        &["stop"],
        &["plugins"],
        &["explain", "ping"],
        &["snapshot", "save"],
        &["connect"],
    ] {
        let start = now();
        let args = [args, &["--timeout", "0.3", "--to", &to]].concat();
        let (code, stdout, stderr) = outcome(&mut a2e(&args));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("a2e: "), "{args:?}: {stderr}");
        // Its default is 30 s or more.
        assert!(start.elapsed() < PATIENCE, "{args:?}");
    }
}

#[test]
fn serve_says_that_its_input_was_empty() {
    for args in [&["serve"][..], &["serve", "--stdio"]] {
        let (code, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!((code, stdout.as_str()), (Some(0), ""));
        assert!(stderr.contains("standard input was empty"), "{stderr}");
        assert!(stderr.contains("--listen"), "{stderr}");
    }
    let (mut host, mut wire) = Host::stdio(&[]);
    wire.handshake("talker");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0));
    assert!(!host.log().contains("was empty"), "{}", host.log());
}

#[test]
fn names_that_are_nearly_right_are_told() {
    for (args, near) in [
        (&["explain", "tol/call/req"][..], "tool/call/req"),
        (&["explain", "proc/spwn/req"], "proc/spawn/req"),
        (&["schema", "proc/spawn/re"], "proc/spawn/req"),
        (&["schema", "a2e.caps.proc.plugin.Proc"], "a2e.caps.proc.plugin.ProcPlugin"),
        (&["schema", "ToolPlugin"], "a2e.caps.tools.plugin.ToolPlugin"),
        (&["call", "tol/call/req"], "tool/call/req"),
        (&["statu"], "status"),
        (&["call", "ping", "--tmeout", "3"], "--timeout"),
        (&["audit", "verfy"], "verify"),
    ] {
        let (code, stdout, stderr) = outcome(&mut a2e(args));
        assert!(code.is_some_and(|code| code > 0), "{args:?}");
        assert!((stdout + &stderr).contains(near), "{args:?}: {stderr}");
    }
}

#[test]
fn explain_names_the_class_that_would_handle_a_type_and_how_to_load_it() {
    let (code, stdout, _) = outcome(&mut a2e(&["explain", "proc/spawn/req"]));
    assert_eq!(code, Some(1));
    assert!(stdout.contains("the class a2e.caps.proc.plugin.ProcPlugin would"), "{stdout}");
    // The lines are what they say.
    let yaml: Vec<&str> = stdout.lines().skip_while(|line| !line.contains("plugins:")).collect();
    let yaml: Vec<&str> = yaml.into_iter().filter_map(|line| line.get(4..)).collect();
    let place = Place::new();
    let config = place.config_as_is(&(yaml.join("\n") + "\n"));
    let (code, stdout, stderr) = outcome(&mut a2e(&["explain", "proc/spawn/req", &config]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let (code, stdout, _) = outcome(&mut a2e(&["explain", "proc/spawn/req", "--json"]));
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!(told["classes"][0]["cls"], "a2e.caps.proc.plugin.ProcPlugin", "{told}");
    // Nobody knows this one.
    let (_, stdout, _) = outcome(&mut a2e(&["explain", "weather/req"]));
    assert!(!stdout.contains("would"), "{stdout}");
}

#[test]
fn a_configuration_is_told_alike_to_all_commands() {
    let place = Place::new();
    let config = place.config(
        "host_id: told0001\naudit: {enabled: true, path: \"{}/audit.jsonl\"}\n\
         snapshot_store: {type: file, config: {root: \"{}/state\"}}\nlisten: [\"unix://{}/a2e.sock\"]\n\
         plugins: [{name: only, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}]\n",
    );
    let host = Host::serve(&["-c", &config]);
    host.addresses(1);
    outcome(&mut a2e(&["snapshot", "save", "--to", &place.socket()]));
    for args in [
        &["call", "tool/list/req"][..],
        &["check"],
        &["plugins"],
        &["explain", "tool/list/req"],
        &["status"],
        &["reload"],
        &["connect"],
        &["snapshot", "list"],
        &["snapshot", "diff"],
        &["audit", "tail"],
        &["audit", "stats"],
        &["audit", "verify"],
        &["approve", "--list"],
        &["mcp", "config"],
        &["mcp", "approve"],
    ] {
        let bare = [args, &[&config]].concat();
        let flag = [args, &["-c", &config]].concat();
        let long = [args, &["--config", &config]].concat();
        let mut by_variable = a2e(args);
        by_variable.env("A2E_CONFIG", &config);
        let mut outcomes = Vec::new();
        for command in [&mut a2e(&bare), &mut a2e(&flag), &mut a2e(&long), &mut by_variable] {
            let (code, stdout, stderr) = outcome(command.current_dir(workspace()));
            assert!(!stderr.contains("--help"), "{args:?}: {stderr}");
            outcomes.push(code);
            drop(stdout);
        }
        assert_eq!(outcomes, [Some(0); 4], "{args:?}");
    }
    // The command line beats the variable, also with an address.
    let mut command = a2e(&["status", "--to", &place.socket(), "--json"]);
    let (code, stdout, stderr) = outcome(command.env("A2E_CONFIG", "/no/such.yaml"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("told0001"), "{stdout}");
    let mut command = a2e(&["call", "ping", &config]);
    assert_eq!(outcome(command.env("A2E_CONFIG", "/no/such.yaml")).0, Some(0));
    let (code, _, stderr) = outcome(&mut a2e(&["check", &config, "-c", &config]));
    assert_eq!(code, Some(2), "twice: {stderr}");
    let (code, _, stderr) = outcome(&mut a2e(&["check"]));
    assert_eq!(code, Some(2), "none: {stderr}");
    let (code, stdout, stderr) = outcome(&mut a2e(&["stop", &config]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}
