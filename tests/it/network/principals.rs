//! Several principals over the program's addresses: bearer tokens, handshakes, challenges, our own commands.

use serde_json::{Value, json};

use super::raw::{Reply, Site};
use super::websocket::Socket;
use crate::process::support::program::{Host, Place, a2e, outcome};
use crate::process::support::wire::Wire;

const ADA: &str = "ada-0123456789abcdef0123456789abcdef";
const CI: &str = "ci-00123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef";

const CONFIG: &str = "
audit: {enabled: true, path: '{}/audit.jsonl'}
tenants: {acme: {max_in_flight: 8}}
server:
  principals:
    - {name: ada, token_env: A2E_ADA, rights: [operator, approve]}
    - {name: ci, token_file: '{}/ci.token', capabilities: [tool], tools: [echo]}
    - {name: bob, token: bob-0123456789abcdef0123456789abcdef, tenant: acme}
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
  - {name: memory, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {tenants: [acme]}}
";

/// A host at an HTTP address and a socket, and both.
fn start(place: &Place) -> (Host, Site, String) {
    std::fs::write(place.path("ci.token"), format!("{CI}\n")).unwrap();
    let mut command = a2e(&["serve", "-c", &place.config(CONFIG)]);
    command.args(["--listen", "http://127.0.0.1:0", "--listen", &place.socket()]);
    let host = Host::start(command.env("A2E_ADA", ADA));
    let addresses = host.addresses(2);
    let http = addresses.iter().find(|it| it.starts_with("http")).unwrap();
    (host, Site::at(http), place.socket())
}

/// What each may do: tools that are listed, `echo`, `fail`, a memory, the host's status.
const RIGHTS: [(&str, usize, [&str; 4]); 3] = [
    (ADA, 6, ["", "tool_error", "unknown_type", ""]),
    (CI, 1, ["", "forbidden", "forbidden", "unauthorized"]),
    (BOB, 6, ["", "tool_error", "", "unauthorized"]),
];

fn requests() -> [(&'static str, Value); 5] {
    [
        ("tool/list/req", json!({})),
        ("tool/call/req", json!({ "tool_name": "echo", "arguments": { "text": "x" } })),
        ("tool/call/req", json!({ "tool_name": "fail", "arguments": {} })),
        ("memory/init/req", json!({ "config": {} })),
        ("host/status/req", json!({})),
    ]
}

fn judge(answers: &[Value], token: &str) {
    let (_, listed, codes) = RIGHTS.into_iter().find(|(known, ..)| *known == token).unwrap();
    let mut answers = answers.iter();
    let tools = answers.next().unwrap()["tools"].as_array().unwrap().len();
    assert!(if listed == 1 { tools == 1 } else { tools > 1 }, "{token}: {tools}");
    for (answer, code) in answers.zip(codes) {
        let found = if answer["type"] == "error" { answer["code"].as_str().unwrap() } else { "" };
        assert_eq!(found, code, "{token}: {answer}");
    }
}

#[test]
fn r62_a_principal_is_the_same_over_http_websocket_and_socket() {
    let place = Place::new();
    let (host, mut site, socket) = start(&place);
    for (token, ..) in RIGHTS {
        let mut wire = Wire::connect(&socket);
        let greeted = wire.call("handshake/req", json!({ "auth_token": token }));
        assert_eq!(greeted["ok"], true, "{greeted}");
        let answers = requests().map(|(kind, body)| wire.call(kind, body));
        judge(&answers, token);
        wire.finish();

        site.token = Some(token);
        let session = site.open();
        let mut stream = site.stream(&session, None);
        let mut ids = 0;
        let answers = requests().map(|(kind, body)| {
            ids += 1;
            assert_eq!(site.send(&session, kind, &ids.to_string(), body).status, 200);
            stream.next().unwrap().message
        });
        judge(&answers, token);

        let mut frames = Socket::open(&site);
        let answers = requests().map(|(kind, body)| {
            frames.say(kind, "r", body);
            frames.message()
        });
        judge(&answers, token);
    }
    host.stop();
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert_eq!(audit.matches(r#""error_code":"forbidden""#).count(), 3 * 2, "{audit}");
    assert!(audit.contains(r#""principal":"ci""#) && audit.contains(r#""principal":"bob""#));
    for token in [ADA, BOB, CI] {
        assert!(!audit.contains(token));
    }
}

#[test]
fn r64_a_session_over_http_is_its_principal_s_alone() {
    let place = Place::new();
    let (host, mut site, _) = start(&place);
    site.token = Some(BOB);
    let session = site.open();
    for (token, status) in [(Some(BOB), 200), (Some(CI), 404), (None, 404), (Some("guess"), 401)] {
        site.token = token;
        assert_eq!(site.send(&session, "ping", "p", json!({})).status, status, "{token:?}");
        let reply = site.request("DELETE /session", &[("X-Session-Id", "other")], b"");
        assert_eq!(reply.status, if status == 401 { 401 } else { 404 });
    }
    // A client without headers of its own shakes hands with the token; the session is its principal's then.
    site.token = None;
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let mut ids = 0;
    let mut said = |kind: &str, body: Value| {
        ids += 1;
        site.send(&session, kind, &ids.to_string(), body);
        stream.next().unwrap().message
    };
    assert_eq!(said("memory/init/req", json!({ "config": {} }))["code"], "unauthorized");
    assert_eq!(said("handshake/req", json!({ "auth_token": BOB }))["ok"], true);
    assert_eq!(said("memory/init/req", json!({ "config": {} }))["type"], "memory/init/resp");
    host.stop();
}

/// The value of `WWW-Authenticate`.
fn challenge(reply: &Reply) -> String {
    let line = reply.head.lines().find(|it| it.to_lowercase().starts_with("www-authenticate:"));
    line.map(|it| it.split_once(": ").unwrap().1.to_owned()).unwrap_or_default()
}

#[test]
fn a_missing_or_wrong_token_is_told_where_the_metadata_is() {
    let place = Place::new();
    let (host, mut site, _) = start(&place);
    let origin = format!("http://{}", site.address());
    let well_known = format!("{origin}/.well-known/oauth-protected-resource");
    for (token, line, status, named) in [
        (None, "GET /api/status", 401, Some("/api/status")),
        (None, "POST /api/reload", 401, Some("/api/reload")),
        (None, "POST /mcp", 401, Some("/mcp")),
        (Some("guess"), "POST /session", 401, Some("/session")),
        (Some("guess"), "GET /", 401, Some("")),
        (Some("guess"), "GET /a%22b", 401, Some("/a%22b")),
        (Some("guess"), "GET /nothing/", 401, Some("/nothing")),
        (Some(CI), "GET /api/status", 403, None),
        (Some(ADA), "GET /api/status", 200, None),
        (None, "POST /session", 200, None),
        (None, "GET /nothing", 404, None),
    ] {
        site.token = token;
        let reply = site.request(line, &[], b"");
        assert_eq!(reply.status, status, "{token:?} {line}: {reply:?}");
        let error = if token.is_some() { ", error=\"invalid_token\"" } else { "" };
        let expected = named.map(|path| {
            format!("Bearer realm=\"a2e\"{error}, resource_metadata=\"{well_known}{path}\"")
        });
        assert_eq!(challenge(&reply), expected.unwrap_or_default(), "{line}");
    }
    site.token = None;
    for (path, resource) in [("", ""), ("/mcp", "/mcp"), ("/a/b", "/a/b")] {
        let reply = site.get(&format!("/.well-known/oauth-protected-resource{path}"), &[]);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.head.to_lowercase().contains("content-type: application/json"), "{reply:?}");
        let told = reply.json();
        assert_eq!(told["resource"], format!("{origin}{resource}"));
        assert_eq!(told["bearer_methods_supported"], json!(["header"]));
    }
    // The names that are checked are those that are told (R63).
    let reply = site.get("/.well-known/oauth-protected-resource", &[("Host", "evil.example")]);
    assert_eq!(reply.status, 403);
    host.stop();
}

#[test]
fn the_metadata_is_there_where_a_token_is_needed_and_has_the_name_that_clients_use() {
    let rows = [
        ("", 404, ""),
        ("operator_token: ops-0123456789abcdef0123456789abcdef", 200, ""),
        (
            "auth_token: any-0123456789abcdef0123456789abcdef\n\
             transport: {type: http, config: {base_url: 'https://agents.example/behind'}}",
            200,
            "https://agents.example/mcp",
        ),
        (
            "auth_token: any-0123456789abcdef0123456789abcdef\nserver: {tls: external}",
            200,
            "https://",
        ),
    ];
    for (more, status, resource) in rows {
        let (host, site) = super::host(&Place::new(), more);
        let reply = site.get("/.well-known/oauth-protected-resource/mcp", &[]);
        assert_eq!(reply.status, status, "{more}: {reply:?}");
        if status == 200 {
            let told = reply.json()["resource"].as_str().unwrap().to_owned();
            assert!(told.starts_with(resource) && told.ends_with("/mcp"), "{told}");
        }
        host.stop();
    }
}

#[test]
fn our_commands_show_the_token_of_a_principal() {
    let place = Place::new();
    let (host, site, socket) = start(&place);
    let echo = ["tool/call/req", r#"{"tool_name":"echo","arguments":{"text":"x"}}"#];
    let fail = ["tool/call/req", r#"{"tool_name":"fail","arguments":{}}"#];
    let http = format!("http://{}", site.address());
    let ws = format!("ws://{}", site.address());
    for to in [&socket, &http, &ws] {
        for (token, call, code, text) in [
            (CI, echo, 0, "\"x\""),
            (CI, fail, 1, "forbidden"),
            ("wrong", echo, 1, "auth_failed"),
            (ADA, fail, 1, "tool_error"),
        ] {
            let args = [&["call"], &call[..], &["--to", to]].concat();
            let (status, out, err) = outcome(a2e(&args).env("A2E_TOKEN", token));
            assert_eq!(status, Some(code), "{to} {token}: {out}{err}");
            assert!(format!("{out}{err}").contains(text), "{to} {token}: {out}{err}");
        }
    }
    let (status, out, _) = outcome(a2e(&["status", "--to", &socket]).env("A2E_TOKEN", ADA));
    assert_eq!(status, Some(0), "{out}");
    let (status, ..) = outcome(a2e(&["status", "--to", &socket]).env("A2E_TOKEN", CI));
    assert_eq!(status, Some(1));
    host.stop();
}
