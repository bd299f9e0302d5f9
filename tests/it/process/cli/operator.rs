//! The program as its operator sees it: reload by signal, explain, schema, bench, completions, man.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome, until, workspace};

const DEMO: &str = "  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}\n";
const MEMORY: &str = "  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}\n";

fn status(socket: &str) -> Value {
    let (code, stdout, stderr) = outcome(&mut a2e(&["plugins", "--json", "--to", socket]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    serde_json::from_str::<Value>(&stdout).unwrap()["host"].take()
}

#[test]
fn sighup_reads_the_file_again_and_a_bad_file_changes_nothing() {
    let place = Place::new();
    let config = place.config(&format!("plugins:\n{DEMO}"));
    let socket = place.socket();
    let host = Host::at_socket(&place, &["-c", &config]);
    let hang_up = || kill(Pid::from_raw(host.pid()), Signal::SIGHUP).unwrap();
    assert_eq!(status(&socket)["plugins"].as_array().unwrap().len(), 1);
    std::fs::write(&config, format!("plugins:\n{DEMO}{MEMORY}")).unwrap();
    hang_up();
    until(PATIENCE, "the memory is loaded", || {
        status(&socket)["plugins"].as_array().unwrap().len() == 2
    });
    std::fs::write(&config, "plugins: 5\n").unwrap();
    hang_up();
    host.until_logged("reload refused");
    let after = status(&socket);
    assert_eq!((&after["generation"], after["plugins"].as_array().unwrap().len()), (&json!(2), 2));
}

#[test]
fn explain_says_who_handles_a_type_with_a_file_and_without() {
    let (code, stdout, stderr) = outcome(&mut a2e(&["explain", "tool/call/req"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("tool/call/req -> tool/call/resp\n  fold      first\n"), "{stdout}");
    let place = Place::new();
    let config = place.config(&format!(
        "plugins:\n{DEMO}  - {{name: bad, type: memory, cls: a2e.caps.memory.plugin.Memory}}\n"
    ));
    let (code, stdout, _) = outcome(&mut a2e(&["explain", "memory/store/req", "-c", &config]));
    assert_eq!(code, Some(1), "nobody handles it: {stdout}");
    assert!(stdout.contains("not loaded bad: no plugin class"), "{stdout}");
    let (code, stdout, _) = outcome(&mut a2e(&["explain", "tol/call/req", "--json"]));
    assert_eq!(code, Some(1));
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["nearest"][0], "tool/call/req");
    for args in [&["explain"][..], &["explain", "x", "--to", "y", "-c", "z"]] {
        assert_eq!(outcome(&mut a2e(args)).0, Some(2), "{args:?}");
    }
    let (code, _, stderr) = outcome(&mut a2e(&["explain", "x", "--to", "unix:///no/such"]));
    assert_eq!(code, Some(1), "{stderr}");
}

/// The wire and the settings are promises: a change of them is deliberate. `A2E_BLESS=1` writes the file.
#[test]
fn the_schema_is_the_one_that_was_agreed() {
    let (code, stdout, stderr) = outcome(&mut a2e(&["schema", "--all"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let mut schema: Value = serde_json::from_str(&stdout).unwrap();
    // The program under test links plugins of the tests, too.
    for part in ["messages", "settings"] {
        let entries = schema[part].as_object_mut().unwrap();
        let ours = [
            "*/",
            "SUBAGENT_",
            "a2e.",
            "approval/",
            "chain/",
            "env/",
            "handshake/",
            "host/",
            "invoke/",
            "learn/",
            "mcp/",
            "memory/",
            "multi_agent/",
            "planning/",
            "proc/",
            "session/",
            "skill/",
            "tool/",
            "toolkit/",
        ];
        let kernel = ["cancel", "error", "ping", "pong", "shutdown"];
        entries.retain(|name, _| {
            kernel.contains(&name.as_str()) || ours.iter().any(|it| name.starts_with(it))
        });
        assert!(entries.len() > 3, "{part}");
    }
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let file = workspace().join("tests/data/schema.json");
    if std::env::var_os("A2E_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(file).unwrap_or_default();
    let differs = agreed.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(agreed == text, "first difference: {differs:?}; A2E_BLESS=1 takes it over");
}

/// Every object of a schema that says by `ok` or `success` whether something went well.
fn verdicts<'s>(name: &str, schema: &'s Value, found: &mut Vec<(String, &'s Value)>) {
    let has = |name: &str| schema["properties"][name]["type"] == "boolean";
    if has("ok") || has("success") {
        found.push((name.to_owned(), schema));
    }
    let members = schema.as_object().into_iter().flatten();
    for (key, inner) in members {
        verdicts(&format!("{name} {key}"), inner, found);
    }
    for inner in schema.as_array().into_iter().flatten() {
        verdicts(name, inner, found);
    }
}

#[test]
fn whatever_can_refuse_says_why_for_programs() {
    let schema = std::fs::read_to_string(workspace().join("tests/data/schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut found = Vec::new();
    for (name, message) in schema["messages"].as_object().unwrap() {
        verdicts(name, message, &mut found);
    }
    for known in ["handshake/resp", "host/reload/resp", "proc/spawn/resp", "tool/call/resp"] {
        assert!(found.iter().any(|(name, _)| name.starts_with(known)), "{known}");
    }
    for (name, object) in found {
        let code = &object["properties"]["code"];
        assert!(code["type"].to_string().contains("string"), "{name} has no `code`: {code}");
    }
    let error = &schema["messages"]["error"]["properties"];
    assert!(error.is_null() || error["code"]["type"] == "string", "{error}");
}

#[test]
fn schema_lists_and_finds() {
    let (_, list, _) = outcome(&mut a2e(&["schema"]));
    assert!(list.contains("  tool/call/req  -> tool/call/resp\n"), "{list}");
    assert!(list.contains("  a2e.caps.memory.plugin.MemoryPlugin\n"), "{list}");
    for (name, path, expected) in [
        ("tool/call/req", "/properties/type/const", json!("tool/call/req")),
        ("tool/call/req", "/required/1", json!("arguments")),
        ("a2e.caps.memory.plugin.MemoryPlugin", "/properties/episodic_limit/default", json!(50)),
    ] {
        let (code, stdout, _) = outcome(&mut a2e(&["schema", name]));
        let schema: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, schema.pointer(path)), (Some(0), Some(&expected)), "{schema}");
    }
    let (code, stdout, stderr) = outcome(&mut a2e(&["schema", "tol/call/req"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("did you mean \"tool/call/req\"?"), "{stderr}");
}

#[test]
fn bench_measures_a2e_beside_a_raw_echo() {
    let args = ["bench", "--seconds", "0.2", "--audit", "write", "--run", "pool"];
    let (code, text, stderr) = outcome(&mut a2e(&args));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(text.contains("200 B, handler pool, audit write"), "{text}");
    let (code, stdout, _) = outcome(&mut a2e(&["bench", "--seconds", "0.2", "--json"]));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(0));
    for part in ["a2e", "a2e_one_in_flight", "raw_echo", "raw_echo_one_in_flight"] {
        assert!(report[part]["messages"].as_u64().unwrap() > 0, "{report}");
    }
    for bad in [["--size", "5"], ["--in-flight", "0"], ["--audit", "loud"], ["--run", "away"]] {
        assert_eq!(outcome(&mut a2e(&["bench", bad[0], bad[1]])).0, Some(2), "{bad:?}");
    }
}

#[test]
fn completions_and_man_pages_come_from_the_command_line_itself() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = outcome(&mut a2e(&["completions", shell]));
        assert_eq!(code, Some(0), "{shell}");
        for word in ["serve", "explain", "audit", "drain"] {
            assert!(script.contains(word), "{shell} completes {word}");
        }
        assert!(!script.contains("__echo"), "{shell} shows what is hidden");
    }
    assert_eq!(outcome(&mut a2e(&["completions", "tcsh"])).0, Some(2));
    let (code, page, _) = outcome(&mut a2e(&["man"]));
    assert!(code == Some(0) && page.contains(".TH a2e 1"), "{page}");
    let place = Place::new();
    let (code, ..) = outcome(&mut a2e(&["man", "--all", &place.text("pages")]));
    assert_eq!(code, Some(0));
    for page in ["a2e.1", "a2e-serve.1", "a2e-audit-verify.1", "a2e-snapshot-diff.1"] {
        let text = std::fs::read_to_string(place.path("pages").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    std::fs::write(place.path("file"), "").unwrap();
    let under_a_file = place.text("file") + "/pages";
    assert_eq!(outcome(&mut a2e(&["man", "--all", &under_a_file])).0, Some(1));
}
