//! State of plugins: saved, restored, cleared, corrupted (R50).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, SnapshotMode, SnapshotStoreConfig};
use a2e_core::snapshot::{MemoryStore, SnapshotStore};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::support::{end, of, plugin, serves, tuned, with};

async fn add(session: &mut TestSession, add: i64) -> Value {
    session.call("keeper/add/req", json!({ "add": add })).await
}

/// What a fresh host with this configuration starts from.
async fn total(config: HostConfig) -> i64 {
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let total = add(&mut session, 0).await["total"].as_i64().unwrap();
    drop(session);
    host.until("its end", |it| it.sessions == 0).await;
    drop(host);
    total
}

fn filed(root: &Path, mode: SnapshotMode) -> HostConfig {
    let mut config = with([plugin("k", "Keeper")]);
    config.snapshot_store = Some(SnapshotStoreConfig::File { root: root.to_owned() });
    config.snapshot_mode = mode;
    config
}

/// The files of a store, less its lock.
fn files(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|it| it.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|it| !it.ends_with(".lock")).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_state_is_saved_at_the_end_of_a_session_and_of_the_host_and_restored() {
    for mode in [SnapshotMode::Host, SnapshotMode::Hybrid] {
        let folder = tempfile::tempdir().unwrap();
        let config = filed(folder.path(), mode);
        let host = TestHost::start(config.clone()).await;
        let (mut session, mut other) = (host.session(), host.session());
        add(&mut session, 5).await;
        assert!(files(folder.path()).is_empty(), "{mode:?}: nothing is saved in between");
        session.finish().await;
        // The end of a session has the state saved soon, not before it is told.
        let is_written = |path: &PathBuf| path.extension().is_some_and(|it| it == "snap");
        host.until("the state in the store", |_| files(folder.path()).iter().any(is_written)).await;
        assert_eq!(total(config.clone()).await, 5, "{mode:?}: saved at the end of a session");
        add(&mut other, 2).await;
        drop(other);
        end(host).await;
        assert_eq!(total(config).await, 7, "{mode:?}: saved at the end of the host");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_in_mode_plugin_the_kernel_neither_saves_nor_restores() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = filed(folder.path(), SnapshotMode::Plugin);
    config.snapshot_interval = Duration::from_millis(10);
    let host = TestHost::start(config.clone()).await;
    let mut session = host.session();
    add(&mut session, 5).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    session.finish().await;
    end(host).await;
    assert!(files(folder.path()).is_empty());
    // What the operator has saved by hand stays the plugin's own matter.
    let host = TestHost::start(config.clone()).await;
    let mut session = host.session();
    add(&mut session, 9).await;
    host.executor().save_state().await.unwrap();
    assert_eq!(files(folder.path()).len(), 1);
    session.finish().await;
    end(host).await;
    assert_eq!(total(config).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_plugins_may_save_by_themselves_in_every_mode() {
    for mode in [SnapshotMode::Host, SnapshotMode::Hybrid, SnapshotMode::Plugin] {
        let folder = tempfile::tempdir().unwrap();
        let host = TestHost::start(filed(folder.path(), mode)).await;
        let mut session = host.session();
        let kept = session.call("keeper/add/req", json!({ "add": 3, "saves": true })).await;
        assert_eq!(kept["own"], 3, "{mode:?}: {kept}");
        session.finish().await;
        end(host).await;
    }
    let host = TestHost::start(with([plugin("k", "Keeper")])).await;
    let mut session = host.session();
    let error = session.call("keeper/add/req", json!({ "saves": true })).await;
    assert_eq!(error["code"], "runtime_error");
    assert!(error["message"].as_str().unwrap().contains("snapshot_store"), "{error}");
    assert!(host.executor().save_state().await.is_err());
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_state_is_saved_on_schedule() {
    let store = Arc::new(MemoryStore::new());
    let mut config = with([plugin("k", "Keeper")]);
    config.snapshot_interval = Duration::from_millis(10);
    let builder = Executor::builder(config).snapshot_store(store.clone());
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    add(&mut session, 4).await;
    let saved = async {
        loop {
            let key = a2e_core::snapshot::StateKey::new("k", "state", None);
            if let Some(loaded) = store.load(&key).unwrap()
                && loaded.state.decode::<i64>().unwrap() == 4
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), saved).await.expect("it is saved");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_clearing_forgets_here_and_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let config = filed(folder.path(), SnapshotMode::Host);
    let host = TestHost::start(config.clone()).await;
    let mut session = host.session();
    add(&mut session, 5).await;
    host.executor().save_state().await.unwrap();
    add(&mut session, 1).await;
    host.executor().save_state().await.unwrap();
    assert_eq!(files(folder.path()).len(), 2, "the generation before is kept");
    host.executor().clear_state(&"k".into()).await.unwrap();
    assert!(files(folder.path()).is_empty());
    assert_eq!(add(&mut session, 0).await["total"], 0);
    let error = host.executor().clear_state(&"nobody".into()).await.unwrap_err();
    assert!(error.message().contains("nobody"), "{error}");
    session.finish().await;
    end(host).await;
    assert_eq!(total(config).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_corrupt_file_gives_the_generation_before_or_nothing_and_says_so() {
    for (generations, expected) in [(1, 0), (2, 5)] {
        for harm in ["cut", "flip", "empty", "foreign"] {
            let folder = tempfile::tempdir().unwrap();
            let config = filed(folder.path(), SnapshotMode::Host);
            let host = TestHost::start(config.clone()).await;
            assert_eq!(of(&host.executor().status(), "k").state_problem, None);
            let mut session = host.session();
            for _ in 0..generations {
                add(&mut session, 5).await;
                host.executor().save_state().await.unwrap();
            }
            let current = files(folder.path()).remove(0);
            assert!(current.extension().is_some_and(|it| it == "snap"), "{current:?}");
            let mut bytes = std::fs::read(&current).unwrap();
            match harm {
                "cut" => bytes.truncate(bytes.len() - 1),
                "flip" => *bytes.last_mut().unwrap() ^= 1,
                "empty" => bytes.clear(),
                _ => bytes = b"not a snapshot at all".to_vec(),
            }
            std::fs::write(&current, bytes).unwrap();

            let second = TestHost::start(config.clone()).await;
            let mut found = second.session();
            let total = add(&mut found, 0).await["total"].as_i64().unwrap();
            assert_eq!(total, expected, "{generations} {harm}");
            let status = of(&second.executor().status(), "k");
            let problem = status.state_problem.expect("the status says it");
            assert!(problem.contains(".snap"), "{problem}");
            assert_eq!(format!("{:?}", status.health), "Serving");
            drop((session, found));
            end(host).await;
            end(second).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_state_that_the_plugin_cannot_read_leaves_it_empty_and_says_so() {
    let store = Arc::new(MemoryStore::new());
    for class in ["Faulty", "Keeper"] {
        // The faulty one saves a number that the keeper reads; its own it refuses.
        let bad =
            plugin("k", class).with_setting("fails_in", "restore").with_setting("how", "error");
        let bad = if class == "Keeper" { plugin("k", "Keeper") } else { bad };
        for restored in [false, true] {
            let builder = Executor::builder(with([bad.clone()])).snapshot_store(store.clone());
            let host = TestHost::build(builder).await.unwrap();
            let problem = of(&host.executor().status(), "k").state_problem;
            let is_expected = class == "Faulty" && restored;
            assert_eq!(problem.is_some(), is_expected, "{class} {restored}: {problem:?}");
            let mut session = host.session();
            serves(&mut session).await;
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_failed_save_is_reported_and_the_old_state_stays() {
    let store = Arc::new(MemoryStore::new());
    let bad = plugin("bad", "Faulty").with_setting("fails_in", "save").with_setting("how", "error");
    let config = with([bad, plugin("k", "Keeper")]);
    let builder = Executor::builder(config).snapshot_store(store.clone());
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    add(&mut session, 1).await;
    let error = host.executor().save_state().await.unwrap_err();
    assert!(
        error.message().contains("`bad`") && error.message().contains("fails in save"),
        "{error}"
    );
    let problem = of(&host.executor().status(), "bad").state_problem.unwrap();
    assert!(problem.contains("fails in save"), "{problem}");
    let keys = store.keys(None).unwrap();
    assert_eq!(keys.len(), 1, "the other's is saved");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r51_two_hosts_may_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = filed(folder.path(), SnapshotMode::Host);
    let (one, two) = (TestHost::start(config.clone()).await, TestHost::start(config.clone()).await);
    let (mut a, mut b) = (one.session(), two.session());
    add(&mut a, 1).await;
    add(&mut b, 100).await;
    let (mut saves_a, mut saves_b) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        saves_a.push(one.executor().save_state());
        saves_b.push(two.executor().save_state());
    }
    for (a, b) in saves_a.into_iter().zip(saves_b) {
        let (a, b) = tokio::join!(a, b);
        a.unwrap();
        b.unwrap();
    }
    let found = total(config.clone()).await;
    assert!([1, 100].contains(&found), "one of them whole: {found}");
    two.executor().save_state().await.unwrap();
    drop((a, b));
    end(two).await;
    end(one).await;
    assert_eq!(total(config).await, 1, "the last writer wins");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_an_instance_per_session_is_not_the_host_s() {
    let store = Arc::new(MemoryStore::new());
    let own = tuned(plugin("k", "Keeper"), |it| {
        it.scope = Some(a2e_core::plugin::PluginScope::Session);
    });
    let builder = Executor::builder(with([own])).snapshot_store(store.clone());
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    add(&mut session, 5).await;
    session.finish().await;
    end(host).await;
    assert!(store.keys(None).unwrap().is_empty());
}
