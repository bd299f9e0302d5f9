//! Skills that are programs, and programs that misbehave.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

/// Writes a skill with a program of this script.
pub(super) fn program(root: &Path, name: &str, script: &str) {
    skill(root, name, &format!("name: {name}\ndescription: d\ncommand: run.sh -x"), "");
    file(root, &format!("{name}/run.sh"), &format!("#!/bin/sh\n{script}\n"));
    let path = root.join(name).join("run.sh");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_the_call_and_gives_its_result() {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "echo", "read line; echo \"$line\"");
    program(folder.path(), "text", "pwd; echo \"$1\"");
    program(
        folder.path(),
        "tells",
        r#"echo '{"type":"skill/event","kind":"progress","data":{"pct":50}}'; echo 'not {json'; printf end"#,
    );
    program(folder.path(), "fails", "echo partly; echo why it failed >&2; exit 3");
    let host = host(&[folder.path()], json!({ "allow_programs": true })).await;
    let mut session = host.session();
    let request = json!({
        "name": "echo", "arguments": { "a": [1] }, "correlation_id": "c", "metadata": { "m": 1 },
    });
    let reply = session.call("skill/call/req", request).await;
    assert_eq!(
        reply["data"]["data"],
        json!({ "name": "echo", "arguments": { "a": [1] }, "correlation_id": "c", "metadata": { "m": 1 } })
    );
    let kinds: Vec<Value> = session.others().into_iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["skill.started", "skill.completed"]);
    let reply = call(&mut session, "text", json!({})).await;
    let expected =
        format!("{}\n-x\n", folder.path().join("text").canonicalize().unwrap().display());
    assert_eq!(reply["data"]["data"]["text"], expected);
    session.others();
    let reply = call(&mut session, "tells", json!({})).await;
    assert_eq!(reply["data"]["data"]["text"], "not {json\nend");
    let events = session.others();
    let kinds: Vec<&Value> = events.iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["skill.started", "progress", "skill.completed"]);
    assert_eq!((&events[1]["data"]["pct"], &events[1]["seq"]), (&json!(50), &json!(1)));
    let reply = call(&mut session, "fails", json!({})).await;
    let data = &reply["data"];
    assert_eq!(
        (&data["success"], &data["error_code"]),
        (&json!(false), &json!("skill_error")),
        "{reply}"
    );
    assert_eq!(data["data"]["text"], "partly\n");
    let error = reply["error"]["message"].as_str().unwrap();
    assert!(error.contains("exit code 3") && error.contains("why it failed"), "{error}");
    assert_eq!(reply["error"]["retryable"], false);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_may_not_run_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    program(root, "off", "touch \"$0.ran\"");
    let closed = host(&[root], json!({})).await;
    let reply = call(&mut closed.session(), "off", json!({})).await;
    assert_eq!(reply["code"], "skill_error", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("allow_programs"), "{reply}");
    assert!(!root.join("off/run.sh.ran").exists());
    closed.stop().await;

    file(root, "outside.sh", "#!/bin/sh\ntrue\n");
    for (name, command) in [
        ("above", "../outside.sh"),
        ("absolute", "/bin/true"),
        ("linked", "link"),
        ("missing", "none.sh"),
        ("folder", "."),
    ] {
        skill(root, name, &format!("name: {name}\ndescription: d\ncommand: {command}"), "");
    }
    std::os::unix::fs::symlink("/bin/true", root.join("linked/link")).unwrap();
    skill(root, "plain", "name: plain\ndescription: d\ncommand: SKILL.md", "");
    let host = host(&[root], json!({ "allow_programs": true })).await;
    let mut session = host.session();
    for (name, code) in [
        ("above", "skill_error"),
        ("absolute", "skill_error"),
        ("linked", "skill_error"),
        ("missing", "skill_error"),
        ("folder", "skill_error"),
        ("plain", "runtime_error"),
    ] {
        let reply = call(&mut session, name, json!({})).await;
        assert_eq!(
            (&reply["type"], &reply["code"]),
            (&json!("error"), &json!(code)),
            "{name}: {reply}"
        );
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_or_floods_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "hang", "sleep 1000 & sleep 1000");
    program(folder.path(), "deaf", "exec sleep 1000 <&-");
    program(folder.path(), "flood", "exec yes");
    let settings =
        json!({ "allow_programs": true, "max_programs": 1, "max_output_bytes": 100_000 });
    let host = host(&[folder.path()], settings).await;
    let mut session = host.session();
    let reply = call(&mut session, "flood", json!({})).await;
    assert_eq!(reply["code"], "skill_error", "{reply}");
    host.until("no child", |it| it.children == 0).await;
    let late = json!({ "name": "hang", "timeout": 1 });
    assert_eq!(session.call_error("skill/call/req", late).await, "timeout");
    host.until("no child", |it| it.children == 0).await;

    let arguments = json!({ "args": "x".repeat(1 << 20) });
    let hanging =
        session.send("skill/call/req", json!({ "name": "deaf", "arguments": arguments })).await;
    host.until("a child", |it| it.children == 1).await;
    let full = call(&mut session, "hang", json!({})).await;
    assert_eq!((&full["code"], &full["retryable"]), (&json!("overloaded"), &json!(true)), "{full}");
    session.send("cancel", json!({ "req_id": hanging })).await;
    assert_eq!(session.reply_to(&hanging).await["code"], "cancelled");
    host.until("no child", |it| it.children == 0).await;

    // The session goes while it runs.
    session.send("skill/call/req", json!({ "name": "hang" })).await;
    host.until("a child", |it| it.children > 0).await;
    drop(session);
    tokio::time::timeout(Duration::from_secs(20), host.until("no child", |it| it.children == 0))
        .await
        .expect("it ends with its session");
    host.stop().await;
}
