//! Environments that other plugins bring, and slow ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::plugin::{Handlers, Host, Plugin};
use a2e_core::{Error, Result};

use super::*;
use crate::env::contract::{Environment, EnvironmentClass, JsonObject, Link, Observed, Spaces};

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

struct Bringer;

impl Plugin for Bringer {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        host.contribute::<dyn EnvironmentClass>("slow", Arc::new(Slowly))?.keep();
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
    let obs = step(&mut session, &id, json!({ "add": 4 })).await;
    assert_eq!((&obs["state"]["sum"], &obs["step_num"]), (&json!(20), &json!(6)), "had again");

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
