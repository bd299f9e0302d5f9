//! Environments of OpenEnv servers, and servers that misbehave. Each server here is a socket of this process;
//! one of OpenEnv's own stands in the tests of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;

/// Steps that were begun and never answered.
static HANGING: AtomicUsize = AtomicUsize::new(0);

/// A counter behind OpenEnv's wire. The kind of an action says how the step is answered.
#[derive(Clone)]
struct Counter {
    url: String,
    /// Sockets that are open.
    open: Arc<AtomicUsize>,
}

impl Counter {
    /// Listens, with places for this many.
    async fn serve(places: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/env/count/", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let it = Self { url, open: Arc::clone(&open) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&open), places));
            }
        });
        it
    }

    fn settings(&self) -> Value {
        json!({ "environments": [], "openenv": [{ "name": "count", "url": self.url }] })
    }

    /// Waits until this number of sockets is open.
    async fn until(&self, count: usize) {
        reach(&self.open, count).await;
    }
}

/// Waits until this number is counted.
async fn reach(counter: &AtomicUsize, count: usize) {
    let wait = async {
        while counter.load(Ordering::SeqCst) != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("as many as wanted");
}

/// Answers a connection: a page, or a socket.
async fn answer(mut stream: TcpStream, open: Arc<AtomicUsize>, places: usize) {
    let mut head = [0; 64];
    let length = loop {
        let length = stream.peek(&mut head).await.unwrap_or_default();
        if length == 0 || head[..length].contains(&b'\r') {
            break length;
        }
    };
    let line = String::from_utf8_lossy(&head[..length]).into_owned();
    if line.starts_with("GET /env/count/ws ") {
        let Ok(mut socket) = accept_async(stream).await else { return };
        if open.fetch_add(1, Ordering::SeqCst) < places {
            play(&mut socket).await;
        } else {
            say(
                &mut socket,
                json!({ "type": "error", "data": {
                "message": "full", "code": "CAPACITY_REACHED", "active_sessions": places,
                "max_sessions": places } }),
            )
            .await;
        }
        open.fetch_sub(1, Ordering::SeqCst);
        // Its place is free before the client hears of the end, as at OpenEnv's own server.
        socket.close(None).await.ok();
        while let Some(Ok(_)) = socket.next().await {}
        return;
    }
    let (status, body) = match line.split(' ').nth(1) {
        Some("/env/count/schema") => {
            ("200 OK", r#"{"action":{"title":"CountAction"},"observation":{},"state":{}}"#)
        }
        _ => ("404 Not Found", "{}"),
    };
    let mut rest = [0; 4096];
    let _read = stream.read(&mut rest).await;
    let length = body.len();
    let page = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(page.as_bytes()).await.ok();
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.ok();
}

async fn play(socket: &mut WebSocketStream<TcpStream>) {
    let mut count = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.into_text() else { return };
        let Ok(asked) = serde_json::from_str::<Value>(&text) else { return };
        let verb = match asked["type"].as_str().unwrap() {
            "close" => return,
            "state" => "state",
            "reset" => {
                count = asked["data"]["seed"].as_i64().unwrap();
                asked["data"]["how"].as_str().unwrap_or("look")
            }
            _ => asked["data"]["type"].as_str().unwrap(),
        };
        let error =
            |code: &str| json!({ "type": "error", "data": { "message": verb, "code": code } });
        let seen = |count: i64| {
            json!({ "type": "observation", "data": {
                "observation": { "count": count }, "reward": true, "done": false } })
        };
        match verb {
            "inc" => count += 1,
            "refuse" => say(socket, error("EXECUTION_ERROR")).await,
            "invalid" => say(socket, error("VALIDATION_ERROR")).await,
            "no factory" => say(socket, error("FACTORY_ERROR")).await,
            "garbage" => socket.send(Message::text("hello")).await.unwrap(),
            "binary" => socket.send(Message::binary(vec![1])).await.unwrap(),
            "long" => {
                let text = "x".repeat(9_000_000);
                let data = json!({ "observation": { "text": text } });
                say(socket, json!({ "type": "observation", "data": data })).await;
            }
            "state" => say(socket, json!({ "type": "state", "data": { "step_count": 7 } })).await,
            "twice" => {
                say(socket, seen(count)).await;
                say(socket, seen(count)).await;
            }
            "flood" => while socket.send(Message::text(seen(0).to_string())).await.is_ok() {},
            "leave" => return,
            "cut" => return socket.get_mut().shutdown().await.unwrap(),
            "ping" => {
                socket.send(Message::Ping(vec![7].into())).await.unwrap();
                // The answer to it stands before the answer to the step.
                let pong = socket.next().await.unwrap().unwrap();
                assert_eq!(pong.into_data().as_ref(), [7]);
            }
            "hang" => {
                HANGING.fetch_add(1, Ordering::SeqCst);
                while let Some(Ok(_)) = socket.next().await {}
            }
            _ => {}
        }
        if ["inc", "look", "ping"].contains(&verb) {
            say(socket, seen(count)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_as_an_environment_is() {
    let server = Counter::serve(8).await;
    let host = host_with(server.settings()).await;
    let mut session = host.session();
    let spaces = session.call("env/space/req", json!({ "env_name": "count" })).await;
    assert_eq!(spaces["action_space"], json!({ "title": "CountAction" }), "{spaces}");
    let obs = reset(&mut session, json!({ "env_name": "count", "seed": 3 })).await;
    assert_eq!((&obs["state"], &obs["step_num"]), (&json!({ "count": 3 }), &json!(0)));
    assert_eq!(obs["metadata"]["seed"], 3);
    let id = obs["episode_id"].clone();
    let obs = inc(&mut session, &id).await;
    assert_eq!((&obs["state"]["count"], &obs["reward"]), (&json!(4), &json!(1.0)), "{obs}");
    let obs = step(&mut session, &id, json!({ "type": "ping" })).await;
    assert_eq!(obs["state"]["count"], 4, "a ping in a step is answered");
    for (mode, expected) in
        [("state", json!({ "step_count": 7 })), ("json", json!({ "count": 4 })), ("x", Value::Null)]
    {
        let request = json!({ "episode_id": id, "mode": mode });
        assert_eq!(session.call("env/render/req", request).await["render"], expected, "{mode}");
    }
    for (verb, code) in [("refuse", "runtime_error"), ("invalid", "schema_violation")] {
        let request = json!({ "episode_id": id, "action": { "type": verb } });
        assert_eq!(session.call_error("env/step/req", request).await, code);
    }
    assert_eq!(inc(&mut session, &id).await["state"]["count"], 5, "it goes on");
    let forked = session.call("env/fork/req", json!({ "episode_id": id })).await;
    let fork = forked["episodes"][0]["episode_id"].clone();
    assert_eq!(inc(&mut session, &fork).await["state"]["count"], 6);
    server.until(2).await;
    session.call("env/close/req", json!({ "episode_id": id })).await;
    server.until(1).await;
    drop(session);
    server.until(0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_is_had_again_where_it_stood() {
    let server = Counter::serve(8).await;
    let host = host_with(server.settings()).await;
    let mut session = host.session();
    for (verb, expected) in [
        ("garbage", "said what is no message"),
        ("binary", "sent a binary frame"),
        ("long", "Space limit exceeded"),
        ("state", "answered without an observation"),
        ("leave", "has closed the connection"),
        ("cut", "broke off"),
    ] {
        let begun = reset(&mut session, json!({ "env_name": "count", "seed": 10 })).await;
        let id = begun["episode_id"].clone();
        inc(&mut session, &id).await;
        let request = json!({ "episode_id": id, "action": { "type": verb } });
        let broken = session.call("env/step/req", request).await;
        let said = (&broken["code"], &broken["retryable"]);
        assert_eq!(said, (&json!("unavailable"), &json!(true)), "{verb}: {broken}");
        assert!(broken["message"].as_str().unwrap().contains(expected), "{verb}: {broken}");
        let obs = inc(&mut session, &id).await;
        assert_eq!((&obs["state"]["count"], &obs["step_num"]), (&json!(12), &json!(2)), "{verb}");
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    drop(session);
    server.until(0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_more_than_it_is_asked_is_found_out_and_held_back() {
    let server = Counter::serve(8).await;
    let host = host_with(server.settings()).await;
    let mut session = host.session();
    for verb in ["twice", "flood"] {
        let begun = reset(&mut session, json!({ "env_name": "count", "seed": 1 })).await;
        let id = begun["episode_id"].clone();
        step(&mut session, &id, json!({ "type": verb })).await;
        // What was said unasked comes when it comes; until then it is the server's last word.
        let refused = async {
            loop {
                let request = json!({ "episode_id": id, "mode": "state" });
                let shown = session.call("env/render/req", request).await;
                if shown["type"] == "error" {
                    return shown;
                }
            }
        };
        let refused = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap();
        assert_eq!(refused["code"], "unavailable", "{verb}: {refused}");
        session.call("env/close/req", json!({ "episode_id": id })).await;
        server.until(0).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_hangs_ends_with_its_request_and_its_connection() {
    let server = Counter::serve(8).await;
    let host = host_with(server.settings()).await;
    for (number, way) in ["cancel", "close", "leave"].into_iter().enumerate() {
        let mut session = host.session();
        let begun = reset(&mut session, json!({ "env_name": "count", "seed": 1 })).await;
        let id = begun["episode_id"].clone();
        let request = json!({ "episode_id": id, "action": { "type": "hang" } });
        let hanging = session.send("env/step/req", request).await;
        reach(&HANGING, number + 1).await;
        match way {
            "cancel" => {
                session.send("cancel", json!({ "req_id": hanging })).await;
                assert_eq!(session.reply_to(&hanging).await["code"], "cancelled");
                server.until(0).await;
                let obs = inc(&mut session, &id).await;
                assert_eq!((&obs["state"]["count"], &obs["step_num"]), (&json!(2), &json!(1)));
            }
            "close" => {
                session.call("env/close/req", json!({ "episode_id": id })).await;
                assert_eq!(session.reply_to(&hanging).await["code"], "runtime_error");
            }
            _ => {}
        }
        drop(session);
        server.until(0).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_place_is_retryable_and_a_closed_episode_has_left_its_place() {
    let server = Counter::serve(1).await;
    let host = host_with(server.settings()).await;
    let mut session = host.session();
    let request = json!({ "env_name": "count", "seed": 1 });
    for _ in 0..5 {
        let id = reset(&mut session, request.clone()).await["episode_id"].clone();
        let full = session.call("env/reset/req", request.clone()).await;
        let said = (&full["code"], &full["retryable"], &full["detail"]["openenv_code"]);
        assert_eq!(
            said,
            (&json!("overloaded"), &json!(true), &json!("CAPACITY_REACHED")),
            "{full}"
        );
        assert_eq!(full["detail"]["max_sessions"], 1);
        server.until(1).await;
        assert_eq!(inc(&mut session, &id).await["state"]["count"], 2, "the other goes on");
        session.call("env/close/req", json!({ "episode_id": id })).await;
    }
    let denied = json!({ "env_name": "count", "seed": 1, "options": { "how": "no factory" } });
    assert_eq!(session.call_error("env/reset/req", denied).await, "reset_denied");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    // Nobody listens at a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Counter::serve(1).await;
    let elsewhere = server.url.replace("/env/count/", "/elsewhere");
    let openenv = json!([
        { "name": "nobody", "url": format!("ws://{free}") },
        { "name": "elsewhere", "url": elsewhere },
        { "name": "unnamed", "url": "http://no-such-host.invalid" },
        { "name": "tokenless", "url": server.url, "token_file": "/no/such/file" },
    ]);
    let host = host_with(json!({ "openenv": openenv })).await;
    let mut session = host.session();
    for (env_name, expected) in [
        ("nobody", "is not reached"),
        ("elsewhere", "opens no WebSocket: HTTP error: 404"),
        ("unnamed", "is not reached"),
    ] {
        let refused = session.call("env/reset/req", json!({ "env_name": env_name })).await;
        let said = (&refused["code"], &refused["retryable"]);
        assert_eq!(said, (&json!("unavailable"), &json!(true)), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains(expected), "{refused}");
        let spaces = json!({ "env_name": env_name });
        assert_eq!(session.call_error("env/space/req", spaces).await, "unavailable");
    }
    let request = json!({ "env_name": "tokenless" });
    let (code, text) = error(&mut session, "env/reset/req", request).await;
    assert_eq!(code, "runtime_error", "{text}");
    assert!(text.contains("token_file"), "{text}");
    reset(&mut session, json!({ "env_name": "counter_env" })).await;
    host.stop().await;
}

/// Says that it is ready, and speaks no WebSocket.
const DUMB: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == sys.argv[2]
        self.send_response(200 if good else 503)
        self.end_headers()
    def log_message(self, *_):
        print("x" * 1000, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_started_once_and_ends_with_its_plugin() {
    let program = json!({ "name": "dumb",
        "command": ["python3", "-c", DUMB, "{port}", "/health"] });
    let host = host_with(json!({ "environments": [], "openenv": [program] })).await;
    host.until("nothing is started before it is needed", |it| it.children == 0).await;
    let mut sessions: Vec<_> = (0..4).map(|_| host.session()).collect();
    let resets = sessions.iter_mut().map(|session| async move {
        let refused = session.call("env/reset/req", json!({ "env_name": "dumb" })).await;
        assert_eq!(refused["code"], "unavailable", "{refused}");
        let text = refused["message"].as_str().unwrap();
        assert!(text.contains("opens no WebSocket"), "{text}");
    });
    futures_util::future::join_all(resets).await;
    host.until("one program serves all", |it| it.children == 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_serve_says_why_and_is_gone() {
    let command = |name: &str, words: &[&str], start_s: f64| json!({ "name": name, "command": words, "start_s": start_s });
    let openenv = json!([
        command("missing", &["no-such-program"], 60.0),
        command("dying", &["sh", "-c", "echo too early >&2; exit 3"], 60.0),
        command("unwilling", &["sleep", "#{port}"], 60.0),
        command("never", &["python3", "-c", DUMB, "{port}", "/other"], 0.5),
    ]);
    let host = host_with(json!({ "environments": ["counter_env"], "openenv": openenv })).await;
    let mut session = host.session();
    for (env_name, code, expected) in [
        ("missing", "runtime_error", "no-such-program"),
        (
            "dying",
            "unavailable",
            "has ended with exit code 3 before it was ready; it said last: too early",
        ),
        ("unwilling", "unavailable", "has ended with exit code 1 before it was ready"),
        ("never", "unavailable", "was not ready within 0.5 s (`start_s`)"),
        ("never", "unavailable", "was not ready within 0.5 s (`start_s`)"),
    ] {
        let (found, text) =
            error(&mut session, "env/reset/req", json!({ "env_name": env_name })).await;
        assert_eq!(found, code, "{env_name}: {text}");
        assert!(text.contains(expected), "{env_name}: {text}");
        host.until("its program is gone", |it| it.children == 0).await;
    }
    reset(&mut session, json!({ "env_name": "counter_env" })).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_when_its_request_is_cancelled_and_ends_with_the_plugin() {
    let never = json!({ "name": "never", "command": ["python3", "-c", DUMB, "{port}", "/other"] });
    let host = host_with(json!({ "environments": [], "openenv": [never] })).await;
    let mut session = host.session();
    let asked = session.send("env/reset/req", json!({ "env_name": "never" })).await;
    host.until("it is started", |it| it.children == 1).await;
    session.send("cancel", json!({ "req_id": asked })).await;
    assert_eq!(session.reply_to(&asked).await["code"], "cancelled");
    let again = session.send("env/reset/req", json!({ "env_name": "never" })).await;
    session.send("cancel", json!({ "req_id": again })).await;
    assert_eq!(session.reply_to(&again).await["code"], "cancelled");
    host.until("the one start goes on", |it| it.children == 1).await;
    host.stop().await;
}
