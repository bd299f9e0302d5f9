//! A plugin whose state a session finds again after a resume, a reload or a restart, in a full `a2e` program.
//!
//! ```text
//! cargo run --example tally -- call tally/add/req '{"add":2}'
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::SessionId;
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};

/// `tally/add/req`: a number to add.
#[derive(Deserialize)]
struct Add {
    add: i64,
}

/// `tally/add/resp`: the total of the session.
#[derive(Serialize)]
struct Added {
    total: i64,
}

message!(Added, "tally/add/resp");
message!(Add, "tally/add/req" => Added, First);

/// Adds up, for each session its own.
#[derive(Default)]
struct Tally {
    totals: Mutex<BTreeMap<SessionId, i64>>,
}

impl Tally {
    fn new((): (), _host: &Host) -> Result<Self> {
        Ok(Self::default())
    }

    fn add(&self, request: Add, call: &Call) -> Answer<Added> {
        let mut totals = self.totals();
        let total = totals.entry(call.session_id().clone()).or_default();
        *total = total.saturating_add(request.add);
        Ok(Added { total: *total }.into())
    }

    fn totals(&self) -> MutexGuard<'_, BTreeMap<SessionId, i64>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugin for Tally {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Tally::add);
    }

    /// Asked for each session when it ends or is parked, and for the host as a whole.
    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        let total = self.totals().get(session).copied();
        total.map(|total| State::json(1, &total)).transpose()
    }

    /// Before the first request of a session that comes back.
    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Ok(()) };
        self.totals().insert(session.clone(), state.decode()?);
        Ok(())
    }

    fn session_ended(&self, session: &SessionId) {
        self.totals().remove(session);
    }
}

register_plugin!(
    Tally,
    cls = "examples.Tally",
    capability = "test",
    config = (),
    build = Tally::new,
    about = "adds up",
    default_settings = Some("{}")
);

fn main() -> std::process::ExitCode {
    a2e_server::cli(std::env::args_os())
}
