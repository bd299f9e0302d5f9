//! A plugin whose types are known only at run time: a child process tells them, and when it has ended,
//! another one may tell others.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::children::{Child, Command};
use a2e_core::codec::{Body, RawJson};
use a2e_core::executor::PluginHealth;
use a2e_core::plugin::{Answer, Declared, Handlers, Health, Host, Plugin, RawReply, Run, TypeSpec};
use a2e_core::protocol::{Deadline, ErrorCode, Fold};
use a2e_core::request::Call;
use a2e_core::testing::TestHost;
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};

use crate::support::{PATIENCE, end, of, plugin, silent, stop, with};

/// Tells its types, then answers each line with that line, until it is told to quit.
const GUEST: &str = r#"
sleep 0.05
echo "$TYPES"
while read -r line; do
    case "$line" in *'"quit":true'*) exit 0 ;; esac
    echo "$line"
done
"#;

#[derive(Debug, Deserialize)]
struct Settings {
    /// The types of each life.
    lives: Vec<Vec<String>>,
}

/// What a plugin with types of its own has at its birth, too.
#[derive(Debug, Deserialize)]
struct Lives {}
message!(Lives, "guest/lives/req" => Lived, First);

#[derive(Debug, Serialize)]
struct Lived {
    lives: usize,
}
message!(Lived, "guest/lives/resp");

struct Guest {
    lives: Vec<Vec<String>>,
    started: std::sync::atomic::AtomicUsize,
}

/// A line for the child, and where its answer goes.
type Ask = (String, oneshot::Sender<String>);

fn spec(wire_type: &str) -> TypeSpec {
    TypeSpec { fold: Fold::First, ..TypeSpec::request(wire_type.to_owned(), "guest/resp") }
}

/// Has the child answer a request. Nothing is decoded but the frame.
async fn relay(child: mpsc::Sender<Ask>, body: Body) -> Answer<RawReply> {
    let crashed = || Error::new(ErrorCode::SandboxCrash, "the guest has ended");
    let (sender, answer) = oneshot::channel();
    child.send((body.text().to_owned(), sender)).await.map_err(|_| crashed())?;
    let line = answer.await.map_err(|_| crashed())?;
    let echoed = RawJson::parse(line).map_err(|error| Error::internal(error.to_string()))?;
    let body = RawJson::of(&json!({ "echoed": echoed }));
    let body = body.map_err(|error| Error::internal(error.to_string()))?;
    Ok(RawReply::from_json("guest/resp", &body)?.into())
}

/// One life of the guest: its types are handled until it ends.
async fn live(host: &Host, types: &[String]) -> Result<()> {
    let told = serde_json::to_string(types).map_err(|error| Error::internal(error.to_string()))?;
    let command = Command::new("sh").args(["-c", GUEST]).env("TYPES", told);
    let mut child: Child = host.children()?.spawn(command).await?;
    let broken = || Error::runtime("a guest without pipes");
    let mut stdin = child.stdin.take().ok_or_else(broken)?;
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(broken)?).lines();
    let first = lines.next_line().await?.ok_or_else(broken)?;
    let types: Vec<String> =
        serde_json::from_str(&first).map_err(|error| Error::runtime(error.to_string()))?;
    let (sender, mut asked) = mpsc::channel::<Ask>(64);
    let declared = types.iter().fold(Declared::new(), |declared, wire_type| {
        let sender = sender.clone();
        declared.future(spec(wire_type), move |body, _: Call| relay(sender.clone(), body))
    });
    drop(sender);
    host.declare(declared)?;
    host.set_health(Health::Serving, "");
    while let Some((line, answer)) = asked.recv().await {
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        match lines.next_line().await? {
            // The sender may have given up.
            Some(line) => drop(answer.send(line)),
            None => break,
        }
    }
    child.gone().await;
    Ok(())
}

impl Guest {
    fn lives(&self, _: Lives, _: &Call) -> Answer<Lived> {
        Ok(Lived { lives: self.started.load(std::sync::atomic::Ordering::SeqCst) }.into())
    }
}

impl Plugin for Guest {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Guest::lives);
    }

    fn start(&self, host: &Host) -> Result<()> {
        host.set_health(Health::Down, "the guest starts");
        let (host, lives) = (host.clone(), self.lives.clone());
        self.started.store(lives.len(), std::sync::atomic::Ordering::SeqCst);
        host.clone().spawn(async move {
            for types in lives {
                if let Err(error) = live(&host, &types).await {
                    return host.set_health(Health::Down, error.message());
                }
                host.set_health(Health::Down, "the guest starts again");
            }
            host.set_health(Health::Down, "the guest has no more lives");
        });
        Ok(())
    }
}

register_plugin!(
    Guest,
    cls = "test.Guest",
    capability = "test",
    config = Settings,
    build = |settings: Settings, _: &Host| -> Result<Guest> {
        Ok(Guest { lives: settings.lives, started: 0.into() })
    }
);

/// `test.Declares`: declares what the request says, at once.
struct Declares {
    host: Host,
}

#[derive(Debug, Deserialize)]
struct Declare {
    types: Vec<String>,
    #[serde(default)]
    deadline_s: u64,
    #[serde(default)]
    health: String,
}
message!(Declare, "seam/declare/req" => Lived, First);

impl Declares {
    fn declare(&self, request: Declare, _: &Call) -> Answer<Lived> {
        let health = match request.health.as_str() {
            "degraded" => Health::Degraded,
            "down" => Health::Down,
            _ => Health::Serving,
        };
        self.host.set_health(health, "as it was told");
        let mut declared = Declared::new();
        for wire_type in &request.types {
            let mut spec = spec(wire_type);
            if request.deadline_s > 0 {
                spec.deadline = Deadline::After(Duration::from_secs(request.deadline_s));
            }
            let name = self.host.plugin().to_string();
            declared = declared.sync(spec, Run::Inline, move |_, _| {
                Ok(RawReply::new("guest/resp", &json!({ "by": name }))?.into())
            });
        }
        self.host.declare(declared)?;
        Ok(Lived { lives: request.types.len() }.into())
    }
}

impl Plugin for Declares {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Declares::declare);
    }
}

register_plugin!(
    Declares,
    cls = "test.Declares",
    capability = "test",
    config = Lives,
    build = |_: Lives, host: &Host| -> Result<Declares> { Ok(Declares { host: host.clone() }) }
);

fn guest(lives: &[&[&str]]) -> a2e_core::config::PluginConfig {
    plugin("guest", "Guest").with_setting("lives", json!(lives))
}

async fn serving(host: &TestHost, health: PluginHealth, why: &str) {
    let is_so = |it: &a2e_core::executor::HostStatus| {
        let guest = of(it, "guest");
        guest.health == health && guest.reason.unwrap_or_default().contains(why)
    };
    host.until("the guest's health", is_so).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_a_child_come_with_it_and_change_with_the_next() {
    let lives: [&[&str]; 3] =
        [&["guest/a/req", "guest/b/req"], &["guest/b/req", "guest/c/req"], &[]];
    let host = TestHost::start(with([guest(&lives), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    assert_eq!(session.call_error("guest/a/req", json!({})).await, "unknown_type", "not yet");
    serving(&host, PluginHealth::Serving, "").await;
    for wire_type in ["guest/a/req", "guest/b/req"] {
        let reply = session.call(wire_type, json!({ "n": 1.5, "deep": [[{}]] })).await;
        assert_eq!((&reply["type"], &reply["echoed"]["n"]), (&json!("guest/resp"), &json!(1.5)));
        assert_eq!(reply["echoed"]["type"], wire_type, "{reply}");
    }
    assert_eq!(session.call("guest/lives/req", json!({})).await["lives"], 3);
    let status = of(&host.executor().status(), "guest");
    assert_eq!(status.types, ["guest/lives/req", "guest/a/req", "guest/b/req"]);
    assert_eq!(session.call_error("guest/b/req", json!({ "quit": true })).await, "sandbox_crash");
    let status = |types: &'static [&'static str]| {
        move |it: &a2e_core::executor::HostStatus| {
            let guest = of(it, "guest");
            guest.types == types && guest.health == PluginHealth::Serving
        }
    };
    host.until("the next life", status(&["guest/lives/req", "guest/b/req", "guest/c/req"])).await;
    assert_eq!(session.call_error("guest/a/req", json!({})).await, "unknown_type", "no more");
    for wire_type in ["guest/b/req", "guest/c/req"] {
        assert_eq!(session.call(wire_type, json!({})).await["echoed"]["type"], wire_type);
    }
    let explained = host.executor().explain("guest/c/req");
    assert_eq!((explained.handlers.len(), explained.is_handled), (1, true));
    assert!(!host.executor().explain("guest/a/req").is_handled);
    session.finish().await;
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_around_a_restart_has_one_answer() {
    let types: &[&str] = &["guest/a/req"];
    let other: &[&str] = &["guest/z/req"];
    let host = TestHost::start(with([guest(&[types, other, types, other])])).await;
    let mut session = host.session();
    serving(&host, PluginHealth::Serving, "").await;
    let mut codes = std::collections::BTreeMap::new();
    let mut ids = Vec::new();
    for number in 0..600 {
        let wire_type = if number % 2 == 0 { "guest/a/req" } else { "guest/z/req" };
        let body = if number % 150 == 120 { json!({ "quit": true }) } else { json!({}) };
        ids.push(session.send(wire_type, body).await);
        if number % 10 == 9 {
            for id in ids.drain(..) {
                let reply = session.reply_to(&id).await;
                let code = reply["code"].as_str().unwrap_or("reply").to_owned();
                *codes.entry(code).or_insert(0) += 1;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(codes.values().sum::<i32>(), 600, "{codes:?}");
    let known = ["reply", "sandbox_crash", "unavailable", "unknown_type"];
    assert!(codes.keys().all(|code| known.contains(&code.as_str())), "{codes:?}");
    assert!(codes["reply"] > 0 && codes["unknown_type"] > 0, "{codes:?}");
    silent(&mut session).await;
    session.finish().await;
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_ends_for_good_is_down() {
    let host = TestHost::start(with([guest(&[&["guest/a/req"]]), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    serving(&host, PluginHealth::Serving, "").await;
    session.call_error("guest/a/req", json!({ "quit": true })).await;
    serving(&host, PluginHealth::Down, "no more lives").await;
    let error = session.call("guest/a/req", json!({})).await;
    assert_eq!(error["code"], "unavailable");
    assert!(error["message"].as_str().unwrap().contains("no more lives"), "{error}");
    assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
    session.finish().await;
    end(host).await;
}

async fn declare(session: &mut a2e_core::testing::TestSession, body: Value) -> Value {
    session.call("seam/declare/req", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_contradicts_another_is_refused_and_nothing_changes() {
    // The plugin that declares stands before the others in one host, behind them in the next.
    for is_first in [true, false] {
        let (own, echo) = (plugin("own", "Declares"), plugin("echo", "Echo"));
        let plugins = if is_first { [own, echo] } else { [echo, own] };
        let host = TestHost::start(with(plugins)).await;
        let mut session = host.session();
        let good = declare(&mut session, json!({ "types": ["guest/a/req"] })).await;
        assert_eq!(good["lives"], 1, "{good}");
        for types in [
            json!(["guest/b/req", "echo/inline/req"]),
            json!(["guest/b/req", "guest/b/req"]),
            json!(["seam/declare/req"]),
        ] {
            let refused = declare(&mut session, json!({ "types": types })).await;
            assert_eq!(refused["code"], "runtime_error", "{is_first} {types}: {refused}");
            assert_eq!(session.call("guest/a/req", json!({})).await["by"], "own");
            assert_eq!(session.call_error("guest/b/req", json!({})).await, "unknown_type");
            assert_eq!(session.call("echo/inline/req", json!({})).await["type"], "echo/resp");
            assert_eq!(session.call("echo/pool/req", json!({})).await["type"], "echo/resp");
        }
        let own = of(&host.executor().status(), "own");
        assert_eq!(own.types, ["seam/declare/req", "guest/a/req"]);
        // The core's own types are never a plugin's.
        declare(&mut session, json!({ "types": ["ping"] })).await;
        assert_eq!(session.call("ping", json!({})).await["type"], "pong");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plugins_declare_a_type_alike_and_one_may_let_go_of_it() {
    let mut second = plugin("two", "Declares");
    second.metadata.priority = Some(5);
    let host = TestHost::start(with([plugin("one", "Declares"), second])).await;
    let mut session = host.session();
    let types = json!({ "types": ["guest/a/req"] });
    // `seam/declare/req` goes to the first alone; each is asked by its name through the caller below.
    declare(&mut session, types).await;
    assert_eq!(session.call("guest/a/req", json!({})).await["by"], "two");
    declare(&mut session, json!({ "types": [] })).await;
    assert_eq!(session.call_error("guest/a/req", json!({})).await, "unknown_type");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_types_stay_when_the_plugin_moves_and_go_when_it_is_built_anew() {
    let own = plugin("own", "Declares");
    let host = TestHost::start(with([own.clone(), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    declare(&mut session, json!({ "types": ["guest/a/req"], "health": "degraded" })).await;
    let mut moved = own.clone();
    moved.metadata.priority = Some(7);
    let report = host.executor().replace_plugin(moved).await.unwrap();
    assert_eq!(report.adjusted, ["own"]);
    assert_eq!(session.call("guest/a/req", json!({})).await["by"], "own");
    let status = of(&host.executor().status(), "own");
    assert_eq!((status.health, status.priority), (PluginHealth::Degraded, 7));
    // Its host reaches it in its new place.
    declare(&mut session, json!({ "types": ["guest/b/req"] })).await;
    assert_eq!(session.call("guest/b/req", json!({})).await["by"], "own");
    assert_eq!(of(&host.executor().status(), "own").health, PluginHealth::Serving);
    let report = host.executor().rebuild(&["own".into()]).await.unwrap();
    assert_eq!(report.rebuilt, ["own"]);
    assert_eq!(session.call_error("guest/b/req", json!({})).await, "unknown_type");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_says_of_itself_is_shown_and_heeded() {
    let host = TestHost::start(with([plugin("own", "Declares"), plugin("echo", "Echo")])).await;
    let mut session = host.session();
    let body = json!({ "types": ["guest/a/req"], "health": "degraded" });
    declare(&mut session, body).await;
    let status = of(&host.executor().status(), "own");
    assert_eq!(status.health, PluginHealth::Degraded);
    assert_eq!(status.reason.as_deref(), Some("as it was told"));
    assert_eq!(session.call("guest/a/req", json!({})).await["by"], "own", "it serves");
    declare(&mut session, json!({ "types": ["guest/a/req"], "health": "down" })).await;
    let status = of(&host.executor().status(), "own");
    assert_eq!(status.health, PluginHealth::Down);
    let error = session.call("guest/a/req", json!({})).await;
    assert_eq!(error["code"], "unavailable", "{error}");
    assert_eq!(error["retryable"], true, "{error}");
    assert_eq!(session.call_error("seam/declare/req", json!({ "types": [] })).await, "unavailable");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_one_session_declares_nothing_for_all() {
    let mut own = plugin("own", "Declares");
    own.metadata.scope = Some(a2e_core::plugin::PluginScope::Session);
    let host = TestHost::start(with([own])).await;
    let mut session = host.session();
    let refused = declare(&mut session, json!({ "types": ["guest/a/req"] })).await;
    assert_eq!(refused["code"], "runtime_error", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("scope"), "{refused}");
    assert_eq!(session.call_error("guest/a/req", json!({})).await, "unknown_type");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_declare_at_a_time_do_not_undo_each_other() {
    let names: Vec<String> = (0..6).map(|number| format!("own{number}")).collect();
    let plugins = names.iter().map(|name| plugin(name, "Declares")).chain([plugin("c", "Caller")]);
    let host = Arc::new(TestHost::start(with(plugins)).await);
    let mut tasks = Vec::new();
    for name in names.clone() {
        let mut session = host.session();
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                let types = [format!("guest/{name}/req"), format!("guest/{name}.{round}/req")];
                let body = json!({ "to": format!("plugin {name}"), "wire_type": "seam/declare/req",
                    "body": { "types": types } });
                let reply = session.call("caller/ask/req", body).await;
                assert_eq!(reply["reply"]["lives"], 2, "{reply}");
                let reply = session.call(&types[0], json!({})).await;
                assert_eq!(reply["by"], name, "{reply}");
                assert_eq!(session.call(&types[1], json!({})).await["by"], name);
            }
            session.finish().await;
        }));
    }
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    for name in &names {
        let types = of(&host.executor().status(), name).types;
        let last = format!("guest/{name}.19/req");
        assert_eq!(types, ["seam/declare/req".to_owned(), format!("guest/{name}/req"), last]);
    }
    end(Arc::into_inner(host).unwrap()).await;
}
