//! Heads and bodies that come slowly or not at all, and a silent stream.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{LONG, host, metric, rested};
use crate::network::raw::{Reply, Site, read_reply};
use crate::network::websocket::Socket;
use crate::process::support::proc_fs::descriptors;
use crate::process::support::program::{Host, PATIENCE, Place, until};
use crate::process::support::wire::{Wire, with_envelope};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Sends the beginning, then a byte now and then, if any; the answer, or status 0 for an end without one.
fn creep(mut stream: TcpStream, begun: &[u8], drip: Option<u8>) -> Reply {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(begun).unwrap();
    let mut also = stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let Some(drip) = drip else { return };
        while also.write_all(&[drip]).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let reply = read_reply(&mut stream);
    // The host has closed it, or is asked to.
    let _gone = stream.shutdown(std::net::Shutdown::Both);
    dripping.join().unwrap();
    reply
}

/// What each slow peer sends first, what it drips, and how it is answered.
fn slow(site: &Site, operator: &Site, session: &str) -> Vec<(Vec<u8>, Option<u8>, u16)> {
    let id = ("X-Session-Id", session);
    let with = |line: &str, headers: &[(&str, &str)], body: &str| {
        format!("{}{body}", site.head(line, headers)).into_bytes()
    };
    let half = r#"{"type":"ping","id":"half"#;
    let length = ("Content-Length", "4096");
    let chunked = ("Transfer-Encoding", "chunked");
    // Beyond the longest line: the host reads on, to refuse it on the stream.
    let long = ("Content-Length", "20000000");
    let explain = operator.head("POST /api/explain", &[length]).into_bytes();
    vec![
        (Vec::new(), None, 0),
        (b"GET /health HTTP/1.1\r\nHost:".to_vec(), None, 0),
        (b"GET /health HTTP/1.1\r\nX-Long: ".to_vec(), Some(b'x'), 0),
        (with("POST /send", &[id, length], half), None, 408),
        (with("POST /send", &[id, length], half), Some(b' '), 408),
        (with("POST /send", &[id, long], half), Some(b' '), 408),
        (with("POST /send", &[id, chunked], "5\r\n{\"typ\r\n"), None, 408),
        (with("POST /session", &[("Content-Length", "20")], "{"), None, 408),
        (with("POST /session", &[("Content-Length", "4000")], "{"), Some(b' '), 408),
        (with("POST /session", &[chunked], "1\r\n{\r\n"), None, 408),
        (explain, Some(b' '), 408),
    ]
}

#[test]
fn r63_heads_and_bodies_that_do_not_come_are_given_up_and_hold_nobody_up() {
    let place = Place::new();
    let (host, site, operator) = host(&place, "");
    let (session, other) = (site.open(), site.open());
    let mut stream = site.stream(&other, None);
    // A call that goes on for longer than a head may take.
    let mut frames = Socket::open(&site);
    let call = json!({ "tool_name": "sleep", "arguments": { "ms": 20_000 } });
    frames.say("tool/call/req", "long", call);
    let before = rested(&host);
    let sessions = metric(&operator, "a2e_sessions");
    let peers = slow(&site, &operator, &session);
    let count = |status: u16| peers.iter().filter(|it| it.2 == status).count() as u64;
    let to = &site;
    std::thread::scope(|scope| {
        let begun: Vec<_> = peers
            .iter()
            .map(|(bytes, drip, _)| scope.spawn(move || creep(to.connect(), bytes, *drip)))
            .collect();
        let mut pings = 0;
        while begun.iter().any(|it| !it.is_finished()) {
            // Those who keep the rules are served all the while, also in the session of the slow.
            pings += 1;
            for of in [&session, &other] {
                assert_eq!(site.send(of, "ping", &pings.to_string(), json!({})).status, 200);
            }
            assert_eq!(stream.next().unwrap().message["req_id"], pings.to_string());
            std::thread::sleep(Duration::from_millis(100));
        }
        for (thread, (bytes, drip, status)) in begun.into_iter().zip(&peers) {
            let reply = thread.join().unwrap();
            let said = String::from_utf8_lossy(bytes);
            assert_eq!(reply.status, *status, "{drip:?} {said}: {reply:?}");
            assert!(*status == 0 || reply.detail().contains("too long to come"), "{reply:?}");
        }
    });
    assert_eq!(frames.message()["type"], "tool/call/resp", "no time-out of ours");
    until(PATIENCE, "their descriptors are given back", || descriptors(host.pid()) <= before);
    let answers =
        |status: u16| metric(&operator, &format!("a2e_http_answers_total{{status=\"{status}\"}}"));
    assert_eq!(answers(408), count(408));
    assert!(metric(&operator, "a2e_http_broken_total") >= count(0));
    assert_eq!(metric(&operator, "a2e_sessions"), sessions, "half a request opens none");
    // Nothing of what was cut off was taken for a message.
    let mut of_the_slow = site.stream(&session, None);
    assert_eq!(of_the_slow.take(1)[0].message["type"], "pong");
    host.stop();
}

#[test]
fn bodies_of_one_session_that_do_not_come_hold_up_that_session_alone() {
    let place = Place::new();
    let (host, site, operator) = host(&place, "");
    let (session, other) = (site.open(), site.open());
    let head =
        site.head("POST /send", &[("X-Session-Id", &session), ("Content-Length", "8000000")]);
    // As many as are read at a time, each for longer than another waits for its turn.
    let waiting: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = site.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let ping = |of: &str| site.send(of, "ping", "p", json!({})).status;
    until(PATIENCE, "the session is full", || ping(&session) == 503);
    assert_eq!(ping(&other), 200);
    drop(waiting);
    until(PATIENCE, "the session goes on", || ping(&session) == 200);
    assert!(metric(&operator, "a2e_http_answers_total{status=\"503\"}") >= 1);
    host.stop();
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let place = Place::new();
    let (host, site, _) = host(&place, "");
    let session = site.open();
    let mut stream = site.connect();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(site.head("GET /stream", &[("X-Session-Id", &session)]).as_bytes()).unwrap();
    let (mut text, mut block) = (String::new(), [0; 4096]);
    // The first comes with the head, the others every 15 s.
    while text.matches(":\n\n").count() < 3 {
        let read = stream.read(&mut block).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&block[..read]).unwrap());
    }
    assert!(!text.contains("data:"), "{text}");
    host.stop();
}

#[test]
fn r27_a_peer_that_does_not_shake_hands_in_time_is_let_go_but_never_on_stdio() {
    let place = Place::new();
    let socket = place.socket();
    let listen = ["--listen", &socket, "--listen", "tcp://127.0.0.1:0"];
    let web = ["--listen", "http://127.0.0.1:0"];
    let config = place.config(&format!("auth_token: {TOKEN}"));
    let (host, mut stdio) = Host::stdio(&[&["-c", &config][..], &listen, &web].concat());
    let addresses = host.addresses(3);
    let at = |scheme: &str| addresses.iter().find(|it| it.starts_with(scheme)).unwrap();
    let hello = json!({ "auth_token": TOKEN });
    let mut known = Wire::connect(&socket);
    assert_eq!(known.call("handshake/req", hello.clone())["ok"], true);
    let mut site = Site::at(at("http"));
    let unknown = site.open();
    let mut frames = Socket::open(&site);
    for address in [&socket, at("tcp")] {
        let mut silent = Wire::connect(address);
        until(LONG, "it is let go", || {
            std::thread::sleep(Duration::from_millis(200));
            // Pings are answered until then.
            let ping = with_envelope("ping", "p", json!({}));
            !silent.try_send(ping.as_bytes()) || silent.try_reply_to("p").is_none()
        });
    }
    assert_eq!(frames.closed(), 1000);
    let posted = site.send(&unknown, "ping", "p", json!({}));
    assert_eq!((posted.status, posted.detail().as_str()), (404, "Session not found"));
    site.token = Some(TOKEN);
    let session = site.open();
    assert_eq!(site.send(&session, "ping", "p", json!({})).status, 200);
    known.ping();
    assert_eq!(stdio.call("handshake/req", hello)["ok"], true, "it may take its time");
    stdio.finish();
}
