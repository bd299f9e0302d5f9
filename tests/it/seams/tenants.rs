//! Tenants that see different plugins, and plugins and classes that come and go while calls run.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::executor::ReloadError;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::Identity;
use serde_json::{Value, json};

use super::grown::{Grown, of_class};
use crate::probe::Switch;
use crate::support::{
    PATIENCE, end, of, plugin, script, serves, settled, silent, stop, tuned, with,
};

fn seen_by(plugin: PluginConfig, tenants: &[&str]) -> PluginConfig {
    let tenants = tenants.iter().map(|name| (*name).to_owned()).collect();
    tuned(plugin, |it| it.tenants = Some(tenants))
}

fn member(host: &TestHost, tenant: &str) -> TestSession {
    let identity = Identity::of(format!("ann@{tenant}")).with_tenant(tenant);
    TestSession::over(host.executor().connect_as(identity))
}

/// A host with a class of its own and these plugins of it, besides `test.Echo`.
async fn start(plugins: impl IntoIterator<Item = PluginConfig>) -> (TestHost, Arc<Grown>) {
    let class = Grown::new("test.Grown");
    let host = TestHost::start(with([plugin("echo", "Echo"), plugin("caller", "Caller")])).await;
    host.executor().add_class(class.clone()).unwrap();
    for plugin in plugins {
        host.executor().add_plugin(plugin).await.unwrap();
    }
    (host, class)
}

async fn finish(host: TestHost, sessions: impl IntoIterator<Item = TestSession>) {
    for session in sessions {
        session.finish().await;
    }
    end(host).await;
}

async fn text(session: &mut TestSession, wire_type: &str) -> String {
    let reply = session.call(wire_type, json!({})).await;
    let text = if reply["type"] == "error" { &reply["code"] } else { &reply["text"] };
    text.as_str().unwrap_or_default().to_owned()
}

fn grown(name: &str, types: &[&str]) -> PluginConfig {
    of_class("test.Grown", name, types).with_setting("text", name)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_sees_its_plugins_and_the_shared_ones() {
    let plugins = [
        grown("all", &["all/x/req"]),
        seen_by(grown("a", &["acme/x/req", "own/x/req"]), &["acme"]),
        // Another tenant may mean something else by the same type.
        seen_by(
            grown("b", &["own/x/req"]).with_setting("deadline_of_types", 7),
            &["beta", "gamma"],
        ),
        seen_by(grown("nobodys", &["no/x/req"]), &[]),
    ];
    let (host, _class) = start(plugins).await;
    let mut sessions = [
        (member(&host, "acme"), ["all", "a", "a", "unknown_type"], vec!["all", "a"]),
        (member(&host, "beta"), ["all", "unknown_type", "b", "unknown_type"], vec!["all", "b"]),
        (member(&host, "gamma"), ["all", "unknown_type", "b", "unknown_type"], vec!["all", "b"]),
        (
            member(&host, "delta"),
            ["all", "unknown_type", "unknown_type", "unknown_type"],
            vec!["all"],
        ),
        (host.session(), ["all", "unknown_type", "unknown_type", "unknown_type"], vec!["all"]),
    ];
    for (session, texts, names) in &mut sessions {
        let types = ["all/x/req", "acme/x/req", "own/x/req", "no/x/req"];
        for (wire_type, expected) in types.into_iter().zip(&*texts) {
            assert_eq!(text(session, wire_type).await, *expected, "{wire_type}");
            let body = json!({ "to": "capability tools", "wire_type": wire_type, "body": {} });
            let nested = session.call("caller/ask/req", body).await;
            let nested = nested["reply"]["text"].as_str().or(nested["code"].as_str());
            assert_eq!(nested, Some(*expected), "{wire_type}");
        }
        let greeting = session.handshake(&["tools"]).await;
        let caps = greeting["accepted_caps"].as_array().unwrap();
        let seen: Vec<&str> =
            caps.iter().map(|it| it["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(seen, *names);
        assert_eq!(session.call("echo/pool/req", json!({})).await["type"], "echo/resp");
    }
    finish(host, sessions.into_iter().map(|it| it.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_names_tenants() {
    let text = "
global_limits: {max_in_flight: 4}
tenants: {acme: {max_in_flight: 2}}
plugins:
  - {name: echo, type: test, cls: test.Echo, metadata: {tenants: [acme]}}
";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a2e.yaml");
    std::fs::write(&file, text).unwrap();
    let loaded = HostConfig::from_yaml(&file).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.tenants["acme"].max_in_flight, Some(2));
    let host = TestHost::start(loaded.config).await;
    let (mut acme, mut other) = (member(&host, "acme"), host.session());
    assert_eq!(acme.call("echo/pool/req", json!({})).await["type"], "echo/resp");
    assert_eq!(other.call_error("echo/pool/req", json!({})).await, "unknown_type");
    finish(host, [acme, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_come_and_go_one_by_one_and_their_calls_come_to_an_end() {
    let (host, _class) = start([]).await;
    let executor = host.executor();
    let (mut session, mut acme) = (host.session(), member(&host, "acme"));
    let switch = Switch::new();
    let hanging = |name: &str| tuned(script(name, "future", "hang"), |it| it.priority = Some(9));
    executor.add_plugin(hanging("s")).await.unwrap();
    let probe = json!({ "probe": switch.key() });
    let running = session.send("script/never/req", probe.clone()).await;
    switch.entered(1).await;
    // Others come, change and go meanwhile; nothing but they changes.
    let report = executor.add_plugin(grown("g", &["g/x/req"])).await.unwrap();
    assert_eq!((report.added, report.rebuilt, report.removed), (vec!["g".into()], vec![], vec![]));
    assert_eq!(text(&mut session, "g/x/req").await, "g");
    let next = grown("g", &["g/y/req"]).with_setting("text", "next");
    let report = executor.replace_plugin(next).await.unwrap();
    assert_eq!((report.rebuilt, report.kept.len()), (vec!["g".to_owned()], 3));
    assert_eq!(text(&mut session, "g/x/req").await, "unknown_type");
    assert_eq!(text(&mut session, "g/y/req").await, "next");
    // A plugin that moves to a tenant keeps its instance and its calls.
    let report = executor.replace_plugin(seen_by(hanging("s"), &["acme"])).await.unwrap();
    assert_eq!(report.adjusted, ["s"]);
    assert_eq!(text(&mut session, "script/never/req").await, "unknown_type");
    let other = acme.send("script/never/req", probe.clone()).await;
    switch.entered(2).await;
    // One that is removed ends its calls first.
    let report = executor.remove_plugin(&"s".into()).await.unwrap();
    assert_eq!(report.removed, ["s"]);
    assert_eq!(text(&mut acme, "script/never/req").await, "unknown_type");
    assert!(executor.status().retiring.contains(&"s".to_owned()));
    executor.add_plugin(script("s", "pool", "reply")).await.unwrap();
    assert_eq!(acme.call("script/never/req", probe).await["by"], "s", "the new one");
    assert_eq!(switch.journal().iter().filter(|it| *it == "future dropped").count(), 0);
    switch.open();
    assert_eq!(session.reply_to(&running).await["type"], "script/resp");
    assert_eq!(acme.reply_to(&other).await["type"], "script/resp");
    host.until("the old one to be gone", |it| it.retiring.is_empty()).await;
    serves(&mut session).await;
    finish(host, [session, acme]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_changes_nothing() {
    let plugins = [grown("g", &["g/x/req"]), seen_by(grown("a", &["a/x/req"]), &["acme"])];
    let (host, _class) = start(plugins).await;
    let executor = host.executor();
    let mut acme = member(&host, "acme");
    let before = executor.status();
    let unfit = |name: &str| grown(name, &["h/x/req"]).with_setting("text", "unfit");
    let contradicts = grown("h", &["a/x/req"]).with_setting("deadline_of_types", 7);
    let outcomes = [
        ("taken", executor.add_plugin(grown("g", &[])).await),
        ("unfit to be built", executor.add_plugin(unfit("h")).await),
        ("unfit to be built", executor.replace_plugin(unfit("g")).await),
        ("no plugin is named `h`", executor.replace_plugin(grown("h", &[])).await),
        ("no plugin is named `h`", executor.remove_plugin(&"h".into()).await),
        ("declares `a/x/req`", executor.add_plugin(contradicts).await),
        ("test.Groan", executor.add_plugin(of_class("test.Groan", "h", &[])).await),
    ];
    for (why, outcome) in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ReloadError::Plugins(_)), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let after = executor.status();
    let names = |it: &a2e_core::executor::HostStatus| -> Vec<(String, Vec<String>)> {
        it.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.types.clone())).collect()
    };
    assert_eq!((names(&after), after.generation), (names(&before), before.generation));
    for name in ["g", "a"] {
        assert_eq!(text(&mut acme, &format!("{name}/x/req")).await, name);
    }
    // The contradiction is one of `acme` alone, and no view may have it.
    finish(host, [acme]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_around_changes_has_one_answer() {
    let (host, _class) = start([grown("g", &["g/x/req"])]).await;
    let host = Arc::new(host);
    let mut callers = Vec::new();
    for tenant in ["", "acme", "beta"] {
        let mut session = if tenant.is_empty() { host.session() } else { member(&host, tenant) };
        callers.push(tokio::spawn(async move {
            let mut texts = std::collections::BTreeMap::new();
            for _ in 0..400 {
                *texts.entry(text(&mut session, "g/x/req").await).or_insert(0) += 1;
                assert_eq!(text(&mut session, "echo/pool/req").await, "");
            }
            silent(&mut session).await;
            session.finish().await;
            texts
        }));
    }
    for round in 0..30 {
        let next = grown("g", &["g/x/req"]).with_setting("text", format!("g{round}"));
        let next = if round % 3 == 1 { seen_by(next, &["acme"]) } else { next };
        host.executor().replace_plugin(next).await.unwrap();
        let passing = seen_by(grown("h", &["h/x/req"]), &["beta"]);
        host.executor().add_plugin(passing).await.unwrap();
        host.executor().remove_plugin(&"h".into()).await.unwrap();
    }
    for caller in callers {
        let texts = tokio::time::timeout(PATIENCE * 2, caller).await.unwrap().unwrap();
        let is_known = |it: &String| it.starts_with('g') || it == "unknown_type";
        assert!(texts.keys().all(is_known), "{texts:?}");
    }
    host.until("no old ones", |it| it.retiring.is_empty()).await;
    end(Arc::into_inner(host).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_comes_and_goes_and_leaves_nothing() {
    let (host, class) = start([grown("g", &["g/x/req"])]).await;
    let executor = host.executor();
    let mut session = host.session();
    let twice = executor.add_class(Grown::new("test.Grown")).unwrap_err();
    assert!(twice.to_string().contains("test.Grown"), "{twice}");
    assert!(executor.add_class(Grown::new("test.Echo")).is_err(), "linked classes are taken");
    assert!(executor.add_class(Grown::new("old.path.EchoPlugin")).is_err(), "so are aliases");
    assert!(executor.remove_class("test.Grown") && !executor.remove_class("test.Grown"));
    assert_eq!(text(&mut session, "g/x/req").await, "g", "what is loaded stays");
    let gone = executor.add_plugin(grown("h", &[])).await.unwrap_err();
    assert!(gone.to_string().contains("test.Grown"), "{gone}");
    // A class of another version takes the name; the plugin is of the first until it is rebuilt.
    let second = Grown::new("test.Grown");
    executor.add_class(second.clone()).unwrap();
    executor.add_plugin(grown("h", &["h/x/req"])).await.unwrap();
    assert_eq!(text(&mut session, "h/x/req").await, "h");
    for name in ["g", "h"] {
        executor.remove_plugin(&name.into()).await.unwrap();
    }
    assert!(executor.remove_class("test.Grown"));
    host.until("no plugin of it", |it| it.retiring.is_empty()).await;
    for class in [class, second] {
        class.forget();
        let released = async {
            while Arc::strong_count(&class) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, released).await.is_ok();
        assert!(in_time, "{} hold the class", Arc::strong_count(&class) - 1);
    }
    finish(host, [session]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_a_tenant_is_told_nothing_of_the_plugins_of_another() {
    let (host, class) = start([seen_by(grown("a", &["acme/x/req"]), &["acme"])]).await;
    let mut sessions = [member(&host, "acme"), member(&host, "beta"), host.session()];
    for session in &mut sessions {
        session.handshake(&["tools"]).await;
    }
    let [acme, beta, other] = &mut sessions;
    let its_host = class.host("a");
    let secret = json!({ "text": "for acme" });
    assert_eq!(its_host.push_all("acme/push", &secret), 1);
    assert_eq!(its_host.push_users("acme/push", &secret), 1);
    for _ in 0..2 {
        assert_eq!(acme.next().await.unwrap()["type"], "acme/push");
    }
    let next = seen_by(grown("a", &["acme/x/req", "secret/x/req"]), &["acme"]);
    host.executor().replace_plugin(next).await.unwrap();
    host.executor().remove_plugin(&"a".into()).await.unwrap();
    for session in [beta, other] {
        silent(session).await;
    }
    let told: Vec<Value> = [acme.next().await, acme.next().await, acme.next().await]
        .map(|it| it.unwrap()["type"].clone())
        .to_vec();
    assert_eq!(told[..2], ["acme/changed/push", "secret/changed/push"]);
    settled(&host).await;
    finish(host, sessions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_plugin_asks_by_itself_as_a_member_of_the_tenant() {
    let plugins = [
        seen_by(grown("a", &["acme/x/req"]), &["acme"]),
        seen_by(grown("a2", &["acme/y/req"]), &["acme"]),
        seen_by(grown("b", &["beta/x/req"]), &["beta"]),
        grown("all", &["all/x/req"]),
    ];
    let (host, class) = start(plugins).await;
    for (name, wire_type, is_seen) in [
        ("a", "acme/y/req", true),
        ("a", "all/x/req", true),
        ("a", "beta/x/req", false),
        ("all", "all/x/req", true),
        ("all", "acme/y/req", false),
    ] {
        let asked = class.host(name).ask(None).unwrap().request_raw(wire_type, &json!({})).await;
        assert_eq!(asked.is_ok(), is_seen, "{name} {wire_type}: {asked:?}");
    }
    assert_eq!(of(&host.executor().status(), "a2").calls, 1);
    stop(host).await;
}
