//! Servers that misbehave: each is answered for, and harms no other.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::remote::{Server, serve};
use super::{PATIENCE, Set, call, failure, is, servers, text, tools, until, upstream};

#[tokio::test(flavor = "multi_thread")]
async fn answers_twice_under_wrong_ids_and_prints_are_survived() {
    let set = Set::up(json!({ "up": upstream("well") })).await;
    let mut session = set.host.session();
    assert_eq!(text(&mut session, "up__twice", json!({})).await, "first");
    assert_eq!(text(&mut session, "up__wrong_id", json!({})).await, "yours");
    assert_eq!(text(&mut session, "up__print", json!({})).await, "printed");
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    let info = servers(&mut session).await["up"].clone();
    assert_eq!((&info["stray_lines"], &info["restarts"]), (&json!(3), &json!(0)));
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_bound_ends_its_server_and_nothing_else() {
    let set = Set::up(json!({ "up": upstream("well"), "other": upstream("well") })).await;
    let mut session = set.host.session();
    let error = failure(&mut session, "up__huge", json!({})).await;
    assert_eq!(error["code"], "mcp_protocol_error");
    assert!(error["message"].as_str().unwrap().contains("16777216 bytes"), "{error}");
    assert_eq!(text(&mut session, "other__echo", json!({ "text": "x" })).await, "x");
    // It comes back.
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "y" })).await, "y");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_bound_ends_no_host_over_http_either() {
    let far = serve("well", None);
    for settings in
        [json!({ "url": far.at("/mcp") }), json!({ "url": far.at("/sse"), "transport": "sse" })]
    {
        let set = Set::up(json!({ "up": settings, "other": upstream("well") })).await;
        let mut session = set.host.session();
        until(&mut session, "up", is("ready")).await;
        let error = failure(&mut session, "up__huge", json!({})).await;
        assert_ne!(error["code"], "timeout", "{settings}: {error}");
        assert_eq!(text(&mut session, "other__echo", json!({ "text": "x" })).await, "x");
        assert_eq!(text(&mut session, "up__echo", json!({ "text": "y" })).await, "y");
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_servers_five_are_broken_and_fifteen_are_listed() {
    let mut all = Map::new();
    for number in 0..15 {
        all.insert(format!("good{number}"), upstream("well"));
    }
    for mode in ["exit", "hang", "garbage", "hang_list"] {
        all.insert(format!("bad_{mode}"), upstream(mode));
    }
    all.insert("bad_missing".to_owned(), json!({ "command": "/no/such/program" }));
    let set = Set::with(json!({ "servers": all, "start_wait": 0 })).await;
    let mut session = set.host.session();
    for number in 0..15 {
        until(&mut session, &format!("good{number}"), is("ready")).await;
    }
    let tools = tools(&mut session).await;
    assert_eq!(tools.keys().filter(|it| it.ends_with("__echo")).count(), 15);
    // All of that before the time to start is over for those that hang.
    let now = servers(&mut session).await;
    for hangs in ["bad_hang", "bad_hang_list", "bad_garbage"] {
        assert_eq!(now[hangs]["status"], "connecting", "{}", now[hangs]);
    }
    let exit = until(&mut session, "bad_exit", |it| it["error"] != "").await;
    let why = exit["error"].as_str().unwrap();
    assert!(why.contains("exit code 7") && why.contains("cannot begin"), "{why}");
    let missing = until(&mut session, "bad_missing", |it| it["error"] != "").await;
    assert!(missing["error"].as_str().unwrap().contains("/no/such/program"), "{missing}");
    set.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_in_its_start_is_given_up() {
    let (hangs, hangs_in_list) = (serve("hang", None), serve("hang_list", None));
    let far = |server: &Server| json!({ "url": server.at("/mcp") });
    for (server, limit, what) in [
        (upstream("hang"), 0.5, "beginning"),
        (upstream("garbage"), 0.5, "beginning"),
        (upstream("hang_list"), 4.0, "list"),
        (far(&hangs), 0.5, "beginning"),
        (far(&hangs_in_list), 4.0, "list"),
    ] {
        let mut server = server;
        let more = json!({ "start_timeout": limit, "restart": false });
        server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let set = Set::up(json!({ "up": server })).await;
        let mut session = set.host.session();
        let info = until(&mut session, "up", is("error")).await;
        let why = info["error"].as_str().unwrap();
        assert!(why.contains(what) && why.contains("within"), "{why}");
        set.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_stop_is_killed() {
    let set = Set::up(json!({ "up": upstream("stubborn") })).await;
    let mut session = set.host.session();
    let env: Value = serde_json::from_str(&text(&mut session, "up__env", json!({})).await).unwrap();
    let pid = env["pid"].as_u64().unwrap();
    let gone = move || !std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(!gone());
    set.host.stop().await;
    for _ in 0..500 {
        if gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{pid} lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_ends_though_a_server_does_not_let_its_session_end() {
    let server = serve("hang_stop", None);
    let set = Set::up(json!({ "up": { "url": server.at("/mcp") } })).await;
    let mut session = set.host.session();
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    tokio::time::timeout(PATIENCE, set.host.stop()).await.expect("an end, in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_server_is_spoken_with_in_its_own_way() {
    let set = Set::up(json!({ "up": upstream("modern") })).await;
    let mut session = set.host.session();
    let info = servers(&mut session).await["up"].clone();
    assert_eq!((&info["mcp_version"], &info["error"]), (&json!("2026-07-28"), &json!("")));
    assert_eq!(text(&mut session, "up__echo", json!({ "text": "x" })).await, "x");
    let data = call(&mut session, "up__typed", json!({ "a": 1, "b": 1 })).await;
    assert_eq!(data["data"]["sum"], 2);
    set.host.stop().await;
}
