//! `filesystem`, and what is the same for all.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn tools_appear_when_a_toolkit_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("own")).unwrap();
    std::fs::write(folder.path().join("own/a.txt"), "hello").unwrap();
    std::fs::write(folder.path().join("secret.txt"), "no").unwrap();
    let (host, mut session) = start(&[("filesystem", within(folder.path()))]).await;
    session.handshake(&["tools", "toolkits"]).await;
    let before = kit(&mut session, "filesystem").await;
    assert_eq!((&before["configured"], &before["category"]), (&json!(false), &json!("files")));
    assert_eq!(before["tools"], json!(["filesystem__read_file", "filesystem__list_dir"]));
    assert_eq!(before["schema"]["required"], json!(["root"]));
    assert!(tools(&mut session).await.is_empty());
    assert_eq!(
        call(&mut session, "filesystem__read_file", json!({ "path": "a.txt" })).await["code"],
        "unknown_tool"
    );

    configure(&mut session, "filesystem", json!({ "root": "own" })).await;
    assert_eq!(tools(&mut session).await, ["filesystem__read_file", "filesystem__list_dir"]);
    let after = kit(&mut session, "filesystem").await;
    assert_eq!((&after["configured"], &after["config"]), (&json!(true), &json!({ "root": "own" })));
    let read = call(&mut session, "filesystem__read_file", json!({ "path": "a.txt" })).await;
    assert_eq!(
        (&read["data"]["data"]["content"], &read["data"]["tool_name"]),
        (&json!("hello"), &json!("filesystem__read_file"))
    );
    for (tool, arguments, code) in [
        ("filesystem__read_file", json!({ "path": "../secret.txt" }), "tool_denied"),
        ("filesystem__read_file", json!({ "path": "/etc/passwd" }), "tool_denied"),
        ("filesystem__read_file", json!({}), "schema_violation"),
        ("filesystem__write_file", json!({ "path": "b", "content": "" }), "unknown_tool"),
    ] {
        assert_eq!(
            call(&mut session, tool, arguments.clone()).await["code"],
            code,
            "{tool} {arguments}"
        );
    }
    // Another root in place of the first.
    configure(&mut session, "filesystem", json!({ "root": folder.path() })).await;
    let read = call(&mut session, "filesystem__read_file", json!({ "path": "secret.txt" })).await;
    assert_eq!(read["data"]["data"]["content"], "no");
    let pushes = session.others().into_iter().filter(|it| it["type"] == "tool/changed/push");
    assert_eq!(pushes.count(), 2, "one for each configuration");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_where_the_operator_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({ "within": [folder.path()], "allow_write": true });
    let (host, mut session) = start(&[("filesystem", settings)]).await;
    configure(&mut session, "filesystem", json!({ "root": "." })).await;
    let written =
        call(&mut session, "filesystem__write_file", json!({ "path": "n.txt", "content": "x" }))
            .await;
    assert_eq!(written["data"]["success"], true, "{written}");
    assert_eq!(std::fs::read_to_string(folder.path().join("n.txt")).unwrap(), "x");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_configures_for_every_session() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("a.txt"), "operator").unwrap();
    std::fs::write(other.path().join("a.txt"), "agent").unwrap();
    let settings = json!({ "within": [other.path()], "config": { "root": folder.path() } });
    let (host, mut session) = start(&[("filesystem", settings)]).await;
    let listed = kit(&mut session, "filesystem").await;
    assert_eq!(listed["configured"], true);
    assert!(listed.get("config").is_none(), "what the operator chose is not told");
    let read = json!({ "path": "a.txt" });
    let got = call(&mut session, "filesystem__read_file", read.clone()).await;
    assert_eq!(got["data"]["data"]["content"], "operator");
    configure(&mut session, "filesystem", json!({ "root": "." })).await;
    let got = call(&mut session, "filesystem__read_file", read.clone()).await;
    assert_eq!(got["data"]["data"]["content"], "agent", "its own comes first");
    let got = call(&mut host.session(), "filesystem__read_file", read).await;
    assert_eq!(got["data"]["data"]["content"], "operator");
    host.stop().await;
}
