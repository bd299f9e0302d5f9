//! What is loaded, what is not and why, and what a handshake tells of it.

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig, Problem};
use a2e_core::executor::{PluginHealth, StartError};
use a2e_core::plugin::Registry;
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{end, of, plugin, script, serves, tuned, with};

async fn failure(plugins: Vec<PluginConfig>) -> StartError {
    match TestHost::build(Executor::builder(with(plugins))).await {
        Err(error) => error,
        Ok(_) => panic!("the host must not start"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_be_loaded_is_shown_with_its_reason() {
    for (bad, reason) in [
        (PluginConfig::new("bad", "test", "test.Ecko"), "test.Echo"),
        (PluginConfig::new("bad", "test", "qqq"), "qqq"),
        (
            plugin("bad", "Faulty").with_setting("fails_in", "build").with_setting("how", "error"),
            "fails in build",
        ),
        (plugin("bad", "Faulty").with_setting("fails_in", "build"), "panicked"),
        (
            plugin("bad", "Faulty").with_setting("fails_in", "start").with_setting("how", "error"),
            "fails in start",
        ),
    ] {
        let host = TestHost::start(with([bad.clone(), plugin("echo", "Echo")])).await;
        let status = of(&host.executor().status(), "bad");
        assert_eq!(status.health, PluginHealth::Failed, "{bad:?}");
        assert!(status.reason.as_ref().unwrap().contains(reason), "{reason}: {status:?}");
        let mut session = host.session();
        serves(&mut session).await;
        let caps = session.handshake(&["test"]).await;
        assert_eq!(announced(&caps), ["test echo"], "what failed is not announced");
        session.finish().await;
        end(host).await;

        let required = tuned(bad, |it| it.required = true);
        let error = failure(vec![plugin("echo", "Echo"), required]).await;
        assert!(matches!(error, StartError::RequiredPlugin { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("`bad`") && text.contains(reason), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_hold_stop_the_host_unless_it_is_lenient() {
    for (bad, reason, health) in [
        (plugin("bad", "Faulty").with_setting("fails_in", 5), "fails_in", PluginHealth::Failed),
        (plugin("bad", "Faulty").with_setting("fail_in", "x"), "fails_in", PluginHealth::Serving),
    ] {
        let error = failure(vec![plugin("echo", "Echo"), bad.clone()]).await;
        assert!(matches!(error, StartError::Config(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
        let host = TestHost::start(with([plugin("echo", "Echo")])).await;
        let refused = host.executor().add_plugin(bad.clone()).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
        end(host).await;
        let config = with([bad, plugin("echo", "Echo")]);
        let host = TestHost::build(Executor::builder(config).lenient()).await.unwrap();
        assert_eq!(of(&host.executor().status(), "bad").health, health);
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_plugin_does_not_start_and_says_why() {
    let no_class = || Registry::of(Vec::new()).unwrap();
    for (builder, said) in [
        (Executor::builder(HostConfig::new()), "the configuration names none"),
        (Executor::builder(with([PluginConfig::new("a", "test", "no.Such")])), "no.Such"),
        (Executor::builder(HostConfig::new()).registry(no_class()), "`link()`"),
        (Executor::builder(with([plugin("a", "Echo")])).registry(no_class()), "`link()`"),
        (
            Executor::builder(with([tuned(plugin("a", "Echo"), |it| it.enabled = false)])),
            "`enabled: false`",
        ),
    ] {
        let error = builder.start().await.unwrap_err();
        assert!(matches!(error, StartError::NoPlugin(_)), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let host = TestHost::build(Executor::builder(HostConfig::new()).lenient()).await.unwrap();
    host.executor().add_plugin(plugin("late", "Echo")).await.unwrap();
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_builds_and_leaves_it_at_that() {
    let config = with([
        plugin("good", "Echo"),
        plugin("bad", "Faulty").with_setting("fails_in", "build"),
        plugin("late", "Faulty").with_setting("fails_in", "start"),
        plugin("wrong", "Faulty").with_setting("fails_in", 5),
        PluginConfig::new("none", "test", "no.Such"),
    ]);
    let trial = Executor::builder(config).try_out().await.unwrap();
    let names: Vec<&str> = trial.problems.iter().map(|it| it.plugin.as_deref().unwrap()).collect();
    assert_eq!(names, ["bad", "wrong", "none"], "{:?}", trial.problems);
    assert!(trial.problems.iter().all(Problem::is_error));
    assert!(trial.types["good"].contains(&"echo/inline/req".to_owned()), "{:?}", trial.types);
    assert!(trial.types.contains_key("late"), "nothing is started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_stands_twice_is_refused() {
    let error = failure(vec![plugin("same", "Echo"), plugin("same", "Keeper")]).await;
    assert!(matches!(error, StartError::Config(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("same") && text.contains("taken"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_contradicts_another_about_a_type_is_left_out() {
    let contrary =
        script("contrary", "inline", "reply").with_setting("contradicts", "script/all/req");
    for (priority, loser, winner) in [(0, "contrary", "good"), (5, "good", "contrary")] {
        let contrary = tuned(contrary.clone(), |it| it.priority = Some(priority));
        let own = script("good", "inline", "reply");
        let host = TestHost::start(with([own, contrary.clone()])).await;
        let status = of(&host.executor().status(), loser);
        assert_eq!(status.health, PluginHealth::Failed);
        let reason = status.reason.unwrap();
        for part in ["script/all/req", "contrary", "good", "deadline"] {
            assert!(reason.contains(part), "{reason}");
        }
        let mut session = host.session();
        for kind in ["script/all/req", "script/first/req", "script/merge/req"] {
            assert_eq!(
                session.call(kind, json!({})).await["by"],
                winner,
                "it serves none of its types"
            );
        }
        assert_eq!(announced(&session.handshake(&["test"]).await), [format!("test {winner}")]);
        session.finish().await;
        end(host).await;
    }
    let contrary = tuned(contrary, |it| it.required = true);
    let error = failure(vec![script("good", "inline", "reply"), contrary]).await;
    assert!(matches!(error, StartError::RequiredPlugin { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_contradicts_itself_is_left_out() {
    let odd = script("odd", "inline", "reply").with_setting("own_type", "script/all/req");
    let host = TestHost::start(with([odd, plugin("echo", "Echo")])).await;
    let status = of(&host.executor().status(), "odd");
    assert_eq!(status.health, PluginHealth::Failed, "{status:?}");
    let mut session = host.session();
    assert_eq!(session.call_error("script/all/req", json!({})).await, "unknown_type");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_plugin_is_absent() {
    let off = tuned(plugin("off", "Keeper"), |it| {
        it.enabled = false;
        it.required = true;
    });
    let host = TestHost::start(with([off, plugin("echo", "Echo")])).await;
    let status = of(&host.executor().status(), "off");
    assert_eq!(status.health, PluginHealth::Disabled, "status tells why it is not there");
    let mut session = host.session();
    assert_eq!(session.call_error("keeper/add/req", json!({})).await, "unknown_type");
    assert_eq!(announced(&session.handshake(&["test"]).await), ["test echo"]);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_is_found_by_its_alias() {
    let config = with([PluginConfig::new("echo", "test", "old.path.EchoPlugin")]);
    let host = TestHost::start(config).await;
    assert_eq!(of(&host.executor().status(), "echo").cls, "test.Echo");
    let mut session = host.session();
    assert_eq!(session.call("echo/pool/req", json!({ "text": "t" })).await["text"], "t");
    session.finish().await;
    end(host).await;
}

/// Capability and name of each announced plugin.
fn announced(handshake: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let caps = handshake["accepted_caps"].as_array().unwrap();
    caps.iter()
        .inspect(|it| {
            assert_eq!(it["enabled"], true);
            assert_eq!(it["capability"], it["metadata"]["type"]);
        })
        .map(|it| format!("{} {}", text(&it["capability"]), text(&it["metadata"]["name"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_announces_what_was_asked_for_in_configuration_order() {
    let echo = |name: &str, capability: &str| PluginConfig::new(name, capability, "test.Keeper");
    let config = with([
        echo("second", "procs"),
        tuned(echo("first", "tool"), |it| it.priority = Some(9)),
        tuned(echo("more", "tools"), |it| it.exclusive = Some(true)),
        echo("robots", "acme.robots"),
        PluginConfig::new("broken", "tools", "no.such.Class"),
    ]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for (asked, expected) in [
        (vec!["tools"], vec!["tools first", "tools more"]),
        (vec!["tool"], vec!["tools first", "tools more"]),
        (vec!["tool", "tools", "tool"], vec!["tools first", "tools more"]),
        (vec!["tools", "proc"], vec!["proc second", "tools first", "tools more"]),
        (vec!["procs"], vec!["proc second"]),
        (vec![], vec![]),
        (vec!["streaming", "artifacts"], vec![]),
        (vec!["acme.robots"], vec![]),
        (vec!["memory", "TOOLS", ""], vec![]),
    ] {
        let reply = session.handshake(&asked).await;
        assert_eq!((&reply["ok"], &reply["reason"]), (&json!(true), &json!("")), "{asked:?}");
        assert_eq!(announced(&reply), expected, "{asked:?}");
        assert_eq!(reply["max_parallel"], 4);
        assert_eq!(reply["host"]["audit"], "off");
    }
    let reply = session.handshake(&["tools"]).await;
    let metadata = &reply["accepted_caps"][0]["metadata"];
    assert_eq!(metadata["priority"], 9);
    assert_eq!(reply["accepted_caps"][1]["metadata"]["exclusive"], true);
    // What cannot be announced is served all the same.
    assert_eq!(session.call("keeper/add/req", json!({ "add": 1 })).await["total"], 1);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_id_and_its_first_agent() {
    let host = TestHost::start(with([plugin("k", "Keeper")])).await;
    let (mut one, mut other) = (host.session(), host.session());
    let first = one.call("handshake/req", json!({})).await["session_id"].clone();
    assert_eq!(first.as_str().map(str::len), Some(32));
    assert_eq!(one.call("keeper/add/req", json!({})).await["agent"], "");
    for (name, agent) in [("ann", "ann"), ("bob", "ann"), ("", "ann")] {
        let reply = one.call("handshake/req", json!({ "agent_id": name })).await;
        assert_eq!(reply["session_id"], first);
        assert_eq!(one.call("keeper/add/req", json!({})).await["agent"], agent);
    }
    assert_ne!(other.handshake(&[]).await["session_id"], first);
    assert_eq!(other.call("keeper/add/req", json!({})).await["agent"], "test");
    one.finish().await;
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_start_tears_down_what_it_had_started() {
    let switch = Switch::new();
    let good = plugin("good", "Faulty").with_setting("probe", switch.key());
    let bad =
        plugin("bad", "Faulty").with_setting("fails_in", "start").with_setting("how", "error");
    let error = failure(vec![good, tuned(bad, |it| it.required = true)]).await;
    assert!(matches!(error, StartError::RequiredPlugin { .. }), "{error:?}");
    assert_eq!(switch.journal(), ["build", "start", "teardown"]);
}
