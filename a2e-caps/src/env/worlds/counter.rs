//! `counter_env`: counts to five. The protocol's own sample.

use std::time::Duration;

use a2e_core::Result;
use a2e_core::codec::RawJson;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::env::contract::{
    Environment, EnvironmentClass, JsonObject, Link, Observed, Push, Spaces, kind, unknown_action,
};

/// The count at which an episode is over.
const GOAL: u64 = 5;

/// From a `push` action to its push.
const PUSH_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Counters;

impl EnvironmentClass for Counters {
    fn spaces(&self) -> Spaces {
        let actions = json!({
            "type": "object",
            "properties": { "type": { "enum": ["inc", "push"] } },
            "required": ["type"],
        });
        let number = json!({ "type": "integer", "minimum": 0 });
        let states = json!({
            "type": "object",
            "properties": { "count": number, "step_num": number },
            "required": ["count", "step_num"],
        });
        Spaces::new(&actions, &states)
    }

    fn make(&self, link: Link) -> Result<Box<dyn Environment>> {
        Ok(Box::new(Counter { at: At::default(), link }))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

struct Counter {
    at: At,
    link: Link,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct At {
    count: u64,
    step_num: u64,
}

impl Counter {
    fn seen(&self) -> Result<Observed> {
        let is_done = self.at.count >= GOAL;
        Ok(Observed::of(&self.at)?.reward(if is_done { 1.0 } else { 0.0 }).done(is_done))
    }
}

impl Environment for Counter {
    fn reset(&mut self, _seed: u64, _options: &JsonObject) -> Result<Observed> {
        self.seen()
    }

    fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        match kind(action)?.as_str() {
            "inc" => self.at.count += 1,
            "push" => {
                let mut delta = self.at;
                delta.step_num += 1;
                let mut push = Push::observation(JsonObject::of(&delta).unwrap_or_default());
                push.action_id = Some("push".to_owned());
                "asked for".clone_into(&mut push.reason);
                self.link.push_later(PUSH_AFTER, push)?;
            }
            other => return Err(unknown_action(other, &["inc", "push"])),
        }
        self.at.step_num += 1;
        self.seen()
    }

    fn plan(&mut self, state: Option<&JsonObject>) -> Result<Vec<JsonObject>> {
        let at = state.map_or(Ok(self.at), |state| state.decode("state"))?;
        let inc = JsonObject::of(&json!({ "type": "inc" })).unwrap_or_default();
        let left = usize::try_from(GOAL.saturating_sub(at.count)).unwrap_or_default();
        Ok(vec![inc; left])
    }

    fn save(&self) -> Option<Value> {
        serde_json::to_value(self.at).ok()
    }

    fn restore(&mut self, saved: &RawJson) -> Result<()> {
        self.at = a2e_core::codec::decode_field(saved, "snapshot.saved")?;
        Ok(())
    }
}
