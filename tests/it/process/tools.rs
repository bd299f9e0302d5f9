//! The built-in tools of the program as it is shipped: edits, search, pages, pins.

use std::io::{Read, Write};

use serde_json::json;

use super::support::program::{Host, PATIENCE, Place, a2e, outcome};

const CONFIG: &str = r#"
plugins:
  - name: tools
    type: tools
    cls: a2e.caps.tools.plugin.ToolPlugin
    metadata:
      roots: ["{}"]
      allow_write: true
      http_get: {allow_private: ["127.0.0.1"], max_bytes: 1000, timeout_s: 5}
      pinned: {echo: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
"#;

#[test]
fn the_program_edits_searches_and_fetches() {
    let place = Place::new();
    let config = place.config(CONFIG);
    std::fs::write(place.path("notes.md"), "old words\nold hat\n").unwrap();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let read = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").unwrap();
        read
    });
    let (mut host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("editor");
    let listed = wire.call("tool/list/req", json!({}));
    let names: Vec<&str> =
        listed["tools"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let all = ["read_file", "write_file", "edit_file", "list_dir", "glob", "grep", "http_get"];
    assert_eq!(names, all);
    let edits = json!([{ "old": "old", "new": "new", "count": 2 }]);
    let reply = wire.tool("edit_file", json!({ "path": "notes.md", "edits": edits }));
    assert_eq!(reply["data"]["data"]["replacements"], 2, "{reply}");
    let reply = wire.tool("grep", json!({ "pattern": "^new h" }));
    assert_eq!(reply["data"]["data"]["matches"][0]["line"], 2, "{reply}");
    let reply = wire.tool("glob", json!({ "pattern": "*.md" }));
    assert_eq!(reply["data"]["data"]["paths"], json!(["notes.md"]), "{reply}");
    let reply = wire.tool("http_get", json!({ "url": url }));
    assert_eq!(reply["data"]["data"]["body"], "page", "{reply}");
    assert!(serving.join().unwrap() > 0);
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
    assert!(host.log().contains("a pinned tool is not offered"), "{}", host.log());
}

#[test]
fn the_settings_of_tools_are_checked() {
    let place = Place::new();
    let (code, _, stderr) = outcome(&mut a2e(&["check", "--strict", &place.config(CONFIG)]));
    assert_eq!(code, Some(0), "{stderr}");
    for (from, to, part) in [
        ("max_bytes", "max_byte", "max_bytes"),
        ("timeout_s: 5", "timeout_s: soon", "http_get.timeout_s"),
        ("127.0.0.1", "inside", "no network"),
        ("sha256:0000", "sha256:xyz", "64 hex digits"),
    ] {
        let config = place.config(&CONFIG.replace(from, to));
        let (code, stdout, stderr) = outcome(&mut a2e(&["check", "--strict", &config]));
        assert_ne!(code, Some(0), "{to}");
        assert!(format!("{stdout}{stderr}").contains(part), "{to}: {stdout}{stderr}");
    }
}
