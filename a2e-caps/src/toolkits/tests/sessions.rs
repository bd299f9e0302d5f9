//! A configuration belongs to its session.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_other_session_sees_or_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "mine").unwrap();
    let (host, mut first) = start(&[("filesystem", within(folder.path()))]).await;
    let mut second = host.session();
    configure(&mut first, "filesystem", json!({ "root": "." })).await;
    assert_eq!(tools(&mut first).await.len(), 2);
    assert!(tools(&mut second).await.is_empty());
    assert_eq!(kit(&mut second, "filesystem").await["configured"], false);
    let denied = call(&mut second, "filesystem__read_file", json!({ "path": "a.txt" })).await;
    assert_eq!(
        (&denied["code"], &denied["detail"]["toolkit_name"]),
        (&json!("tool_denied"), &json!("filesystem"))
    );

    configure(&mut second, "filesystem", json!({ "root": "." })).await;
    assert_eq!(tools(&mut second).await.len(), 2);
    assert_eq!(first.finish().await.len(), 0);
    let read = call(&mut second, "filesystem__read_file", json!({ "path": "a.txt" })).await;
    assert_eq!(read["data"]["success"], true, "{read}");
    second.finish().await;
    // Nobody has it any more.
    let mut third = host.session();
    let gone = async {
        loop {
            let reply = call(&mut third, "filesystem__read_file", json!({ "path": "a.txt" })).await;
            if reply["code"] == "unknown_tool" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_resumed_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new()
        .plugin(PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin"))
        .plugin(toolkits(&[("filesystem", within(folder.path()))]));
    config.session_ttl = std::time::Duration::from_mins(1);
    let host = TestHost::start(config).await;
    let shake =
        |resume: Value| json!({ "agent_id": "a", "agent_caps": ["tools"], "resume": resume });
    let mut session = host.session();
    let hello =
        session.call("handshake/req", shake(json!({ "session_id": "", "last_seq": 0 }))).await;
    configure(&mut session, "filesystem", json!({ "root": "." })).await;
    drop(session);
    let mut session = host.session();
    let resume = json!({ "session_id": hello["session_id"], "last_seq": 1 });
    let again = session.call("handshake/req", shake(resume)).await;
    assert_eq!(again["resumed"], true, "{again}");
    assert_eq!(again["ok"], true, "{again}");
    // Past the ids of the first connection, whose answers are sent again.
    for _ in 0..5 {
        session.call("ping", json!({})).await;
    }
    assert_eq!(tools(&mut session).await.len(), 2, "{again}");
    host.stop().await;
}
