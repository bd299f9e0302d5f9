//! Who may ask over HTTP, and how much: names, pages, tokens, sizes, times (R60 to R65).

use std::io::Write;

use serde_json::json;

use super::host;
use super::raw::read_reply;
use crate::process::support::program::{Host, Place};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "fedcba9876543210fedcba9876543210";

#[test]
fn requests_of_no_session_are_answered_as_the_reference_does() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let rows = [
        ("POST /send", None, 400, "Missing X-Session-Id"),
        ("GET /stream", None, 400, "Missing X-Session-Id"),
        ("DELETE /session", None, 400, "Missing X-Session-Id"),
        ("POST /send", Some("nobody"), 404, "Session not found"),
        ("GET /stream", Some("nobody"), 404, "Session not found"),
        ("DELETE /session", Some(""), 404, "Session not found"),
    ];
    for (line, id, status, detail) in rows {
        let headers: Vec<_> = id.map(|id| ("X-Session-Id", id)).into_iter().collect();
        let reply = site.request(line, &headers, b"");
        assert_eq!((reply.status, reply.detail().as_str()), (status, detail), "{line} {id:?}");
    }
    let session = site.open();
    let last = |value| [("X-Session-Id", session.as_str()), ("Last-Event-ID", value)];
    for value in ["7", "-1", "x", "18446744073709551616"] {
        assert_eq!(site.get("/stream", &last(value)).status, 400, "{value}");
    }
    for (line, status) in [("GET /nothing", 404), ("PUT /send", 405), ("GET /session", 405)] {
        let reply = site.request(line, &[], b"");
        assert_eq!(reply.status, status, "{line}");
        assert!(!reply.detail().is_empty());
    }
    assert_eq!(site.get("/health", &[]).json(), json!({ "status": "ok" }));
    host.stop();
}

#[test]
fn r63_other_names_and_other_pages_are_refused() {
    let place = Place::new();
    let lists =
        "server: {allowed_hosts: [Agents.example], allowed_origins: ['https://ok.example']}";
    let (host, site) = host(&place, lists);
    let port = site.head("", &[]).lines().nth(1).unwrap().rsplit(':').next().unwrap().to_owned();
    let own = |name: &str| format!("{name}:{port}");
    let rows = [
        ("Host", own("127.0.0.1"), 200),
        ("Host", own("LOCALHOST"), 200),
        ("Host", own("[::1]"), 200),
        ("Host", "agents.example".to_owned(), 200),
        ("Host", "127.0.0.1:1".to_owned(), 403),
        ("Host", "localhost".to_owned(), 403),
        ("Host", own("evil.example"), 403),
        ("Host", own("127.0.0.1.evil.example"), 403),
        ("Host", String::new(), 403),
        ("Origin", "https://ok.example".to_owned(), 200),
        ("Origin", "http://ok.example".to_owned(), 403),
        ("Origin", "https://evil.example".to_owned(), 403),
        // A page of this host itself; a page of another port is a stranger.
        ("Origin", format!("http://127.0.0.1:{port}"), 200),
        ("Origin", "http://127.0.0.1:1".to_owned(), 403),
        ("Origin", "null".to_owned(), 403),
    ];
    for (name, value, status) in rows {
        for line in ["GET /health", "POST /session", "GET /ws"] {
            let expected = if line == "GET /ws" && status == 200 { 400 } else { status };
            let reply = site.request(line, &[(name, &value)], b"");
            assert_eq!(reply.status, expected, "{name}: {value}, {line}: {reply:?}");
            assert!(!reply.head.to_lowercase().contains("access-control"), "no CORS");
        }
    }
    let two = site.request("GET /health", &[("Host", &own("localhost")), ("Host", "evil")], b"");
    assert!(two.status == 400 || two.status == 403, "{two:?}");
    host.stop();
}

#[test]
fn r62_a_token_is_asked_for_and_wrong_ones_are_slowed_and_audited() {
    let place = Place::new();
    let more = format!(
        "auth_token: {TOKEN}\noperator_token: {OPERATOR}\naudit: {{enabled: true, path: '{{}}/audit.jsonl'}}"
    );
    let (host, mut site) = host(&place, &more);
    // Without a token a session opens, and serves nothing before a good handshake.
    let session = site.open();
    let mut stream = site.stream(&session, None);
    site.send(&session, "tool/list/req", "a", json!({}));
    assert_eq!(stream.next().unwrap().message["code"], "unauthorized");
    site.send(&session, "handshake/req", "h", json!({ "auth_token": TOKEN }));
    assert_eq!(stream.next().unwrap().message["ok"], true);
    site.send(&session, "tool/list/req", "b", json!({}));
    assert_eq!(stream.next().unwrap().message["type"], "tool/list/resp");
    // Sessions belong to their principal: the id alone is never enough (R64).
    site.token = Some(TOKEN);
    let reply = site.send(&session, "ping", "p", json!({}));
    assert_eq!((reply.status, reply.detail().as_str()), (404, "Session not found"));
    let own = site.open();
    assert_eq!(site.send(&own, "tool/list/req", "c", json!({})).status, 200);
    assert_eq!(site.stream(&own, None).next().unwrap().message["type"], "tool/list/resp");
    site.token = Some(OPERATOR);
    assert_eq!(site.send(&own, "ping", "p", json!({})).status, 404);
    let steering = site.open();
    site.send(&steering, "host/status/req", "s", json!({}));
    assert_eq!(site.stream(&steering, None).next().unwrap().message["type"], "host/status/resp");
    site.token = Some("guess");
    for _ in 0..3 {
        let reply = site.request("POST /session", &[], b"");
        assert_eq!(reply.status, 401);
        assert!(reply.head.to_lowercase().contains("www-authenticate: bearer"), "{reply:?}");
    }
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert_eq!(audit.matches(r#""error_code":"unauthorized""#).count(), 4, "{audit}");
    assert!(!audit.contains("guess"));
    host.stop();
}

#[test]
fn r63_bodies_and_heads_have_bounds_of_size() {
    let place = Place::new();
    let (host, site) = host(&place, "global_limits: {max_line_bytes: 65536}");
    let session = site.open();
    let id = ("X-Session-Id", session.as_str());
    let reply = site.request("POST /send", &[id], &vec![b' '; 65_536 + 65_536]);
    assert_eq!(reply.status, 200, "{reply:?}");
    // The length alone is enough to refuse; no body follows.
    let head = site.head("POST /send", &[id, ("Content-Length", "99999999999")]);
    assert_eq!(site.exchange(head.as_bytes()).status, 413);
    let two_lines = [vec![b' '; 65_536], vec![b' '; 65_536]].join(&b'\n');
    assert_eq!(site.request("POST /send", &[id], &two_lines).status, 413);
    let long = "x".repeat(64 * 1024);
    assert_eq!(site.get("/health", &[("X-Long", &long)]).status, 431);
    let reply = site.request("POST /session", &[], &[b' '; 8192]);
    assert_eq!(reply.status, 413);
    let reply = site.request("POST /session", &[], br#"{"idle": 5}"#);
    assert_eq!(reply.status, 400, "{reply:?}");
    host.stop();
}

/// The reference's client sends again what is refused, and gives its host up at the third refusal.
#[test]
fn one_message_that_is_too_long_is_refused_on_the_stream_as_from_a_pipe() {
    let place = Place::new();
    let (host, site) = host(&place, "global_limits: {max_line_bytes: 65536}");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let id = ("X-Session-Id", session.as_str());
    let text = json!({ "type": "ping", "id": "long", "text": "x".repeat(0x30000) }).to_string();
    let mut chunked = site.head("POST /send", &[id, ("Transfer-Encoding", "chunked")]).into_bytes();
    chunked.extend_from_slice(format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes());
    for reply in [site.send_text(&session, &text), site.exchange(&chunked)] {
        assert_eq!((reply.status, reply.json()), (200, json!({ "ok": true })));
        let message = stream.next().unwrap().message;
        assert_eq!((&message["code"], &message["req_id"]), (&json!("line_too_long"), &json!("")));
        assert_eq!(message["detail"]["limit"], 65_536);
    }
    assert_eq!(site.send(&session, "ping", "after", json!({})).status, 200);
    assert_eq!(stream.next().unwrap().message["type"], "pong");
    host.stop();
}

#[test]
fn shapes_that_two_servers_may_read_differently_are_refused() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    let id = ("X-Session-Id", session.as_str());
    let ping = r#"{"type":"ping","id":"p"}"#;
    let shapes: [(&[(&str, &str)], &str); 4] = [
        (&[("Content-Length", "5"), ("Content-Length", "24")], ping),
        (&[("Content-Length", "+24")], ping),
        (&[("Transfer-Encoding", "chunked, identity")], "18\r\n"),
        (&[("Transfer-Encoding", "xchunked")], ping),
    ];
    for (headers, body) in shapes {
        let all = [&[id][..], headers].concat();
        let bytes = [site.head("POST /send", &all).as_bytes(), body.as_bytes()].concat();
        let reply = site.exchange(&bytes);
        assert!(matches!(reply.status, 0 | 400), "{headers:?}: {reply:?}");
    }
    // Both lengths: the chunks count, the connection ends, and what follows is no request.
    let both =
        site.head("POST /send", &[id, ("Content-Length", "4"), ("Transfer-Encoding", "chunked")]);
    let smuggled = format!("{both}0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = site.connect();
    stream.write_all(smuggled.as_bytes()).unwrap();
    let first = read_reply(&mut stream);
    let second = read_reply(&mut stream);
    assert!(matches!(first.status, 200 | 400), "{first:?}");
    assert_ne!(second.status, 200, "{second:?}");
    host.stop();
}

#[test]
fn r27_one_principal_has_only_so_many_sessions() {
    let place = Place::new();
    let more = format!("auth_token: {TOKEN}\nglobal_limits: {{max_sessions_per_principal: 3}}");
    let (host, mut site) = host(&place, &more);
    site.token = Some(TOKEN);
    let ids: Vec<String> = (0..3).map(|_| site.open()).collect();
    let reply = site.request("POST /session", &[], b"");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.head.to_lowercase().contains("retry-after"), "{reply:?}");
    site.request("DELETE /session", &[("X-Session-Id", &ids[0])], b"");
    crate::process::support::program::until(
        crate::process::support::program::PATIENCE,
        "its place is free",
        || site.request("POST /session", &[], b"").status == 200,
    );
    host.stop();
}

#[test]
fn r60_another_address_needs_a_token_and_tls() {
    let mut host = Host::serve(&["--listen", "http://0.0.0.0:0"]);
    assert_eq!(host.code(crate::process::support::program::PATIENCE), Some(1));
    host.until_logged("needs a token and TLS");
}
