//! `test.Emitter`: events in floods, too late, in silence; pushes and hooks after the reply.

use std::sync::Arc;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::protocol::{Event, EventKind};
use a2e_core::request::{Call, EmitError, Sent};
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::SECRET;
use crate::probe::Probe;

#[derive(Debug, Deserialize)]
struct Flood {
    count: usize,
    #[serde(default)]
    kind: String,
    /// Bytes of text in each event.
    #[serde(default)]
    size: usize,
    /// Wait for room instead of going on.
    #[serde(default)]
    waits: bool,
    #[serde(default)]
    mute: bool,
    #[serde(default)]
    probe: String,
}
message!(Flood, "emit/flood/req" => Flooded, First);

#[derive(Debug, Serialize)]
struct Late {
    probe: String,
}
#[derive(Debug, Deserialize)]
struct LateRequest {
    probe: String,
    #[serde(default)]
    hook: String,
}
message!(LateRequest, "emit/late/req" => Flooded, First);

#[derive(Debug, Default, Serialize)]
struct Flooded {
    queued: usize,
    dropped: usize,
    muted: usize,
    full: usize,
}
message!(Flooded, "emit/resp");
message!(Late, "emit/late/push");

#[derive(Debug, Deserialize)]
struct Nothing {}

struct Emitter;

impl Emitter {
    async fn flood(self: Arc<Self>, request: Flood, call: Call) -> Answer<Flooded> {
        if request.mute {
            call.mute();
        }
        let data = Map::from_iter([("message".to_owned(), json!("y".repeat(request.size)))]);
        let event = Event::new(EventKind::parse(&request.kind), data);
        let mut result = Flooded::default();
        for _ in 0..request.count {
            let sent = if request.waits {
                call.emit_wait(event.clone()).await
            } else {
                call.emit(event.clone())
            };
            match sent {
                Ok(Sent::Queued) => result.queued += 1,
                Ok(Sent::Dropped) => result.dropped += 1,
                Ok(Sent::Muted) => result.muted += 1,
                Err(EmitError::Full) => result.full += 1,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(probe) = Probe::of(&request.probe) {
            probe.wait().await;
        }
        Ok(result.into())
    }

    /// Answers at once; emits, pushes, or runs a bad hook when the answer is out.
    fn late(&self, request: LateRequest, call: &Call) -> Answer<Flooded> {
        let Some(probe) = Probe::of(&request.probe) else { return Ok(Flooded::default().into()) };
        let (late, session) = (call.clone(), call.session());
        let id = call.id().to_owned();
        call.after_reply(move |was_reply| {
            probe.note(format!("hook {was_reply}"));
            match request.hook.as_str() {
                "panic" => panic!("{SECRET}"),
                "hang" => probe.hang(),
                _ => {}
            }
            probe.note(format!("emit {:?}", late.emit(Event::status("late"))));
            let push = Late { probe: request.probe };
            probe.note(format!("push {:?}", session.push(&push, Some(&id))));
        });
        Ok(Flooded::default().into())
    }
}

impl Plugin for Emitter {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Emitter::flood);
        on.inline(Emitter::late);
    }
}

fn build(_: Nothing, _: &Host) -> Result<Emitter> {
    Ok(Emitter)
}

register_plugin!(
    Emitter,
    cls = "test.Emitter",
    capability = "test",
    config = Nothing,
    build = build
);
