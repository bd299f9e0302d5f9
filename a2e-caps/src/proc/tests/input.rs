//! Standard input.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_arrives_in_order_and_eof_ends_it() {
    let host = host().await;
    let mut session = host.session();
    let spawned = session.call("proc/spawn/req", json!({ "cmd": ["cat"] })).await;
    let id = spawned["proc_id"].as_str().unwrap();
    let reply = write(&mut session, id, "grüß\n", false).await;
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(true), &json!("")));
    assert_eq!((&reply["pid"], &reply["proc_id"]), (&spawned["pid"], &json!(id)));
    assert_eq!(event(&mut session, id).await["data"]["text"], "grüß\n");
    // Many at once, none awaited: the order of the requests is that of the text.
    let mut ids = Vec::new();
    for n in 0..200 {
        let request = json!({ "proc_id": id, "data": format!("{n}\n") });
        ids.push(session.send("proc/write/req", request).await);
    }
    for request in ids {
        assert_eq!(session.reply_to(&request).await["ok"], true);
    }
    assert_eq!(write(&mut session, id, "last", true).await["ok"], true);
    let told = told_from(&mut session, id, 1).await;
    let expected: Vec<String> =
        (0..200).map(|n| format!("{n}\n")).chain(["last".to_owned()]).collect();
    assert_eq!((told.stdout, told.code), (expected, Some(0)));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_in_the_reply() {
    let host = host().await;
    let mut session = host.session();
    let null = json!({ "cmd": ["sh", "-c", "cat; sleep 60"], "stdin_mode": "null" });
    let null = spawn(&mut session, null).await;
    let closed = spawn(&mut session, sh("exec <&-; echo closed; sleep 60")).await;
    assert_eq!(event(&mut session, &closed).await["data"]["text"], "closed\n");
    let eof = spawn(&mut session, sh("sleep 60")).await;
    assert_eq!(write(&mut session, &eof, "", true).await["ok"], true);
    let ended = spawn(&mut session, sh("exit 3")).await;
    assert_eq!(told(&mut session, &ended).await.code, Some(3));

    for (id, expected, has_pid) in [
        ("", "session not found", false),
        ("0123", "session not found", false),
        (null.as_str(), "stdin_mode null", true),
        (closed.as_str(), "has closed its input", true),
        (closed.as_str(), "has closed its input", true),
        (eof.as_str(), "ended before", true),
        (ended.as_str(), "has ended: failed", true),
    ] {
        let code = if has_pid { "proc_dead" } else { "unknown_proc" };
        let reply = write(&mut session, id, "x", true).await;
        assert_eq!((&reply["type"], &reply["ok"]), (&json!("proc/write/resp"), &json!(false)));
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(reply["code"], code, "{reply}");
        assert_eq!(reply["pid"] != 0, has_pid, "{reply}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_process_that_does_not_read_holds_up_its_own_writes_only() {
    let host = host().await;
    let mut session = host.session();
    let id = spawn(&mut session, sh("sleep 2; cat | wc -c")).await;
    let big = "x".repeat(1 << 20);
    // More than a pipe holds: waits until the process reads.
    let first = json!({ "proc_id": id, "data": big });
    let first = session.send("proc/write/req", first).await;
    let second = session.send("proc/write/req", json!({ "proc_id": id, "data": "y" })).await;
    assert_eq!(session.call("ping", json!({})).await["type"], "pong");
    assert_eq!(run(&mut session, "echo meanwhile").await.stdout, ["meanwhile\n"]);
    // A write that is cancelled makes way for the next one.
    session.send_line(&json!({ "type": "cancel", "req_id": second }).to_string()).await;
    assert_eq!(session.reply_to(&second).await["code"], "cancelled");
    assert_eq!(session.reply_to(&first).await["ok"], true);
    assert_eq!(write(&mut session, &id, "z", true).await["ok"], true);
    let told = told(&mut session, &id).await;
    assert_eq!(told.stdout[0].trim(), format!("{}", big.len() + 1));
    host.stop().await;
}
