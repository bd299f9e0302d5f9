//! Environments that other plugins bring, and slow ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use a2e_core::plugin::{Handlers, Host, Plugin};
use a2e_core::transport::{Identity, Rights};
use a2e_core::{Error, Result};

use super::*;
use crate::env::contract::{
    Environment, EnvironmentClass, JsonObject, Link, Observed, Push, Spaces,
};

static CLOSED: AtomicUsize = AtomicUsize::new(0);

/// Adds up, slowly, and cannot save itself.
struct Slow {
    sum: i64,
    link: Link,
}

#[derive(serde::Deserialize)]
struct Add {
    #[serde(default)]
    add: i64,
    #[serde(default)]
    how: String,
}

impl Environment for Slow {
    fn reset(&mut self, seed: u64, _: &JsonObject) -> Result<Observed> {
        self.sum = i64::try_from(seed).unwrap_or_default();
        Observed::of(&json!({ "sum": self.sum }))
    }

    fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        let Add { add, how } = action.decode("action")?;
        std::thread::sleep(Duration::from_millis(20));
        match how.as_str() {
            "panic" => panic!("as it was told"),
            "fail" => return Err(Error::runtime("as it was told")),
            "nan" => return Ok(Observed::of(&json!({}))?.reward(f64::NAN)),
            "large" => return Observed::of(&json!({ "text": "x".repeat(5 << 20) })),
            "list" => return Observed::of(&json!([])),
            "push" => self.link.push(Push::observation(JsonObject::default()))?,
            _ => {}
        }
        self.sum += add;
        assert_eq!(self.link.episode_id().len(), 36);
        Ok(Observed::of(&json!({ "sum": self.sum }))?.done(self.sum > 100))
    }

    fn close(&mut self) {
        CLOSED.fetch_add(1, Ordering::SeqCst);
    }
}

struct Slowly;

impl EnvironmentClass for Slowly {
    fn spaces(&self) -> Spaces {
        Spaces::new(&json!({ "slow": true }), &json!({}))
    }

    fn make(&self, link: Link) -> Result<Box<dyn Environment>> {
        Ok(Box::new(Slow { sum: 0, link }))
    }
}

/// Whose doors are shut: an environment at one of them waits.
static SHUT: Mutex<Vec<String>> = Mutex::new(Vec::new());
static OPENED: Condvar = Condvar::new();
/// How many have come to a shut door.
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// Shuts a door, and opens it when it is dropped: also when a test fails.
struct Door(&'static str);

impl Door {
    fn shut(name: &'static str) -> Self {
        SHUT.lock().unwrap().push(name.to_owned());
        Self(name)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        SHUT.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| it != self.0);
        OPENED.notify_all();
    }
}

fn pass(door: &str) {
    let mut shut = SHUT.lock().unwrap();
    if shut.iter().any(|it| it == door) {
        ARRIVED.fetch_add(1, Ordering::SeqCst);
    }
    while shut.iter().any(|it| it == door) {
        shut = OPENED.wait(shut).unwrap();
    }
}

/// Waits at the door that its action, or the mode of a picture, names.
struct Held;

#[derive(serde::Deserialize)]
struct At {
    door: String,
}

impl Environment for Held {
    fn reset(&mut self, _: u64, _: &JsonObject) -> Result<Observed> {
        Observed::of(&json!({}))
    }

    fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        pass(&action.decode::<At>("action")?.door);
        Observed::of(&json!({}))
    }

    fn render(&mut self, mode: &str) -> Result<Option<Value>> {
        pass(mode);
        Ok(Some(json!(mode)))
    }
}

struct Holding {
    is_quick: bool,
}

impl EnvironmentClass for Holding {
    fn spaces(&self) -> Spaces {
        Spaces::default()
    }

    fn make(&self, _: Link) -> Result<Box<dyn Environment>> {
        Ok(Box::new(Held))
    }

    fn is_quick(&self) -> bool {
        self.is_quick
    }
}

/// Waits until this many have come to a shut door.
async fn arrived(count: usize) {
    let wait = async {
        while ARRIVED.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it works");
}

struct Bringer;

impl Plugin for Bringer {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        host.contribute::<dyn EnvironmentClass>("slow", Arc::new(Slowly))?.keep();
        for (name, is_quick) in [("held", false), ("quick", true)] {
            host.contribute::<dyn EnvironmentClass>(name, Arc::new(Holding { is_quick }))?.keep();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_of_another_plugin_is_served() {
    let config = HostConfig::new().plugin(plugin(json!({})));
    let host = TestHost::build(Executor::builder(config).plugin(Bringer)).await.unwrap();
    let mut session = host.session();
    let spaces = session.call("env/space/req", json!({ "env_name": "slow" })).await;
    assert_eq!(spaces["action_space"], json!({ "slow": true }), "{spaces}");
    let id =
        reset(&mut session, json!({ "env_name": "slow", "seed": 1 })).await["episode_id"].clone();
    // Sent without a wait, taken in order.
    let mut sent = Vec::new();
    for add in 1..=5 {
        let request = json!({ "episode_id": id, "action": { "add": add } });
        sent.push(session.send("env/step/req", request).await);
    }
    for (place, expected) in [2, 4, 7, 11, 16].into_iter().enumerate() {
        let reply = session.reply_to(&sent[place]).await;
        assert_eq!(
            (&reply["obs"]["state"]["sum"], &reply["obs"]["step_num"]),
            (&json!(expected), &json!(place + 1))
        );
    }
    for (how, code) in [
        ("fail", "runtime_error"),
        ("nan", "internal_error"),
        ("large", "internal_error"),
        ("list", "internal_error"),
        ("panic", "internal_error"),
    ] {
        let request = json!({ "episode_id": id, "action": { "how": how } });
        assert_eq!(error(&mut session, "env/step/req", request).await.0, code, "{how}");
        let seen = session.call("env/observe/req", json!({ "episode_id": id })).await;
        assert_eq!(seen["obs"]["state"]["sum"], 16, "{how}");
    }
    let obs = step(&mut session, &id, json!({ "add": 3, "how": "push" })).await;
    assert_eq!((&obs["state"]["sum"], &obs["step_num"]), (&json!(19), &json!(6)), "had again");
    assert_eq!(session.others().len(), 1, "a push");
    let request = json!({ "episode_id": id, "action": { "how": "panic" } });
    assert_eq!(error(&mut session, "env/step/req", request).await.0, "internal_error");
    let obs = step(&mut session, &id, json!({ "add": 1 })).await;
    assert_eq!((&obs["state"]["sum"], &obs["step_num"]), (&json!(20), &json!(7)), "had again");
    assert_eq!(session.others(), Vec::<Value>::new(), "that was pushed before");

    let forked = session.call("env/fork/req", json!({ "episode_id": id, "count": 20 })).await;
    let mut ids: Vec<&Value> =
        forked["episodes"].as_array().unwrap().iter().map(|it| &it["episode_id"]).collect();
    ids.push(&id);
    let actions = vec![json!({ "add": 1 }); ids.len()];
    let batch = json!({ "episode_ids": ids, "actions": actions });
    let reply = session.call("env/batch_step/req", batch).await;
    let results = reply["results"].as_array().unwrap();
    assert!(results.iter().all(|it| it["obs"]["state"]["sum"] == 21), "{reply}");
    let before = CLOSED.load(Ordering::SeqCst);
    session.call("env/close/req", json!({ "episode_id": id })).await;
    drop(session);
    let closed = async {
        while CLOSED.load(Ordering::SeqCst) < before + 21 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("all are closed");
    host.stop().await;
}

/// The doors are shared: one test after another.
static DOORS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_free_when_its_thread_is() {
    let _turn = DOORS.lock().await;
    let config = HostConfig::new().plugin(plugin(json!({ "max_episodes": 1 })));
    let host = TestHost::build(Executor::builder(config).plugin(Bringer)).await.unwrap();
    let mut session = host.session();
    for env_name in ["held", "quick"] {
        let before = ARRIVED.load(Ordering::SeqCst);
        let door = Door::shut("place");
        let id = reset(&mut session, json!({ "env_name": env_name })).await["episode_id"].clone();
        let request = json!({ "episode_id": id, "mode": "place" });
        let hanging = session.send("env/render/req", request).await;
        arrived(before + 1).await;
        session.send("cancel", json!({ "req_id": hanging })).await;
        assert_eq!(session.reply_to(&hanging).await["code"], "cancelled");
        session.call("env/close/req", json!({ "episode_id": id })).await;
        let full = session.call("env/reset/req", json!({ "env_name": env_name })).await;
        let said = (&full["code"], &full["retryable"]);
        assert_eq!(said, (&json!("reset_denied"), &json!(true)), "{env_name}: {full}");
        drop(door);
        let wait = async {
            loop {
                let reply = session.call("env/reset/req", json!({ "env_name": env_name })).await;
                if reply["type"] == "env/reset/resp" {
                    return reply["obs"]["episode_id"].clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let id = tokio::time::timeout(Duration::from_mins(1), wait).await.expect("a free place");
        session.call("env/close/req", json!({ "episode_id": id })).await;
        let wait = host.until("no episode", |it| it.plugins[0].notes[0].starts_with("0 episodes"));
        wait.await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_environment_draws_and_repeats_long_runs_beside_the_reader() {
    let _turn = DOORS.lock().await;
    let config = HostConfig::new().plugin(plugin(json!({})));
    let host = TestHost::build(Executor::builder(config).plugin(Bringer)).await.unwrap();
    let mut session = host.session();
    let id = reset(&mut session, json!({ "env_name": "quick" })).await["episode_id"].clone();
    for _ in 0..65 {
        step(&mut session, &id, json!({ "door": "run" })).await;
    }
    let taken = session.call("env/snapshot/req", json!({ "episode_id": id })).await;
    for (wire_type, body) in [
        ("env/render/req", json!({ "episode_id": id, "mode": "run" })),
        ("env/fork/req", json!({ "episode_id": id })),
        ("env/restore/req", json!({ "snapshot": taken["snapshot"] })),
    ] {
        let before = ARRIVED.load(Ordering::SeqCst);
        let door = Door::shut("run");
        let working = session.send(wire_type, body).await;
        arrived(before + 1).await;
        assert_eq!(session.call("ping", json!({})).await["type"], "pong", "{wire_type}");
        drop(door);
        let reply = session.reply_to(&working).await;
        assert_eq!(reply["type"], wire_type.replace("/req", "/resp"), "{reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_brings_is_for_its_tenants() {
    let mut bringer = PluginConfig::new("bringer", "bringer", "");
    bringer.metadata.tenants = Some(vec!["a".to_owned()]);
    let builder = Executor::builder(HostConfig::new().plugin(plugin(json!({}))));
    let host = TestHost::build(builder.plugin_as(bringer, Bringer)).await.unwrap();
    let rights = Rights { env_control: true, ..Rights::default() };
    let member = |tenant: Option<&str>| {
        let identity = Identity::of("someone").with_rights(rights);
        let identity = Identity { tenant: tenant.map(str::to_owned), ..identity };
        TestSession::over(host.executor().connect_as(identity))
    };
    let mut own = member(Some("a"));
    let id = reset(&mut own, json!({ "env_name": "slow" })).await["episode_id"].clone();
    let taken = own.call("env/snapshot/req", json!({ "episode_id": id })).await;
    for tenant in [Some("b"), None] {
        let mut other = member(tenant);
        for (wire_type, body) in [
            ("env/reset/req", json!({ "env_name": "slow" })),
            ("env/space/req", json!({ "env_name": "slow" })),
            ("env/restore/req", json!({ "snapshot": taken["snapshot"] })),
        ] {
            let (code, text) = error(&mut other, wire_type, body).await;
            assert_eq!(code, "runtime_error", "{tenant:?}: {wire_type}");
            assert!(text.starts_with("no environment `slow` here"), "{tenant:?}: {text}");
        }
        reset(&mut other, json!({ "env_name": "counter_env" })).await;
    }
    assert_eq!(step(&mut own, &id, json!({ "add": 2 })).await["step_num"], 1);
    host.stop().await;
}
