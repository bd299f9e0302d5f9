//! A handler on the pool that splits its work is not held up by work of others (B2).

#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::testing::TestHost;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
struct NoConfig {}
#[derive(Deserialize)]
struct Split {}
#[derive(Deserialize)]
struct Load {}
#[derive(Serialize)]
struct Done {
    /// How many of the others had run when this one ended.
    others: usize,
}

message!(Done, "split/resp");
message!(Split, "split/req" => Done, First);
message!(Load, "split/load/req" => Done, First);

/// How far the scene is.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Scene {
    Begins,
    /// Another thread of the pool has taken one half.
    IsSplit,
    /// The thread that waits for this half works on something else.
    IsLoaded,
    /// All that was to come later has come.
    IsQueued,
    /// The other half is done: from here on others hold up the split request.
    HalfIsDone,
}

static OTHERS: AtomicUsize = AtomicUsize::new(0);

static SCENE: Mutex<Scene> = Mutex::new(Scene::Begins);
static CHANGED: Condvar = Condvar::new();
const PATIENCE: Duration = Duration::from_secs(10);

fn advance(scene: Scene) {
    let mut now = SCENE.lock().unwrap();
    if *now < scene {
        *now = scene;
        CHANGED.notify_all();
    }
}

fn wait_for(scene: Scene) {
    let now = SCENE.lock().unwrap();
    let (_now, waited) = CHANGED.wait_timeout_while(now, PATIENCE, |it| *it < scene).unwrap();
    assert!(!waited.timed_out(), "{scene:?} does not come");
}

/// `test.Splitter`: one request in two halves on two threads; many short others.
struct Splitter;

impl Splitter {
    fn build(_: NoConfig, _: &Host) -> Result<Self> {
        Ok(Self)
    }

    fn split(&self, _: Split, _: &Call) -> Answer<Done> {
        let one = || wait_for(Scene::IsSplit);
        let other = || {
            advance(Scene::IsSplit);
            wait_for(Scene::IsQueued);
            advance(Scene::HalfIsDone);
        };
        rayon::join(one, other);
        Ok(Done { others: OTHERS.load(Ordering::SeqCst) }.into())
    }

    fn load(&self, _: Load, _: &Call) -> Answer<Done> {
        advance(Scene::IsLoaded);
        wait_for(Scene::HalfIsDone);
        std::thread::sleep(Duration::from_millis(1));
        Ok(Done { others: OTHERS.fetch_add(1, Ordering::SeqCst) }.into())
    }
}

impl Plugin for Splitter {
    fn handlers(on: &mut Handlers<Self>) {
        on.pool(Self::split);
        on.pool(Self::load);
    }
}

register_plugin!(
    Splitter,
    cls = "test.Splitter",
    capability = "test",
    config = NoConfig,
    build = Splitter::build
);

/// The requests that wait behind the one that is split.
const LOAD: usize = 800;

#[tokio::test(flavor = "multi_thread")]
async fn b02_a_handler_that_splits_its_work_is_not_swallowed_by_others() {
    let mut config = HostConfig::new().plugin(PluginConfig::new("s", "test", "test.Splitter"));
    config.limits.max_workers = 2;
    let host = TestHost::start(config).await;
    let (mut session, mut crowd) = (host.session(), host.session());
    let split = session.send("split/req", json!({})).await;
    tokio::task::spawn_blocking(|| wait_for(Scene::IsSplit)).await.unwrap();
    let mut load = Vec::with_capacity(LOAD);
    for _ in 0..LOAD {
        load.push(crowd.send("split/load/req", json!({})).await);
    }
    tokio::task::spawn_blocking(|| wait_for(Scene::IsLoaded)).await.unwrap();
    advance(Scene::IsQueued);
    // The split request can end as soon as the first of the others has run.
    let reply = session.reply_to(&split).await;
    assert_eq!(reply["type"], "split/resp", "{reply}");
    let others = reply["others"].as_u64().unwrap();
    assert!(others < LOAD as u64, "it ended after all others, which came later");
    for id in load {
        assert_eq!(crowd.reply_to(&id).await["type"], "split/resp");
    }
    session.finish().await;
    crowd.finish().await;
    host.stop().await;
}
