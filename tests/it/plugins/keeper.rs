//! `test.Keeper`: a number per instance that is saved, and one per session that is not.

use std::sync::atomic::{AtomicI64, Ordering};

use a2e_core::dispatch::Call;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Scope};
use a2e_core::snapshot::State;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
struct Add {
    #[serde(default)]
    add: i64,
    /// Save it under a key of the plugin's own.
    #[serde(default)]
    saves: bool,
}
message!(Add, "keeper/add/req" => Kept, First);

#[derive(Debug, Serialize)]
struct Kept {
    total: i64,
    of_session: i64,
    agent: String,
    own: Option<i64>,
}
message!(Kept, "keeper/resp");

#[derive(Debug, Deserialize)]
struct Nothing {}

struct Keeper {
    total: AtomicI64,
    host: Host,
}

impl Keeper {
    fn add(&self, request: Add, call: &Call) -> Answer<Kept> {
        let total = self.total.fetch_add(request.add, Ordering::SeqCst) + request.add;
        let slot = call.state(|| AtomicI64::new(0));
        let of_session = slot.fetch_add(request.add, Ordering::SeqCst) + request.add;
        let (host, agent) = (self.host.clone(), call.agent_id().to_string());
        if !request.saves {
            return Ok(Kept { total, of_session, agent, own: None }.into());
        }
        Ok(Outcome::on_blocking(move |_| {
            host.save_state("own", &State::json(1, &total)?)?;
            let own = host.load_state("own")?.map(|state| state.decode()).transpose()?;
            Ok(Kept { total, of_session, agent, own }.into())
        }))
    }
}

impl Plugin for Keeper {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Keeper::add);
    }

    fn save(&self, _: Scope<'_>) -> Result<Option<State>> {
        State::json(1, &self.total.load(Ordering::SeqCst)).map(Some)
    }

    fn restore(&self, _: Scope<'_>, state: State) -> Result<()> {
        self.total.store(state.decode()?, Ordering::SeqCst);
        Ok(())
    }

    fn clear(&self, _: Scope<'_>) -> Result<()> {
        self.total.store(0, Ordering::SeqCst);
        Ok(())
    }
}

fn build(_: Nothing, host: &Host) -> Result<Keeper> {
    Ok(Keeper { total: AtomicI64::new(0), host: host.clone() })
}

register_plugin!(Keeper, cls = "test.Keeper", capability = "test", config = Nothing, build = build);
