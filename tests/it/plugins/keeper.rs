//! `test.Keeper`: a number per instance that is saved, and one per session that is not.

use std::sync::atomic::{AtomicI64, Ordering};

use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Scope};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
struct Increase {
    #[serde(default)]
    add: i64,
    /// Save it under a key of the plugin's own.
    #[serde(default)]
    saves: bool,
    /// Tell the host that the state is not to be trusted.
    #[serde(default)]
    suspect: bool,
}
message!(Increase, "keeper/add/req" => Kept, First);

macro_rules! elsewhere {
    ($($name:ident = $wire:literal),*) => {$(
        #[derive(Debug, Deserialize)]
        #[serde(transparent)]
        struct $name(Increase);
        message!($name, $wire => Kept, First);
    )*};
}
elsewhere!(
    AddPool = "keeper/pool/req",
    AddBlocking = "keeper/blocking/req",
    AddFuture = "keeper/future/req"
);

#[derive(Debug, Serialize)]
struct Kept {
    total: i64,
    of_session: i64,
    agent: String,
    own: Option<i64>,
}
message!(Kept, "keeper/resp");

#[derive(Debug, Deserialize)]
struct Settings {
    /// Says nothing, but changes the configuration.
    #[serde(default)]
    note: String,
    /// What may not be restored: `older`, `newer`.
    #[serde(default)]
    refuses: String,
}

struct Keeper {
    total: AtomicI64,
    host: Host,
    settings: Settings,
}

impl Keeper {
    fn add(&self, request: Increase, call: &Call) -> Answer<Kept> {
        if request.suspect {
            self.host.suspect("it was told so");
        }
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

impl Keeper {
    /// Whether this instance is one session's own.
    fn is_of_session(&self) -> bool {
        let config = self.host.config().get_plugin(self.host.plugin().as_str());
        config.is_some_and(|it| it.metadata.scope == Some(a2e_core::plugin::PluginScope::Session))
    }

    fn pool(&self, request: AddPool, call: &Call) -> Answer<Kept> {
        self.add(request.0, call)
    }

    fn blocking(&self, request: AddBlocking, call: &Call) -> Answer<Kept> {
        std::thread::sleep(std::time::Duration::from_micros(200));
        self.add(request.0, call)
    }

    async fn future(self: std::sync::Arc<Self>, request: AddFuture, call: Call) -> Answer<Kept> {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        self.add(request.0, &call)
    }
}

impl Plugin for Keeper {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Keeper::add);
        on.pool(Keeper::pool);
        on.blocking(Keeper::blocking);
        on.future(Keeper::future);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        if scope != Scope::Host && !self.is_of_session() {
            return Ok(None);
        }
        State::json(1, &self.total.load(Ordering::SeqCst)).map(Some)
    }

    fn restore(&self, _: Scope<'_>, state: State) -> Result<()> {
        if !self.settings.refuses.is_empty() {
            let text = format!("this state is {} than what is known", self.settings.refuses);
            return Err(a2e_core::Error::runtime(text));
        }
        self.total.store(state.decode()?, Ordering::SeqCst);
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if scope == Scope::Host || self.is_of_session() {
            self.total.store(0, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn build(settings: Settings, host: &Host) -> Result<Keeper> {
    if settings.note == "bad" {
        return Err(a2e_core::Error::runtime("a note may not be bad"));
    }
    Ok(Keeper { total: AtomicI64::new(0), host: host.clone(), settings })
}

register_plugin!(
    Keeper,
    cls = "test.Keeper",
    capability = "test",
    config = Settings,
    build = build
);
