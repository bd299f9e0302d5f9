//! Sessions that clients of the newest revision open by name, and what is offered where.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{OTHER, TOKEN, ask, call, exchange, initialize, open, post, request};
use crate::network::raw::Site;
use crate::process::support::program::{Host, PATIENCE, Place, until};

const MEMORY: &str = "
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}
";

fn host(place: &Place, more: &str) -> (Host, Site) {
    let config = place.config(&format!("{more}\n{MEMORY}"));
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let site = Site::at(&host.addresses(1)[0]);
    (host, site)
}

fn tool(site: &Site, name: &str, arguments: Value) -> Value {
    ask(site, "tools/call", name, json!({ "name": name, "arguments": arguments }))
}

fn session_open(site: &Site) -> Value {
    let opened = tool(site, "session_open", json!({}));
    let session = opened["result"]["structuredContent"]["session"].clone();
    assert!(session.is_string(), "{opened}");
    session
}

/// How much a search finds.
fn found(site: &Site, more: Value) -> Value {
    let mut arguments = json!({ "query": "v" });
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tool(site, "memory_retrieve", arguments)
}

#[test]
fn r64_a_named_session_is_its_principals_and_without_a_name_nothing_is_shared() {
    let place = Place::new();
    let more = format!(
        "server: {{principals: [{{name: ada, token: {TOKEN}}}, {{name: bob, token: {OTHER}}}]}}"
    );
    let (host, mut site) = host(&place, &more);
    site.token = Some(TOKEN);
    let session = session_open(&site);
    let entry = json!({ "tier": "working", "key": { "k": 1 }, "content": "v" });
    for more in [json!({}), json!({ "session": session })] {
        let mut arguments = json!({ "entries": [entry] });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let stored = tool(&site, "memory_store", arguments);
        assert_eq!(stored["result"]["isError"], false, "{stored}");
    }
    let kept = found(&site, json!({ "session": session }));
    assert_eq!(kept["result"]["structuredContent"]["total"], 1, "{kept}");
    let unnamed = found(&site, json!({}));
    assert_eq!(unnamed["result"]["structuredContent"]["total"], 0, "{unnamed}");
    let other = session_open(&site);
    let empty = found(&site, json!({ "session": other }));
    assert_eq!(empty["result"]["structuredContent"]["total"], 0, "{empty}");
    site.token = Some(OTHER);
    let refused = found(&site, json!({ "session": session }));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    host.stop();
}

#[test]
fn a_named_session_that_nobody_names_ends() {
    let place = Place::new();
    let (host, site) = host(&place, "mcp_server: {session_ttl: 0.2}");
    let session = session_open(&site);
    until(PATIENCE, "it ends", || {
        std::thread::sleep(std::time::Duration::from_millis(400));
        found(&site, json!({ "session": session }))["error"]["code"] == -32602
    });
    host.stop();
}

/// The names in a list, over its pages.
fn names(site: &Site, line: &str, session: &str) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let body = request("tools/list", params).to_string();
        let reply = exchange(site, line, &[("Mcp-Session-Id", session)], body.as_bytes());
        let page =
            reply.message["result"]["tools"].as_array().unwrap_or_else(|| panic!("{}", reply.head));
        names.extend(page.iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        cursor = reply.message["result"]["nextCursor"].clone();
        if cursor.is_null() {
            return names;
        }
        assert_eq!(page.len(), 3, "a page");
    }
}

#[test]
fn lists_have_pages_views_and_a_path_of_the_operators() {
    let place = Place::new();
    let settings = "mcp_server: {path: /tools, page: 3, views: {few: [echo, sleep]}}";
    let (host, site) = host(&place, settings);
    let listed = |end: &str| {
        let line = format!("POST /tools{end}");
        let hello = initialize().to_string();
        let session = super::session_of(&exchange(&site, &line, &[], hello.as_bytes()));
        names(&site, &line, &session)
    };
    let all = listed("");
    assert!(all.len() > 6 && all.contains(&"memory_store".to_owned()), "{all:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each once: {all:?}");
    assert_eq!(all, listed(""), "the order stays");
    assert_eq!(listed("/search"), ["tool_search", "tool_call"]);
    assert_eq!(
        listed("/few").into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["echo".to_owned(), "sleep".to_owned()])
    );
    assert_eq!(post(&site, None, &initialize()).status, 404, "nothing is at /mcp");
    host.stop();
    let place = Place::new();
    let (host, site) = self::host(&place, "mcp_server: {enabled: false}");
    assert_eq!(post(&site, None, &initialize()).status, 404);
    host.stop();
}

#[test]
fn tools_are_searched_for_and_called_by_what_is_found() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = open(&site);
    let call =
        |tool: &str, arguments: Value| post(&site, Some(&session), &call(tool, arguments)).message;
    let search = |query: &str| -> Vec<String> {
        let found = call("tool_search", json!({ "query": query }));
        let tools = found["result"]["structuredContent"]["tools"].as_array();
        let tools = tools.unwrap_or_else(|| panic!("{found}")).iter();
        tools.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(search("SLEEP")[0], "sleep");
    assert_eq!(search("no-such-word"), [""; 0]);
    assert!(search("").len() > 2);
    let done = call("tool_call", json!({ "name": "echo", "arguments": { "a": 1 } }));
    assert_eq!(done["result"]["structuredContent"], json!({ "a": 1 }), "{done}");
    for (arguments, code) in [
        (json!({}), -32602),
        (json!({ "name": "nope" }), -32602),
        (json!({ "name": "echo", "arguments": 5 }), -32602),
    ] {
        let refused = call("tool_call", arguments);
        assert_eq!(refused["error"]["code"], code, "{refused}");
    }
    host.stop();
}

#[test]
fn environments_are_controlled_by_those_alone_who_have_the_right() {
    let config = format!(
        "
mcp_server: {{expose: [\"env/*\", \"host/*\"]}}
server:
  principals:
    - {{name: ada, token: {TOKEN}, rights: [env-control]}}
    - {{name: bob, token: {OTHER}}}
plugins:
  - {{name: env, type: env, cls: a2e.caps.env.plugin.EnvPlugin}}
"
    );
    let place = Place::new();
    let host = Host::serve(&["-c", &place.config(&config), "--listen", "http://127.0.0.1:0"]);
    let mut site = Site::at(&host.addresses(1)[0]);
    for (token, may) in [(TOKEN, true), (OTHER, false)] {
        site.token = Some(token);
        let session = open(&site);
        let listed = post(&site, Some(&session), &request("tools/list", json!({}))).message;
        let listed = listed["result"]["tools"].to_string();
        assert_eq!(listed.contains("\"env_reset\""), may, "{listed}");
        assert!(!listed.contains("\"host_"), "{listed}");
        let done = post(&site, Some(&session), &call("env_reset", json!({}))).message;
        assert_eq!(done.to_string().contains("the right `env-control`"), !may, "{done}");
    }
    host.stop();
}
