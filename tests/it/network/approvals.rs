//! Approvals through the program: the example, agents over HTTP, stdio and sockets, people at `a2e approve`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::raw::{Events, Site};
use super::websocket::Socket;
use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome, until, workspace};
use crate::process::support::wire::Wire;

const ADA: &str = "ada-0123456789abcdef0123456789abcdef";
const CI: &str = "ci-00123456789abcdef0123456789abcdef";

/// The example as it stands, at HTTP and at a socket.
fn start(place: &Place) -> (Host, Site, String) {
    let example = workspace().join("a2e-server/examples/principals.yaml");
    let yaml = std::fs::read_to_string(example).unwrap();
    let config = place.config_as_is(&yaml.replace("audit.jsonl", &place.text("audit.jsonl")));
    let mut command = a2e(&["serve", "-c", &config, "--listen", "http://127.0.0.1:0"]);
    command.args(["--listen", &place.socket()]).env("A2E_ADA", ADA).env("A2E_CI", CI);
    let host = Host::start(command.current_dir(place.path("")));
    let addresses = host.addresses(2);
    let http = addresses.iter().find(|it| it.starts_with("http")).unwrap();
    (host, Site::at(http), place.socket())
}

fn risky(text: &str) -> Value {
    json!({ "tool_name": "echo", "arguments": { "text": format!("rm -rf {text}") } })
}

/// A session over HTTP, message by message.
struct Web<'a> {
    site: &'a Site,
    session: String,
    events: Events,
    ids: u32,
}

impl<'a> Web<'a> {
    fn open(site: &'a Site) -> Self {
        let session = site.open();
        let events = site.stream(&session, None);
        Self { site, session, events, ids: 0 }
    }

    fn send(&mut self, kind: &str, body: Value) -> String {
        self.ids += 1;
        let id = format!("w{}", self.ids);
        assert_eq!(self.site.send(&self.session, kind, &id, body).status, 200);
        id
    }

    fn next(&mut self) -> Value {
        self.events.next().expect("the stream stands").message
    }

    fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }
}

fn answer(ask: &Value, approve: bool) -> Value {
    json!({ "approval_id": ask["approval_id"], "digest": ask["digest"], "approve": approve })
}

#[test]
fn an_agent_over_http_waits_for_a_person_over_http_websocket_and_socket() {
    let place = Place::new();
    let (host, mut site, socket) = start(&place);
    site.token = Some(ADA);
    let (ada, mut frames) = (Site::at(&format!("http://{}", site.address())), Socket::open(&site));
    let ada = Site { token: Some(ADA), ..ada };
    site.token = Some(CI);
    let mut caller = Web::open(&site);
    caller.send("tool/call/req", risky("a"));
    assert_eq!(caller.next()["code"], "approval_unavailable", "nobody said that somebody is there");
    let hello = json!({ "client_features": ["approvals"], "agent_id": "person" });
    let mut web = Web::open(&ada);
    web.send("handshake/req", hello.clone());
    web.until("handshake/resp");
    frames.say("handshake/req", "h", hello.clone());
    assert_eq!(frames.message()["ok"], true);
    let mut wire = Wire::connect(&socket);
    let mut with_token = hello;
    with_token["auth_token"] = json!(ADA);
    wire.call("handshake/req", with_token);
    for turn in 0..3 {
        let id = caller.send("tool/call/req", risky(&turn.to_string()));
        let (ask, told, also) =
            (web.until("approval/ask/push"), frames.message(), wire.next().unwrap());
        assert_eq!((&ask["digest"], &ask["digest"]), (&told["digest"], &also["digest"]), "{told}");
        match turn {
            0 => {
                web.send("approval/answer/req", answer(&ask, true));
            }
            1 => {
                frames.say("approval/answer/req", "f", answer(&ask, true));
            }
            _ => {
                wire.call("approval/answer/req", answer(&ask, true));
            }
        }
        let reply = caller.next();
        assert_eq!((&reply["type"], &reply["req_id"]), (&json!("tool/call/resp"), &json!(id)));
        assert_eq!(web.until("approval/over/push")["by"], "ada");
        // Both the end and, where it was asked here, the answer.
        for _ in 0..=usize::from(turn == 1) {
            frames.message();
        }
        assert_eq!(wire.next().unwrap()["type"], "approval/over/push");
    }
    // A person whose session ends cannot be asked any more.
    ada.request("DELETE /session", &[("X-Session-Id", &web.session)], b"");
    wire.finish();
    drop(frames);
    until(PATIENCE, "nobody is there", || {
        let status = ada.get("/api/status", &[]).json();
        let sessions = status["busiest"].as_array().unwrap();
        !sessions.iter().any(|it| it["agent_id"] == "person")
    });
    caller.send("tool/call/req", risky("late"));
    assert_eq!(caller.next()["code"], "approval_unavailable");
    host.stop();
    let audit = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert_eq!(audit.matches(r#""approval":"approved by ada""#).count(), 3, "{audit}");
}

/// `a2e approve` as a person has it, and what it printed.
struct Desk(Child);

impl Desk {
    fn sit(socket: &str, args: &[&str]) -> Self {
        let mut command = a2e(&[&["approve", "--to", socket], args].concat());
        command.env("A2E_TOKEN", ADA).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut text = String::new();
        let mut out = BufReader::new(self.0.stdout.take().unwrap());
        while out.read_line(&mut text).unwrap() > 0 {}
        self.0.wait().unwrap();
        text
    }
}

#[test]
fn a_person_at_the_command_lets_calls_go_on_and_refuses_others() {
    let place = Place::new();
    let (host, _, socket) = start(&place);
    let mut caller = Wire::connect(&socket);
    caller.call("handshake/req", json!({ "auth_token": CI, "agent_id": "build\u{1b}[2J" }));
    let mut desk = Desk::sit(&socket, &[]);
    // It is there when its session has said so.
    until(PATIENCE, "somebody is there", || {
        let probe = caller.call("tool/call/req", json!({ "tool_name": "nope", "arguments": {} }));
        assert_eq!(probe["code"], "forbidden");
        let out = outcome(a2e(&["status", "--to", &socket, "--json"]).env("A2E_TOKEN", ADA)).1;
        // Beside the one that looks.
        out.matches("\"agent_id\":\"a2e-operator\"").count() >= 2
    });
    let write =
        json!({ "tool_name": "write_file", "arguments": { "path": "new.txt", "content": "hi" } });
    let first = caller.send("tool/call/req", write.clone());
    let lines = desk.0.stdin.as_mut().unwrap();
    lines.write_all(b"y\n").unwrap();
    let reply = caller.reply_to(&first);
    assert_eq!(reply["type"], "tool/call/resp", "{reply}");
    assert_eq!(std::fs::read_to_string(place.path("new.txt")).unwrap(), "hi");
    let second = caller.send("tool/call/req", write.clone());
    desk.0.stdin.as_mut().unwrap().write_all(b"not on a Friday\n").unwrap();
    let error = caller.reply_to(&second);
    assert_eq!(error["message"], "`ada` did not approve this call: not on a Friday");
    // Another person, who looks now and then.
    let third = caller.send("tool/call/req", write);
    let listed = until_listed(&socket);
    let id = listed["approval_id"].as_str().unwrap();
    let (code, _, err) =
        outcome(a2e(&["approve", &id[..7], "--to", &socket]).env("A2E_TOKEN", ADA));
    assert!(code == Some(1) && err.contains("of 8 characters"), "{err}");
    let (code, out, err) =
        outcome(a2e(&["approve", &id[..8], "--deny", "no", "--to", &socket]).env("A2E_TOKEN", ADA));
    assert_eq!((code, out.as_str()), (Some(0), "denied\n"), "{err}");
    assert_eq!(caller.reply_to(&third)["code"], "approval_denied");
    let (code, _, err) = outcome(a2e(&["approve", id, "--to", &socket]).env("A2E_TOKEN", ADA));
    assert_eq!(code, Some(1));
    assert!(err.contains("not one call waits"), "{err}");
    for args in [&["approve", "--list", "--to", socket.as_str()][..], &["approve", "--to", &socket]]
    {
        let (code, _, err) = outcome(a2e(args).env("A2E_TOKEN", CI));
        assert_eq!(code, Some(1));
        assert!(err.contains("forbidden") || err.contains("the right `approve`"), "{err}");
    }
    let shown = desk.end();
    assert!(shown.contains("approved\n") && shown.contains("denied\n"), "{shown}");
    assert!(shown.contains(r#""rules""#) || shown.contains("write_*"), "{shown}");
    assert!(shown.contains(r"build\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
    host.stop();
}

fn until_listed(socket: &str) -> Value {
    let mut found = Value::Null;
    until(PATIENCE, "a call is listed", || {
        let list = ["approve", "--list", "--json", "--to", socket];
        let out = outcome(a2e(&list).env("A2E_TOKEN", ADA)).1;
        found = out.lines().next().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
        !found.is_null()
    });
    found
}

#[test]
fn the_example_is_checked_and_its_principals_see_what_they_may_use() {
    let place = Place::new();
    let example = "a2e-server/examples/principals.yaml";
    let (code, out, err) =
        outcome(a2e(&["check", "--strict", example]).env("A2E_ADA", ADA).env("A2E_CI", CI));
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, out, err) = outcome(&mut a2e(&["check", example]));
    assert_eq!(code, Some(1));
    assert!(format!("{out}{err}").contains("the variable A2E_ADA is not set"), "{out}{err}");
    let (host, site, socket) = start(&place);
    let list = ["call", "tool/list/req", "{}", "--to", &socket];
    let (_, out, _) = outcome(a2e(&list).env("A2E_TOKEN", CI));
    let listed: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<&str> =
        listed["tools"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "read_file", "write_file"], "{out}");
    assert_eq!(site.get("/health", &[]).status, 200);
    host.stop();
}

#[test]
fn the_program_on_stdio_is_asked_for_agents_at_a_socket() {
    let place = Place::new();
    let yaml = "approve: [{tool: echo}]\nglobal_limits: {approval_wait_s: 0.3}\n";
    let socket = place.socket();
    let (host, mut program) = Host::stdio(&["-c", &place.config(yaml), "--listen", &socket]);
    host.addresses(1);
    program.call("handshake/req", json!({ "client_features": ["approvals"] }));
    let mut agent = Wire::connect(&socket);
    agent.handshake("agent");
    let id = agent.start_tool("echo", json!({ "text": "x" }));
    let ask = program.next().unwrap();
    assert_eq!(ask["type"], "approval/ask/push", "{ask}");
    program.call("approval/answer/req", answer(&ask, true));
    assert_eq!(agent.reply_to(&id)["type"], "tool/call/resp");
    // The program says nothing: the call is refused in time.
    let id = agent.start_tool("echo", json!({ "text": "x" }));
    let error = agent.reply_to(&id);
    assert_eq!(error["code"], "approval_unavailable", "{error}");
    agent.finish();
    program.finish();
    drop(host);
}
