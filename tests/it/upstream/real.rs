//! Servers that others wrote, from npm and `PyPI`, behind one host. They are installed once, below the target
//! folder; where that cannot be done the test is skipped, and counted.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::config;
use crate::faults::skipped;
use crate::process::support::packages::{Packages, ran};
use crate::process::support::program::{Host, Place};

/// From npm: the packages, and their programs.
const NPM: [&str; 4] = ["everything", "filesystem", "memory", "sequential-thinking"];

/// From `PyPI`.
const PYPI: [&str; 3] = ["mcp-server-time", "mcp-server-git", "mcp-server-fetch"];

/// The servers, installed; `None` where they cannot be had.
pub(super) fn installed() -> Option<Packages> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp-servers");
    let from_npm = NPM.map(|it| format!("@modelcontextprotocol/server-{it}"));
    let from_npm: Vec<&str> = from_npm.iter().map(String::as_str).collect();
    Packages::installed(folder, &from_npm, &PYPI)
}

/// The settings of all servers, with a repository of one file.
pub(super) fn servers(packages: &Packages, place: &Place) -> String {
    let repository = place.text("repository");
    assert!(ran(Command::new("git").args(["init", &repository])));
    std::fs::write(place.path("repository/a.txt"), "hello").unwrap();
    let npm = |name: &str| packages.npm(&format!("mcp-server-{name}"));
    let pypi = |name: &str| packages.pypi(&format!("mcp-server-{name}"));
    let servers = json!({
        "everything": { "command": npm("everything") },
        "files": { "command": [npm("filesystem"), repository] },
        "memory": { "command": npm("memory"),
                    "env": { "MEMORY_FILE_PATH": place.text("memory.json") } },
        "thinking": { "command": npm("sequential-thinking") },
        "time": { "command": pypi("time") },
        "git": { "command": [pypi("git"), "--repository", repository] },
        "fetch": { "command": [pypi("fetch"), "--allow-private-ips"] },
    });
    servers.to_string()
}

#[test]
fn servers_from_npm_and_pypi_work_behind_one_host() {
    let Some(packages) = installed() else {
        return skipped("servers of MCP cannot be installed from npm and PyPI here");
    };
    let place = Place::new();
    let repository = place.text("repository");
    let servers = servers(&packages, &place);
    let (_host, mut wire) = Host::stdio(&["-c", &place.config(&config(&servers))]);
    wire.handshake("user");
    let list = |wire: &mut crate::process::support::wire::Wire| -> Vec<Value> {
        let reply = wire.call("mcp/server/list/req", json!({}));
        reply["servers"].as_array().unwrap().clone()
    };
    // A loaded machine takes its time.
    for _ in 0..600 {
        if list(&mut wire).iter().all(|it| it["status"] == "ready") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for server in list(&mut wire) {
        assert_eq!(
            (&server["status"], &server["error"]),
            (&json!("ready"), &json!("")),
            "{server}"
        );
        assert_ne!(server["tools_count"], 0, "{server}");
    }
    let thought = json!({ "thought": "t", "nextThoughtNeeded": false, "thoughtNumber": 1,
                          "totalThoughts": 1 });
    let entity = json!({ "name": "a", "entityType": "b", "observations": ["c"] });
    for (tool, arguments, expected) in [
        ("everything__echo", json!({ "message": "hi" }), "Echo: hi"),
        ("everything__get-tiny-image", json!({}), "image/png"),
        ("files__read_text_file", json!({ "path": place.text("repository/a.txt") }), "hello"),
        ("memory__create_entities", json!({ "entities": [entity] }), "entityType"),
        ("thinking__sequentialthinking", thought, "thoughtHistoryLength"),
        ("time__get_current_time", json!({ "timezone": "Europe/Berlin" }), "Europe/Berlin"),
        ("git__git_status", json!({ "repo_path": repository }), "a.txt"),
    ] {
        let reply = wire.tool(tool, arguments);
        assert_eq!(reply["data"]["success"], true, "{tool}: {reply}");
        assert!(reply.to_string().contains(expected), "{tool}: {reply}");
    }
    // A failure of a tool is the tool's.
    let reply = wire.tool("files__read_text_file", json!({ "path": "/etc/passwd" }));
    assert_eq!(reply["data"]["success"], false, "{reply}");
    let resources = wire.call("mcp/resource/list/req", json!({ "server_id": "everything" }));
    let uri = resources["resources"][0]["uri"].clone();
    let read = wire.call("mcp/resource/read/req", json!({ "uri": uri }));
    assert_eq!((&read["error"], &read["server_id"]), (&json!(""), &json!("everything")), "{read}");
    let prompts = wire.call("mcp/prompt/list/req", json!({}));
    assert!(prompts["prompts"].as_array().unwrap().len() > 2, "{prompts}");
}
