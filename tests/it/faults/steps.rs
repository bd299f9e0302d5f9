//! A step that was given up ends with its request, also when it has let go of its call (B17).

use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::Body;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin, RawReply, Run, TypeSpec};
use a2e_core::testing::TestHost;
use a2e_core::{Result, register_plugin};
use serde::Deserialize;
use serde_json::json;

use super::reply_of;
use crate::probe::{Probe, Switch};
use crate::support::{PATIENCE, end, of, plugin, settled, tuned, with};

#[derive(Debug, Deserialize)]
struct Settings {
    /// Where it waits.
    probe: String,
    /// Whether it waits as a future that has let go of its call; else on the pool.
    #[serde(default)]
    is_future: bool,
}

/// `test.Silent`: waits before it answers.
struct Silent(Settings);

struct Noted(Option<Arc<Probe>>);

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(probe) = &self.0 {
            probe.note("future dropped");
        }
    }
}

fn reply(by: &str) -> Answer<RawReply> {
    Ok(RawReply::new("fault/silent/resp", &json!({ "by": by }))?.into())
}

impl Plugin for Silent {
    fn handlers(on: &mut Handlers<Self>) {
        let spec = TypeSpec::request("fault/silent/req", "fault/silent/resp");
        if !on.plugin().0.is_future {
            on.dynamic(spec, Run::Pool, |plugin, _, _| {
                if let Some(probe) = Probe::of(&plugin.0.probe) {
                    probe.hang();
                }
                reply("pool")
            });
            return;
        }
        on.dynamic_future(spec, |plugin: Arc<Self>, _: Body, call| {
            drop(call);
            async move {
                let probe = Probe::of(&plugin.0.probe);
                let _noted = Noted(probe.clone());
                if let Some(probe) = probe {
                    probe.wait().await;
                }
                reply("future")
            }
        });
    }
}

register_plugin!(
    Silent,
    cls = "test.Silent",
    capability = "test",
    config = Settings,
    build = |settings: Settings, _: &Host| -> Result<Silent> { Ok(Silent(settings)) }
);

#[tokio::test(flavor = "multi_thread")]
async fn b17_a_step_that_was_given_up_is_dropped_at_the_answer() {
    let (first, next) = (Switch::new(), Switch::new());
    let silent = plugin("first", "Silent").with_setting("probe", first.key());
    let silent = tuned(silent.with_setting("is_future", true), |it| {
        (it.priority, it.deadline) = (Some(9), Some(Duration::from_millis(50)));
    });
    let answers = plugin("next", "Silent").with_setting("probe", next.key());
    let host = TestHost::start(with([silent, answers, plugin("echo", "Echo")])).await;
    let mut session = host.session();
    let id = session.send("fault/silent/req", json!({})).await;
    first.entered(1).await;
    // It is given up, and the next plugin is asked.
    next.entered(1).await;
    // The reader is through with the request.
    assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    next.open();
    assert_eq!(reply_of(&mut session, &id, "the next plugin").await["by"], "pool");
    let dropped = tokio::time::timeout(PATIENCE, first.noted("future dropped")).await;
    dropped.expect("what was given up is dropped at the answer");
    host.until("nothing that hangs", |it| of(it, "first").stuck == 0).await;
    settled(&host).await;
    session.finish().await;
    end(host).await;
}
