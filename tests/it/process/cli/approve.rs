//! `a2e approve`: a person at a terminal, and how it is told which host is meant.

use serde_json::json;

use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome, until};
use crate::process::support::terminal::Terminal;
use crate::process::support::wire::Wire;

const YAML: &str = "listen: [\"unix://{}/a2e.sock\"]\napprove: [{type: tool/call/req}]\n\
    plugins: [{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}]\n";

/// Waits until as many are there to be asked.
fn until_there(socket: &str, count: usize) {
    until(PATIENCE, "somebody is there", || {
        let (_, out, _) = outcome(&mut a2e(&["status", "--json", "--to", socket]));
        // Beside the one that looks.
        out.matches("\"agent_id\":\"a2e-operator\"").count() > count
    });
}

#[test]
fn what_was_typed_before_a_call_is_shown_is_no_answer() {
    let place = Place::new();
    let host = Host::serve(&["-c", &place.config(YAML)]);
    host.addresses(1);
    let socket = place.socket();
    let mut caller = Wire::connect(&socket);
    let mut desk = Terminal::open(&["approve", "--to", &socket]);
    until_there(&socket, 1);
    let prompt = "approve? [y/N] ";
    // Two lines, and the beginning of a third one.
    desk.press("y\ryes\ry");
    desk.until("y\r\nyes\r\ny");
    caller.ping();
    let first = caller.start_tool("echo", json!({ "text": "first" }));
    desk.until(prompt);
    desk.press("\r");
    assert_eq!(caller.reply_to(&first)["code"], "approval_denied");
    // Typed twice while one call is shown and another one waits.
    let calls = ["a", "b"].map(|text| caller.start_tool("echo", json!({ "text": text })));
    desk.until_times(2, prompt);
    desk.press("y\ry\r");
    desk.until("approved");
    desk.until_times(3, prompt);
    desk.press("\r");
    let ends = calls.map(|id| caller.reply_to(&id)["type"].clone());
    assert_eq!(ends, [json!("tool/call/resp"), json!("error")]);
    // The call that is shown ends: what is typed then is not for the next one.
    let calls = ["c", "d"].map(|text| caller.start_tool("echo", json!({ "text": text })));
    desk.until_times(4, prompt);
    caller.send("cancel", json!({ "req_id": calls[0] }));
    desk.until("press Enter to go on ");
    desk.press("y\r");
    desk.until_times(5, prompt);
    desk.press("\r");
    let ends = calls.map(|id| caller.reply_to(&id)["code"].clone());
    assert_eq!(ends, [json!("cancelled"), json!("approval_denied")]);
    desk.press("\x04");
    assert_eq!(desk.ended(), Some(0));
    caller.finish();
    host.stop();
}

#[test]
fn a_configuration_stands_where_an_id_may_stand() {
    let place = Place::new();
    let config = place.config(YAML);
    let host = Host::serve(&["-c", &config]);
    host.addresses(1);
    for (args, code) in [
        (&["approve", &config][..], 0),
        (&["approve", "--list", &config], 0),
        (&["approve", "-c", &config, "--list"], 0),
        (&["approve", "no-such-id", &config], 1),
        (&["approve", "--list", "no-such-id"], 2),
        (&["approve", &config, "--deny", "no"], 2),
        (&["approve", "--deny", "no"], 2),
    ] {
        let (got, out, err) = outcome(&mut a2e(args));
        assert_eq!(got, Some(code), "{args:?}: {out}{err}");
    }
    let (code, _, err) = outcome(&mut a2e(&["approve", "no-such-id", &config]));
    assert!(code == Some(1) && err.contains("not one call waits"), "{err}");
    host.stop();
}
