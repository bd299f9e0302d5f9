//! Resources, prompts, subscriptions.

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig, PluginMeta};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::Identity;
use serde_json::{Value, json};

use super::{CLS, Set, TOOLS, failure, guard, text, tools, upstream, with};

#[tokio::test(flavor = "multi_thread")]
async fn resources_and_prompts_are_found_by_what_lists_them() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    let list = session.call("mcp/resource/list/req", json!({})).await;
    assert_eq!(list["resources"][0]["uri"], "note://one");
    assert_eq!(list["resources"][0]["mime_type"], "text/plain");
    assert_eq!(list["resources"][0]["server_id"], "up");
    assert_eq!(list["next_cursor"], "");
    for (request, expected) in [
        (
            json!({ "uri": "note://one" }),
            json!([{ "uri": "note://one", "mime_type": "text/plain", "text": "text of note://one",
                     "type": "text" }]),
        ),
        // Not listed: by its template.
        (
            json!({ "uri": "note://three", "server_id": "up" }),
            json!([{ "uri": "note://three", "mime_type": "text/plain",
                     "text": "text of note://three", "type": "text" }]),
        ),
        (
            json!({ "uri": "note://blob" }),
            json!([{ "uri": "note://blob", "mime_type": "text/plain", "blob": "AAE=",
                     "type": "blob" }]),
        ),
    ] {
        let read = session.call("mcp/resource/read/req", request).await;
        assert_eq!((&read["contents"], &read["server_id"]), (&expected, &json!("up")), "{read}");
    }
    let prompts = session.call("mcp/prompt/list/req", json!({})).await;
    assert_eq!(prompts["prompts"][0]["arguments"][0]["required"], true);
    let asked = json!({ "name": "greet", "arguments": { "whom": "Ada" } });
    let prompt = session.call("mcp/prompt/get/req", asked).await;
    assert_eq!(prompt["messages"][0]["content"]["text"], "Hello Ada");
    assert_eq!(
        (&prompt["description"], &prompt["server_id"]),
        (&json!("A greeting."), &json!("up"))
    );
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_listed_by_name_or_uri_as_the_settings_say() {
    for (wanted, expected) in [
        (json!(["t*"]), vec!["note://two"]),
        (json!(["note://one"]), vec!["note://one"]),
        (json!(["none"]), vec![]),
        (json!([]), vec!["note://one", "note://two"]),
    ] {
        let set =
            Set::up(json!({ "up": with("well", json!({ "include_resources": wanted })) })).await;
        let mut session = set.host.session();
        let list = session.call("mcp/resource/list/req", json!({})).await;
        let uris = list["resources"].as_array().unwrap().iter();
        let uris: Vec<&str> = uris.map(|it| it["uri"].as_str().unwrap()).collect();
        assert_eq!(uris, expected, "{wanted}");
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_with_a_code() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    for (wire, request, code) in [
        ("resource/read", json!({ "uri": "note://none" }), "mcp_resource_not_found"),
        ("resource/read", json!({ "uri": "a", "server_id": "x" }), "mcp_server_not_found"),
        ("resource/subscribe", json!({ "uri": "a", "server_id": "x" }), "mcp_server_not_found"),
        ("prompt/get", json!({ "name": "none" }), "mcp_prompt_not_found"),
        ("prompt/get", json!({ "name": "greet" }), "mcp_prompt_not_found"),
    ] {
        let reply = session.call(&format!("mcp/{wire}/req"), request).await;
        assert_eq!(reply["code"], code, "{reply}");
        assert_ne!(reply["error"], "", "{reply}");
    }
    let request = json!({ "server_id": "x" });
    assert_eq!(session.call_error("mcp/resource/list/req", request).await, "mcp_server_not_found");
    let request = json!({ "cursor": "x" });
    assert_eq!(session.call_error("mcp/prompt/list/req", request).await, "schema_violation");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_resource_is_told_to_those_who_watch_it() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut other = set.host.session();
    other.handshake(&["tools", "mcp"]).await;
    let mut session = set.host.session();
    let asked = session.call("mcp/resource/subscribe/req", json!({ "uri": "note://one" })).await;
    assert_eq!(asked["ok"], true, "{asked}");
    let push = session.next().await.unwrap();
    assert_eq!(push["type"], "mcp/server/push");
    assert_eq!(
        (&push["method"], &push["params"]),
        (&json!("notifications/resources/updated"), &json!({ "uri": "note://one" }))
    );
    // The server is told when nobody watches any more.
    drop(session);
    super::until(&mut other, "up", |it| {
        it["stderr"].as_array().unwrap().contains(&json!("unsubscribed note://one"))
    })
    .await;
    // The other session hears nothing of it.
    let reply: Value = other.call("mcp/root/list/req", json!({ "server_id": "s" })).await;
    assert_eq!((&reply["roots"], &reply["server_id"]), (&json!([]), &json!("s")));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plugins_of_a_host_answer_for_all_servers() {
    let mut config = HostConfig::new().plugin(PluginConfig::new("tools", "tools", TOOLS));
    for (name, id) in [("one", "left"), ("two", "right")] {
        let servers = json!({ id: upstream("well") });
        let plugin = PluginConfig::new(name, "mcp", CLS).with_setting("state_dir", "");
        config = config.plugin(plugin.with_setting("servers", servers));
    }
    let host = TestHost::build(Executor::builder(config).guard(guard())).await.unwrap();
    let mut session = host.session();
    let list = session.call("mcp/resource/list/req", json!({})).await;
    let ids = |list: &Value, key: &str| -> Vec<String> {
        let all = list[key].as_array().unwrap().iter();
        all.map(|it| it["server_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list, "resources"), ["left", "left", "right", "right"], "{list}");
    assert_eq!(list["next_cursor"], "");
    let list = session.call("mcp/prompt/list/req", json!({})).await;
    assert_eq!(ids(&list, "prompts"), ["left", "right"]);
    for id in ["left", "right"] {
        let asked = json!({ "server_id": id });
        let list = session.call("mcp/resource/list/req", asked).await;
        assert_eq!(ids(&list, "resources"), [id, id]);
        let asked = json!({ "server_id": id, "uri": "note://three" });
        let read = session.call("mcp/resource/read/req", asked).await;
        assert_eq!((&read["server_id"], &read["error"]), (&json!(id), &json!("")), "{read}");
        let asked = json!({ "server_id": id, "uri": "note://one" });
        assert_eq!(session.call("mcp/resource/subscribe/req", asked).await["ok"], true);
        let push = session.next().await.unwrap();
        assert_eq!(push["server_id"], id);
        let asked = json!({ "server_id": id, "name": "greet", "arguments": { "whom": "Ada" } });
        assert_eq!(session.call("mcp/prompt/get/req", asked).await["server_id"], id);
    }
    for (wire, request, code) in [
        ("resource/read", json!({ "uri": "a", "server_id": "x" }), "mcp_server_not_found"),
        ("prompt/get", json!({ "name": "none" }), "mcp_prompt_not_found"),
    ] {
        let reply = session.call(&format!("mcp/{wire}/req"), request).await;
        assert_eq!(
            (&reply["type"], &reply["code"]),
            (&json!(format!("mcp/{wire}/resp")), &json!(code))
        );
    }
    let request = json!({ "server_id": "x" });
    assert_eq!(session.call_error("mcp/resource/list/req", request).await, "mcp_server_not_found");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_stays_watched_when_a_server_dies_while_it_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let fatal = folder.path().join("fatal");
    let env = json!({ "env": { "FATAL": fatal.to_str().unwrap() } });
    let set = Set::up(json!({ "up": with("well", env) })).await;
    let mut session = set.host.session();
    let asked = session.call("mcp/resource/subscribe/req", json!({ "uri": "note://one" })).await;
    assert_eq!(asked["ok"], true, "{asked}");
    assert_eq!(session.next().await.unwrap()["type"], "mcp/server/push");
    std::fs::write(&fatal, "").unwrap();
    failure(&mut session, "up__die", json!({})).await;
    // The next start ends when it is asked to tell of the note again; the one after it is asked once more.
    let push = session.next().await.unwrap();
    assert_eq!(push["params"], json!({ "uri": "note://one" }), "{push}");
    assert!(!fatal.exists());
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_of_a_server_are_those_of_its_tenants() {
    let mut meta = PluginMeta::default();
    meta.tenants = Some(vec!["a".to_owned()]);
    let plugin = PluginConfig::new("mcp_a", "mcp", CLS)
        .with_metadata(meta)
        .with_setting("state_dir", "")
        .with_setting("servers", json!({ "up": upstream("well") }));
    let tools_plugin = PluginConfig::new("tools", "tools", TOOLS);
    let config = HostConfig::new().plugin(tools_plugin).plugin(plugin);
    let host = TestHost::build(Executor::builder(config).guard(guard())).await.unwrap();
    for (tenant, sees) in [(Some("a"), true), (Some("b"), false), (None, false)] {
        let identity = Identity { tenant: tenant.map(str::to_owned), ..Identity::of("someone") };
        let mut session = TestSession::over(host.executor().connect_as(identity));
        session.handshake(&["tools"]).await;
        assert_eq!(tools(&mut session).await.contains_key("up__echo"), sees, "{tenant:?}");
        if sees {
            assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
        } else {
            let error = failure(&mut session, "up__echo", json!({ "text": "x" })).await;
            assert_eq!(error["code"], "unknown_tool", "{error}");
        }
    }
    host.stop().await;
}
