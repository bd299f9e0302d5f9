//! Requests by plugins, questions to the agent, hooks on a cancel, raw JSON in and out.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::{Body, RawJson};
use a2e_core::plugin::{Answer, BoxFuture, Handlers, Host, Plugin, RawReply, TypeSpec};
use a2e_core::protocol::{EventKind, Fold};
use a2e_core::request::{Call, Nested, NestedTarget, SessionHandle};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::probe::{Probe, Switch};
use crate::support::{
    PATIENCE, audited, counter, end, next, plugin, records, script, settled, silent, with,
};

#[derive(Debug, Deserialize)]
struct Nothing {}

/// Has the plugin ask another one.
#[derive(Debug, Deserialize)]
struct Pass {
    /// `call`, `alone`, `session`.
    on: String,
    #[serde(default)]
    to: String,
    wire_type: String,
    body: Value,
    #[serde(default)]
    limit_ms: u64,
    /// Room for events; 0: they are not wanted.
    #[serde(default)]
    events: usize,
}
message!(Pass, "seam/pass/req" => Passed, First);

#[derive(Debug, Serialize)]
struct Passed {
    reply: RawJson,
    events: Vec<String>,
}
message!(Passed, "seam/pass/resp");

/// Has the plugin ask the agent.
#[derive(Debug, Deserialize)]
struct Question {
    body: RawJson,
    limit_ms: u64,
    /// Ask from tasks that outlive the request, and note what came.
    #[serde(default)]
    probe: String,
    #[serde(default)]
    times: usize,
}
message!(Question, "seam/question/req" => Passed, First);

struct Asker {
    host: Host,
}

impl Asker {
    fn ask(&self, request: &Pass, call: &Call) -> Result<Nested> {
        let nested = match request.on.as_str() {
            "call" => self.host.ask(Some(call))?,
            "alone" => self.host.ask(None)?,
            _ => self.host.ask_in(&call.session())?,
        };
        let nested = match request.limit_ms {
            0 => nested,
            ms => nested.limit(Duration::from_millis(ms)),
        };
        Ok(match request.to.as_str() {
            "" => nested,
            name => nested.to(NestedTarget::Plugin(name.to_owned())),
        })
    }

    async fn pass(self: Arc<Self>, request: Pass, call: Call) -> Answer<Passed> {
        let mut nested = self.ask(&request, &call)?;
        let (sender, mut receiver) = mpsc::channel(request.events.max(1));
        if request.events > 0 {
            nested = nested.events(sender);
        } else {
            drop(sender);
        }
        let collect = async {
            let mut events = Vec::new();
            while let Some(event) = receiver.recv().await {
                events.push(format!("{} {}", event.wire_type, event.kind.as_str()));
            }
            events
        };
        let reply = nested.request_raw(&request.wire_type, &request.body);
        let (reply, events) = tokio::join!(reply, collect);
        Ok(Passed { reply: reply?, events }.into())
    }

    async fn question(self: Arc<Self>, request: Question, call: Call) -> Answer<Passed> {
        let limit = Duration::from_millis(request.limit_ms);
        let session = call.session();
        if let Some(probe) = Probe::of(&request.probe) {
            for _ in 0..request.times {
                let (probe, session) = (Arc::clone(&probe), session.clone());
                self.host.spawn(note(probe, session, request.body.clone(), limit));
            }
            return Ok(Passed { reply: raw(&json!({}))?, events: vec![] }.into());
        }
        let reply = session.ask("seam/agent/req", &request.body, limit).await?;
        Ok(Passed { reply, events: vec![] }.into())
    }
}

async fn note(probe: Arc<Probe>, session: SessionHandle, body: RawJson, limit: Duration) {
    match session.ask("seam/agent/req", &body, limit).await {
        Ok(line) => probe.note(format!("answer {}", line.get())),
        Err(error) => probe.note(format!("error {}", error.code().as_str())),
    }
    probe.note(format!("open {}", session.is_open()));
}

fn raw(value: &Value) -> Result<RawJson> {
    RawJson::of(value).map_err(|error| Error::internal(error.to_string()))
}

/// Whatever it is asked: notes each cancel, waits for the switch, and may answer raw.
#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(default)]
    probe: String,
    #[serde(default)]
    hooks: usize,
    data: RawJson,
}

impl Asker {
    fn raw(self: Arc<Self>, body: Body, call: Call) -> BoxFuture<Answer<RawReply>> {
        Box::pin(async move {
            let request: Raw = a2e_core::codec::decode(body.as_incoming())?;
            let probe = Probe::of(&request.probe);
            for number in 0..request.hooks {
                let probe = probe.clone();
                call.on_cancel(move || {
                    if let Some(it) = probe {
                        it.note(format!("hook {number}"));
                    }
                });
            }
            let kind = EventKind::parse("raw");
            call.emit_raw("seam/event", &kind, &request.data)?;
            if let Some(probe) = probe {
                probe.wait().await;
            }
            Ok(RawReply::from_json("seam/raw/resp", &request.data)?.into())
        })
    }

    /// Is stuck until the switch opens, and watches for a cancel by a hook only.
    fn stuck(&self, body: a2e_core::codec::Incoming<'_>, call: &Call) -> Answer<RawReply> {
        let request: Raw = a2e_core::codec::decode(body)?;
        if let Some(probe) = Probe::of(&request.probe) {
            let noted = Arc::clone(&probe);
            call.on_cancel(move || noted.note("hook"));
            probe.hang();
            call.on_cancel(move || probe.note("late hook"));
        }
        Ok(RawReply::from_json("seam/raw/resp", &request.data)?.into())
    }
}

impl Plugin for Asker {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Asker::pass);
        on.future(Asker::question);
        let spec = |wire_type: &'static str| TypeSpec {
            fold: Fold::First,
            ..TypeSpec::request(wire_type, "seam/raw/resp")
        };
        on.dynamic_future(spec("seam/raw/req"), Asker::raw);
        let timed = a2e_core::protocol::Deadline::TimeoutField(30);
        let spec = TypeSpec { deadline: timed, ..spec("seam/stuck/req") };
        on.dynamic(spec, a2e_core::plugin::Run::Blocking, Asker::stuck);
    }
}

register_plugin!(
    Asker,
    cls = "test.Asker",
    capability = "test",
    config = Nothing,
    build = |_: Nothing, host: &Host| -> Result<Asker> { Ok(Asker { host: host.clone() }) }
);

async fn start() -> (TestHost, TestSession) {
    let plugins = [
        plugin("asker", "Asker"),
        plugin("emitter", "Emitter"),
        plugin("echo", "Echo"),
        plugin("who", "WhoAmI"),
        script("s", "future", "hang"),
    ];
    let host = TestHost::start(with(plugins)).await;
    let session = host.session();
    (host, session)
}

async fn stop(host: TestHost, session: TestSession) {
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_events_of_a_nested_request_go_to_its_asker() {
    let (host, mut session) = start().await;
    for on in ["call", "alone", "session"] {
        let flood = json!({ "count": 7, "kind": "artifact", "waits": true });
        let mut body = json!({
            "on": on, "wire_type": "emit/flood/req", "body": flood, "events": 1,
        });
        let reply = session.call("seam/pass/req", body.clone()).await;
        assert_eq!(reply["events"], json!(vec!["invoke/event artifact"; 7]), "{on}: {reply}");
        assert_eq!(reply["reply"]["queued"], 7);
        body["events"] = json!(0);
        let reply = session.call("seam/pass/req", body).await;
        assert_eq!((&reply["events"], &reply["reply"]["muted"]), (&json!([]), &json!(7)), "{on}");
        assert_eq!(session.others(), [] as [Value; 0], "nothing of it reaches the client");
        silent(&mut session).await;
    }
    // One that a slow asker does not take may be dropped if its kind may be; the asker sees the rest.
    let flood = json!({ "count": 50, "kind": "progress" });
    let body = json!({ "on": "call", "wire_type": "emit/flood/req", "body": flood, "events": 1 });
    let reply = session.call("seam/pass/req", body).await;
    let (queued, dropped) = (&reply["reply"]["queued"], &reply["reply"]["dropped"]);
    assert_eq!(queued.as_u64().unwrap() + dropped.as_u64().unwrap(), 50);
    assert_eq!(reply["events"].as_array().unwrap().len() as u64, queued.as_u64().unwrap());
    stop(host, session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_asks_by_itself_or_in_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let plugins = [plugin("asker", "Asker"), plugin("who", "WhoAmI")];
    let host = TestHost::start(audited(with(plugins), &path)).await;
    let mut session = TestSession::over(
        host.executor().connect_as(a2e_core::transport::Identity::of("oidc:ann")),
    );
    for (on, principal) in
        [("call", "oidc:ann"), ("session", "oidc:ann"), ("alone", "plugin:asker")]
    {
        let body = json!({ "on": on, "wire_type": "seam/whoami/req", "body": {} });
        let reply = session.call("seam/pass/req", body).await;
        assert_eq!(reply["reply"]["principal"], principal, "{on}: {reply}");
    }
    for on in ["call", "alone", "session"] {
        let body = json!({ "on": on, "wire_type": "seam/nobody/req", "body": {} });
        assert_eq!(session.call_error("seam/pass/req", body).await, "unknown_type", "{on}");
        let body = json!({ "on": on, "to": "asker", "wire_type": "seam/whoami/req", "body": {} });
        assert_eq!(session.call_error("seam/pass/req", body).await, "unknown_type", "{on}");
    }
    settled(&host).await;
    session.finish().await;
    let records = records(&path);
    let nested: Vec<&Value> = records.iter().filter(|it| it["type"] == "seam/whoami/req").collect();
    assert_eq!(nested.len(), 3);
    assert_eq!(nested[0]["session_id"], nested[1]["session_id"]);
    assert_ne!(nested[1]["session_id"], nested[2]["session_id"], "its own session");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gives_a_request_less_time_than_its_type() {
    let (host, mut session) = start().await;
    let switch = Switch::new();
    for on in ["call", "alone", "session"] {
        let body = json!({
            "on": on, "to": "s", "wire_type": "script/never/req", "limit_ms": 50,
            "body": { "probe": switch.key() },
        });
        let error = session.call("seam/pass/req", body).await;
        assert_eq!(error["code"], "timeout", "{on}: {error}");
    }
    switch.noted("future dropped").await;
    stop(host, session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_request_ends_with_the_call_that_made_it() {
    let (host, mut session) = start().await;
    let switch = Switch::new();
    for (number, on) in ["call", "alone", "session"].into_iter().enumerate() {
        let body = json!({
            "on": on, "to": "s", "wire_type": "script/never/req", "body": { "probe": switch.key() },
        });
        let id = session.send("seam/pass/req", body).await;
        switch.entered(number + 1).await;
        session.send("cancel", json!({ "req_id": id })).await;
        assert_eq!(session.reply_to(&id).await["code"], "cancelled", "{on}");
        settled(&host).await;
        let dropped = || switch.journal().iter().filter(|it| *it == "future dropped").count();
        let in_time = async {
            while dropped() <= number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, in_time).await.expect("the inner one is dropped");
    }
    stop(host, session).await;
}

/// The question that the agent is asked next.
async fn asked(session: &mut TestSession) -> Value {
    let question = next(session).await;
    assert_eq!(question["type"], "seam/agent/req", "{question}");
    question
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_asked_and_answers() {
    let (host, mut session) = start().await;
    let body = json!({ "body": { "text": "may I?" }, "limit_ms": 10_000 });
    let id = session.send("seam/question/req", body.clone()).await;
    let question = asked(&mut session).await;
    assert_eq!((&question["text"], question.get("req_id")), (&json!("may I?"), None));
    let answer = json!({
        "type": "seam/agent/resp", "id": "c1", "req_id": question["id"], "yes": [1, { "é": null }],
    });
    session.send_line(&answer.to_string()).await;
    let reply = session.reply_to(&id).await;
    assert_eq!(reply["reply"]["yes"], answer["yes"], "{reply}");
    // Two at a time are told apart.
    let (a, b) = (
        session.send("seam/question/req", body.clone()).await,
        session.send("seam/question/req", body.clone()).await,
    );
    let (first, second) = (asked(&mut session).await, asked(&mut session).await);
    for (question, text) in [(&second, "second"), (&first, "first")] {
        let answer = json!({ "type": "x", "req_id": question["id"], "text": text });
        session.send_line(&answer.to_string()).await;
    }
    let texts = [session.reply_to(&a).await, session.reply_to(&b).await];
    let mut texts: Vec<&str> =
        texts.iter().map(|it| it["reply"]["text"].as_str().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["first", "second"]);
    // An error is an answer, too.
    let id = session.send("seam/question/req", body).await;
    let question = asked(&mut session).await;
    let error = json!({
        "type": "error", "req_id": question["id"], "code": "tool_denied", "message": "no",
        "detail": { "why": "Sunday" }, "retryable": false, "capability_name": "",
    });
    session.send_line(&error.to_string()).await;
    let reply = session.reply_to(&id).await;
    assert_eq!((&reply["code"], &reply["message"]), (&json!("tool_denied"), &json!("no")));
    assert_eq!(reply["detail"]["why"], "Sunday");
    assert_eq!(counter(&host, "peer_errors"), 0, "it was meant for the asker");
    stop(host, session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_gives_no_answer_is_waited_for_so_long() {
    let (host, mut session) = start().await;
    let id = session.send("seam/question/req", json!({ "body": {}, "limit_ms": 50 })).await;
    let question = asked(&mut session).await;
    assert_eq!(session.reply_to(&id).await["code"], "timeout");
    // What comes too late answers nothing, and is no request that runs.
    let late = json!({ "type": "seam/agent/resp", "id": "l", "req_id": question["id"] });
    session.send_line(&late.to_string()).await;
    assert_eq!(session.reply_to("l").await["code"], "invalid_message");
    stop(host, session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_with_its_session() {
    let (host, mut session) = start().await;
    let switch = Switch::new();
    let body = json!({ "body": {}, "limit_ms": 60_000, "probe": switch.key(), "times": 1 });
    session.call("seam/question/req", body).await;
    // The question may have come before the reply.
    session.finish().await;
    switch.noted("error cancelled").await;
    switch.noted("open false").await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_questions_that_nobody_reads_are_bounded() {
    let mut config = with([plugin("asker", "Asker")]);
    config.limits.max_outbound_bytes = 16 << 10;
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let switch = Switch::new();
    // More than the pipe between them and the outbox hold; the client reads none of it.
    let text = "x".repeat(8 << 10);
    let body = json!({
        "body": { "text": text }, "limit_ms": 300, "probe": switch.key(), "times": 100,
    });
    session.send("seam/question/req", body).await;
    let all = async {
        while switch.journal().iter().filter(|it| *it == "error timeout").count() < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let unsent = host.executor().status().unsent_bytes;
            assert!(unsent < 64 << 10, "{unsent} bytes wait");
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("each ends in its time");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_runs_once_when_nobody_waits_any_more() {
    let (host, mut session) = start().await;
    for why in ["cancel", "timeout", "gone", "answer"] {
        let switch = Switch::new();
        let mut body = json!({ "data": {}, "probe": switch.key() });
        if why == "timeout" {
            body["timeout"] = json!(0.1);
        }
        let mut other = host.session();
        let id = other.send("seam/stuck/req", body).await;
        switch.entered(1).await;
        match why {
            "cancel" => {
                other.send("cancel", json!({ "req_id": id })).await;
                other.send("cancel", json!({ "req_id": id })).await;
                assert_eq!(other.reply_to(&id).await["code"], "cancelled");
            }
            "timeout" => assert_eq!(other.reply_to(&id).await["code"], "timeout"),
            "gone" => drop(std::mem::replace(&mut other, host.session())),
            _ => {
                assert_eq!(switch.journal(), [] as [&str; 0], "not before the answer");
                switch.open();
                assert_eq!(other.reply_to(&id).await["type"], "seam/raw/resp");
            }
        }
        switch.noted("hook").await;
        switch.open();
        switch.noted("late hook").await;
        settled(&host).await;
        other.finish().await;
        let mut journal = switch.journal();
        journal.sort_unstable();
        assert_eq!(journal, ["hook", "late hook"], "{why}");
    }
    silent(&mut session).await;
    stop(host, session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_json_goes_in_and_out_as_it_is() {
    let (host, mut session) = start().await;
    let data = r#"{"n":1.50,"big":123456789012345678901234567890,"e":[1E5,{"a":{}}]}"#;
    let request = format!(r#"{{"type":"seam/raw/req","id":"r","data":{data}}}"#);
    session.send_line(&request).await;
    let event = next(&mut session).await;
    let reply = session.reply_to("r").await;
    assert_eq!((&event["type"], &event["kind"]), (&json!("seam/event"), &json!("raw")));
    for part in ["n", "e"] {
        assert_eq!((&event["data"][part], &reply[part]), (&reply[part], &event["data"][part]));
    }
    assert_eq!(reply["n"], 1.5);
    // Events of a nested request carry it, too.
    let body = json!({ "on": "call", "wire_type": "seam/raw/req", "events": 4,
        "body": { "data": { "a": 1 } } });
    let reply = session.call("seam/pass/req", body).await;
    assert_eq!(reply["events"], json!(["seam/event raw"]), "{reply}");
    assert_eq!(reply["reply"]["a"], 1);
    // What is no object is no reply.
    for data in ["5", "[]", "\"x\"", "null"] {
        let request = format!(r#"{{"type":"seam/stuck/req","id":"n","data":{data}}}"#);
        session.send_line(&request).await;
        assert_eq!(session.reply_to("n").await["code"], "internal_error", "{data}");
    }
    stop(host, session).await;
}
