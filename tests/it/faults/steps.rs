//! A step that was given up ends with the request, whatever it holds of it (B17).

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
use crate::support::{end, of, plugin, settled, tuned, with};

#[derive(Debug, Deserialize)]
struct Settings {
    /// The journal of a first plugin, which waits and never answers; empty for the next one.
    #[serde(default)]
    probe: String,
}

/// `test.Silent`: lets go of its call and waits, or answers at once.
struct Silent(Settings);

struct Noted(Option<Arc<Probe>>);

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(probe) = &self.0 {
            probe.note("future dropped");
        }
    }
}

fn reply() -> Answer<RawReply> {
    Ok(RawReply::new("fault/silent/resp", &json!({ "by": "next" }))?.into())
}

impl Plugin for Silent {
    fn handlers(on: &mut Handlers<Self>) {
        let spec = TypeSpec::request("fault/silent/req", "fault/silent/resp");
        if on.plugin().0.probe.is_empty() {
            on.dynamic(spec, Run::Pool, |_, _, _| reply());
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
                reply()
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
    let switch = Switch::new();
    let first = plugin("first", "Silent").with_setting("probe", switch.key());
    let first = tuned(first, |it| {
        (it.priority, it.deadline) = (Some(9), Some(Duration::from_millis(50)));
    });
    let host = TestHost::start(with([first, plugin("next", "Silent")])).await;
    let mut session = host.session();
    for round in 1..=5 {
        let id = session.send("fault/silent/req", json!({})).await;
        switch.entered(round).await;
        let reply = reply_of(&mut session, &id, "the next plugin").await;
        assert_eq!(reply["by"], "next", "{reply}");
    }
    host.until("nothing that hangs", |it| of(it, "first").stuck == 0).await;
    settled(&host).await;
    let dropped = switch.journal().iter().filter(|it| *it == "future dropped").count();
    assert_eq!(dropped, 5);
    session.finish().await;
    end(host).await;
}
