//! A plugin whose state has changed twice, and the saved states of its past and of its future.
//!
//! ```text
//! cargo run -p a2e-core --example migration --features test-util
//! ```

#![allow(
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "an example tells what it does, and its JSON is known"
)]

use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::request::Call;
use a2e_core::snapshot::{MemoryStore, SnapshotStore, State, StateKey, Versions};
use a2e_core::testing::TestHost;
use a2e_core::{Error, Executor, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The first release counted calls.
#[derive(Serialize, Deserialize)]
struct V1 {
    calls: u32,
}

/// The second kept notes of any shape, hence JSON.
#[derive(Serialize, Deserialize)]
struct V2 {
    calls: u32,
    notes: Map<String, Value>,
}

/// Today's: notes are plain texts, so that bincode can take them.
#[derive(Clone, Default, Serialize, Deserialize)]
struct V3 {
    calls: u64,
    notes: Vec<String>,
}

/// Every release reads all states that were ever saved.
fn versions() -> Versions<V3> {
    Versions::first::<V1>(1).then(|old| Ok(V2 { calls: old.calls, notes: Map::new() })).then(
        |old| {
            let notes = old.notes.iter().map(|(name, note)| format!("{name}: {note}")).collect();
            Ok(V3 { calls: u64::from(old.calls), notes })
        },
    )
}

#[derive(Serialize, Deserialize)]
struct CountRequest {}

#[derive(Serialize, Deserialize)]
struct CountResponse {
    calls: u64,
    notes: Vec<String>,
}

message!(CountResponse, "count/resp");
message!(CountRequest, "count/req" => CountResponse, First);

struct Counter(Mutex<V3>);

impl Counter {
    fn new(_: Empty, _: &Host) -> Result<Self> {
        Ok(Self(Mutex::default()))
    }

    fn count(&self, _: CountRequest, _: &Call) -> Answer<CountResponse> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls += 1;
        Ok(CountResponse { calls: state.calls, notes: state.notes.clone() }.into())
    }
}

#[derive(Debug, Deserialize)]
struct Empty {}

impl Plugin for Counter {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::count);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        if scope != Scope::Host {
            return Ok(None);
        }
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        State::bincode(versions().newest(), &state).map(Some)
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        if scope == Scope::Host {
            // An error here: the plugin starts empty, and the saved state stays as it is.
            let state = versions().read(&state)?;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
        Ok(())
    }
}

register_plugin!(
    Counter,
    cls = "examples.Counter",
    capability = "counting",
    config = Empty,
    build = Counter::new,
    about = "counts calls, since its first release"
);

/// What a host answers that starts from this state, and what is saved when it has ended.
async fn run(saved: &State) -> Result<(Value, State)> {
    let (store, key) = (Arc::new(MemoryStore::new()), StateKey::new("counter", "state", None));
    store.save(&key, saved)?;
    let config =
        HostConfig::new().plugin(PluginConfig::new("counter", "counting", "examples.Counter"));
    let builder = Executor::builder(config).snapshot_store(store.clone());
    let host = TestHost::build(builder).await.map_err(|error| Error::runtime(error.to_string()))?;
    let mut session = host.session();
    let reply = session.call("count/req", json!({})).await;
    session.finish().await;
    host.stop().await;
    let after = store.load(&key)?.ok_or_else(|| Error::internal("the state is gone"))?;
    Ok((reply, after.state))
}

#[tokio::main]
async fn main() -> Result<()> {
    let notes = json!({ "calls": 7, "notes": { "hint": [1, 2] } });
    for (saved, calls, notes) in [
        (State::bincode(1, &V1 { calls: 7 })?, 8, json!([])),
        (State::json(2, &notes)?, 8, json!(["hint: [1,2]"])),
        (State::bincode(3, &V3 { calls: 7, notes: Vec::new() })?, 8, json!([])),
    ] {
        let (reply, after) = run(&saved).await?;
        assert_eq!((&reply["calls"], &reply["notes"]), (&json!(calls), &notes));
        assert_eq!(after.version(), 3, "saved as today's");
        eprintln!(
            "a state of version {} was taken over: {} calls",
            saved.version(),
            reply["calls"]
        );
    }
    let garbage = State::new(1, a2e_core::snapshot::Codec::Bincode, vec![0xff])?;
    for saved in [State::json(4, &json!({ "calls": "many" }))?, garbage] {
        let (reply, after) = run(&saved).await?;
        assert_eq!(reply["calls"], 1, "the plugin starts empty");
        assert_eq!(after, saved, "and what it could not read is still there, byte for byte");
        let why = versions().read(&saved).err().map(|error| error.to_string()).unwrap_or_default();
        eprintln!("refused and kept: {why}");
    }
    Ok(())
}

#[test]
fn the_example_does_what_it_says() {
    assert!(main().is_ok());
}
