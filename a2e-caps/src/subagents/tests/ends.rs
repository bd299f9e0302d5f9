//! What ends with what: programs with cancels and sessions, states with the host.

use a2e_core::config::HostConfig;

use super::*;

async fn pid(session: &mut TestSession, id: &str) -> Value {
    done(session, id, "tell").await["result"]["pid"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_program_and_the_next_task_starts_it_again() {
    let (host, mut session) = start(program()).await;
    let id = spawn(&mut session, json!({})).await;
    let before = pid(&mut session, &id).await;
    assert_eq!(delegate(&mut session, &id, "hang").await["status"], "RUNNING");
    let cancelled = session.call("SUBAGENT_CANCEL_REQ", json!({ "subagent_id": id })).await;
    assert_eq!(cancelled["status"], "CANCELLED");
    until("the program ends", || !is_alive(&before)).await;
    let after = pid(&mut session, &id).await;
    assert_ne!(before, after);
    delegate(&mut session, &id, "hang").await;
    session.call("SUBAGENT_TERMINATE_REQ", json!({ "subagent_id": id })).await;
    until("the program ends", || !is_alive(&after)).await;
    host.until("no child is left", |it| it.children == 0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subagents_end_with_their_session() {
    let (host, mut session) = start(program()).await;
    let busy = spawn(&mut session, json!({})).await;
    let idle = spawn(&mut session, json!({})).await;
    let pids = [pid(&mut session, &busy).await, pid(&mut session, &idle).await];
    delegate(&mut session, &busy, "hang").await;
    drop(session);
    until("the programs end", || !pids.iter().any(is_alive)).await;
    host.until("no child is left", |it| it.children == 0).await;
    let mut next = host.session();
    assert_eq!(next.call("SUBAGENT_LIST_REQ", json!({})).await["subagents"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_there_after_a_restart_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = HostConfig::new().plugin(plugin().with_setting("worker_ms", 20));
        config.session_ttl = Duration::from_mins(1);
        config
    };
    let build = || {
        let store = a2e_core::snapshot::FileStore::open(folder.path()).unwrap();
        TestHost::build(Executor::builder(config()).snapshot_store(std::sync::Arc::new(store)))
    };
    let shake = |resume: Value| json!({ "agent_id": "a", "agent_caps": [], "resume": resume });
    let host = build().await.unwrap();
    let mut session = host.session();
    let hello =
        session.call("handshake/req", shake(json!({ "session_id": "", "last_seq": 0 }))).await;
    let id = spawn(&mut session, json!({ "name": "kept" })).await;
    done(&mut session, &id, "x").await;
    host.stop().await;
    drop(session);
    let resume = shake(json!({ "session_id": hello["session_id"], "last_seq": 1 }));
    // A session that comes back and asks for nothing loses nothing.
    for _ in 0..2 {
        let host = build().await.unwrap();
        let again = host.session().call("handshake/req", resume.clone()).await;
        assert_eq!(again["resumed"], true, "{again}");
        host.stop().await;
    }
    let host = build().await.unwrap();
    let mut session = host.session();
    session.call("handshake/req", resume).await;
    // All requests see it, in whichever order they come.
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(session.send("SUBAGENT_LIST_REQ", json!({})).await);
    }
    for id in asked {
        let list = session.reply_to(&id).await;
        assert_eq!(list["subagents"][0]["name"], "kept", "{list}");
    }
    let list = session.call("SUBAGENT_LIST_REQ", json!({})).await;
    assert_eq!(list["subagents"][0]["name"], "kept", "{list}");
    assert_eq!(settled(&mut session, &id).await["result"]["instruction"], "x");
    assert_eq!(done(&mut session, &id, "y").await["result"]["instruction"], "y", "it takes tasks");
    host.stop().await;
}
