//! Servers of MCP through the host, seen by a client over stdio.

use std::path::Path;

use serde_json::{Value, json};

use super::Client;
use crate::process::support::program::{A2E, Place, a2e_at};
use crate::upstream::{config, program};

/// A client in a session of the older era, with a server `one` behind its host.
fn client(place: &Place) -> Client {
    let servers = format!("{{one: {{command: [python3, {:?}, well]}}}}", program());
    let yaml = config(&servers).replace("start_wait: 4", "start_wait: 60");
    let args = ["serve", "--mcp", "-c", &place.config(&yaml)];
    let mut client = Client::of(&mut a2e_at(Path::new(A2E), &args));
    client.initialize("2025-11-25", json!({}));
    client
}

#[test]
fn a_list_that_changes_is_told_and_shown() {
    let place = Place::new();
    let mut client = client(&place);
    let about = |tools: &Value, name: &str| {
        let tools = tools["result"]["tools"].as_array().unwrap();
        let found = tools.iter().find(|it| it["name"] == name);
        found.map(|it| it["description"].as_str().unwrap().to_owned())
    };
    let before = client.ask(2, "tools/list", json!({}));
    assert_eq!(about(&before, "one__echo").unwrap(), "[MCP:one] Says it again.");
    assert_eq!(about(&before, "one__new0"), None);
    client.send(3, "tools/call", json!({ "name": "one__grow", "arguments": {} }));
    let (mut is_told, mut is_answered) = (false, false);
    while !(is_told && is_answered) {
        let message = client.next();
        is_told |= message["method"] == "notifications/tools/list_changed";
        is_answered |= message["id"] == 3;
    }
    let after = client.ask(4, "tools/list", json!({}));
    assert!(about(&after, "one__new0").is_some(), "{after}");
    let prompts = client.ask(5, "prompts/list", json!({}));
    assert_eq!(prompts["result"]["prompts"][0]["description"], "[MCP:one] Greets.", "{prompts}");
    client.end();
}
