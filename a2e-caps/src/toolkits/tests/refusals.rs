//! What is refused: fields, names, configurations, settings.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_schema_violations() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start(&[("filesystem", within(folder.path()))]).await;
    for (kind, body, loc) in [
        ("list", json!({ "filter_kind": 5 }), "filter_kind"),
        ("list", json!({ "filter_tags": "files" }), "filter_tags"),
        ("list", json!({ "filter_tags": [5] }), "filter_tags[0]"),
        ("configure", json!({ "toolkit_name": 5 }), "toolkit_name"),
        ("configure", json!({ "toolkit_name": "filesystem", "config": [] }), "config"),
        ("configure", json!({ "toolkit_name": "filesystem", "config": null }), "config"),
        ("configure", json!({ "session_id": {} }), "session_id"),
    ] {
        let reply = session.call(&format!("toolkit/{kind}/req"), body.clone()).await;
        assert_eq!(reply["code"], "schema_violation", "{body}: {reply}");
        assert_eq!(reply["detail"]["errors"][0]["loc"], loc, "{body}: {reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_other_names_of_fields_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (host, mut session) = start(&[("filesystem", within(folder.path()))]).await;
    for (filter, count) in [
        (json!({}), 1),
        (json!({ "filter_kind": "files" }), 1),
        (json!({ "filter_kind": "web" }), 0),
        (json!({ "filter_tags": ["FILES"] }), 1),
        (json!({ "filter_tags": ["files", "x"] }), 0),
    ] {
        let reply = session.call("toolkit/list/req", filter.clone()).await;
        assert_eq!(reply["toolkits"].as_array().unwrap().len(), count, "{filter}");
    }
    let body = json!({ "name": "filesystem", "schema": { "root": "." } });
    assert_eq!(session.call("toolkit/configure/req", body).await["status"], "ok");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configurations_are_refused_and_change_nothing() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let (host, mut session) = start(&[("filesystem", within(folder.path()))]).await;
    let closed = "no folder below those that the operator has opened";
    for (name, config, why) in [
        ("nothing", json!({}), "no toolkit is named `nothing`"),
        ("filesistem", json!({}), "is `filesystem` meant?"),
        ("", json!({}), "no toolkit is named"),
        ("http", json!({ "base_url": "https://a.example" }), "no toolkit is named"),
        ("filesystem", json!({}), "root"),
        ("filesystem", json!({ "root": 5 }), "config.root"),
        ("filesystem", json!({ "root": ".", "mode": "x" }), "mode"),
        ("filesystem", json!({ "root": "/" }), closed),
        ("filesystem", json!({ "root": ".." }), closed),
        ("filesystem", json!({ "root": outside.path() }), closed),
        ("filesystem", json!({ "root": "link" }), closed),
        ("filesystem", json!({ "root": "missing" }), closed),
        ("filesystem", json!({ "root": "file" }), closed),
        ("filesystem", json!({ "root": "a\u{0}b" }), closed),
        ("filesystem", json!({ "root": "x".repeat(100_000) }), closed),
    ] {
        let text = refused(&mut session, name, config.clone()).await;
        assert!(text.contains(why), "{name} {config}: {text}");
    }
    assert!(tools(&mut session).await.is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_hold_stop_the_host() {
    let mut bad = vec![
        ("filesystem", json!({ "config": { "root": "/no/such/folder" } }), "filesystem.config"),
        ("filesystem", json!({ "config": {} }), "filesystem.config"),
        ("filesystem", json!({ "within": "x" }), "within"),
    ];
    if cfg!(feature = "sqlite") {
        bad.push(("sqlite", json!({ "timeout_s": 0 }), "timeout_s"));
        bad.push(("sqlite", json!({ "config": { "path": "/no/such" } }), "sqlite.config"));
    }
    for (key, value, why) in bad {
        let config = HostConfig::new().plugin(toolkits(&[(key, value.clone())]));
        let error = TestHost::build(Executor::builder(config)).await.err().unwrap().to_string();
        assert!(error.contains(why), "{value}: {error}");
    }
}
