//! `a2e connect`: a session held by a script, and by a person at a terminal.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::support::program::{A2E, Host, Place, a2e, outcome};
use crate::process::support::terminal::Terminal;

/// Runs a script; the messages that came, with code and stderr.
fn script(args: &[&str], lines: &str) -> (Option<i32>, Vec<Value>, String) {
    let place = Place::new();
    std::fs::write(place.path("script"), lines).unwrap();
    let mut command = a2e(&[&["connect"], args].concat());
    let (code, stdout, stderr) =
        outcome(command.stdin(Stdio::from(File::open(place.path("script")).unwrap())));
    let messages = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (code, messages, stderr)
}

#[test]
fn a_script_is_sent_line_by_line_and_everything_that_comes_is_shown() {
    let place = Place::new();
    let socket = place.socket();
    let listen = ["--listen", "tcp://127.0.0.1:0", "--listen", "http://127.0.0.1:0"];
    let host = Host::serve(&[&["--listen", &socket][..], &listen].concat());
    let addresses = host.addresses(3);
    let at = |scheme: &str| addresses.iter().find(|it| it.starts_with(scheme)).unwrap();
    let (tcp, http) = (at("tcp"), at("http"));
    let ws = http.replace("http", "ws");
    let spawn = format!("{A2E} serve --stdio");
    let lines = r#"
        # a comment
        ping
        {"type":"ping","id":"mine"}
        tool/call/req {"tool_name":"stream","arguments":{"n":3},"streaming":true}
        cancel {"req_id":"nobody"}
        wait 0.01
        memory/init/req {"namespace":"n"}
    "#;
    let ways = [&["--to", &socket][..], &["--to", tcp], &["--to", http], &["--to", &ws]];
    for way in ways.into_iter().chain([&["--spawn", &spawn][..], &[]]) {
        let (code, messages, stderr) = script(way, lines);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{way:?}: {messages:?}");
        let kinds: Vec<&str> = messages.iter().map(|it| it["type"].as_str().unwrap()).collect();
        let expected = [
            "pong",
            "pong",
            "tool/event",
            "tool/event",
            "tool/event",
            "tool/call/resp",
            "memory/init/resp",
        ];
        assert_eq!(kinds, expected, "{way:?}");
        assert_eq!((&messages[0]["req_id"], &messages[1]["req_id"]), (&json!("3"), &json!("mine")));
    }
    host.stop();
}

#[test]
fn a_script_that_meets_an_error_goes_on_and_exits_1() {
    for (line, said) in [
        ("no/such/req", "error unknown_type"),
        (
            "tool/call/req {\"tool_name\":\"fail\",\"arguments\":{\"message\":\"no luck\"}}",
            "no luck",
        ),
        (
            "tool/call/req {\"tool_name\":\"read_file\",\"arguments\":{\"path\":\"no/such\"}}",
            "tool_error",
        ),
        ("tool/list/req {", "line 1: expected TYPE and a JSON object"),
        ("wait long", "line 1: wait: "),
    ] {
        let (code, messages, stderr) = script(&[], &format!("{line}\nping\n"));
        assert_eq!(code, Some(1), "{line}: {stderr}");
        assert!(stderr.contains(said), "{line}: {stderr}");
        assert!(stderr.contains("messages that failed: 1"), "{line}: {stderr}");
        assert_eq!(messages.last().unwrap()["type"], "pong", "{line}");
    }
    let place = Place::new();
    let config = place.config(
        "plugins: [{name: p, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: []}}]\n",
    );
    let lines = "proc/spawn/req {\"cmd\":[\"ls\"]}\nping\n";
    let (code, messages, stderr) = script(&[&config], lines);
    assert_eq!((code, messages.len()), (Some(1), 2), "{stderr}");
    assert!(stderr.contains(": Command not allowed"), "{stderr}");
    let sleep = "tool/call/req {\"tool_name\":\"sleep\",\"arguments\":{\"ms\":60000}}\n";
    let (code, _, stderr) = script(&["--timeout", "0.3"], sleep);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no answer to `1` in time"), "{stderr}");
}

#[test]
fn what_cannot_be_reached_or_is_refused_is_told() {
    let place = Place::new();
    let config = place.config("auth_token: c4nary00112233445566778899aabbcc\n");
    let host = Host::at_socket(&place, &["-c", &config]);
    for (args, said) in [
        (&["--to", "unix:///no/such.sock"][..], "/no/such.sock"),
        (&["--to", "nonsense"], "expected unix:///"),
        (&["--spawn", "/no/such/program"], "/no/such/program"),
        (&["--spawn", "false"], "before the handshake"),
        (&["--spawn", "echo hello"], "no message"),
        (&["--to", &place.socket()], "auth_failed"),
    ] {
        let (code, messages, stderr) = script(args, "ping\n");
        assert_eq!((code, messages.len()), (Some(1), 0), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let mut command = a2e(&["connect", "--to", &place.socket()]);
    let (code, ..) = outcome(command.env("A2E_TOKEN", "c4nary00112233445566778899aabbcc"));
    assert_eq!(code, Some(0));
    host.stop();
}

#[test]
fn a_person_at_a_terminal_types_completes_and_sees_what_comes() {
    let place = Place::new();
    let config = place.config(
        "plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: p, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: [sh]}}
",
    );
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut terminal = Terminal::open(&["connect", "--to", &place.socket()]);
    terminal.until("a2e> ");
    terminal.press("ping\r");
    terminal.until("\"pong\"");
    // Types complete, then the tools that are listed, each with the arguments that it needs.
    terminal.press("tool/l\t");
    terminal.until("tool/list/req ");
    terminal.press("\r");
    terminal.until("tool/list/resp");
    terminal.press("tool/ca\t\t");
    terminal.until("{\"tool_name\": \"");
    terminal.press("sl\t");
    terminal.until("sleep\", \"arguments\": {\"ms\": 0}}");
    terminal.press("\x03");
    terminal.until("nothing is in flight");
    // What comes later shows above the prompt, with nothing typed.
    terminal.press("proc/spawn/req {\"cmd\":[\"sh\",\"-c\",\"sleep 0.1; echo l''ive\"]}\r");
    terminal.until("\"live\\n\"");
    terminal.press("nonsense [\r");
    terminal.until("expected TYPE and a JSON object");
    terminal.press("help\r");
    terminal.until("Ctrl-D or `quit` ends");
    // Ctrl-C cancels what is in flight.
    terminal.press("tool/call/req {\"tool_name\":\"sleep\",\"arguments\":{\"ms\":60000}}\r");
    super::until_in_flight(&place.socket(), 1);
    terminal.press("\x03");
    terminal.until("\"cancelled\"");
    terminal.press("\x04");
    assert_eq!(terminal.ended(), Some(0));

    // A host that goes away ends it, too.
    let mut terminal = Terminal::open(&["connect", "--to", &place.socket()]);
    terminal.until("a2e> ");
    terminal.press("half a li");
    host.stop();
    terminal.until("the host has ended the session");
    assert_eq!(terminal.ended(), Some(0));
}
