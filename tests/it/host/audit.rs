//! The audit of a whole host: one record per request, before its answer (R52, R55).

use std::path::Path;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{AuditMode, AuditOnError};
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{
    audited, end, next, of, plugin, records, records_of, script, settled, silent, tuned, with,
};

async fn host(path: &Path) -> TestHost {
    let single = tuned(script("one", "pool", "hang"), |it| it.permits = Some(1));
    let mut config = with([plugin("echo", "Echo"), script("a", "inline", "reply"), single]);
    config.limits.max_queue = 1;
    TestHost::start(audited(config, path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_r55_each_way_to_end_leaves_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let host = host(&path).await;
    let mut session = host.session();
    session.handshake(&[]).await;
    for (act, outcome, code) in [
        ("reply", "ok", None),
        ("error tool_error", "error", Some("tool_error")),
        ("pass unknown_tool", "error", Some("unknown_tool")),
        ("nothing", "error", Some("internal_error")),
        ("nan", "error", Some("internal_error")),
        ("panic", "panic", Some("internal_error")),
        ("pool reply", "ok", None),
        ("blocking panic", "panic", Some("internal_error")),
        ("future error x", "error", Some("x")),
    ] {
        let body = json!({ "acts": { "a": act, "one": "pass invalid_message" } });
        let id = session.send("script/first/req", body).await;
        let answer = session.reply_to(&id).await;
        // The answer was read, so the record is there.
        let found = records_of(&path, &id);
        assert_eq!(found.len(), 1, "{act}: {found:?}");
        let record = &found[0];
        assert_eq!(record["outcome"], outcome, "{act}");
        assert_eq!(record["error_code"].as_str(), code, "{act}");
        assert_eq!(record["success"], outcome == "ok", "{act}");
        assert_eq!(record["agent_id"], "test");
        assert_eq!(record["type"], "script/first/req");
        assert!(record["input_bytes"].as_u64().unwrap() > 40, "{record}");
        let line = answer.to_string().len() as u64;
        let output = record["output_bytes"].as_u64().unwrap();
        assert!(output.abs_diff(line) < 8, "{act}: {output} for a line of about {line}");
        if outcome == "ok" {
            assert_eq!(record["plugin"], "a", "{act}");
        }
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_refused_cancelled_and_late_requests_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let host = host(&path).await;
    let switch = Switch::new();
    let mut session = host.session();
    let alone = |probe: &str| json!({ "acts": { "a": "pass x" }, "probe": probe });
    let hanging = session.send("script/soon/req", alone(switch.key())).await;
    switch.entered(1).await;
    let queued = session.send("script/first/req", alone(switch.key())).await;
    let overloaded = session.send("script/first/req", alone(switch.key())).await;
    assert_eq!(session.reply_to(&overloaded).await["code"], "overloaded");
    session.send("cancel", json!({ "req_id": queued })).await;
    assert_eq!(session.reply_to(&queued).await["code"], "cancelled");
    assert_eq!(session.reply_to(&hanging).await["code"], "timeout");
    for (line, code) in [
        ("x", "parse_error"),
        (r#"{"type":"nope","id":"n"}"#, "unknown_type"),
        (r#"{"id":"n"}"#, "invalid_message"),
        (r#"{"type":"echo/inline/req","id":7}"#, "schema_violation"),
        (r#"{"type":"echo/inline/req","id":"n","version":"7"}"#, "version_mismatch"),
    ] {
        session.send_line(line).await;
        assert_eq!(next(&mut session).await["code"], code);
        let last = records(&path).pop().unwrap();
        assert_eq!((&last["outcome"], &last["error_code"]), (&json!("refused"), &json!(code)));
        assert_eq!(last["input_bytes"], line.len());
    }
    for (id, outcome) in [(hanging, "timeout"), (queued, "cancelled"), (overloaded, "refused")] {
        let found = records_of(&path, &id);
        assert_eq!(found.len(), 1, "{outcome}: {found:?}");
        assert_eq!(found[0]["outcome"], outcome);
    }
    switch.open();
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_pings_events_pushes_and_cancels_leave_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let host = TestHost::start(audited(with([plugin("emitter", "Emitter")]), &path)).await;
    let switch = Switch::new();
    let mut session = host.session();
    session.handshake(&[]).await;
    silent(&mut session).await;
    session.send("cancel", json!({ "req_id": "x" })).await;
    session.send_line(r#"{"type":"error","req_id":"x"}"#).await;
    let id = session.send("emit/flood/req", json!({ "count": 50 })).await;
    session.reply_to(&id).await;
    session.call("emit/late/req", json!({ "probe": switch.key() })).await;
    switch.noted("push").await;
    session.send("shutdown", json!({})).await;
    assert!(session.finish().await.iter().all(|it| it["type"] != "error"));
    end(host).await;
    let kinds: Vec<_> = records(&path).iter().map(|it| it["type"].to_string()).collect();
    assert_eq!(kinds, [r#""emit/flood/req""#, r#""emit/late/req""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_one_way_message_is_recorded_although_nothing_is_sent() {
    for run in ["inline", "pool", "future"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let host = TestHost::start(audited(with([script("a", run, "nothing")]), &path)).await;
        let mut session = host.session();
        let id = session.send("script/heard", json!({})).await;
        let written = async {
            while records_of(&path, &id).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), written).await.expect("it is written");
        let record = &records_of(&path, &id)[0];
        assert_eq!(
            (&record["outcome"], &record["output_bytes"]),
            (&json!("ok"), &json!(0)),
            "{run}"
        );
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_record_has_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let host = host(&path).await;
    let mut session = host.session();
    let handshake = session.handshake(&[]).await;
    assert_eq!(handshake["host"]["audit"], "write");
    let line = r#"{"type":"script/all/req","id":"i","correlation_id":"c","acts":{"one":"reply"}}"#;
    session.send_line(line).await;
    session.reply_to("i").await;
    session.send_line(r#"{"type":"echo/inline/req","id":"j"}"#).await;
    session.reply_to("j").await;
    let record = &records_of(&path, "i")[0];
    assert_eq!(record["correlation_id"], "c");
    assert_eq!(records_of(&path, "j")[0]["correlation_id"], "j", "the id where there is none");
    assert_eq!(record["input_bytes"], line.len());
    for key in ["ts", "session_id", "duration_ms", "seq", "mono_us", "queue_us", "run_us", "crc"] {
        assert!(!record[key].is_null(), "{key}: {record}");
    }
    assert_eq!(record["session_id"], handshake["session_id"]);
    assert!(record["run_us"].is_u64() && record["duration_ms"].is_u64());
    session.finish().await;
    end(host).await;
    let scan = a2e_core::audit::scan(&path).unwrap();
    assert!(scan.is_clean(), "{scan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_every_answer_of_many_sessions_is_recorded_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let host = TestHost::start(audited(with([plugin("echo", "Echo")]), &path)).await;
    let mut tasks = Vec::new();
    for client in 0..4 {
        let mut session = host.session();
        let path = path.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..10 {
                for kind in ["echo/inline/req", "echo/pool/req", "echo/future/req"] {
                    let id = format!("{client}-{round}-{kind}");
                    session.send_line(&json!({ "type": kind, "id": id }).to_string()).await;
                    session.reply_to(&id).await;
                    assert_eq!(records_of(&path, &id).len(), 1, "{id}");
                }
            }
            session.finish().await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    end(host).await;
    let found = records(&path);
    assert_eq!(found.len(), 120);
    let mut seqs: Vec<u64> = found.iter().map(|it| it["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "dense: {seqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_an_audit_that_cannot_be_written_loses_no_answer_and_shows_in_status() {
    let folder = tempfile::tempdir().unwrap();
    // Everything that is written to this file fails as on a full disk.
    let path = Path::new("/dev/full");
    let config = audited(with([plugin("echo", "Echo")]), path);
    let started = TestHost::build(Executor::builder(config)).await;
    drop(folder);
    let Ok(host) = started else { return };
    let mut session = host.session();
    for _ in 0..3 {
        assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    }
    let status = host.executor().status();
    assert!(status.is_degraded && status.audit_failing.is_some(), "{status:?}");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r54_two_hosts_on_one_path_write_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let config = || audited(with([plugin("echo", "Echo")]), &path);
    let (one, two) = (TestHost::start(config()).await, TestHost::start(config()).await);
    let beside = two.executor().status().audit_path.unwrap();
    assert_eq!(one.executor().status().audit_path.unwrap(), path.display().to_string());
    assert!(
        beside.starts_with(&path.display().to_string()) && beside.len() > path.as_os_str().len()
    );
    for (host, file) in [(&one, path.as_path()), (&two, Path::new(&beside))] {
        let mut session = host.session();
        let id = session.send("echo/inline/req", json!({})).await;
        session.reply_to(&id).await;
        let found: Vec<Value> = records(file);
        assert_eq!(found.len(), 1);
        session.finish().await;
    }
    end(one).await;
    end(two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_refuse_answers_each_request_once_and_without_its_work() {
    // Everything that is written to this file fails as on a full disk.
    let path = Path::new("/dev/full");
    for (mode, run) in [
        (AuditMode::Write, "inline"),
        (AuditMode::Write, "pool"),
        (AuditMode::Write, "blocking"),
        (AuditMode::Write, "future"),
        (AuditMode::Buffered, "inline"),
    ] {
        let mut config = audited(with([plugin("echo", "Echo"), script("a", run, "reply")]), path);
        config.audit.mode = mode;
        config.audit.on_error = Some(AuditOnError::Refuse);
        let Ok(host) = TestHost::build(Executor::builder(config)).await else { return };
        let mut session = host.session();
        session.handshake(&[]).await;
        if mode == AuditMode::Buffered {
            // Here the failure is known only after the first answers.
            session.call("echo/inline/req", json!({ "text": "t" })).await;
            let fails = async {
                while host.executor().status().audit_failing.is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), fails).await.expect("it is noticed");
        }
        let mut has_run = Vec::new();
        for _ in 0..5 {
            let id = session.send("script/first/req", json!({})).await;
            let answer = session.reply_to(&id).await;
            assert_eq!(answer["code"], "audit_unavailable", "{answer}");
            assert_eq!(answer["retryable"], true);
            has_run.push(answer["detail"]["has_run"].as_bool().unwrap());
        }
        let expected = [mode == AuditMode::Write, false, false, false, false];
        assert_eq!(has_run, expected, "only what came before the failure was known");
        silent(&mut session).await;
        let calls = of(&host.executor().status(), "a").calls;
        assert_eq!(calls, u64::from(mode == AuditMode::Write), "refused ones reach no handler");
        let late = session.finish().await;
        assert!(late.iter().all(|it| it["type"] == "pong"), "one answer for each: {late:?}");
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_sync_answers_after_the_disk_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let mut config = audited(with([plugin("echo", "Echo"), plugin("emitter", "Emitter")]), &path);
    config.audit.mode = AuditMode::Sync;
    let host = TestHost::start(config).await;
    let mut sessions: Vec<_> = (0..8).map(|_| host.session()).collect();
    let handshake = sessions[0].handshake(&[]).await;
    assert_eq!(handshake["host"]["audit"], "sync");
    let mut ids = Vec::new();
    for _ in 0..20 {
        for session in &mut sessions {
            ids.push(session.send("echo/inline/req", json!({ "text": "t" })).await);
            ids.push(session.send("emit/flood/req", json!({ "count": 3 })).await);
        }
    }
    for (place, ids) in ids.chunks(16).enumerate() {
        for (session, ids) in sessions.iter_mut().zip(ids.chunks(2)) {
            for id in ids {
                let answer = session.reply_to(id).await;
                assert_ne!(answer["type"], "error", "round {place}: {answer}");
                assert!(!records_of(&path, id).is_empty(), "the answer was read, so it is there");
            }
        }
    }
    for mut session in sessions {
        assert_eq!(session.others().len(), 60, "the events of 20 floods");
        silent(&mut session).await;
        session.finish().await;
    }
    end(host).await;
    let found = a2e_core::audit::verify(&path).unwrap();
    assert_eq!((found.wrong, found.records, found.unsealed), (0, 320, None));
}
