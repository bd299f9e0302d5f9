//! One file, several hosts and sessions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn plans_outlive_hosts_and_are_seen_by_every_session() {
    let root = tempfile::tempdir().unwrap();
    let alias = PluginConfig::new("p", "planning", "a2e.caps.planning.plugin.HermesPlanningPlugin")
        .with_setting("ROOT", root.path().to_str());
    let (host, mut session) = start(alias).await;
    let own = plan(&mut session, json!({ "name": "kept" })).await;
    task(&mut session, &own, "first", json!({})).await;
    let mut second = host.session();
    assert_eq!(tasks(&mut second, &own, "").await, ["first"]);
    host.stop().await;
    let (host, mut session) = start(plugin(root.path())).await;
    assert_eq!(tasks(&mut session, &own, "").await, ["first"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_several_hosts_lose_nothing() {
    const HOSTS: usize = 3;
    const EACH: usize = 40;
    let root = tempfile::tempdir().unwrap();
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(start(plugin(root.path())).await.0);
    }
    let own = plan(&mut hosts[0].session(), json!({})).await;
    let writers = hosts.iter().enumerate().map(|(number, host)| {
        let (mut session, own) = (host.session(), own.clone());
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for n in 0..EACH {
                let body = json!({ "plan_id": own, "title": format!("{number}-{n}") });
                sent.push(session.send("planning/task/add", body).await);
            }
            for id in sent {
                let reply = session.reply_to(&id).await;
                assert_eq!(reply["success"], true, "{reply}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for host in &hosts {
        assert_eq!(tasks(&mut host.session(), &own, "").await.len(), HOSTS * EACH);
    }
    for host in hosts {
        host.stop().await;
    }
}

/// Of changes that would make a circle together one at least is refused, whichever hosts they come by.
#[tokio::test(flavor = "multi_thread")]
async fn no_circle_is_made_by_changes_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let (one, mut first) = start(plugin(root.path())).await;
    let (two, mut second) = start(plugin(root.path())).await;
    let own = plan(&mut first, json!({})).await;
    for _ in 0..10 {
        let a = task(&mut first, &own, "a", json!({})).await;
        let b = task(&mut first, &own, "b", json!({})).await;
        let after =
            |task: &str, dep: &str| json!({ "plan_id": own, "task_id": task, "deps": [dep] });
        let (left, right) = tokio::join!(
            first.call("planning/task/update", after(&a, &b)),
            second.call("planning/task/update", after(&b, &a)),
        );
        let done = [left, right].iter().filter(|it| it["success"] == true).count();
        assert_eq!(done, 1);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_waits_for_another_program_can_be_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let (host, mut session) = start(plugin(root.path())).await;
    let mut other = rusqlite::Connection::open(root.path().join("planning.db")).unwrap();
    let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let id = session.send("planning/plan/create", json!({})).await;
    // Readers do not wait.
    assert_eq!(session.call("planning/plan/list", json!({})).await["total"], 0);
    session.send("cancel", json!({ "req_id": id })).await;
    assert_eq!(session.reply_to(&id).await["code"], "cancelled");
    host.until("the writer gave up", |it| it.in_flight == 0).await;
    held.rollback().unwrap();
    assert_eq!(session.call("planning/plan/list", json!({})).await["total"], 0, "it has no effect");
    plan(&mut session, json!({})).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_large_file_can_be_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let (host, mut session) = start(plugin(root.path())).await;
    // As large as can be: it never ends.
    let other = rusqlite::Connection::open(root.path().join("planning.db")).unwrap();
    other
        .execute_batch(
            "ALTER TABLE tasks RENAME TO once;
             CREATE VIEW tasks AS
             WITH RECURSIVE of(rowid) AS (SELECT 1 UNION ALL SELECT rowid + 1 FROM of)
             SELECT rowid, 'i' AS task_id, 'p' || rowid AS plan_id, 't' AS title,
                    's' || rowid AS status, '' AS assignee, '[]' AS deps FROM of;",
        )
        .unwrap();
    for (kind, body) in [
        ("planning/task/list", json!({ "status": "none" })),
        ("planning/task/list", json!({ "plan_id": "none" })),
    ] {
        let id = session.send(kind, body).await;
        host.until("the reader reads", |it| it.in_flight == 1).await;
        session.send("cancel", json!({ "req_id": id })).await;
        assert_eq!(session.reply_to(&id).await["code"], "cancelled");
        host.until("the reader gave up", |it| it.in_flight == 0).await;
        assert_eq!(session.call("planning/plan/list", json!({})).await["total"], 0);
    }
    host.stop().await;
}
