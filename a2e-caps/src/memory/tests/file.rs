//! What only the backend `sqlite` has: files that cannot be used, hosts that share one, order, locks.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::*;

fn config(path: &Path, settings: Value) -> HostConfig {
    let mut settings = settings;
    settings["backend"] = json!("sqlite");
    settings["path"] = json!(path);
    configured(settings)
}

async fn start(path: &Path) -> TestHost {
    TestHost::lenient(config(path, json!({}))).await
}

/// What a plugin that must load says of this file.
async fn refusal(path: &Path) -> String {
    let mut config = config(path, json!({}));
    config.plugins[0].metadata.required = true;
    match TestHost::build(Executor::builder(config)).await {
        Err(StartError::RequiredPlugin { reason, .. }) => reason,
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named_and_the_host_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, sql: &str| {
        Connection::open(path(name)).unwrap().execute_batch(sql).unwrap();
    };
    start(&path("newer.db")).await.stop().await;
    write("newer.db", "PRAGMA user_version = 9");
    write("foreign.db", "CREATE TABLE entries (a)");
    fs::write(path("text.db"), "no database at all, but long enough to have a header. ".repeat(9))
        .unwrap();
    drop(a2e_core::snapshot::SqliteStore::open(path("snapshots.db")).unwrap());
    fs::create_dir(path("folder.db")).unwrap();
    for (name, expected) in [
        ("newer.db", "has tables of version 9, this program knows 1"),
        ("foreign.db", "is not a memory: it is a database of another program"),
        ("snapshots.db", "is not a memory: it is a database of another program"),
        ("text.db", "cannot be opened: it is not an SQLite database"),
        ("folder.db", "cannot be opened"),
        ("text.db/below.db", "cannot be created"),
        ("/proc/no/such.db", "cannot be created"),
    ] {
        let reason = refusal(&path(name)).await;
        assert!(reason.contains(expected) && reason.contains(name), "{reason}");
        // One that need not load leaves the host as it is.
        let host = start(&path(name)).await;
        let mut session = host.session();
        assert_eq!(session.call("ping", json!({})).await["type"], "pong");
        assert_eq!(session.call("memory/init/req", json!({})).await["type"], "error");
        host.stop().await;
    }
    let mut without = configured(json!({ "backend": "sqlite" }));
    without.plugins[0].metadata.required = true;
    match TestHost::build(Executor::builder(without)).await {
        Err(StartError::RequiredPlugin { reason, .. }) => {
            assert!(reason.contains("backend `sqlite` needs `path`"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_session_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let host = start(&folder.path().join("m.db")).await;
    let mut session = host.session();
    let line = |id: &str, wire_type: &str, mut body: Value| {
        (body["id"], body["type"], body["memory_id"]) = (json!(id), json!(wire_type), json!("n"));
        body.to_string()
    };
    session.send_line(r#"{"type":"memory/init/req","id":"0","namespace":"n"}"#).await;
    for number in 0..40 {
        let entry = json!({ "key": { "k": 1 }, "content": number, "tier": "episodic" });
        let store = json!({ "entries": [entry] });
        session.send_line(&line(&format!("s{number}"), "memory/store/req", store)).await;
        let id = format!("r{number}");
        session.send_line(&line(&id, "memory/retrieve/req", json!({}))).await;
    }
    for number in 0..40 {
        let reply = session.reply_to(&format!("r{number}")).await;
        assert_eq!(reply["entries"][0]["content"], number);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_a_file_share_what_is_not_of_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let (one, two) = (start(&path).await, start(&path).await);
    let (mut here, memory) = agent(&one, "a").await;
    let (mut there, other) = agent(&two, "a").await;
    let (mut stranger, strange) = agent(&two, "b").await;
    let entries = json!([entry("w", "working"), entry("e", "episodic"), entry("s", "semantic")]);
    assert_eq!(store(&mut here, &memory, entries).await["errors"], json!([]));
    assert_eq!(keys(&retrieve(&mut there, &other, json!({})).await), ["e", "s"]);
    assert_eq!(keys(&retrieve(&mut stranger, &strange, json!({})).await), ["s"]);
    let query = json!({ "query": "c" });
    assert_eq!(keys(&retrieve(&mut stranger, &strange, query).await), ["s"], "r65");
    assert_eq!(forget(&mut there, &other, json!({ "keys": [{ "k": "e" }] })).await, 1);
    assert_eq!(keys(&retrieve(&mut here, &memory, json!({})).await), ["w", "s"]);
    // An empty partition that one host has open may go when the other's session ends.
    there.finish().await;
    store(&mut here, &memory, json!([entry("again", "episodic")])).await;
    assert_eq!(keys(&retrieve(&mut here, &memory, json!({})).await), ["w", "again", "s"]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_locked_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let host = start(&path).await;
    let (mut session, memory) = agent(&host, "a").await;
    store(&mut session, &memory, json!([entry(1, "semantic")])).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = json!({ "memory_id": memory, "entries": [entry(2, "semantic")] });
    let mut line = body.clone();
    (line["type"], line["id"]) = (json!("memory/store/req"), json!("waits"));
    session.send_line(&line.to_string()).await;
    let (mut reader, read) = agent(&host, "b").await;
    session.call("ping", json!({})).await;
    std::thread::sleep(Duration::from_millis(300));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(session.reply_to("waits").await["stored"], json!([{ "k": 2 }]));
    assert_eq!(keys(&retrieve(&mut reader, &read, json!({})).await), [1, 2]);
    // The request ends when its call is cancelled, and changes nothing when the lock is released then.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    line["id"] = json!("given up");
    line["entries"] = json!([entry(3, "semantic")]);
    session.send_line(&line.to_string()).await;
    // Time for the writer to come to the lock.
    std::thread::sleep(Duration::from_millis(50));
    session.send_line(r#"{"type":"cancel","id":"c","req_id":"given up"}"#).await;
    assert_eq!(session.reply_to("given up").await["code"], "cancelled");
    other.execute_batch("ROLLBACK").unwrap();
    host.until("the writer gave up", |it| it.in_flight == 0).await;
    assert_eq!(keys(&retrieve(&mut session, &memory, json!({})).await), [1, 2]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_an_error_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let host = start(&path).await;
    let (mut session, memory) = agent(&host, "a").await;
    store(&mut session, &memory, json!([entry(1, "semantic"), entry(2, "episodic")])).await;
    let other = Connection::open(&path).unwrap();
    for (column, damage) in [("content", "{"), ("key", "[]"), ("tags", "null"), ("tags", "[1]")] {
        let shelf = "(SELECT id FROM shelves WHERE name = 'semantic')";
        let before: String = other
            .query_row(&format!("SELECT {column} FROM entries WHERE shelf = {shelf}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        let set = format!("UPDATE entries SET {column} = ?1 WHERE shelf = {shelf}");
        other.execute(&set, [damage]).unwrap();
        let reply = session.call("memory/retrieve/req", json!({ "memory_id": memory })).await;
        assert_eq!(reply["code"], "runtime_error", "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(column), "{reply}");
        let other_tier = json!({ "tier": "episodic" });
        assert_eq!(keys(&retrieve(&mut session, &memory, other_tier).await), [2]);
        other.execute(&set, [before]).unwrap();
    }
    other.execute_batch("DROP TABLE words").unwrap();
    let failed = json!({ "memory_id": memory, "entries": [entry(3, "semantic")] });
    let reply = session.call("memory/store/req", failed).await;
    assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!("runtime_error")));
    assert!(reply["detail"]["path"].as_str().unwrap().ends_with("m.db"), "{reply}");
    assert_eq!(session.call("ping", json!({})).await["type"], "pong");
    host.stop().await;
}
