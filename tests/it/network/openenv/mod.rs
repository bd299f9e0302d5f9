//! `/env/NAME/…`: environments as OpenEnv servers, and what is refused there.

use serde_json::{Value, json};

use crate::network::raw::{Reply, Site};
use crate::network::websocket::{BINARY, CLOSE, Socket, TEXT};
use crate::process::support::program::{Host, PATIENCE, Place, a2e, until, until_some, workspace};
use crate::process::support::wire::Wire;

/// Counts, or hangs.
const PROGRAM: &str = r#"
import json, sys, time
count = 0
for line in sys.stdin:
    message = json.loads(line)
    kind = message["type"].removesuffix("/req")
    reply = {"type": kind + "/resp", "req_id": message["id"]}
    if kind == "env/step":
        if message["action"].get("type") == "hang":
            open(sys.argv[1], "w").close()
            time.sleep(1000)
        count += 1
    if kind in ("env/reset", "env/step"):
        reply["obs"] = {"episode_id": "mine", "step_num": 0, "state": {"count": count}}
    if kind == "env/space":
        reply.update(action_space={}, state_schema={})
    print(json.dumps(reply), flush=True)
"#;

/// A host with one place for an episode, and its address.
fn start(place: &Place, more: &str) -> (Host, Site) {
    std::fs::write(place.path("program.py"), PROGRAM).unwrap();
    let yaml = format!(
        "{more}\nplugins:\n  - name: env\n    type: env\n    cls: a2e.caps.env.plugin.EnvPlugin\n    \
         metadata:\n      max_host_episodes: 1\n      \
         processes: [{{name: program, command: [python3, '{{}}/program.py', '{{}}/hangs']}}]\n"
    );
    let config = place.config(&yaml);
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let site = Site::at(&host.addresses(1)[0]);
    (host, site)
}

fn post(site: &Site, path: &str, body: &Value) -> Reply {
    site.request(&format!("POST {path}"), &[], body.to_string().as_bytes())
}

fn ask(socket: &mut Socket, message: &Value) -> Value {
    socket.frame(TEXT, true, message.to_string().as_bytes());
    socket.message()
}

fn reset() -> Value {
    json!({ "type": "reset", "data": { "seed": 1 } })
}

fn step(verb: &str) -> Value {
    json!({ "type": "step", "data": { "type": verb } })
}

/// The head of an upgrade that is refused.
fn upgrade(site: &Site, path: &str) -> Reply {
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    site.exchange(site.head(&format!("GET {path}"), &headers).as_bytes())
}

#[test]
fn pages_tell_of_an_environment_and_are_asked_for_one_request() {
    let place = Place::new();
    let (host, site) = start(&place, "");
    let page = |page: &str| site.get(&format!("/env/counter_env/{page}"), &[]);
    assert_eq!(page("health").json(), json!({ "status": "healthy" }));
    let about = page("metadata").json();
    assert_eq!(about["name"], "counter_env", "{about}");
    assert!(about["description"].is_string() && about["version"].is_string(), "{about}");
    let schema = page("schema").json();
    assert!(schema["action"]["properties"]["type"].is_object(), "{schema}");
    assert!(schema["observation"].is_object() && schema["state"].is_object(), "{schema}");
    let paths = page("openapi.json").json()["paths"].clone();
    for path in ["/reset", "/step", "/state", "/ws"] {
        assert!(paths[path].is_object(), "{paths}");
    }
    assert_eq!(page("state").json(), json!({ "episode_id": null, "step_count": 0 }));
    // Each is an episode of its own, and the one place is free behind it.
    for _ in 0..3 {
        let begun = post(&site, "/env/counter_env/reset", &json!({ "seed": 3 })).json();
        assert_eq!(begun["observation"]["count"], 0, "{begun}");
        assert_eq!((&begun["done"], &begun["metadata"]["seed"]), (&json!(false), &json!(3)));
        let action = json!({ "action": { "type": "inc" }, "timeout_s": 30 });
        let seen = post(&site, "/env/counter_env/step", &action).json();
        assert_eq!(seen["observation"]["count"], 1, "{seen}");
    }
    // However long the host's own limit is.
    let hang = json!({ "action": { "type": "hang" }, "timeout_s": 0.5 });
    assert_eq!(post(&site, "/env/program/step", &hang).status, 504);
    let begun = site.request("POST /env/counter_env/reset", &[], b"");
    assert_eq!(begun.status, 200, "{begun:?}");
    for (body, code) in [
        (json!({}), -32600),
        (json!({ "jsonrpc": "1.0", "method": "x" }), -32600),
        (json!({ "jsonrpc": "2.0", "method": "tools/list", "id": 7 }), -32603),
        (json!({ "jsonrpc": "2.0", "method": "env/reset", "id": 7 }), -32601),
    ] {
        let reply = post(&site, "/env/counter_env/mcp", &body);
        let reply = reply.json();
        assert_eq!((&reply["jsonrpc"], &reply["error"]["code"]), (&json!("2.0"), &json!(code)));
        assert_eq!(reply["id"], body["id"]);
    }
    let mut socket = Socket::open_at(&site, "/env/counter_env/mcp");
    for (text, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","method":"tools/list","id":7}"#, -32603),
        (r#"{"jsonrpc":"2.0","method":"close","id":7}"#, -32601),
    ] {
        socket.frame(TEXT, true, text.as_bytes());
        let reply = socket.message();
        assert_eq!(reply["error"]["code"], code, "{text}: {reply}");
    }
    host.stop();
}

#[test]
fn what_cannot_be_is_refused_with_its_status() {
    let place = Place::new();
    let (host, site) = start(&place, "global_limits: {max_line_bytes: 65536}");
    for page in ["health", "metadata", "schema", "openapi.json", "state"] {
        let reply = site.get(&format!("/env/nowhere/{page}"), &[]);
        assert_eq!(reply.status, 404, "{page}: {reply:?}");
        assert!(reply.detail().contains("no environment `nowhere`"), "{reply:?}");
    }
    for (path, body, status) in [
        ("/env/nowhere/reset", "{}", 404),
        ("/env/nowhere/step", r#"{"action":{}}"#, 404),
        ("/env/nowhere/mcp", "{}", 404),
        ("/env/counter_env/reset", "{", 422),
        ("/env/counter_env/reset", "[]", 422),
        ("/env/counter_env/reset", r#"{"seed":"three"}"#, 422),
        ("/env/counter_env/reset", r#"{"episode_id":7}"#, 422),
        ("/env/counter_env/step", "{}", 422),
        ("/env/counter_env/step", r#"{"action":[]}"#, 422),
        ("/env/counter_env/step", r#"{"action":{"type":"fly"}}"#, 422),
        ("/env/counter_env/step", r#"{"action":{}}"#, 422),
        ("/env/counter_env/step", r#"{"action":{"type":"inc"},"timeout_s":0}"#, 422),
        ("/env/counter_env/step", r#"{"action":{"type":"inc"},"timeout_s":"1"}"#, 422),
        ("/env/counter_env/health", "{}", 405),
        ("/env/counter_env/fork", "{}", 404),
    ] {
        let reply = site.request(&format!("POST {path}"), &[], body.as_bytes());
        assert_eq!(reply.status, status, "{path} {body}: {reply:?}");
    }
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(140_000));
    let reply = site.request("POST /env/counter_env/reset", &[], long.as_bytes());
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(upgrade(&site, "/env/nowhere/ws").status, 404);
    assert_eq!(upgrade(&site, "/env/nowhere/mcp").status, 404);
    for (header, value) in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        let reply = site.get("/env/counter_env/schema", &[(header, value)]);
        assert_eq!(reply.status, 403, "{header}: {reply:?}");
    }
    host.stop();
}

#[test]
fn a_socket_is_an_episode() {
    let place = Place::new();
    let (host, site) = start(&place, "");
    let mut socket = Socket::open_at(&site, "/env/counter_env/ws");
    let before = ask(&mut socket, &json!({ "type": "state" }));
    assert_eq!(before["data"], json!({ "episode_id": null, "step_count": 0 }), "{before}");
    let early = ask(&mut socket, &step("inc"));
    assert_eq!(early["data"]["code"], "EXECUTION_ERROR", "{early}");
    let begun = ask(&mut socket, &reset());
    assert_eq!((&begun["type"], &begun["data"]["done"]), (&json!("observation"), &json!(false)));
    for count in 1..=5 {
        let seen = ask(&mut socket, &step("inc"));
        assert_eq!(seen["data"]["observation"]["count"], count, "{seen}");
        assert_eq!(seen["data"]["done"], count == 5, "{seen}");
    }
    let late = ask(&mut socket, &step("inc"));
    assert_eq!(late["data"]["code"], "EXECUTION_ERROR", "{late}");
    assert_eq!(late["data"]["error_code"], "runtime_error", "{late}");
    let state = ask(&mut socket, &json!({ "type": "state" }));
    assert_eq!((&state["data"]["step_count"], &state["data"]["done"]), (&json!(5), &json!(true)));
    // The next takes the place of the last.
    let named = json!({ "type": "reset", "data": { "seed": null, "episode_id": "mine" } });
    assert_eq!(ask(&mut socket, &named)["data"]["observation"]["count"], 0);
    let state = ask(&mut socket, &json!({ "type": "state" }));
    assert_eq!(state["data"]["episode_id"], "mine", "{state}");
    let tools =
        json!({ "type": "mcp", "data": { "jsonrpc": "2.0", "method": "tools/list", "id": 1 } });
    assert_eq!(ask(&mut socket, &tools)["data"]["error"]["code"], -32603);
    socket.frame(TEXT, true, br#"{"type":"close"}"#);
    assert_eq!(socket.closed(), 1000);
    host.stop();
}

#[test]
fn frames_that_are_none_are_answered_and_the_socket_goes_on() {
    let place = Place::new();
    let (host, site) = start(&place, "global_limits: {max_line_bytes: 65536}");
    let mut socket = Socket::open_at(&site, "/env/counter_env/ws");
    ask(&mut socket, &reset());
    for (text, code) in [
        ("", "INVALID_JSON"),
        ("hello", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        ("[1]", "VALIDATION_ERROR"),
        ("7", "VALIDATION_ERROR"),
        ("{}", "UNKNOWN_TYPE"),
        (r#"{"type":7}"#, "UNKNOWN_TYPE"),
        (r#"{"type":"fly"}"#, "UNKNOWN_TYPE"),
        (r#"{"type":"step"}"#, "VALIDATION_ERROR"),
        (r#"{"type":"step","data":[]}"#, "VALIDATION_ERROR"),
        (r#"{"type":"step","data":{}}"#, "VALIDATION_ERROR"),
        (r#"{"type":"step","data":{"type":"fly"}}"#, "VALIDATION_ERROR"),
        (r#"{"type":"reset","data":7}"#, "VALIDATION_ERROR"),
        (r#"{"type":"mcp"}"#, "VALIDATION_ERROR"),
        (&"[".repeat(60_000), "INVALID_JSON"),
    ] {
        socket.frame(TEXT, true, text.as_bytes());
        let reply = socket.message();
        assert_eq!(reply["type"], "error", "{text}: {reply}");
        assert_eq!(reply["data"]["code"], code, "{text}: {reply}");
        assert!(reply["data"]["message"].is_string(), "{text}: {reply}");
    }
    assert_eq!(ask(&mut socket, &step("inc"))["data"]["observation"]["count"], 1, "it goes on");
    drop(socket);
    let rows: [(u8, Vec<u8>, u16); 3] = [
        (BINARY, b"{}".to_vec(), 1003),
        (TEXT, vec![b' '; 70_000], 1009),
        (TEXT, vec![0xff, 0xfe], 1009),
    ];
    for (kind, payload, code) in rows {
        let mut socket = Socket::open_at(&site, "/env/counter_env/ws");
        socket.frame(kind, true, &payload);
        assert_eq!(socket.closed(), code, "{kind} {}", payload.len());
    }
    host.stop();
}

/// Begins an episode as soon as the one place is free.
fn begin(socket: &mut Socket) -> Value {
    until_some(2 * PATIENCE, "the place is free", || {
        let begun = ask(socket, &reset());
        if begun["type"] == "observation" {
            return Some(begun);
        }
        assert_eq!(begun["data"]["code"], "CAPACITY_REACHED", "{begun}");
        assert_eq!(begun["data"]["retryable"], true, "{begun}");
        None
    })
}

#[test]
fn an_episode_ends_with_its_socket_however_that_ends() {
    let place = Place::new();
    let audit = "audit: {enabled: true, path: '{}/audit.jsonl'}";
    let (host, site) = start(&place, audit);
    let mut other = Socket::open_at(&site, "/env/counter_env/ws");
    for way in ["close", "frame", "cut", "cut in a step", "frame in a step"] {
        let mut socket = Socket::open_at(&site, "/env/program/ws");
        begin(&mut socket);
        let full = ask(&mut other, &reset());
        assert_eq!(full["data"]["code"], "CAPACITY_REACHED", "{way}: {full}");
        if way.ends_with("in a step") {
            socket.frame(TEXT, true, step("hang").to_string().as_bytes());
            until(2 * PATIENCE, "it hangs", || std::fs::remove_file(place.path("hangs")).is_ok());
        }
        match way {
            "close" => socket.frame(TEXT, true, br#"{"type":"close"}"#),
            "frame" | "frame in a step" => socket.frame(CLOSE, true, &1000_u16.to_be_bytes()),
            _ => {}
        }
        drop(socket);
        begin(&mut other);
        drop(other);
        other = Socket::open_at(&site, "/env/counter_env/ws");
    }
    drop(other);
    host.stop();
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let steps = audit.lines().filter(|it| it.contains("env/step/req"));
    let ended: Vec<bool> = steps.map(|it| it.contains(r#""success":false"#)).collect();
    assert_eq!(ended, [true, true], "{audit}");
}

const ADA: &str = "ada-0123456789abcdef0123456789abcdef";
const CI: &str = "ci-00123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef";

const PRINCIPALS: &str = "
server:
  principals:
    - {name: ada, token: ada-0123456789abcdef0123456789abcdef, rights: [env-control]}
    - {name: ci, token: ci-00123456789abcdef0123456789abcdef}
    - {name: bob, token: bob-0123456789abcdef0123456789abcdef, capabilities: [tools]}
";

#[test]
fn a_token_is_asked_for_and_control_needs_the_right() {
    let place = Place::new();
    let (host, mut site) = start(&place, PRINCIPALS);
    let reset_of = |site: &Site| post(site, "/env/counter_env/reset", &json!({})).status;
    let state_of = |site: &Site| site.get("/env/counter_env/state", &[]).status;
    let schema_of = |site: &Site| site.get("/env/counter_env/schema", &[]).status;
    for (token, expected) in [
        (None, [401, 401, 401]),
        (Some("guess"), [401, 401, 401]),
        (Some(ADA), [200, 200, 200]),
        (Some(CI), [403, 403, 200]),
        (Some(BOB), [403, 403, 403]),
    ] {
        site.token = token;
        assert_eq!([reset_of(&site), state_of(&site), schema_of(&site)], expected, "{token:?}");
    }
    site.token = None;
    for (token, status) in [(None, 401), (Some(BOB), 403)] {
        site.token = token;
        for page in ["ws", "mcp"] {
            assert_eq!(upgrade(&site, &format!("/env/counter_env/{page}")).status, status);
        }
    }
    site.token = Some(CI);
    let mut socket = Socket::open_at(&site, "/env/counter_env/ws");
    for message in [reset(), json!({ "type": "state" })] {
        let refused = ask(&mut socket, &message);
        assert_eq!(refused["data"]["error_code"], "forbidden", "{refused}");
    }
    // The episode of another session is none, also to a peer that knows its id.
    site.token = Some(ADA);
    let mut ada = Socket::open_at(&site, "/env/counter_env/ws");
    begin(&mut ada);
    let id = ask(&mut ada, &json!({ "type": "state" }))["data"]["episode_id"].clone();
    let mut stranger = Socket::open(&site);
    let action = json!({ "episode_id": id, "action": { "type": "inc" } });
    stranger.say("env/step/req", "s", action);
    assert_eq!(stranger.message()["message"], "No active episode. Call reset().");
    host.stop();
}

#[test]
fn sockets_are_closed_when_the_host_ends() {
    let place = Place::new();
    let (mut host, site) = start(&place, "");
    let mut socket = Socket::open_at(&site, "/env/counter_env/ws");
    begin(&mut socket);
    let mut rpc = Socket::open_at(&site, "/env/counter_env/mcp");
    host.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!((socket.closed(), rpc.closed()), (1001, 1001));
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn a_host_uses_the_environments_of_another_behind_tls_and_a_token() {
    let place = Place::new();
    let file = |name: &str| workspace().join("tests/data/tls").join(name);
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let tls = format!("{{cert: '{}', key: '{}'}}", cert.display(), key.display());
    let (far, site) = start(&place, &format!("auth_token: {ADA}\nserver: {{tls: {tls}}}"));
    let port = site.address().rsplit(':').next().unwrap().to_owned();

    let near = Place::new();
    std::fs::write(near.path("token"), format!("{ADA}\n")).unwrap();
    std::fs::write(near.path("stale"), format!("{BOB}\n")).unwrap();
    let env = |name: &str, token: &str| {
        format!(
            "{{name: {name}, url: 'wss://localhost:{port}/env/counter_env', token_file: '{{}}/{token}'}}"
        )
    };
    let config = near.config(&format!(
        "plugins:\n  - name: env\n    type: env\n    cls: a2e.caps.env.plugin.EnvPlugin\n    \
         metadata:\n      openenv: [{}, {}]\n",
        env("far", "token"),
        env("refused", "stale")
    ));
    let mut command = a2e(&["serve", "-c", &config, "--listen", &near.socket()]);
    let host = Host::start(command.env("SSL_CERT_FILE", &cert));
    host.addresses(1);
    let mut wire = Wire::connect(&near.socket());
    let refused = wire.call("env/reset/req", json!({ "env_name": "refused" }));
    assert!(refused["message"].as_str().unwrap().contains("HTTP error: 401"), "{refused}");
    let spaces = wire.call("env/space/req", json!({ "env_name": "far" }));
    assert!(spaces["action_space"]["properties"]["type"].is_object(), "{spaces}");
    let begun = wire.call("env/reset/req", json!({ "env_name": "far", "seed": 3 }));
    let id = begun["obs"]["episode_id"].clone();
    let action = json!({ "episode_id": id, "action": { "type": "inc" } });
    let seen = wire.call("env/step/req", action);
    assert_eq!(seen["obs"]["state"]["count"], 1, "{seen}");
    // The far host has one place.
    let full = wire.call("env/reset/req", json!({ "env_name": "far" }));
    assert_eq!((&full["code"], &full["retryable"]), (&json!("overloaded"), &json!(true)), "{full}");
    let unknown = json!({ "episode_id": id, "action": { "type": "fly" } });
    assert_eq!(wire.call("env/step/req", unknown)["code"], "schema_violation");
    wire.finish();
    host.stop();
    far.stop();
}
