//! Starts, ends and what is known meanwhile.

use serde_json::{Value, json};

use super::{Set, failure, is, servers, text, tools, until, upstream, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_answered_for_and_comes_back() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    let error = failure(&mut session, "up__die", json!({})).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("mcp_server_unavailable"), &json!(true)),
        "{error}"
    );
    let why = error["message"].as_str().unwrap();
    assert!(why.contains("exit code 3") && why.contains("last words"), "{why}");
    assert!(error["detail"]["stderr"].as_array().unwrap().contains(&json!("last words")));
    assert!(tools(&mut session).await.contains_key("up__echo"), "it stays listed");
    // A call waits for the next start.
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    let info = servers(&mut session).await["up"].clone();
    assert_eq!((&info["status"], &info["restarts"]), (&json!("ready"), &json!(1)));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_fail_at_once_when_a_server_is_killed() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    let env: Value = serde_json::from_str(&text(&mut session, "up__env", json!({})).await).unwrap();
    let pid = i32::try_from(env["pid"].as_i64().unwrap()).unwrap();
    for _ in 0..8 {
        let request = json!({ "tool_name": "up__slow", "arguments": { "steps": 1_000_000 },
                              "streaming": true, "timeout": 300 });
        let id = session.send("tool/call/req", request).await;
        while session.next().await.unwrap()["req_id"] != id {}
    }
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut ended = 0;
    while ended < 8 {
        let line = session.next().await.unwrap();
        if line["type"] == "tool/event" {
            continue;
        }
        ended += 1;
        assert_eq!((&line["type"], &line["retryable"]), (&json!("error"), &json!(true)), "{line}");
        assert!(line["message"].as_str().unwrap().contains("signal 9"), "{line}");
    }
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_again_and_again_is_left_alone() {
    let set = Set::with(json!({ "servers": { "up": upstream("exit") }, "start_wait": 0 })).await;
    let mut session = set.host.session();
    let info = until(&mut session, "up", is("error")).await;
    assert!(info["error"].as_str().unwrap().contains("exit code 7"), "{info}");
    assert_eq!(failure(&mut session, "up__echo", json!({})).await["code"], "unknown_tool");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_is_stopped_stays_listed_and_starts_when_it_is_used() {
    let set = Set::up(json!({ "up": with("well", json!({ "idle_stop": 0.2 })) })).await;
    let mut session = set.host.session();
    until(&mut session, "up", is("disconnected")).await;
    assert!(tools(&mut session).await.contains_key("up__echo"));
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    let info = servers(&mut session).await["up"].clone();
    assert_eq!((&info["restarts"], &info["error"]), (&json!(0), &json!("")));
    until(&mut session, "up", is("disconnected")).await;
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_server_costs_no_start() {
    let servers_of = json!({ "up": upstream("well") });
    let state = Set::up(servers_of.clone()).await.down().await;
    let set = Set::kept(json!({ "servers": servers_of }), state).await;
    let mut session = set.host.session();
    assert!(tools(&mut session).await.contains_key("up__echo"));
    let info = servers(&mut session).await["up"].clone();
    assert_eq!((&info["status"], &info["stderr"]), (&json!("disconnected"), &json!([])));
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    let state = set.down().await;
    // Another program is another server, of which nothing is known.
    let other = json!({ "up": with("well", json!({ "cwd": "/" })) });
    let set = Set::kept(json!({ "servers": other, "start_wait": 10 }), state).await;
    let mut session = set.host.session();
    assert_eq!(servers(&mut session).await["up"]["status"], "ready");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named() {
    let mut state = Set::up(json!({ "up": upstream("well") })).await.down().await;
    let known = json!({ "up": { "command": "no-such-program" } });
    for _ in 0..2 {
        let settings = json!({ "servers": known, "start_wait": 5 });
        let set = Set::kept(settings, state).await;
        let mut session = set.host.session();
        let info = until(&mut session, "up", |it| it["error"] != "").await;
        assert!(info["error"].as_str().unwrap().contains("no-such-program"), "{info}");
        state = set.down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_reaches_agents() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    session.handshake(&["tools", "mcp"]).await;
    assert_eq!(text(&mut session, "up__grow", json!({})).await, "grown");
    let mut types = Vec::new();
    while types.len() < 2 {
        let line = session.next().await.unwrap();
        types.push(line["type"].as_str().unwrap().to_owned());
        if line["type"] == "mcp/server/push" {
            assert_eq!(line["method"], "notifications/tools/list_changed");
            assert_eq!(line["server_id"], "up");
        }
    }
    types.sort();
    assert_eq!(types, ["mcp/server/push", "tool/changed/push"]);
    assert_eq!(text(&mut session, "up__new0", json!({})).await, "new");
    set.host.stop().await;
}
