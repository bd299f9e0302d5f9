//! Servers that messages add and end (R36).

use serde_json::{Value, json};

use super::{Set, failure, program, servers, text, tools, upstream};

fn config(id: &str, mode: &str) -> Value {
    json!({ "config": { "server_id": id, "name": "Own", "cmd": ["python3", program(), mode] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_message_starts_no_program_that_the_settings_do_not_allow() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    let url = json!({ "config": { "transport": "http", "url": "http://127.0.0.1:9/mcp" } });
    for request in [config("a", "well"), json!({ "config": { "cmd": ["sh"] } }), url] {
        let reply = session.call("mcp/server/register/req", request).await;
        assert_eq!(
            (&reply["ok"], &reply["code"]),
            (&json!(false), &json!("tool_denied")),
            "{reply}"
        );
        assert!(reply["error"].as_str().unwrap().contains("metadata.allowed"), "{reply}");
    }
    let reply = session.call("mcp/server/unregister/req", json!({ "server_id": "up" })).await;
    assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("tool_denied")));
    assert_eq!(servers(&mut session).await.len(), 1);
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_server_is_added_used_and_ended() {
    let settings = json!({ "allowed_commands": ["python3"], "max_registered": 1 });
    let set = Set::with(settings).await;
    let mut session = set.host.session();
    let reply = session.call("mcp/server/register/req", config("own", "well")).await;
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(true), &json!("")), "{reply}");
    assert_eq!(reply["server"]["status"], "ready");
    assert_eq!(text(&mut session, "own__echo", json!({ "text": "x" })).await, "x");
    for id in ["own", "second"] {
        let reply = session.call("mcp/server/register/req", config(id, "well")).await;
        assert_eq!(reply["code"], "tool_denied", "{reply}");
    }
    let reply = session.call("mcp/server/unregister/req", json!({ "server_id": "own" })).await;
    assert_eq!(reply["ok"], true);
    assert!(!tools(&mut session).await.contains_key("own__echo"));
    assert_eq!(failure(&mut session, "own__echo", json!({})).await["code"], "unknown_tool");
    let reply = session.call("mcp/server/unregister/req", json!({ "server_id": "own" })).await;
    assert_eq!((&reply["ok"], &reply["code"]), (&json!(false), &json!("mcp_server_not_found")));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_message_says_of_a_server_only_what_the_settings_name() {
    let settings = json!({
        "allowed_commands": ["python3"], "allowed_env": ["GREETING"], "allowed_cwd": ["/"],
        "allowed_urls": ["http://127.0.0.1:9/mcp"],
    });
    let set = Set::with(settings).await;
    let mut session = set.host.session();
    let names = [
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "BASH_ENV",
        "ENV",
        "PERL5OPT",
        "RUBYOPT",
        "JAVA_TOOL_OPTIONS",
        "GCONV_PATH",
        "HOME",
        "greeting",
        "GREETING2",
        "",
    ];
    let envs = names.map(|name| json!({ "env": { name: "/tmp" } }));
    let folders = ["/tmp", "."].map(|cwd| json!({ "cwd": cwd }));
    for more in envs.into_iter().chain(folders) {
        let mut request = config("own", "well");
        request["config"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = session.call("mcp/server/register/req", request).await;
        assert_eq!(reply["code"], "tool_denied", "{more}: {reply}");
    }
    for url in ["http://127.0.0.1:9/mcp/../admin", "http://127.0.0.1:9@127.0.0.1/mcp"] {
        let request = json!({ "config": { "transport": "http", "url": url } });
        let reply = session.call("mcp/server/register/req", request).await;
        assert_eq!(reply["code"], "tool_denied", "{url}: {reply}");
    }
    let mut request = config("own", "well");
    request["config"]["env"] = json!({ "GREETING": "hi" });
    request["config"]["cwd"] = "/".into();
    let reply = session.call("mcp/server/register/req", request).await;
    assert_eq!(reply["ok"], true, "{reply}");
    let told: Value =
        serde_json::from_str(&text(&mut session, "own__env", json!({})).await).unwrap();
    assert_eq!((&told["env"]["GREETING"], &told["cwd"]), (&json!("hi"), &json!("/")));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_not_added() {
    let set = Set::with(json!({ "allowed_commands": ["python3"] })).await;
    let mut session = set.host.session();
    let reply = session.call("mcp/server/register/req", config("own", "exit")).await;
    assert_eq!(reply["ok"], false);
    assert!(reply["error"].as_str().unwrap().contains("cannot begin"), "{reply}");
    for odd in [
        json!({ "config": { "server_id": "a__b", "cmd": ["python3"] } }),
        json!({ "config": { "transport": "ws", "url": "ws://127.0.0.1:1/" } }),
    ] {
        let reply = session.call("mcp/server/register/req", odd).await;
        assert_eq!(reply["code"], "schema_violation", "{reply}");
    }
    assert!(servers(&mut session).await.is_empty());
    set.host.stop().await;
}
