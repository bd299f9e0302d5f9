//! `a2e mcp` and `a2e import mcp`.

use serde_json::Value;

use super::{config, program};
use crate::process::support::program::{Place, a2e, outcome};
use crate::process::support::terminal::Terminal;

#[test]
fn servers_are_listed_and_their_words_shown() {
    let place = Place::new();
    let program = program();
    let good = format!("{{command: [python3, {program:?}, well]}}");
    let bad = format!("{{command: [python3, {program:?}, exit], restart: false}}");
    let file = place.config(&config(&format!("{{good: {good}, bad: {bad}}}")));
    let (code, out, _) = outcome(&mut a2e(&["mcp", "list", "-c", &file]));
    assert_eq!(code, Some(1), "one has failed: {out}");
    for text in ["good", "ready", "21 tools, 2 resources, 1 prompts", "upstream 1", "exit code 7"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let (_, out, _) = outcome(&mut a2e(&["mcp", "list", "-c", &file, "--json"]));
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&list[0]["server_id"], &list[1]["status"]),
        (&"bad".into(), &"disconnected".into())
    );
    let (code, out, _) = outcome(&mut a2e(&["mcp", "logs", "bad", "-c", &file]));
    assert_eq!((code, out.as_str()), (Some(0), "begins as exit\ncannot begin\n"));
    let (code, _, err) = outcome(&mut a2e(&["mcp", "logs", "none", "-c", &file]));
    assert!(code == Some(1) && err.contains("bad, good"), "{err}");
}

#[test]
fn definitions_that_wait_are_shown_and_approved() {
    let place = Place::new();
    let server = format!("{{command: [python3, {:?}, well], approve: manual}}", program());
    let file = place.config(&config(&format!("{{up: {server}}}")));
    let unseen = ["mcp", "approve", "up", "echo@sha256:00", "-c", &file];
    let (code, _, err) = outcome(&mut a2e(&unseen));
    assert!(code == Some(1) && err.contains("nothing is known"), "{err}");
    let (code, out, _) = outcome(&mut a2e(&["mcp", "list", "-c", &file]));
    assert!(code == Some(1) && out.contains("a2e mcp approve"), "{out}");
    let (_, out, _) = outcome(&mut a2e(&["mcp", "approve", "-c", &file]));
    assert!(out.contains("up echo@sha256:") && out.contains("Says it again."), "{out}");
    let shown = |tool: &str| {
        let mut words = out.split_whitespace();
        words.find(|word| word.starts_with(&format!("{tool}@sha256:"))).unwrap().to_owned()
    };
    let (echo, fail) = (shown("echo"), shown("fail"));
    let other = format!("echo@{}", fail.split_once('@').unwrap().1);
    // Nobody is at a terminal; what was shown is named by its hash, and another is not approved.
    for (words, text) in [
        (&["up"][..], "TOOL@HASH"),
        (&["up", "echo"], "TOOL@HASH"),
        (&["up", fail.as_str(), other.as_str()], "another definition now"),
    ] {
        let (code, _, err) = outcome(&mut a2e(&[&["mcp", "approve", "-c", &file], words].concat()));
        assert!(code != Some(0) && err.contains(text), "{err}");
    }
    // What was typed before it is asked is no answer.
    let mut person = Terminal::open_with("y\r", &["mcp", "approve", "up", &file]);
    person.until("approve? [y/N] ");
    person.press("\r");
    assert_eq!(person.ended(), Some(0));
    let (code, out, _) = outcome(&mut a2e(&["mcp", "approve", "up", &echo, &fail, &file]));
    assert_eq!((code, out.as_str()), (Some(0), "approved up echo\napproved up fail\n"));
    let call = r#"{"tool_name":"up__echo","arguments":{"text":"x"}}"#;
    let (code, out, _) = outcome(&mut a2e(&["call", "tool/call/req", call, "-c", &file, "--json"]));
    assert!(code == Some(0) && out.contains(r#""text":"x""#), "{out}");
    let none = format!("none@{}", echo.split_once('@').unwrap().1);
    for (server, tool, text) in [("none", &echo, "no server"), ("up", &none, "no tool")] {
        let (code, _, err) = outcome(&mut a2e(&["mcp", "approve", server, tool, "-c", &file]));
        assert!(code == Some(1) && err.contains(text), "{err}");
    }
}

#[test]
fn a_block_of_another_program_becomes_a_configuration_that_serves() {
    let place = Place::new();
    let file = place.path("mcp.json");
    let block = serde_json::json!({ "mcpServers": { "my server": {
        "command": "python3", "args": [program(), "well", "--api-key", "hunter2", "--password=hunter3"], "env": { "API_KEY": "not to be seen" },
    } } });
    std::fs::write(&file, block.to_string()).unwrap();
    let (code, yaml, notes) = outcome(&mut a2e(&["import", "mcp", file.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("API_KEY") && !yaml.contains("not to be seen"), "{notes} {yaml}");
    assert!(notes.contains("--password") && !yaml.contains("hunter"), "{notes} {yaml}");
    let yaml = yaml.replace("    metadata:\n", "    metadata:\n      state_dir: {}/state\n");
    let config = place.config_as_is(&yaml);
    let mut list = a2e(&["mcp", "list", "-c", &config]);
    for variable in ["API_KEY", "MY_SERVER_ARG_4", "MY_SERVER_ARG_5"] {
        list.env(variable, "k");
    }
    let (code, out, err) = outcome(&mut list);
    assert!(code == Some(0) && out.contains("my_server") && out.contains("ready"), "{out} {err}");
    let far = serde_json::json!({ "mcpServers": { "far": { "url": "https://h/mcp?v=1&api_key=hunter2" } } });
    std::fs::write(&file, far.to_string()).unwrap();
    let (_, yaml, notes) = outcome(&mut a2e(&["import", "mcp", file.to_str().unwrap()]));
    assert!(yaml.contains("?v=1&api_key=${FAR_QUERY_2}"), "{notes} {yaml}");
    let (code, _, err) = outcome(&mut a2e(&["import", "mcp", "/no/such/file"]));
    assert!(code == Some(1) && err.contains("/no/such/file"), "{err}");
}
