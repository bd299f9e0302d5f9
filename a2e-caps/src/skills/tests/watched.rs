//! Folders that change while the host runs, and folders of other plugins.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Result;
use a2e_core::plugin::{Handlers, Host, Plugin};
use a2e_core::transport::Identity;

use super::*;
use crate::skills::contract::SkillRoot;

/// Waits until the skills are these.
async fn until(session: &mut TestSession, expected: &[&str]) {
    let wait = async {
        while names(session, json!({})).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the change is seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("later");
    let host = host(&[&root], json!({ "poll_s": 0.02 })).await;
    let mut session = host.session();
    session.handshake(&["skill"]).await;
    assert!(names(&mut session, json!({})).await.is_empty());
    skill(&root, "a", "name: a\ndescription: d", "one");
    until(&mut session, &["a"]).await;
    let push = session.next().await.unwrap();
    assert_eq!(push["type"], "skill/changed/push", "{push}");
    assert!(push["generation"].is_u64());
    skill(&root, "b", "name: b\ndescription: d", "two");
    until(&mut session, &["a", "b"]).await;
    // The text is read when it is asked for, also between two looks.
    skill(&root, "a", "name: a\ndescription: d", "changed");
    let reply = call(&mut session, "a", json!({})).await;
    assert_eq!(reply["data"]["data"]["prompt"], "changed");
    fs::remove_dir_all(root.join("b")).unwrap();
    until(&mut session, &["a"]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_polling_a_skill_that_is_gone_is_said() {
    let folder = tempfile::tempdir().unwrap();
    skill(folder.path(), "a", "name: a\ndescription: d", "one");
    let host = host(&[folder.path()], json!({ "poll_s": 0 })).await;
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    let reply = call(&mut host.session(), "a", json!({})).await;
    assert_eq!(reply["code"], "skill_error", "{reply}");
    host.stop().await;
}

struct Pack(&'static str, PathBuf);

impl Plugin for Pack {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        host.contribute(self.0, Arc::new(SkillRoot { path: self.1.clone() }))?.keep();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_plugins_bring_skills() {
    let (own, brought) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    skill(own.path(), "a", "name: same\ndescription: own", "own");
    skill(brought.path(), "a", "name: same\ndescription: brought", "brought");
    skill(brought.path(), "b", "name: more\ndescription: brought", "more");
    let config = HostConfig::new().plugin(plugin(&[own.path()], json!({ "poll_s": 0.02 })));
    let pack = Pack("pack", brought.path().to_owned());
    let host = TestHost::build(Executor::builder(config).plugin(pack)).await.unwrap();
    let mut session = host.session();
    until(&mut session, &["more", "same"]).await;
    let reply = call(&mut session, "same", json!({})).await;
    assert_eq!(reply["data"]["data"]["prompt"], "own", "the operator's comes first");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_brings_is_for_its_tenants() {
    let (shared, brought) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    skill(shared.path(), "a", "name: same\ndescription: d", "everyone's");
    skill(brought.path(), "a", "name: same\ndescription: d", "a's");
    skill(brought.path(), "b", "name: more\ndescription: d", "more");
    let mut entry = PluginConfig::new("for_a", "pack", "");
    entry.metadata.tenants = Some(vec!["a".to_owned()]);
    let config = HostConfig::new().plugin(plugin(&[], json!({ "poll_s": 0.02 })));
    let builder = Executor::builder(config).plugin(Pack("shared", shared.path().to_owned()));
    let builder = builder.plugin_as(entry, Pack("brought", brought.path().to_owned()));
    let host = TestHost::build(builder).await.unwrap();
    for (tenant, skills, text) in [
        (Some("a"), &["more", "same"][..], "a's"),
        (Some("b"), &["same"], "everyone's"),
        (None, &["same"], "everyone's"),
    ] {
        let identity = Identity { tenant: tenant.map(str::to_owned), ..Identity::of("someone") };
        let mut session = TestSession::over(host.executor().connect_as(identity));
        until(&mut session, skills).await;
        let reply = call(&mut session, "same", json!({})).await;
        assert_eq!(reply["data"]["data"]["prompt"], text, "{tenant:?}");
        let more = call(&mut session, "more", json!({})).await;
        let expected = if skills.contains(&"more") { json!(null) } else { json!("unknown_skill") };
        assert_eq!(more["code"], expected, "{tenant:?}: {more}");
    }
    host.stop().await;
}
