//! The built-in tools of the program as it is shipped: edits, search, pages, pins.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;

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

#[test]
#[allow(clippy::print_stdout, reason = "a machine that cannot show it says so")]
fn a_host_that_is_no_superuser_changes_no_owner_and_no_closed_file() {
    const HOST: u32 = 4711;
    const OTHER: u32 = 4712;
    let place = Place::new();
    let config = place.config(CONFIG);
    let root = place.path("");
    if chown(&root, Some(HOST), Some(HOST)).is_err() {
        return crate::faults::skipped("only the superuser may become another user");
    }
    std::fs::set_permissions(&root, Permissions::from_mode(0o770)).unwrap();
    // Owner, group, mode, whether it may be changed by a new version, and by an append.
    let cases = [
        ("own", HOST, HOST, 0o640, true, true),
        ("own, read-only", HOST, HOST, 0o444, false, false),
        ("shared by its group", OTHER, HOST, 0o660, false, true),
        ("shared by all", OTHER, OTHER, 0o666, false, true),
        ("of another group", HOST, OTHER, 0o640, false, true),
        ("of another", OTHER, HOST, 0o640, false, false),
        ("of another, set-user-id", OTHER, HOST, 0o4777, false, false),
    ];
    for (name, owner, group, mode, ..) in cases {
        let path = place.path(name);
        std::fs::write(&path, "old").unwrap();
        chown(&path, Some(owner), Some(group)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let mut command = a2e(&["serve", "--stdio", "-c", &config]);
    let (mut host, mut wire) = Host::with_pipes(command.uid(HOST).gid(HOST));
    wire.handshake("nobody");
    for (name, owner, group, mode, replaced, appended) in cases {
        let path = place.path(name);
        let edit = json!({ "path": name, "edits": [{ "old": "old", "new": "new" }] });
        let whole = |mode| json!({ "path": name, "content": "old", "mode": mode });
        for (tool, arguments, may) in [
            ("edit_file", edit, replaced),
            ("write_file", whole("overwrite"), replaced),
            ("write_file", whole("append"), appended),
        ] {
            let reply = wire.tool(tool, arguments.clone());
            let is_done = reply["type"] == "tool/call/resp";
            assert_eq!(is_done, may, "{name}: {tool} {arguments}: {reply}");
            let it = std::fs::metadata(&path).unwrap();
            let facts = (it.uid(), it.gid(), it.mode() & 0o7777, it.nlink());
            assert_eq!(facts, (owner, group, mode, 1), "{name}: {tool} {arguments}");
        }
        let length = if appended { "oldold" } else { "old" };
        assert_eq!(std::fs::read_to_string(&path).unwrap(), length, "{name}");
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), cases.len() + 1, "nothing is left");
    wire.finish();
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}
