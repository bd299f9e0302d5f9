//! Calls that wait for a person: who is asked, what an answer is bound to, and every way in which the wait
//! ends.

use std::path::Path;
use std::time::Duration;

use a2e_core::config::{ApproveRule, HostConfig, PluginConfig, PrincipalConfig, TenantConfig};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::{Identity, Rights};
use serde_json::{Value, json};

use crate::support::{
    Carrier, audited, counter, end, next, of, plugin, records_of, settled, silent, with,
};

const TOKENS: [(&str, &str); 5] = [
    ("ada", "ada-0123456789abcdef0123456789abcdef"),
    ("eve", "eve-0123456789abcdef0123456789abcdef"),
    ("mia", "mia-0123456789abcdef0123456789abcdef"),
    ("ci", "ci-00123456789abcdef0123456789abcdef"),
    ("acme", "acm-0123456789abcdef0123456789abcdef"),
];

fn rules(text: &str) -> Vec<ApproveRule> {
    HostConfig::from_str("rules.yaml", text, &|_| None).unwrap().config.approve
}

/// `echo/*` needs an approval, nothing else does. Ada and Eve approve, Mia for `acme` alone.
fn config() -> HostConfig {
    let mut config = with([plugin("echo", "Echo"), plugin("caller", "Caller")]);
    config.approve = rules("approve: [{type: echo/*}]");
    config.tenants.insert("acme".into(), TenantConfig::default());
    let approve = Rights { approve: true, ..Rights::default() };
    let identities = [
        Identity::of("ada").with_rights(approve),
        Identity::of("eve").with_rights(Rights::all()),
        Identity::of("mia").with_rights(approve).with_tenant("acme"),
        Identity::of("ci"),
        Identity::of("acme").with_tenant("acme"),
    ];
    let of = |identity: Identity| {
        let (_, token) = TOKENS.into_iter().find(|(name, _)| *name == identity.principal).unwrap();
        PrincipalConfig::new(identity, token)
    };
    config.server.principals = identities.map(of).to_vec();
    config
}

async fn hello(mut session: TestSession, name: &str, features: &[&str]) -> TestSession {
    let (_, token) = TOKENS.into_iter().find(|(known, _)| *known == name).unwrap();
    let body = json!({ "auth_token": token, "agent_id": name, "client_features": features });
    assert_eq!(session.call("handshake/req", body).await["ok"], true);
    session
}

/// One that is there to approve.
async fn person(host: &TestHost, name: &str) -> TestSession {
    hello(host.session(), name, &["approvals"]).await
}

async fn agent(host: &TestHost, name: &str) -> TestSession {
    hello(host.session(), name, &[]).await
}

fn answer(ask: &Value, approve: bool) -> Value {
    json!({ "approval_id": ask["approval_id"], "digest": ask["digest"], "approve": approve })
}

async fn asked(session: &mut TestSession) -> Value {
    let ask = next(session).await;
    assert_eq!(ask["type"], "approval/ask/push", "{ask}");
    ask
}

async fn over(session: &mut TestSession) -> String {
    let over = next(session).await;
    assert_eq!(over["type"], "approval/over/push", "{over}");
    over["outcome"].as_str().unwrap().to_owned()
}

async fn finish(host: TestHost, sessions: impl IntoIterator<Item = TestSession>) {
    host.until("nothing waits", |it| it.approvals.is_empty()).await;
    for session in sessions {
        session.finish().await;
    }
    end(host).await;
}

const SAY: &str = "echo/pool/req";

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_call_goes_on_and_a_denied_one_ends_over_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(config(), &path)).await;
    for carrier in Carrier::ALL {
        let mut caller = hello(carrier.open(&host).await, "ci", &[]).await;
        let mut ada = hello(carrier.open(&host).await, "ada", &["approvals"]).await;
        for door in ["echo/inline/req", "echo/pool/req", "echo/future/req", "echo/dynamic/req"] {
            let id = caller.send(door, json!({ "text": "hi" })).await;
            let ask = asked(&mut ada).await;
            assert_eq!((&ask["principal"], &ask["agent_id"]), (&json!("ci"), &json!("ci")));
            assert_eq!((&ask["request_id"], &ask["message_type"]), (&json!(id), &json!(door)));
            assert_eq!(
                (&ask["request"]["text"], &ask["rules"]),
                (&json!("hi"), &json!(["approve[0]: echo/*"]))
            );
            let status = host.executor().status();
            assert_eq!((status.approvals.len(), status.approvals[0].principal.as_str()), (1, "ci"));
            let reply = ada.call("approval/answer/req", answer(&ask, true)).await;
            assert_eq!(
                (&reply["type"], &reply["approved"]),
                (&json!("approval/answer/resp"), &json!(true))
            );
            assert_eq!(caller.reply_to(&id).await["text"], "hi", "{carrier:?} {door}");
            assert_eq!(over(&mut ada).await, "approved");
        }
        let id = caller.send(SAY, json!({ "text": "hi" })).await;
        let mut no = answer(&asked(&mut ada).await, false);
        no["reason"] = json!("not today");
        ada.call("approval/answer/req", no).await;
        let error = caller.reply_to(&id).await;
        assert_eq!(
            (&error["code"], &error["detail"]["by"]),
            (&json!("approval_denied"), &json!("ada"))
        );
        assert_eq!(error["message"], "`ada` did not approve this call: not today");
        assert_eq!(over(&mut ada).await, "denied");
        caller.finish().await;
        ada.finish().await;
    }
    let counts = ["asked", "granted", "denied", "expired", "unavailable"]
        .map(|it| counter(&host, &format!("approvals_{it}")));
    assert_eq!(counts, [20, 16, 4, 0, 0]);
    end(host).await;
    told_in_the_audit(&path);
}

/// Who asked, who decided, by which rule.
fn told_in_the_audit(path: &Path) {
    let all = crate::support::records(path);
    let calls: Vec<&Value> = all.iter().filter(|it| it["type"] == SAY).collect();
    assert_eq!(calls.len(), 8);
    for (record, how) in calls.iter().zip(["approved by ada", "denied by ada"].iter().cycle()) {
        assert_eq!(record["principal"], "ci", "{record}");
        assert_eq!(record["subject"]["approval"], **how, "{record}");
        assert_eq!(record["subject"]["approval_rule"], "approve[0]: echo/*");
        let outcome = if how.starts_with("denied") { "refused" } else { "ok" };
        assert_eq!(record["outcome"], outcome);
    }
    let answers: Vec<&Value> =
        all.iter().filter(|it| it["type"] == "approval/answer/req").collect();
    assert_eq!(answers.len(), 20);
    for record in answers {
        let subject = &record["subject"];
        assert_eq!(
            (&record["principal"], &subject["caller"]),
            (&json!("ada"), &json!("ci")),
            "{record}"
        );
        assert!(subject["decision"] == "approve" || subject["decision"] == "deny", "{record}");
        assert!(subject["digest"].as_str().is_some_and(|it| it.len() == 64), "{record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anybody_to_ask_a_call_is_refused_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(config(), &path)).await;
    let mut caller = agent(&host, "ci").await;
    // These have no right, say nothing of approvals, are of another tenant, or are the caller itself.
    let others = [
        agent(&host, "ada").await,
        person(&host, "ci").await,
        person(&host, "acme").await,
        person(&host, "mia").await,
    ];
    let id = caller.send(SAY, json!({ "text": "hi" })).await;
    let error = caller.reply_to(&id).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("approval_unavailable"), &json!(false))
    );
    assert_eq!(error["detail"]["rules"], json!(["approve[0]: echo/*"]), "{error}");
    assert_eq!(counter(&host, "approvals_unavailable"), 1);
    let mut ada = agent(&host, "ada").await;
    assert_eq!(ada.call_error(SAY, json!({ "text": "x" })).await, "approval_unavailable");
    let mut also = person(&host, "ada").await;
    assert_eq!(
        ada.call_error(SAY, json!({ "text": "x" })).await,
        "approval_unavailable",
        "its own principal"
    );
    silent(&mut also).await;
    finish(host, others.into_iter().chain([caller, ada, also])).await;
    let record = &records_of(&path, &id)[0];
    assert_eq!(
        (&record["outcome"], &record["error_code"]),
        (&json!("refused"), &json!("approval_unavailable"))
    );
    assert_eq!(record["subject"]["approval_rule"], "approve[0]: echo/*", "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bound_to_its_call_and_its_approver_and_counts_once() {
    let host = TestHost::start(config()).await;
    let (mut caller, mut ada, mut eve) =
        (agent(&host, "ci").await, person(&host, "ada").await, person(&host, "eve").await);
    let (mut mia, other) = (person(&host, "mia").await, agent(&host, "acme").await);
    let id = caller.send(SAY, json!({ "text": "one" })).await;
    let (one, told) = (asked(&mut ada).await, asked(&mut eve).await);
    assert_eq!((&one["approval_id"], &one["digest"]), (&told["approval_id"], &told["digest"]));
    let second = caller.send(SAY, json!({ "text": "two" })).await;
    let two = asked(&mut ada).await;
    asked(&mut eve).await;
    silent(&mut mia).await;
    assert_ne!(one["digest"], two["digest"]);
    let of_two =
        json!({ "approval_id": one["approval_id"], "digest": two["digest"], "approve": true });
    let unknown =
        json!({ "approval_id": "0".repeat(32), "digest": one["digest"], "approve": true });
    let mut sessions = [ada, mia, caller, other];
    let rows = [
        (0, of_two, "invalid_message"),
        (0, unknown, "unknown_approval"),
        (0, json!({ "approval_id": one["approval_id"] }), "schema_violation"),
        (1, answer(&one, true), "unknown_approval"),
        (2, answer(&one, true), "forbidden"),
        (3, answer(&one, true), "forbidden"),
    ];
    for (of, body, code) in rows {
        let found = sessions[of].call_error("approval/answer/req", body.clone()).await;
        assert_eq!(found, code, "{body}");
    }
    let [mut ada, mut mia, mut caller, other] = sessions;
    let list = |reply: Value| -> Vec<Value> {
        let all = reply["approvals"].as_array().unwrap().iter();
        all.map(|it| it["request"]["text"].clone()).collect()
    };
    assert_eq!(list(ada.call("approval/list/req", json!({})).await), ["one", "two"]);
    assert!(list(mia.call("approval/list/req", json!({})).await).is_empty());
    assert_eq!(caller.call_error("approval/list/req", json!({})).await, "forbidden");
    // The second answer comes too late, whatever it says.
    assert_eq!(eve.call("approval/answer/req", answer(&one, true)).await["approved"], true);
    for (session, approve) in [(&mut eve, true), (&mut ada, false)] {
        let code = session.call_error("approval/answer/req", answer(&one, approve)).await;
        assert_eq!(code, "unknown_approval");
    }
    assert_eq!(caller.reply_to(&id).await["text"], "one");
    ada.call("approval/answer/req", answer(&two, false)).await;
    assert_eq!(caller.reply_to(&second).await["code"], "approval_denied");
    assert_eq!(counter(&host, "approval_answers_refused"), 5);
    finish(host, [caller, ada, eve, mia, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_s_calls_are_decided_by_its_approvers_and_by_those_of_the_host() {
    let host = TestHost::start(config()).await;
    let (mut mia, mut ada) = (person(&host, "mia").await, person(&host, "ada").await);
    let mut caller = agent(&host, "acme").await;
    let id = caller.send(SAY, json!({ "text": "x" })).await;
    let ask = asked(&mut mia).await;
    assert_eq!(asked(&mut ada).await["approval_id"], ask["approval_id"]);
    mia.call("approval/answer/req", answer(&ask, true)).await;
    assert_eq!(caller.reply_to(&id).await["text"], "x");
    finish(host, [mia, ada, caller]).await;
}

/// How a wait ends that nobody answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Cancel,
    Gone,
    Expired,
    ApproverGone,
    Shutdown,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_end_of_the_wait_is_bounded_answered_and_told() {
    for (way, code, told) in [
        (Way::Cancel, "cancelled", "gone"),
        (Way::Gone, "", "gone"),
        (Way::Expired, "approval_unavailable", "expired"),
        (Way::ApproverGone, "approval_unavailable", ""),
        (Way::Shutdown, "shutting_down", "gone"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut config = audited(config(), &path);
        let is_short = matches!(way, Way::Expired | Way::ApproverGone);
        config.limits.approval_wait = Duration::from_millis(if is_short { 300 } else { 60_000 });
        let host = TestHost::start(config).await;
        let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
        let id = caller.send(SAY, json!({ "text": "x" })).await;
        let ask = asked(&mut ada).await;
        let mut rest = Vec::new();
        match way {
            Way::Cancel => {
                caller.send_line(&json!({ "type": "cancel", "req_id": id }).to_string()).await;
            }
            Way::Shutdown => {
                caller.send_line(r#"{"type":"shutdown","timeout":0}"#).await;
            }
            Way::Expired | Way::Gone | Way::ApproverGone => {}
        }
        if way == Way::ApproverGone {
            ada.finish().await;
        } else {
            rest.push(ada);
        }
        if way == Way::Gone {
            drop(caller);
        } else {
            let error = caller.reply_to(&id).await;
            assert_eq!(error["code"], code, "{way:?}: {error}");
            caller.finish().await;
        }
        if let Some(ada) = rest.first_mut() {
            assert_eq!(over(ada).await, told, "{way:?}");
            let late = ada.call_error("approval/answer/req", answer(&ask, true)).await;
            assert_eq!(late, "unknown_approval", "{way:?}");
        }
        settled(&host).await;
        assert_eq!(counter(&host, "approvals_expired"), u64::from(is_short), "{way:?}");
        assert_eq!(of(&host.executor().status(), "echo").calls, 0, "{way:?}: it never ran");
        finish(host, rest).await;
        let records = records_of(&path, &id);
        assert_eq!(records.iter().filter(|it| it["type"] == SAY).count(), 1, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_call_stands_still_while_it_waits() {
    // A call that may take a second, and a person who takes more than that.
    let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    let mut config = config().plugin(demo);
    config.approve = rules("approve: [{tool: '*'}]");
    let host = TestHost::start(config).await;
    let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
    for (tool, arguments, code) in [
        ("echo", json!({ "text": "x" }), ""),
        // What is left of its time is what it had before.
        ("sleep", json!({ "ms": 30_000 }), "timeout"),
    ] {
        let body = json!({ "tool_name": tool, "arguments": arguments, "timeout": 1 });
        let id = caller.send("tool/call/req", body).await;
        let ask = asked(&mut ada).await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert_eq!(host.executor().status().approvals.len(), 1, "it waits still");
        ada.call("approval/answer/req", answer(&ask, true)).await;
        let reply = caller.reply_to(&id).await;
        assert_eq!(reply["code"].as_str().unwrap_or_default(), code, "{reply}");
        assert_eq!(over(&mut ada).await, "approved");
    }
    finish(host, [caller, ada]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_are_bounded_and_hold_no_permit() {
    let mut config = config();
    config.limits.max_approvals = 8;
    config.plugins = config
        .plugins
        .into_iter()
        .map(|it| crate::support::tuned(it, |it| it.permits = Some(1)))
        .collect();
    let host = TestHost::start(config).await;
    let mut ada = person(&host, "ada").await;
    let mut callers = Vec::new();
    let mut asks = Vec::new();
    for round in 0..4 {
        let mut caller = agent(&host, "ci").await;
        for call in 0..2 {
            caller.send(SAY, json!({ "text": format!("{round} {call}") })).await;
            asks.push(asked(&mut ada).await);
        }
        // A quarter of them may be of one session.
        assert_eq!(caller.call_error(SAY, json!({ "text": "x" })).await, "overloaded");
        callers.push(caller);
    }
    let mut fifth = agent(&host, "acme").await;
    assert_eq!(fifth.call_error(SAY, json!({ "text": "x" })).await, "overloaded");
    let status = host.executor().status();
    assert_eq!((status.approvals.len(), status.in_flight, status.waiting), (8, 8, 0));
    assert!(status.plugins.iter().all(|it| it.running == 0 && it.queued == 0), "{status:?}");
    for ask in &asks {
        ada.call("approval/answer/req", answer(ask, true)).await;
    }
    for caller in &mut callers {
        for _ in 0..2 {
            assert_eq!(next(caller).await["type"], "echo/resp");
        }
    }
    finish(host, callers.into_iter().chain([ada, fifth])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_is_what_goes_on() {
    let keeper = |name: &str, act: &str, rank: i64| {
        plugin(name, "Gatekeeper")
            .with_setting("pattern", "echo/*")
            .with_setting("act", act)
            .with_setting("rank", rank)
    };
    for (acts, text, rules) in [
        (&["ask"][..], "hi", json!(["g0"])),
        (&["later ask"], "hi", json!(["g0"])),
        // A change behind the question is part of it.
        (&["ask", "modify"], "hi+g1", json!(["g0"])),
        (&["modify", "ask", "later modify", "ask"], "hi+g0+g2", json!(["g1", "g3"])),
    ] {
        let mut config = config();
        config.approve.clear();
        for (number, act) in acts.iter().enumerate() {
            config =
                config.plugin(keeper(&format!("g{number}"), act, -i64::try_from(number).unwrap()));
        }
        let host = TestHost::start(config).await;
        let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
        let id = caller.send(SAY, json!({ "text": "hi" })).await;
        let ask = asked(&mut ada).await;
        assert_eq!((&ask["request"]["text"], &ask["rules"]), (&json!(text), &rules), "{acts:?}");
        ada.call("approval/answer/req", answer(&ask, true)).await;
        assert_eq!(caller.reply_to(&id).await["text"], text, "{acts:?}");
        finish(host, [caller, ada]).await;
    }
    // What refuses is asked before a person is.
    let mut config = config();
    config = config.plugin(keeper("g", "cancel", 0));
    let host = TestHost::start(config).await;
    let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
    assert_eq!(caller.call_error(SAY, json!({ "text": "hi" })).await, "tool_denied");
    silent(&mut ada).await;
    finish(host, [caller, ada]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_a_call_waits_changes_nothing_for_it_but_its_handler() {
    let host = TestHost::start(config()).await;
    let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
    let first = caller.send(SAY, json!({ "text": "one" })).await;
    let one = asked(&mut ada).await;
    let report = host.executor().rebuild(&["echo".into()]).await.unwrap();
    assert_eq!(report.rebuilt, ["echo"]);
    ada.call("approval/answer/req", answer(&one, true)).await;
    assert_eq!(caller.reply_to(&first).await["text"], "one");
    assert_eq!(over(&mut ada).await, "approved");
    let second = caller.send(SAY, json!({ "text": "two" })).await;
    let two = asked(&mut ada).await;
    host.executor().remove_plugin(&"echo".into()).await.unwrap();
    host.until("it is gone", |it| it.retiring.is_empty()).await;
    ada.call("approval/answer/req", answer(&two, true)).await;
    let error = caller.reply_to(&second).await;
    assert_eq!(error["code"], "unavailable", "its handler is gone: {error}");
    finish(host, [caller, ada]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_what_a_plugin_asks_for_a_caller_waits_as_the_caller_s() {
    let host = TestHost::start(config()).await;
    let (mut caller, mut ada) = (agent(&host, "ci").await, person(&host, "ada").await);
    let body = json!({ "to": "plugin echo", "wire_type": SAY, "body": { "text": "deep" } });
    let id = caller.send("caller/ask/req", body).await;
    let ask = asked(&mut ada).await;
    assert_eq!((&ask["principal"], &ask["request"]["text"]), (&json!("ci"), &json!("deep")));
    ada.call("approval/answer/req", answer(&ask, true)).await;
    assert_eq!(caller.reply_to(&id).await["reply"]["text"], "deep");
    finish(host, [caller, ada]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_started_the_host_may_ask_a_person_itself() {
    let mut config = with([plugin("echo", "Echo")]);
    config.approve = rules("approve: [{type: echo/*}]");
    let host = TestHost::start(config).await;
    let mut program = Carrier::Stdio.open(&host).await;
    // One that does not say so is not asked.
    assert_eq!(program.call_error(SAY, json!({ "text": "x" })).await, "approval_unavailable");
    program.call("handshake/req", json!({ "client_features": ["approvals"] })).await;
    let id = program.send(SAY, json!({ "text": "x" })).await;
    let ask = asked(&mut program).await;
    program.call("approval/answer/req", answer(&ask, true)).await;
    assert_eq!(program.reply_to(&id).await["text"], "x");
    // Over a socket nobody approves its own calls.
    let mut own = Carrier::Socket.open(&host).await;
    own.call("handshake/req", json!({ "client_features": ["approvals"] })).await;
    let id = own.send(SAY, json!({ "text": "x" })).await;
    let ask = loop {
        let push = next(&mut program).await;
        if push["type"] == "approval/ask/push" {
            break push;
        }
    };
    assert_eq!(own.call_error("approval/answer/req", answer(&ask, true)).await, "unknown_approval");
    program.call("approval/answer/req", answer(&ask, true)).await;
    assert_eq!(own.reply_to(&id).await["text"], "x");
    finish(host, [program, own]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_names_a_tool_and_its_arguments() {
    let demo = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin");
    let text = "approve: [{tool: echo, arguments: {text: '*rm -rf*'}}, {tool: sleep}]";
    let mut config = with([demo]);
    config.approve = rules(text);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    for (arguments, tool, code) in [
        (json!({ "text": "hello" }), "echo", ""),
        (json!({ "text": "sudo rm -rf /" }), "echo", "approval_unavailable"),
        (json!({ "ms": 1 }), "sleep", "approval_unavailable"),
    ] {
        let reply = session
            .call("tool/call/req", json!({ "tool_name": tool, "arguments": arguments }))
            .await;
        assert_eq!(reply["code"].as_str().unwrap_or_default(), code, "{reply}");
    }
    assert_eq!(session.call("tool/list/req", json!({})).await["type"], "tool/list/resp");
    session.finish().await;
    end(host).await;
}
