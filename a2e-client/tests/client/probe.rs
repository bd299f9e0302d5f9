//! A plugin whose requests do what a test asks for. The example `stdio_host` serves it too.

#![allow(dead_code, reason = "the example uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a plugin of tests fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::{Event, EventKind};
use a2e_core::request::Call;
use a2e_core::{Error, message, register_plugin};
use serde::{Deserialize, Serialize};

/// Gives back a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Echoed {
    pub(crate) text: String,
}

/// Answers after some milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sleep {
    pub(crate) ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slept {
    pub(crate) ms: u64,
}

/// Emits `events` events, every tenth an artifact, then answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Story {
    pub(crate) events: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) events: u64,
}

/// Pushes before its reply and after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Push {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pushed {}

/// One push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) number: u64,
}

/// As `proc/read/event`: an event that carries the id of a request that has been answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LateEvent {
    pub(crate) kind: String,
    pub(crate) seq: u64,
    pub(crate) data: serde_json::Value,
}

/// Fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fail {}

/// How many `test/sleep/req` were cut short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cut {}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CutSoFar {
    pub(crate) count: usize,
}

message!(Echoed, "test/echo/resp");
message!(Echo, "test/echo/req" => Echoed, First);
message!(Slept, "test/sleep/resp");
message!(Sleep, "test/sleep/req" => Slept, First);
message!(Told, "test/story/resp");
message!(Story, "test/story/req" => Told, First);
message!(Pushed, "test/push/resp");
message!(Push, "test/push/req" => Pushed, First);
message!(Notice, "test/notice/push");
message!(LateEvent, "test/late/event");
message!(Fail, "test/fail/req" => Pushed, First);
message!(CutSoFar, "test/cut/resp");
message!(Cut, "test/cut/req" => CutSoFar, First);

#[derive(Deserialize)]
pub(crate) struct NoSettings {}

#[derive(Default)]
pub(crate) struct Probe {
    cut: Arc<AtomicUsize>,
}

/// Counts a sleep that does not end.
struct CutGuard(Option<Arc<AtomicUsize>>);

impl Drop for CutGuard {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Probe {
    fn echo(&self, request: Echo, _: &Call) -> Answer<Echoed> {
        Ok(Echoed { text: request.text }.into())
    }

    fn fail(&self, _: Fail, _: &Call) -> Answer<Pushed> {
        Err(Error::runtime("it failed, as it was asked to").with_detail("hint", "é"))
    }

    fn cut(&self, _: Cut, _: &Call) -> Answer<CutSoFar> {
        Ok(CutSoFar { count: self.cut.load(Ordering::SeqCst) }.into())
    }

    async fn sleep(self: Arc<Self>, request: Sleep, _: Call) -> Answer<Slept> {
        let mut guard = CutGuard(Some(Arc::clone(&self.cut)));
        tokio::time::sleep(Duration::from_millis(request.ms)).await;
        guard.0 = None;
        Ok(Slept { ms: request.ms }.into())
    }

    async fn story(self: Arc<Self>, request: Story, call: Call) -> Answer<Told> {
        for number in 0..request.events {
            let mut event = Event::status(format!("chapter {number}")).under("test/story/event");
            if number % 10 == 9 {
                event.kind = EventKind::Artifact;
            }
            call.emit_wait(event).await?;
        }
        Ok(Told { events: request.events }.into())
    }

    async fn push(self: Arc<Self>, request: Push, call: Call) -> Answer<Pushed> {
        let session = call.session();
        for number in 0..request.before {
            session.push_wait(&Notice { number }, None).await?;
        }
        let id = call.id().to_owned();
        call.after_reply(move |_| {
            for number in request.before..request.before + request.after {
                session.push(&Notice { number }, Some(&id)).unwrap();
                let event = LateEvent {
                    kind: "status".into(),
                    seq: number,
                    data: serde_json::json!({ "text": "line\n" }),
                };
                session.push(&event, Some(&id)).unwrap();
            }
        });
        Ok(Pushed {}.into())
    }
}

impl Plugin for Probe {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Probe::echo);
        on.inline(Probe::fail);
        on.inline(Probe::cut);
        on.future(Probe::sleep);
        on.future(Probe::story);
        on.future(Probe::push);
    }
}

register_plugin!(
    Probe,
    cls = "test.Probe",
    capability = "test",
    config = NoSettings,
    build = |_: NoSettings, _: &Host| Ok(Probe::default()),
);
