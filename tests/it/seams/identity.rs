//! Identities that a front gives: rights, sessions per principal, tenants, message rate, memory.

use std::time::Duration;

use a2e_core::config::{HostConfig, Secret, TenantConfig};
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::{Identity, Peer, Right, Rights};
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{clocked, counter, end, next, plugin, script, serves, settled, tuned, with};

#[derive(Debug, Deserialize)]
struct Nothing {}

#[derive(Debug, Deserialize)]
struct WhoAmI {}
message!(WhoAmI, "seam/whoami/req" => Identified, First);

#[derive(Debug, Serialize)]
struct Identified {
    principal: String,
    tenant: Option<String>,
    name: String,
    may: [bool; 3],
}
message!(Identified, "seam/whoami/resp");

/// `test.WhoAmI`: says what a handler sees of its session's identity.
struct Looks;

impl Looks {
    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn whoami(&self, _: WhoAmI, call: &Call) -> Answer<Identified> {
        let may = Right::ALL.map(|right| call.identity().may(right));
        let Identity { principal, tenant, name, .. } = call.identity().clone();
        Ok(Identified { principal, tenant, name, may }.into())
    }
}

impl Plugin for Looks {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Looks::whoami);
    }
}

register_plugin!(
    Looks,
    cls = "test.WhoAmI",
    capability = "test",
    config = Nothing,
    build = |_: Nothing, _: &Host| -> Result<Looks> { Ok(Looks) }
);

fn connect(host: &TestHost, identity: Identity) -> TestSession {
    TestSession::over(host.executor().connect_as(identity))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sees_the_identity_and_only_operators_steer_the_host() {
    let host = TestHost::start(with([plugin("who", "WhoAmI")])).await;
    let approver = Rights { approve: true, ..Rights::default() };
    let named = Identity { name: "Ann".into(), ..Identity::of("oidc:ann") };
    for (identity, principal, tenant, may, code) in [
        (Identity::default(), "", Value::Null, [false, true, false], "unauthorized"),
        (named.with_rights(approver), "oidc:ann", Value::Null, [false, true, true], "unauthorized"),
        (
            Identity::of("token:ci").with_tenant("acme"),
            "token:ci",
            json!("acme"),
            [false, true, false],
            "unauthorized",
        ),
        (Identity::operator(), "operator", Value::Null, [true, true, false], ""),
    ] {
        let mut session = connect(&host, identity);
        let seen = session.call("seam/whoami/req", json!({})).await;
        assert_eq!((&seen["principal"], &seen["tenant"]), (&json!(principal), &tenant));
        assert_eq!(seen["may"], json!(may));
        let status = session.call("host/status/req", json!({})).await;
        assert_eq!(status["code"].as_str().unwrap_or_default(), code, "{status}");
        session.finish().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticated_identity_needs_no_token() {
    let mut config = with([plugin("who", "WhoAmI")]);
    config.auth_token = Some(Secret::new("0123456789abcdef0123456789abcdef"));
    let host = TestHost::start(config).await;
    let mut nobody = host.session();
    assert_eq!(nobody.call_error("seam/whoami/req", json!({})).await, "unauthorized");
    let mut known = connect(&host, Identity::of("oidc:ann"));
    assert_eq!(known.call("seam/whoami/req", json!({})).await["principal"], "oidc:ann");
    nobody.finish().await;
    known.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_principal_has_so_many_sessions_and_no_more() {
    let mut config = with([plugin("who", "WhoAmI")]);
    config.limits.max_sessions_per_principal = 2;
    let host = TestHost::start(config).await;
    let ann = || Identity::of("oidc:ann");
    let mut first = connect(&host, ann());
    serves(&mut first).await;
    let kept = host.executor().open(Peer::named("http"), ann(), Duration::from_hours(1)).unwrap();
    let mut third = connect(&host, ann());
    let refused = next(&mut third).await;
    assert_eq!((&refused["code"], &refused["req_id"]), (&json!("overloaded"), &json!("")));
    assert!(third.next().await.is_none(), "the connection ends");
    let over = host.executor().open(Peer::named("http"), ann(), Duration::from_hours(1));
    assert_eq!(over.unwrap_err().code().as_str(), "overloaded");
    assert_eq!(counter(&host, "refused_sessions"), 2);
    let mut others = vec![connect(&host, Identity::of("oidc:bob"))];
    others.extend((0..4).map(|_| host.session()));
    for other in &mut others {
        serves(other).await;
    }
    kept.end(Duration::ZERO);
    host.until("room for another", |it| it.sessions == 6).await;
    let mut again = connect(&host, ann());
    serves(&mut again).await;
    for session in others.into_iter().chain([first, again]) {
        session.finish().await;
    }
    end(host).await;
}

fn tenant(limit: usize) -> TenantConfig {
    let mut tenant = TenantConfig::default();
    tenant.max_in_flight = Some(limit);
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_nest_host_over_tenant_over_session() {
    let mut config = with([tuned(script("s", "future", "hang"), |it| it.permits = Some(100))]);
    config.limits.max_in_flight = 2;
    config.limits.max_in_flight_host = 4;
    config.tenants.insert("acme".into(), tenant(3));
    // Time stands still: what waits does not time out.
    let (host, _clock) = clocked(config).await;
    let switch = Switch::new();
    let acme = || connect(&host, Identity::of("a").with_tenant("acme"));
    let mut sessions = [acme(), acme(), host.session(), connect(&host, Identity::of("b"))];
    let mut asked = Vec::new();
    // Each session sends two more than it is let: by its own limit, its tenant's, the host's.
    for (number, (sent, running)) in [(4, 2), (3, 3), (3, 4), (2, 4)].into_iter().enumerate() {
        for _ in 0..sent {
            let body = json!({ "probe": switch.key() });
            asked.push((number, sessions[number].send("script/never/req", body).await));
        }
        switch.entered(running).await;
        serves(&mut sessions[number]).await;
        assert_eq!(switch.count(), running, "session {number}");
    }
    assert_eq!(host.executor().status().waiting, 12 - 4);
    switch.open();
    for (number, id) in asked {
        assert_eq!(sessions[number].reply_to(&id).await["type"], "script/resp");
    }
    settled(&host).await;
    for session in sessions {
        session.finish().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_does_not_hold_up_another() {
    let mut config = with([tuned(script("s", "future", "hang"), |it| it.permits = Some(100))]);
    config.tenants.insert("acme".into(), tenant(1));
    config.tenants.insert("beta".into(), tenant(1));
    let (host, _clock) = clocked(config).await;
    let (switch, other) = (Switch::new(), Switch::new());
    let mut acme = connect(&host, Identity::of("a").with_tenant("acme"));
    let mut beta = connect(&host, Identity::of("b").with_tenant("beta"));
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(acme.send("script/never/req", json!({ "probe": switch.key() })).await);
    }
    switch.entered(1).await;
    other.open();
    let quick = beta.call("script/never/req", json!({ "probe": other.key() })).await;
    assert_eq!((&quick["type"], switch.count()), (&json!("script/resp"), 1));
    switch.open();
    for id in asked {
        acme.reply_to(&id).await;
    }
    acme.finish().await;
    beta.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_session_that_sends_too_fast_is_told_when_to_go_on() {
    let mut config = with([plugin("echo", "Echo"), script("s", "future", "hang")]);
    config.limits.max_messages_per_s = Some(5);
    let (host, clock) = clocked(config).await;
    let switch = Switch::new();
    let mut session = host.session();
    let hanging = session.send("script/never/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    for _ in 0..4 {
        assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    }
    let refused = session.call("echo/inline/req", json!({})).await;
    assert_eq!(refused["code"], "overloaded", "{refused}");
    let wait = refused["detail"]["retry_after_ms"].as_u64().unwrap();
    assert!((1..=200).contains(&wait), "{wait}");
    for _ in 0..20 {
        serves(&mut session).await;
    }
    session.send("cancel", json!({ "req_id": hanging })).await;
    assert_eq!(session.reply_to(&hanging).await["code"], "cancelled");
    let mut other = host.session();
    assert_eq!(other.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    clock.advance(Duration::from_millis(wait + 1));
    assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    assert_eq!(session.call_error("echo/inline/req", json!({})).await, "overloaded");
    assert_eq!(counter(&host, "rate_limited"), 2);
    session.finish().await;
    other.finish().await;
    end(host).await;
}

/// A budget with this much more than the process has now; other tests share it.
fn budget(more: usize) -> (HostConfig, usize) {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    let budget = (pages * 4096 + more) * 10 / 9;
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.memory_budget_bytes = Some(budget);
    (config, budget)
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_short_memory_refuses_requests_and_sessions_and_answers_pings() {
    let (config, budget) = budget(64 << 20);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let mut operator = host.operator();
    assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    // Memory that is not zero is there.
    let ballast = vec![1_u8; budget];
    host.until("short memory", |it| it.memory_bytes >= budget).await;
    assert_eq!(session.call_error("echo/inline/req", json!({})).await, "overloaded");
    serves(&mut session).await;
    let status = operator.call("host/status/req", json!({})).await;
    assert!(status["memory_bytes"].as_u64().unwrap() >= budget as u64, "{status}");
    let mut late = host.session();
    assert_eq!(next(&mut late).await["code"], "overloaded");
    let open = host.executor().open(Peer::default(), Identity::default(), Duration::ZERO);
    assert_eq!(open.unwrap_err().code().as_str(), "overloaded");
    assert!(counter(&host, "refused_sessions") >= 1);
    drop(std::hint::black_box(ballast));
    host.until("memory", |it| it.memory_bytes < budget / 10 * 9).await;
    assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    for session in [session, operator] {
        session.finish().await;
    }
    end(host).await;
}
