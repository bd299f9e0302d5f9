//! Kills, time-outs, and the end of sessions.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_answered_when_the_process_is_gone_and_all_was_told() {
    let host = host().await;
    let mut session = host.session();
    for signal in ["SIGTERM", "SIGKILL", "SIGINT"] {
        let token = token();
        let script = format!("echo started; setsid sleep {token} & sleep {token}");
        let id = spawn(&mut session, json!({ "cmd": ["bash", "-c", script] })).await;
        assert_eq!(event(&mut session, &id).await["data"]["text"], "started\n");
        until("two sleep", || sleepers(&token) == 2).await;
        let reply = kill(&mut session, &id, signal).await;
        assert_eq!(reply["type"], "proc/kill/resp");
        assert_eq!((&reply["ok"], &reply["state"]), (&json!(true), &json!("killed")), "{signal}");
        assert_eq!(sleepers(&token), 0, "{signal}");
        // Told before the reply.
        let others = session.others();
        assert_eq!(others.len(), 1, "{others:?}");
        assert_eq!((&others[0]["stream_type"], &others[0]["data"]), (&json!("killed"), &json!({})));
        assert_eq!(others[0]["seq"], 1);
        assert_eq!(status(&mut session, &id).await, "killed");
        let again = kill(&mut session, &id, signal).await;
        assert_eq!((&again["ok"], &again["state"]), (&json!(false), &json!("killed")));
        assert_eq!((&again["code"], &reply["code"]), (&json!("proc_dead"), &json!(null)));
    }
    assert_eq!(session.others(), Vec::<Value>::new(), "no exit follows a kill");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_killed_process_are_told() {
    let host = host().await;
    let mut session = host.session();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let id = spawn(&mut session, sh(script)).await;
    assert_eq!(event(&mut session, &id).await["data"]["text"], "up\n");
    assert_eq!(kill(&mut session, &id, "SIGTERM").await["ok"], true);
    let told = told_from(&mut session, &id, 1).await;
    assert_eq!((told.stdout, told.code), (vec!["bye\n".to_owned()], None));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_sigterm_is_killed_after_the_grace_or_by_a_second_request() {
    let host = host_with(plugin().with_setting("kill_grace_s", 0.3)).await;
    let mut session = host.session();
    let stubborn = "trap '' TERM INT; echo up; while :; do sleep 0.05; done";
    for signal in ["SIGTERM", "SIGINT"] {
        let id = spawn(&mut session, sh(stubborn)).await;
        event(&mut session, &id).await;
        let start = Instant::now();
        assert_eq!(kill(&mut session, &id, signal).await["ok"], true);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(290) && took < PATIENCE, "{took:?}");
        assert_eq!(told_from(&mut session, &id, 1).await.code, None);
    }
    host.stop().await;

    let host = host_with(plugin().with_setting("kill_grace_s", 600)).await;
    let mut session = host.session();
    let id = spawn(&mut session, sh(stubborn)).await;
    event(&mut session, &id).await;
    let first = json!({ "proc_id": id, "signal": "SIGTERM" });
    let first = session.send("proc/kill/req", first).await;
    until_status(&mut session, &id, "killed").await;
    assert_eq!(kill(&mut session, &id, "SIGKILL").await["ok"], true);
    assert_eq!(session.reply_to(&first).await["state"], "killed");
    host.stop().await;
}

async fn until_status(session: &mut TestSession, id: &str, expected: &str) {
    let wait = async {
        while status(session, id).await != expected {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_goes_on_when_its_request_is_cancelled() {
    let host = host_with(plugin().with_setting("kill_grace_s", 0.3)).await;
    let mut session = host.session();
    let id = spawn(&mut session, sh("trap '' TERM; echo up; while :; do sleep 0.05; done")).await;
    event(&mut session, &id).await;
    let request = session.send("proc/kill/req", json!({ "proc_id": id })).await;
    session.send_line(&json!({ "type": "cancel", "req_id": request }).to_string()).await;
    assert_eq!(session.reply_to(&request).await["code"], "cancelled");
    assert_eq!(told_from(&mut session, &id, 1).await.code, None);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_what_has_ended_or_is_unknown_is_told_in_the_reply() {
    let host = host().await;
    let mut session = host.session();
    let done = spawn(&mut session, sh("exit 0")).await;
    told(&mut session, &done).await;
    let failed = spawn(&mut session, sh("exit 9")).await;
    told(&mut session, &failed).await;
    for (id, state, error) in [
        (done.as_str(), "completed", "the process has ended before"),
        (failed.as_str(), "failed", "the process has ended before"),
        ("", "not_found", "session not found"),
        ("beef", "not_found", "session not found"),
    ] {
        let reply = kill(&mut session, id, "SIGKILL").await;
        assert_eq!((&reply["type"], &reply["ok"]), (&json!("proc/kill/resp"), &json!(false)));
        assert_eq!((&reply["state"], &reply["error"]), (&json!(state), &json!(error)));
        let code = if state == "not_found" { "unknown_proc" } else { "proc_dead" };
        assert_eq!(reply["code"], code);
    }
    assert_eq!(status(&mut session, &done).await, "completed", "the status stays");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_process_and_never_the_call() {
    let host = host_with(plugin().with_setting("DEFAULT_TIMEOUT", 1)).await;
    let mut session = host.session();
    for (request, code) in [
        (json!({ "cmd": ["sleep", "60"], "timeout": 1 }), -15),
        (json!({ "cmd": ["sleep", "60"], "timeout": 1.0 }), -15),
        (json!({ "cmd": ["sleep", "60"] }), -15),
        (json!({ "cmd": ["sleep", "60"], "timeout": -5 }), -15),
    ] {
        let start = Instant::now();
        let id = spawn(&mut session, request).await;
        assert_eq!(told(&mut session, &id).await.code, Some(code));
        let took = start.elapsed();
        assert!(took > Duration::from_millis(990) && took < PATIENCE, "{took:?}");
        assert_eq!(status(&mut session, &id).await, "timedout");
        assert_eq!(kill(&mut session, &id, "SIGTERM").await["state"], "timedout");
    }
    // The client's own wish wins, also one that is never reached.
    for limit in [2_i64, 100_000, i64::MAX] {
        let request = json!({ "cmd": ["sh", "-c", "sleep 1.2; echo ok"], "timeout": limit });
        let id = spawn(&mut session, request).await;
        assert_eq!(told(&mut session, &id).await.stdout, ["ok\n"]);
    }
    host.stop().await;
}

/// A program, a plain descendant, one with its own session, and one forked twice.
fn tree(token: &str) -> Value {
    sh(&format!(
        "sleep {token} & setsid sleep {token} & (setsid sh -c 'sleep {token} & ' &); exec sleep {token}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_processes_end_with_their_session_and_only_they() {
    let host = host().await;
    let (mut first, mut second) = (host.session(), host.session());
    let (gone, stays) = (token(), token());
    for _ in 0..3 {
        spawn(&mut first, tree(&gone)).await;
    }
    spawn(&mut second, tree(&stays)).await;
    until("all sleep", || sleepers(&gone) == 12 && sleepers(&stays) == 4).await;
    drop(first);
    until("the first session's are gone", || sleepers(&gone) == 0).await;
    assert_eq!(sleepers(&stays), 4);
    host.stop().await;
    assert_eq!(sleepers(&stays), 0, "nothing outlives the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_after_the_end_of_input_output_and_exit_are_still_told() {
    let host = host().await;
    let mut session = host.session();
    session.send("proc/spawn/req", sh("sleep 0.5; echo late; exit 4")).await;
    let all = session.finish().await;
    let kinds: Vec<&Value> = all.iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["proc/spawn/resp", "proc/read/event", "proc/read/event"]);
    assert_eq!((&all[1]["data"]["text"], &all[2]["data"]["code"]), (&json!("late\n"), &json!(4)));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_what_outlasts_the_drain_is_killed_which_is_told() {
    let config = HostConfig::new().plugin(plugin());
    let builder = Executor::builder(config).guard(guard()).drain(Duration::from_millis(300));
    let host = TestHost::build(builder).await.unwrap();
    let token = token();
    let stubborn = format!("trap '' TERM; echo up; sleep {token}; sleep {token}");
    for script in [&format!("echo up; exec sleep {token}"), &stubborn] {
        let mut session = host.session();
        let id = spawn(&mut session, sh(script)).await;
        event(&mut session, &id).await;
        let start = Instant::now();
        let rest = session.finish().await;
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!((&rest[0]["stream_type"], &rest[0]["data"]), (&json!("killed"), &json!({})));
        assert_eq!(sleepers(&token), 0);
        // 0.3 s of drain and 0.7 s for the end, on a machine that has other work too.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_spawn_that_is_cancelled_leaves_no_process() {
    let host = host().await;
    let mut session = host.session();
    let token = token();
    let mut cancelled = 0;
    for _ in 0..40 {
        let request = json!({ "cmd": ["sleep", token] });
        let id = session.send("proc/spawn/req", request).await;
        session.send_line(&json!({ "type": "cancel", "req_id": id }).to_string()).await;
        let reply = session.reply_to(&id).await;
        if reply["type"] == "error" {
            assert_eq!(reply["code"], "cancelled");
            cancelled += 1;
        } else {
            let id = reply["proc_id"].as_str().unwrap().to_owned();
            assert_eq!(kill(&mut session, &id, "SIGKILL").await["ok"], true);
        }
    }
    assert!(cancelled > 0, "at least one was in time");
    until("all are gone", || sleepers(&token) == 0).await;
    // Their places are free, and none of them is listed as running.
    let all = session.call("proc/status/req", json!({})).await;
    let states = all["procs"].as_array().unwrap();
    assert_eq!(states.len(), 40 - cancelled);
    assert!(states.iter().all(|it| it["state"] == "killed"), "{states:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_without_a_guard_what_left_the_group_holds_up_neither_kill_nor_session() {
    let host = TestHost::start(HostConfig::new().plugin(plugin())).await;
    let mut session = host.session();
    // It survives here, as the isolation level says; it ends by itself.
    let id = spawn(&mut session, sh("setsid sleep 4 & echo up; sleep 60")).await;
    event(&mut session, &id).await;
    let start = Instant::now();
    assert_eq!(kill(&mut session, &id, "SIGTERM").await["ok"], true);
    assert_eq!(told_from(&mut session, &id, 1).await.code, None);

    // It speaks for itself, so that it has left the group by the time the program ends.
    let left = sh("setsid sh -c 'echo up; sleep 4' & sleep 0.3");
    let id = spawn(&mut session, left).await;
    event(&mut session, &id).await;
    until_status(&mut session, &id, "completed").await;
    // Its stream is open, so its exit is not told before the session ends.
    assert_eq!(session.others(), Vec::<Value>::new());
    drop(session);
    host.until("no session", |status| status.sessions == 0).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    host.stop().await;
}
