//! The command line: what it prints, where, and with which exit code.

mod agent_loop;
mod approve;
mod connect;
mod errors;
mod operator;
mod running;
mod schema;
mod strict;
mod top;

use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::proc_fs::carrying;
use super::support::program::{A2E, Host, PATIENCE, Place, a2e, example, outcome, until};
use super::support::wire::Wire;

fn json_of(stdout: &str) -> Value {
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

/// Waits until this many requests are in flight in a host.
fn until_in_flight(to: &str, count: u64) {
    until(PATIENCE, "requests are in flight", || {
        let (_, stdout, _) = outcome(&mut a2e(&["status", "--json", "--to", to]));
        json_of(&stdout)["in_flight"] == count
    });
}

#[test]
fn help_is_help_and_wrong_usage_is_code_2() {
    for args in [&["--help"][..], &["-h"], &["--version"], &["help"]] {
        let (code, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!stdout.is_empty(), "{args:?}");
    }
    for command in
        ["serve", "call", "connect", "status", "reload", "stop", "check", "plugins", "snapshot"]
    {
        let (code, stdout, stderr) = outcome(&mut a2e(&[command, "--help"]));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
        assert!(stdout.contains("Usage: "), "{command}: {stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 100), "{command}: {stdout}");
    }
    for args in [
        &[][..],
        &["nope"],
        &["--bogus"],
        &["serve", "--bogus"],
        &["serve", "--drain", "-1"],
        &["serve", "--drain", "soon"],
        &["serve", "--listen", "ftp://x"],
        &["serve", "--listen", "tcp://127.0.0.1"],
        &["call"],
        &["call", "ping", "--to", "tcp://127.0.0.1:1", "--spawn", "a2e"],
        &["call", "ping", "--timeout", "forever"],
        &["call", "ping", "a2e.yaml", "--to", "tcp://127.0.0.1:1"],
        &["status", "a2e.yaml", "--to", "tcp://127.0.0.1:1"],
        &["stop", "--drain", "-1"],
        &["audit", "tail"],
        &["audit", "verify"],
        &["check"],
        &["plugins", "one.yaml", "two.yaml"],
        &["snapshot"],
        &["snapshot", "list"],
        &["snapshot", "save"],
        &["snapshot", "save", "x"],
        &["snapshot", "restore"],
        &["snapshot", "restore", "x"],
        &["snapshot", "diff"],
    ] {
        let (code, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains("--help") || stderr.contains("Usage"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_log_filter_that_is_none_is_wrong_usage() {
    let (code, stdout, stderr) = outcome(a2e(&["serve", "--stdio"]).env("A2E_LOG", "a=b=c"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("A2E_LOG"), "{stderr}");
}

#[test]
fn check_tells_every_problem_at_once() {
    let ten = "tests/data/configs/bad/ten.yaml";
    let (code, stdout, _) = outcome(&mut a2e(&["check", ten]));
    assert_eq!(code, Some(1));
    assert!(stdout.lines().filter(|line| line.starts_with("error: ")).count() >= 10, "{stdout}");
    assert!(stdout.contains("ten.yaml:3:19: transport.type: "), "each with its place: {stdout}");
    assert!(stdout.contains("did you mean \"http\"?"), "{stdout}");

    let (code, stdout, stderr) = outcome(&mut a2e(&["check", ten, "--json"]));
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    let problems = json_of(&stdout);
    assert!(problems.as_array().unwrap().len() >= 10);
    for problem in problems.as_array().unwrap() {
        assert!(problem["line"].as_u64().is_some_and(|line| line > 0), "{problem}");
        assert!(problem["message"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        assert!(["error", "warning"].contains(&problem["severity"].as_str().unwrap()));
    }

    // A key that nobody reads hides neither settings nor folders that are wrong.
    let place = Place::new();
    let config = place.config(
        "host_di: x
plugins:
  - {name: a, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin, metadata: {roots: [/no/such]}}
  - {name: b, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {episodic_limi: 3}}
",
    );
    let (code, stdout, _) = outcome(&mut a2e(&["check", &config]));
    assert_eq!(code, Some(1));
    for part in ["\"host_di\"", "/no/such", "\"episodic_limi\"", "errors: 3, warnings: 0"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }

    // What stops `serve` is the same.
    let (code, stdout, stderr) = outcome(&mut a2e(&["serve", "--stdio", "-c", ten]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("transport.type"), "{stderr}");
}

#[test]
fn check_finds_classes_and_settings_that_are_not_there() {
    let place = Place::new();
    let config = place.config(
        "plugins:
  - {name: a, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugins}
  - {name: b, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {episodic_limi: 3}}
  - {name: c, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {max_bytes: lots}}
  - {name: d, type: tools, cls: no.such.Thing, metadata: {enabled: false}}
",
    );
    let (code, stdout, _) = outcome(&mut a2e(&["check", &config]));
    assert_eq!(code, Some(1));
    for part in [
        "DemoToolPlugins",
        "a2e.caps.demo.plugin.DemoToolPlugin",
        "episodic_limi",
        "episodic_limit",
        "max_bytes",
    ] {
        assert!(stdout.contains(part), "`{part}` is not in {stdout}");
    }
    assert!(!stdout.contains("no.such.Thing"), "what is not enabled may be missing: {stdout}");
}

#[test]
fn strict_makes_warnings_count() {
    let place = Place::new();
    let warned = place.config("audit: {mode: sync}\n");
    for (args, expected) in [
        (&["check", &warned][..], 0),
        (&["check", "--strict", &warned], 1),
        (&["check", "--strict", "a2e-server/examples/minimal.yaml"], 0),
        (&["check", "--strict", "a2e-server/examples/durable.yaml"], 0),
        (&["check", "/no/such/file.yaml"], 1),
        (&["check", "LICENSE"], 1),
        (&["check", "tests"], 1),
    ] {
        let (code, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!(code, Some(expected), "{args:?}: {stdout}{stderr}");
        assert!(!stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn plugins_lists_what_is_linked_and_what_became_of_a_configuration() {
    let (code, stdout, stderr) = outcome(&mut a2e(&["plugins"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("a2e.caps.tools.plugin.ToolPlugin"), "{stdout}");

    let place = Place::new();
    let config = place.config(
        "plugins:
  - {name: good, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: unbuilt, type: test, cls: test.Unbuilt}
  - {name: unknown, type: test, cls: test.Unknown}
",
    );
    let (code, stdout, stderr) = outcome(&mut a2e(&["plugins", "--json", "-c", &config]));
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "two have failed, and the list says why");
    let loaded = &json_of(&stdout)["loaded"];
    let of = |name: &str| {
        loaded.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(of("good")["health"], "serving");
    assert_eq!(of("unbuilt")["health"], "failed");
    assert!(of("unbuilt")["reason"].as_str().unwrap().contains("never built"));
    assert!(of("unknown")["reason"].as_str().unwrap().contains("no plugin class"));
    let (_, stdout, _) = outcome(&mut a2e(&["plugins", "-c", &config]));
    assert!(stdout.contains("never built"), "{stdout}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let script = format!("{A2E} plugins | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}");
    let mut command = std::process::Command::new("bash");
    let (_, stdout, stderr) = outcome(command.args(["-c", &script]));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("0\n", ""));
}

#[test]
fn call_asks_a_host_inside_the_process_beside_it_or_elsewhere() {
    let place = Place::new();
    let host = Host::serve(&["--listen", &place.socket(), "--listen", "tcp://127.0.0.1:0"]);
    let addresses = host.addresses(2);
    let spawn = format!("{A2E} serve --stdio -c a2e-server/examples/minimal.yaml");
    for way in [
        &[][..],
        &["-c", "a2e-server/examples/minimal.yaml"],
        &["--spawn", &spawn],
        &["--to", &addresses[0]],
        &["--to", &addresses[1]],
    ] {
        let call = |args: &[&str]| outcome(&mut a2e(&[&["call"], args, way].concat()));

        let (code, stdout, stderr) = call(&["ping"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{way:?}");
        assert_eq!(json_of(&stdout)["type"], "pong");

        let body = r#"{"tool_name":"echo","arguments":{"text":"hi"}}"#;
        let (code, stdout, _) = call(&["tool/call/req", body, "--json"]);
        assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{way:?}: {stdout}");
        assert_eq!(json_of(&stdout)["data"]["data"]["text"], "hi");

        // Events go to stderr.
        let body = r#"{"tool_name":"stream","arguments":{"n":3},"streaming":true}"#;
        let (code, stdout, stderr) = call(&["tool/call/req", body]);
        assert_eq!((code, stderr.lines().count()), (Some(0), 3), "{way:?}: {stderr}");
        assert!(stderr.lines().all(|line| json_of(line)["type"] == "tool/event"));
        assert_eq!(json_of(&stdout)["data"]["data"]["sent"], 3);

        // The host's error is the answer: code 1.
        let body = r#"{"tool_name":"fail","arguments":{"message":"no luck"}}"#;
        let (code, stdout, stderr) = call(&["tool/call/req", body]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{way:?}");
        assert_eq!(stderr, "a2e: error tool_error: no luck\n", "{way:?}");
        let (code, stdout, stderr) = call(&["no/such/req", "{}", "--json"]);
        assert_eq!(code, Some(1));
        assert!(stderr.starts_with("a2e: error unknown_type: "), "{way:?}: {stderr}");
        let error = json_of(&stdout);
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unknown_type")));

        // So is no answer in time.
        let body = r#"{"tool_name":"sleep","arguments":{"ms":60000}}"#;
        let (code, stdout, stderr) = call(&["tool/call/req", body, "--timeout", "0.2"]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{way:?}");
        assert!(stderr.contains("no answer"), "{way:?}: {stderr}");
    }
    host.stop();
}

#[test]
fn the_configuration_may_come_from_the_environment() {
    let place = Place::new();
    let config = place
        .config("plugins: [{name: only, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}]\n");
    let mut command = a2e(&["call", "memory/init/req", "--json"]);
    let (code, stdout, _) = outcome(command.env("A2E_CONFIG", &config));
    assert_eq!((code, &json_of(&stdout)["code"]), (Some(1), &json!("unknown_type")));
    let (code, stdout, _) = outcome(&mut a2e(&["call", "memory/init/req", "--json"]));
    assert_eq!((code, &json_of(&stdout)["type"]), (Some(0), &json!("memory/init/resp")));
}

#[test]
fn call_leaves_no_host_behind() {
    let place = Place::new();
    // A program of a name of its own, so that only its processes are found.
    let program = place.path("a2e-of-call");
    std::fs::copy(A2E, &program).unwrap();
    let spawn = format!("{} serve --stdio", program.display());
    for body in [r#"{"tool_name":"echo","arguments":{}}"#, r#"{"tool_name":"no_such_tool"}"#] {
        let (code, _, stderr) =
            outcome(&mut a2e(&["call", "tool/call/req", body, "--spawn", &spawn]));
        assert!(code.is_some_and(|code| code < 2), "{stderr}");
        until(PATIENCE, "nothing is left", || carrying("a2e-of-call").is_empty());
    }
}

#[test]
fn call_refuses_what_it_cannot_send_and_says_what_it_cannot_reach() {
    for (args, code, part) in [
        (&["ping", "[1]"][..], 2, "JSON is not an object"),
        (&["ping", "{"], 2, "JSON is not an object"),
        (&["ping", "-"], 2, "JSON is not an object"),
        (&["ping", "--spawn", " "], 2, "names no program"),
        (&["ping", "--spawn", "/no/such/program"], 1, "/no/such/program"),
        (&["ping", "--spawn", "false"], 1, "ended"),
        (&["ping", "--to", "unix:///no/such.sock"], 1, "/no/such.sock"),
        (&["ping", "--to", "nonsense"], 1, "expected unix:///"),
        (&["ping", "-c", "/no/such.yaml"], 1, "/no/such.yaml"),
    ] {
        let (found, stdout, stderr) = outcome(&mut a2e(&[&["call"], args].concat()));
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[test]
fn call_reads_its_body_from_stdin() {
    let place = Place::new();
    let body = place.path("body.json");
    File::create(&body)
        .unwrap()
        .write_all(b"\xef\xbb\xbf{\"tool_name\":\"echo\",\"arguments\":{\"from\":\"stdin\"}}")
        .unwrap();
    let mut command = a2e(&["call", "tool/call/req", "-"]);
    let (code, stdout, _) = outcome(command.stdin(Stdio::from(File::open(body).unwrap())));
    assert_eq!(code, Some(0));
    assert_eq!(json_of(&stdout)["data"]["data"]["from"], "stdin");
}

#[test]
fn r62_the_token_comes_from_the_environment_and_is_told_to_nobody() {
    let token = "c4nary00112233445566778899aabbcc";
    let place = Place::new();
    let config = place.config("auth_token: ${A2E_TOKEN}\nlisten: [\"unix://{}/a2e.sock\"]\n");
    let mut serve = a2e(&["serve", "-c", &config]);
    let host = Host::start(serve.env("A2E_TOKEN", token).env("A2E_LOG", "trace"));
    host.addresses(1);
    let to = place.socket();
    let call = ["call", "ping", "--to", &to];
    let (code, stdout, stderr) = outcome(a2e(&call).env("A2E_TOKEN", token));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains(token));
    for wrong in ["", "wrong", &token[1..]] {
        let (code, stdout, stderr) = outcome(a2e(&call).env("A2E_TOKEN", wrong));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.contains("auth_failed"), "{stderr}");
    }
    let (_, help, _) = outcome(a2e(&["call", "--help"]).env("A2E_TOKEN", token));
    assert!(!help.contains(token), "{help}");
    assert!(!host.log().contains("c4nary"), "{}", host.log());
    host.stop();
    // Without the variable the configuration does not hold.
    let (code, _, stderr) = outcome(&mut a2e(&["serve", "-c", &config]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("A2E_TOKEN"), "{stderr}");
}

#[test]
fn serve_goes_on_without_a_plugin_unless_it_is_required() {
    for cls in ["test.Unbuilt", "test.Unknown"] {
        let place = Place::new();
        let yaml = |required: bool| {
            format!(
                "plugins:
  - {{name: bad, type: test, cls: {cls}, metadata: {{required: {required}}}}}
  - {{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}}
"
            )
        };
        let config = place.config(&yaml(false));
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        wire.handshake("tolerant");
        assert_eq!(wire.tool("echo", json!({}))["data"]["success"], true);
        host.until_logged("plugin not loaded");
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0));

        let config = place.config(&yaml(true));
        let (code, stdout, stderr) = outcome(&mut a2e(&["serve", "--stdio", "-c", &config]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("a2e: ") && last.contains("bad"), "{last}");
    }
}

#[test]
fn r32_a_handler_that_hangs_the_reader_ends_stdio_and_cuts_a_socket() {
    let yaml = "
plugins:
  - {name: hang, type: test, cls: test.Hang, metadata: {deadline_s: 0.3}}
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";
    let place = Place::new();
    let config = place.config(yaml);
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("hung");
    assert_eq!(wire.call("hang/req", json!({}))["code"], "timeout");
    assert_eq!(host.code(PATIENCE), Some(70), "{}", host.log());
    host.until_logged("inline handler hangs");

    let host = Host::at_socket(&place, &["-c", &config]);
    let mut other = Wire::connect(&place.socket());
    other.handshake("other");
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("hung");
    assert_eq!(wire.call("hang/req", json!({}))["code"], "timeout");
    assert!(wire.rest().is_empty(), "the session is cut");
    assert_eq!(other.tool("echo", json!({ "n": 1 }))["data"]["data"]["n"], 1);
    host.stop();
}

#[test]
fn without_a_file_it_serves_the_folder_that_it_is_started_in() {
    let place = Place::new();
    std::fs::write(place.path("here"), "found").unwrap();
    let mut command = a2e(&["serve"]);
    let (mut host, mut wire) = Host::with_pipes(command.current_dir(place.path("")));
    wire.handshake("guest");
    let reply = wire.tool("read_file", json!({ "path": "here" }));
    assert!(reply["data"].to_string().contains("found"), "{reply}");
    let reply = wire.tool("read_file", json!({ "path": "/etc/passwd" }));
    assert_ne!(reply["data"]["success"], true, "{reply}");
    let reply = wire.tool("write_file", json!({ "path": "new", "content": "x" }));
    assert_ne!(reply["data"]["success"], true, "{reply}");
    assert!(!place.path("new").exists());
    let reply = wire.call("proc/spawn/req", json!({ "cmd": ["ls"] }));
    assert_ne!(reply["ok"], true, "nothing is started unasked: {reply}");
    wire.finish();
    assert_eq!(host.code(Duration::from_secs(3)), Some(0));
}

#[test]
fn the_examples_do_what_they_say() {
    for (name, said) in [("embedded_host", "echo answered"), ("push_events", "tick 3")] {
        let (code, stdout, stderr) = outcome(&mut example(name));
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{name}: {stderr}");
        assert!(stderr.contains(said), "{name}: {stderr}");
    }
    let greet = r#"{"tool_name":"greet","arguments":{"name":"Ada","language":"latin"}}"#;
    let (code, stdout, stderr) =
        outcome(example("hello_tool").args(["call", "tool/call/req", greet, "--json"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(json_of(&stdout)["data"]["data"]["text"], "Salve, Ada!");
    let hello = ["call", "hello/req", r#"{"name":"Ada"}"#, "--json"];
    let (code, stdout, stderr) = outcome(example("hello_plugin").args(hello));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(json_of(&stdout)["greeting"], "Hello, Ada!");
    let (_, stdout, _) = outcome(example("hello_plugin").args(["plugins"]));
    assert!(stdout.contains("examples.Hello"), "{stdout}");
}
