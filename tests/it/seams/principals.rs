//! Principals: whose a session is after its handshake, and what each may list and use (R60 to R66).

use a2e_core::config::{HostConfig, PluginConfig, PrincipalConfig, Secret, TenantConfig};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::{Allowed, Identity, Rights};
use serde_json::{Value, json};

use crate::support::{
    Carrier, audited, counter, end, next, plugin, records, records_of, settled, tuned, with,
};

const ADA: &str = "ada-0123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef";
const CI: &str = "ci-00123456789abcdef0123456789abcdef";
const AGENT: &str = "any-0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "ops-0123456789abcdef0123456789abcdef";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&it| it.to_owned()).collect()
}

fn allowed(types: Option<&[&str]>, tools: Option<&[&str]>) -> Allowed {
    let names = tools.map(|tools| ("tools", texts(tools)));
    Allowed { types: types.map(texts), names: names.into_iter().collect() }
}

/// Ada may do everything and has every right, Bob is of a tenant, CI may use one tool and ask others through `caller`.
fn config() -> HostConfig {
    let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    let acmes = |it: &mut a2e_core::config::PluginMeta| it.tenants = Some(texts(&["acme"]));
    let plugins = [
        plugin("echo", "Echo"),
        plugin("caller", "Caller"),
        plugin("who", "WhoAmI"),
        tuned(plugin("acmes", "Script"), acmes),
        demo,
    ];
    let mut config = with(plugins);
    config.auth_token = Some(Secret::new(AGENT));
    config.operator_token = Some(Secret::new(OPERATOR));
    config.tenants.insert("acme".into(), TenantConfig::default());
    let ada = Identity::of("ada").with_rights(Rights::all());
    let bob = Identity::of("bob").with_tenant("acme");
    let few = allowed(Some(&["tool", "caller/*"]), Some(&["ec*"]));
    config.server.principals = vec![
        PrincipalConfig::new(ada, ADA),
        PrincipalConfig::new(bob, BOB),
        PrincipalConfig::new(Identity::of("ci").with_allowed(few), CI),
    ];
    config
}

async fn hello(session: &mut TestSession, token: &str) -> Value {
    session
        .call("handshake/req", json!({ "auth_token": token, "agent_caps": ["tools", "test"] }))
        .await
}

async fn who(session: &mut TestSession) -> Value {
    session.call("seam/whoami/req", json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_a_session_is_its_principal_s_from_the_handshake_on_over_every_transport() {
    let host = TestHost::start(config()).await;
    for over in Carrier::ALL {
        for (token, principal, tenant, may) in [
            (ADA, "ada", Value::Null, [true, true, true]),
            (BOB, "bob", json!("acme"), [false; 3]),
            (OPERATOR, "token:operator", Value::Null, [true, true, true]),
        ] {
            let mut session = over.open(&host).await;
            assert_eq!(session.call_error("seam/whoami/req", json!({})).await, "unauthorized");
            assert_eq!(hello(&mut session, "wrong").await["reason"], "auth_failed");
            assert_eq!(hello(&mut session, token).await["ok"], true, "{over:?} {principal}");
            let seen = who(&mut session).await;
            assert_eq!(
                (&seen["principal"], &seen["tenant"]),
                (&json!(principal), &tenant),
                "{over:?}"
            );
            assert_eq!(seen["may"], json!(may), "{over:?} {principal}");
            let status = session.call("host/status/req", json!({})).await;
            let is_operator = status["type"] == "host/status/resp";
            assert_eq!(is_operator, may[0], "{over:?} {principal}: {status}");
            session.finish().await;
        }
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_the_tenant_holds_from_the_line_behind_the_handshake() {
    let host = TestHost::start(config()).await;
    let mut session = host.session();
    // In one piece: the second line must see what the first one made of the session.
    let greeting =
        json!({ "type": "handshake/req", "id": "h", "auth_token": BOB, "agent_caps": ["test"] });
    let call = json!({ "type": "script/all/req", "id": "c" });
    session.send_bytes(format!("{greeting}\n{call}\n").as_bytes()).await;
    let greeted = next(&mut session).await;
    let names: Vec<&str> = greeted["accepted_caps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "caller", "who", "acmes"]);
    let reply = next(&mut session).await;
    assert_ne!(reply["code"], "unknown_type", "{reply}");
    session.finish().await;
    let mut other = host.session();
    hello(&mut other, ADA).await;
    assert_eq!(other.call_error("script/all/req", json!({})).await, "unknown_type");
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_a_session_stays_with_its_first_principal() {
    let host = TestHost::start(config()).await;
    for (first, second, is_taken) in [
        (ADA, ADA, true),
        (ADA, BOB, false),
        (ADA, AGENT, false),
        (ADA, OPERATOR, false),
        (AGENT, ADA, false),
        (AGENT, AGENT, true),
        (AGENT, OPERATOR, false),
        (CI, "", false),
    ] {
        let mut session = host.session();
        assert_eq!(hello(&mut session, first).await["ok"], true);
        let before = host.executor().status().busiest[0].principal.clone();
        assert_eq!(hello(&mut session, second).await["ok"], is_taken, "{first} {second}");
        assert_eq!(host.executor().status().busiest[0].principal, before);
        session.finish().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_used_holds_for_the_handshake_for_lists_and_for_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(config(), &path)).await;
    let mut session = host.session();
    let greeted = hello(&mut session, CI).await;
    let names: Vec<&Value> = greeted["accepted_caps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["metadata"]["name"])
        .collect();
    assert_eq!(names, ["caller", "demo"], "{greeted}");
    let listed = session.call("tool/list/req", json!({})).await;
    let names: Vec<&Value> =
        listed["tools"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["echo"], "{listed}");
    let reply = session
        .call("tool/call/req", json!({ "tool_name": "echo", "arguments": { "text": "x" } }))
        .await;
    assert_eq!(reply["type"], "tool/call/resp", "{reply}");
    let rows = [
        ("tool/call/req", json!({ "tool_name": "fail", "arguments": {} }), "tool", "fail"),
        (
            "tool/call/req",
            json!({ "tool_name": "none_such", "arguments": {} }),
            "tool",
            "none_such",
        ),
        ("tool/call/req", json!({ "arguments": {} }), "tool", ""),
        ("tool/call/req", json!({ "tool_name": 5, "arguments": {} }), "tool", ""),
        ("echo/inline/req", json!({ "text": "x" }), "type", "echo/inline/req"),
        // Whether there is such a type is nobody's business who may not use it.
        ("proc/spawn/req", json!({}), "type", "proc/spawn/req"),
    ];
    for (wire_type, body, what, name) in &rows {
        let id = session.send(wire_type, body.clone()).await;
        let error = session.reply_to(&id).await;
        assert_eq!(error["code"], "forbidden", "{error}");
        assert_eq!(error["detail"], json!({ "principal": "ci", *what: name }));
        assert_eq!(error["retryable"], false);
        let record = &records_of_soon(&path, &id).await[0];
        assert_eq!(
            (&record["outcome"], &record["error_code"]),
            (&json!("refused"), &json!("forbidden"))
        );
        assert_eq!(record["principal"], "ci", "{record}");
    }
    // Of two names the tool might be found by the other.
    let twice = r#"{"type":"tool/call/req","id":"t","tool_name":"fail","tool_name":"echo","arguments":{"text":"x"}}"#;
    session.send_line(twice).await;
    assert_eq!(session.reply_to("t").await["code"], "forbidden");
    assert_eq!(counter(&host, "forbidden"), rows.len() as u64 + 1);
    session.finish().await;
    end(host).await;
}

async fn records_of_soon(path: &std::path::Path, id: &str) -> Vec<Value> {
    for _ in 0..200 {
        let found = records_of(path, id);
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no record of {id}: {:?}", records(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_what_a_plugin_asks_for_a_principal_is_asked_as_that_principal() {
    let host = TestHost::start(config()).await;
    let ask = |to: &str, wire_type: &str, body: Value| json!({ "to": to, "wire_type": wire_type, "body": body });
    let call = |tool: &str| json!({ "tool_name": tool, "arguments": { "text": "x" } });
    let rows = [
        (ask("plugin demo", "tool/call/req", call("echo")), ""),
        (ask("plugin demo", "tool/call/req", call("fail")), "forbidden"),
        (ask("capability tools", "tool/call/req", call("sleep")), "forbidden"),
        (ask("plugin echo", "echo/pool/req", json!({ "text": "x" })), "forbidden"),
        (ask("capability test", "echo/inline/req", json!({ "text": "x" })), "forbidden"),
    ];
    let mut session = host.session();
    hello(&mut session, CI).await;
    for (body, code) in rows {
        let reply = session.call("caller/ask/req", body.clone()).await;
        assert_eq!(reply["code"].as_str().unwrap_or_default(), code, "{body}: {reply}");
    }
    let listed =
        session.call("caller/ask/req", ask("plugin demo", "tool/list/req", json!({}))).await;
    assert_eq!(listed["reply"]["tools"].as_array().unwrap().len(), 1, "{listed}");
    // The same host lets others do all of it.
    let mut ada = host.session();
    hello(&mut ada, ADA).await;
    let reply = ada
        .call("caller/ask/req", ask("plugin echo", "echo/pool/req", json!({ "text": "x" })))
        .await;
    assert_eq!(reply["type"], "caller/resp", "{reply}");
    settled(&host).await;
    session.finish().await;
    ada.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_by_an_empty_list_and_the_kernel_still_answers() {
    let mut config = config();
    let none = Identity::of("none").with_allowed(allowed(Some(&[]), None));
    config
        .server
        .principals
        .push(PrincipalConfig::new(none, "none-0123456789abcdef0123456789abcd"));
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let greeted = hello(&mut session, "none-0123456789abcdef0123456789abcd").await;
    assert_eq!((&greeted["ok"], &greeted["accepted_caps"]), (&json!(true), &json!([])));
    assert_eq!(session.call("ping", json!({})).await["type"], "pong");
    for wire_type in ["tool/list/req", "echo/inline/req", "nope", "pong"] {
        assert_eq!(session.call_error(wire_type, json!({})).await, "forbidden", "{wire_type}");
    }
    assert_eq!(session.call_error("host/status/req", json!({})).await, "unauthorized");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_principal_has_only_so_many_sessions_over_sockets_too() {
    let mut config = config();
    config.limits.max_sessions_per_principal = 2;
    let host = TestHost::start(config).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut session = host.session();
        assert_eq!(hello(&mut session, CI).await["ok"], true);
        open.push(session);
    }
    let mut third = host.session();
    let refused = hello(&mut third, CI).await;
    assert_eq!(refused["code"], "overloaded", "{refused}");
    assert_eq!(third.call_error("tool/list/req", json!({})).await, "unauthorized");
    assert_eq!(hello(&mut third, BOB).await["ok"], true, "another principal has room");
    open.pop().unwrap().finish().await;
    host.until("a session less", |it| it.sessions == 2).await;
    let mut again = host.session();
    assert_eq!(hello(&mut again, CI).await["ok"], true);
    for session in open.into_iter().chain([third, again]) {
        session.finish().await;
    }
    end(host).await;
}
