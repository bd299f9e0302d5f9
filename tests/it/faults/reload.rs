//! Reloads: what a plugin knows of the configuration (B9), plugins that are all built anew at once (B19),
//! sessions with much state (B20).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{PluginConfig, PluginScope};
use a2e_core::executor::PluginHealth;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::{PluginName, SessionId};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{end, of, plugin, script, tuned, with};

fn procs(name: &str, priority: i64, is_exclusive: bool) -> PluginConfig {
    let plugin = PluginConfig::new(name, "proc", "a2e.caps.proc.plugin.ProcPlugin");
    tuned(plugin, |it| (it.priority, it.exclusive) = (Some(priority), Some(is_exclusive)))
}

async fn unknown(session: &mut TestSession) -> Value {
    session.call("proc/status/req", json!({ "proc_id": "nobody" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_an_exclusive_plugin_knows_that_it_is_one_after_a_reload() {
    for (before, after) in [(false, true), (true, false)] {
        let both = |is_exclusive| with([procs("head", 9, is_exclusive), procs("next", 1, false)]);
        let host = TestHost::start(both(before)).await;
        let mut session = host.session();
        for is_exclusive in [before, after] {
            let report = host.executor().reload(both(is_exclusive)).await.unwrap();
            assert!(report.ok, "{report:?}");
            let reply = unknown(&mut session).await;
            assert_eq!(reply["type"], "proc/status/resp", "{is_exclusive}: {reply}");
            assert_eq!(reply["status"], "not_found", "{is_exclusive}: {reply}");
        }
        session.finish().await;
        end(host).await;
    }
}

/// More plugins than reloads may wait for their turn.
const MANY: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn b19_plugins_that_heal_at_once_all_come_back() {
    let switch = Switch::new();
    let name = |number: usize| format!("s{number}");
    let kind = |number: usize| format!("fault/heal{number}/req");
    let mut plugins: Vec<PluginConfig> = (0..MANY)
        .map(|it| script(&name(it), "pool", "reply").with_setting("own_type", kind(it)))
        .collect();
    // A reload of this one takes until the switch is open.
    let slow = plugin("slow", "Faulty").with_setting("probe", switch.key());
    plugins.push(slow.with_setting("fails_in", "save").with_setting("how", "hang"));
    let builder = Executor::builder(with(plugins)).plugin_limit(Duration::from_mins(1));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    let slow = [PluginName::from("slow")];
    let held_up = {
        let rebuild = host.executor().rebuild(&slow);
        let panics = async {
            switch.entered(1).await;
            for number in 0..MANY {
                let body = json!({ "acts": { name(number): "panic" } });
                for _ in 0..3 {
                    let answer = session.call(&kind(number), body.clone()).await;
                    assert_eq!(answer["code"], "internal_error", "{answer}");
                }
            }
            // Each asks for its turn by now; later ones would make it no harder.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let status = host.executor().status();
            for number in 0..MANY {
                let plugin = of(&status, &name(number));
                assert_ne!(plugin.health, PluginHealth::Failed, "{:?}", plugin.reason);
            }
            switch.open();
        };
        let (report, ()) = tokio::join!(rebuild, panics);
        report
    };
    assert!(held_up.unwrap().ok);
    for number in 0..MANY {
        let reply = session.call(&kind(number), json!({})).await;
        assert_eq!(reply["by"], name(number), "{reply}");
        let plugin = of(&host.executor().status(), &name(number));
        assert_eq!((plugin.health, plugin.rebuilds), (PluginHealth::Serving, 1), "{number}");
    }
    session.finish().await;
    end(host).await;
}

#[derive(Debug, Deserialize)]
struct Settings {
    /// Says nothing, but changes the configuration.
    #[serde(default, rename = "note")]
    _note: String,
}

#[derive(Debug, Deserialize)]
struct Touch {}
message!(Touch, "fault/touch/req" => Touched, First);

#[derive(Debug, Serialize)]
struct Touched {
    times: u64,
}
message!(Touched, "fault/touch/resp");

/// `test.Thorough`: keeps a number per session, and takes its time to save it and to read it again.
#[derive(Default)]
struct Thorough(Mutex<BTreeMap<SessionId, u64>>);

/// A small part of what one plugin may take.
const TIME: Duration = Duration::from_millis(15);
const LIMIT: Duration = Duration::from_millis(750);

/// Together they take twice the limit.
const SESSIONS: usize = 50;

impl Thorough {
    fn touch(&self, _: Touch, call: &Call) -> Answer<Touched> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(call.session_id().clone()).or_default();
        *times += 1;
        Ok(Touched { times: *times }.into())
    }
}

impl Plugin for Thorough {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Thorough::touch);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(session).copied();
        if times.is_some() {
            std::thread::sleep(TIME);
        }
        times.map(|times| State::json(1, &times)).transpose()
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Err(Error::runtime("not ours")) };
        std::thread::sleep(TIME);
        let times = state.decode()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), times);
        Ok(())
    }
}

register_plugin!(
    Thorough,
    cls = "test.Thorough",
    capability = "test",
    config = Settings,
    build = |_: Settings, _: &Host| -> Result<Thorough> { Ok(Thorough::default()) }
);

#[tokio::test(flavor = "multi_thread")]
async fn b20_a_reload_with_many_sessions_takes_their_time() {
    for scope in [PluginScope::Host, PluginScope::Session] {
        let noted = |note: &str| {
            let plugin = plugin("t", "Thorough").with_setting("note", note);
            with([tuned(plugin, |it| it.scope = Some(scope))])
        };
        let builder = Executor::builder(noted("one")).plugin_limit(LIMIT);
        let host = TestHost::build(builder).await.unwrap();
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let mut session = host.session();
            assert_eq!(session.call("fault/touch/req", json!({})).await["times"], 1);
            sessions.push(session);
        }
        let report = host.executor().reload(noted("two")).await;
        let report = report.unwrap_or_else(|error| panic!("{scope:?}: {error}"));
        assert_eq!(report.rebuilt, ["t"], "{scope:?}");
        for mut session in sessions {
            let reply = session.call("fault/touch/req", json!({})).await;
            assert_eq!(reply["times"], 2, "{scope:?}: it has its state: {reply}");
            session.finish().await;
        }
        end(host).await;
    }
}
