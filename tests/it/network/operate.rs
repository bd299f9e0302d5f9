//! The operator's side over HTTP: status, reload, cancel, audit, metrics, the document of its routes.

use serde_json::{Value, json};

use super::host;
use super::raw::{Reply, Site};
use crate::process::support::program::{Host, PATIENCE, Place, until_some};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "fedcba9876543210fedcba9876543210";

fn config() -> String {
    format!(
        "auth_token: {TOKEN}\noperator_token: {OPERATOR}\naudit: {{enabled: true, path: '{{}}/audit.jsonl'}}"
    )
}

fn post(site: &Site, path: &str, body: &Value) -> Reply {
    site.request(&format!("POST {path}"), &[], body.to_string().as_bytes())
}

#[test]
fn only_the_operator_token_opens_it() {
    let place = Place::new();
    let (host, mut site) = host(&place, &config());
    let rows = [(None, 401), (Some(TOKEN), 403), (Some("guess"), 401), (Some(OPERATOR), 200)];
    for (token, status) in rows {
        site.token = token;
        for path in ["/api/status", "/api/audit", "/api/openapi.json", "/metrics"] {
            assert_eq!(site.get(path, &[]).status, status, "{token:?} {path}");
        }
        let reload = post(&site, "/api/reload", &json!({}));
        assert_eq!(reload.status, status, "{token:?} {reload:?}");
    }
    host.stop();
    // Without an operator token nobody is one, and the answer says what to show.
    let (host, site) = super::host(&Place::new(), "");
    let reply = site.get("/api/status", &[]);
    assert_eq!(reply.status, 401);
    assert!(reply.detail().contains("operator_token"), "{reply:?}");
    host.stop();
}

#[test]
fn an_operator_looks_reloads_and_cancels() {
    let place = Place::new();
    let (host, mut site) = host(&place, &config());
    site.token = Some(TOKEN);
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let call = json!({ "tool_name": "sleep", "arguments": { "ms": 60_000 } });
    site.send(&session, "tool/call/req", "slow", call);
    site.token = Some(OPERATOR);
    let shown = until_some(PATIENCE, "the call is shown", || {
        let status = site.get("/api/status", &[]).json();
        let sessions = status["busiest"].as_array().unwrap().clone();
        // It is listed before its handler begins.
        sessions.into_iter().find(|it| it["in_flight"][0]["plugin"] == "demo")
    });
    assert_eq!(shown["session_id"], session);
    assert_eq!(shown["principal"], "token:agent");
    assert_eq!(shown["in_flight"][0]["req_id"], "slow");
    let cancel = json!({ "session_id": session, "req_id": "slow" });
    assert_eq!(post(&site, "/api/cancel", &cancel).json()["found"], true);
    assert_eq!(stream.next().unwrap().message["code"], "cancelled");
    assert_eq!(post(&site, "/api/cancel", &cancel).json()["found"], false);
    let report = post(&site, "/api/reload", &json!({ "rebuild": ["demo"] })).json();
    assert_eq!((&report["ok"], &report["rebuilt"]), (&json!(true), &json!(["demo"])), "{report}");
    std::fs::write(place.path("a2e.yaml"), "plugins: [5]").unwrap();
    let refused = post(&site, "/api/reload", &json!({}));
    assert_eq!((refused.status, &refused.json()["ok"]), (409, &json!(false)), "{refused:?}");
    let why = post(&site, "/api/explain", &json!({ "message_type": "tool/call/req" })).json();
    assert_eq!(why["handlers"][0]["plugin"], "demo", "{why}");
    for body in ["[]", "{", "5", "{\"message_type\": 5}"] {
        let reply = site.request("POST /api/explain", &[], body.as_bytes());
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    }
    let reply = site.request("POST /api/explain", &[], &vec![b' '; 70_000]);
    assert_eq!(reply.status, 413, "{reply:?}");
    host.stop();
}

#[test]
fn the_audit_is_found_by_what_its_records_say() {
    let place = Place::new();
    let (host, mut site) = host(&place, &config());
    site.token = Some(TOKEN);
    let session = site.open();
    let mut stream = site.stream(&session, None);
    for number in 0..5 {
        let name = if number % 2 == 0 { "echo" } else { "none" };
        let call = json!({ "tool_name": name, "arguments": {} });
        site.send(&session, "tool/call/req", &number.to_string(), call);
        stream.take(1);
    }
    site.token = Some(OPERATOR);
    let find = |query: &str| {
        let page = site.get(&format!("/api/audit?{query}"), &[]).json();
        let ids = page["records"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.map(|it| it["req_id"].as_str().unwrap().to_owned()).collect();
        (ids, page["next"].as_u64())
    };
    assert_eq!(find("type=tool/call/req").0, ["4", "3", "2", "1", "0"]);
    assert_eq!(find("type=tool/call/req&outcome=ok").0, ["4", "2", "0"]);
    assert_eq!(find("error_code=unknown_tool&plugin=demo").0, ["3", "1"]);
    assert_eq!(find(&format!("session_id={session}&req_id=2")).0, ["2"]);
    assert_eq!(find("since=99999999999").0, Vec::<String>::new());
    let (first, next) = find("type=tool/call/req&limit=2");
    let (second, last) = find(&format!("type=tool/call/req&limit=2&before={}", next.unwrap()));
    let (third, none) = find(&format!("type=tool/call/req&limit=2&before={}", last.unwrap()));
    assert_eq!([first, second, third].concat(), ["4", "3", "2", "1", "0"]);
    assert_eq!(none, None);
    for query in ["limit=x", "since=x", "nonsense=1"] {
        assert_eq!(site.get(&format!("/api/audit?{query}"), &[]).status, 400, "{query}");
    }
    host.stop();
}

#[test]
fn the_audit_is_found_by_what_its_requests_were_about() {
    let place = Place::new();
    let plugins = "plugins: [{name: m, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}]";
    let file = place.config(&format!("{}\n{plugins}", config()));
    let host = Host::serve(&["-c", &file, "--listen", "http://127.0.0.1:0"]);
    let mut site = Site::at(&host.addresses(1)[0]);
    site.token = Some(TOKEN);
    let session = site.open();
    let mut stream = site.stream(&session, None);
    for (id, namespace) in [("a", "plans"), ("b", "notes"), ("c", "plans")] {
        site.send(&session, "memory/init/req", id, json!({ "namespace": namespace }));
        stream.take(1);
    }
    site.token = Some(OPERATOR);
    let page = site.get("/api/audit?type=memory/init/req&subject=plans", &[]).json();
    let records = page["records"].as_array().unwrap();
    let ids: Vec<&Value> = records.iter().map(|it| &it["req_id"]).collect();
    assert_eq!(ids, ["c", "a"], "{page}");
    host.stop();
}

#[test]
fn metrics_count_by_type_and_outcome_and_take_no_label_from_a_client() {
    let place = Place::new();
    let (host, mut site) = host(&place, &config());
    site.token = Some(TOKEN);
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let call = json!({ "tool_name": "echo", "arguments": {} });
    site.send(&session, "tool/call/req", "a", call);
    site.send(&session, "tool/call/req", "b", json!({ "tool_name": "none" }));
    site.send(&session, "made/up\"by{a=client}", "c", json!({}));
    stream.take(3);
    site.token = Some(OPERATOR);
    let text = site.get("/metrics", &[]);
    assert!(text.head.contains("text/plain; version=0.0.4"), "{}", text.head);
    for line in [
        "a2e_requests_total{type=\"tool/call/req\",outcome=\"ok\"} 1",
        "a2e_requests_total{type=\"tool/call/req\",outcome=\"error\"} 1",
        "a2e_run_seconds_count{type=\"tool/call/req\"} 2",
        "a2e_run_seconds_bucket{type=\"tool/call/req\",le=\"+Inf\"} 2",
        "a2e_plugin_up{plugin=\"demo\"} 1",
        "a2e_sessions 1",
        "a2e_children 0",
        "a2e_plugin_breaker_opened_total{plugin=\"demo\"} 0",
        "a2e_events_total{event=\"dropped_events\"} 0",
        "a2e_queue_seconds_count{type=\"tool/call/req\"} 2",
        "a2e_http_answers_total{status=\"200\"} 5",
        "a2e_http_broken_total 0",
    ] {
        assert!(text.body.lines().any(|it| it == line), "{line}: {}", text.body);
    }
    assert!(!text.body.contains("made/up"), "{}", text.body);
    // Each name is described once, before its values.
    let names: Vec<&str> =
        text.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    host.stop();
}

#[test]
fn the_document_describes_the_routes_that_there_are() {
    let place = Place::new();
    let (host, mut site) = host(&place, &config());
    site.token = Some(OPERATOR);
    let document = site.get("/api/openapi.json", &[]).json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14, "{paths:?}");
    for (path, methods) in paths {
        for method in ["get", "post", "put", "delete"] {
            if path == "/api/drain" && method == "post" {
                continue;
            }
            let reply = site.request(&format!("{} {path}", method.to_uppercase()), &[], b"");
            let is_told = methods.get(method).is_some();
            let is_there = reply.status != 405 && !reply.body.contains("nothing is served at");
            assert_eq!(is_told, is_there, "{method} {path}: {reply:?}");
        }
    }
    let status = &paths["/api/status"]["get"]["responses"]["200"]["content"]["application/json"];
    assert!(status["schema"]["properties"]["plugins"].is_object(), "{status}");
    host.stop();
}

#[test]
fn a_drain_over_http_finishes_what_was_accepted_and_ends_the_host() {
    let place = Place::new();
    let (mut host, mut site) = host(&place, &config());
    site.token = Some(TOKEN);
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let call = json!({ "tool_name": "sleep", "arguments": { "ms": 500 } });
    site.send(&session, "tool/call/req", "slow", call);
    site.send(&session, "ping", "p", json!({}));
    stream.take(1);
    assert_eq!(post(&site, "/api/drain", &json!({})).status, 403, "agents may not");
    site.token = Some(OPERATOR);
    let reply = post(&site, "/api/drain", &json!({ "drain_s": 10.0 }));
    assert_eq!((reply.status, &reply.json()["type"]), (200, &json!("host/stop/resp")), "{reply:?}");
    let last = stream.next().expect("the answer").message;
    assert_eq!((&last["req_id"], &last["type"]), (&json!("slow"), &json!("tool/call/resp")));
    assert!(stream.next().is_none(), "the stream ends");
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}
