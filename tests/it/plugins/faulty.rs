//! `test.Faulty`: fails, panics or hangs in the part of its life that its settings name.

use a2e_core::codec::RawJson;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::SessionId;
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};

use super::{Bomb, SECRET};
use crate::probe::Probe;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    /// `build`, `start`, `session_ended`, `save`, `restore`, `clear`, `teardown`, `drop`.
    #[serde(default)]
    fails_in: String,
    /// `error`, `panic`, `hang`.
    #[serde(default)]
    how: String,
    #[serde(default)]
    probe: String,
}

#[derive(Debug, Deserialize)]
struct Faulty {
    #[serde(default)]
    state: String,
}
message!(Faulty, "faulty/req" => Fine, First);

#[derive(Debug, Serialize)]
struct Fine {
    plugin: RawJson,
}
message!(Fine, "faulty/resp");

struct FaultyPlugin {
    settings: Settings,
    _bomb: Bomb,
}

impl FaultyPlugin {
    fn new(settings: Settings, _: &Host) -> Result<Self> {
        settings.at("build")?;
        let is_bomb = settings.fails_in == "drop";
        Ok(Self { settings, _bomb: Bomb(is_bomb) })
    }

    fn serve(&self, request: Faulty, call: &Call) -> Answer<Fine> {
        assert!(request.state != "panic", "{SECRET}");
        if request.state == "bomb" {
            // Explodes when the session goes.
            call.state(|| Bomb(true));
        }
        Ok(Fine { plugin: RawJson::of("fine").map_err(|it| Error::internal(it.to_string()))? }
            .into())
    }
}

impl Settings {
    fn at(&self, part: &str) -> Result<()> {
        let probe = Probe::of(&self.probe);
        if let Some(probe) = &probe {
            if part == "build" && probe.holds("break the next build") {
                return Err(Error::runtime("fails in build"));
            }
            probe.note(part);
        }
        if self.fails_in != part {
            return Ok(());
        }
        match self.how.as_str() {
            "error" => Err(Error::runtime(format!("fails in {part}"))),
            "hang" => {
                if let Some(probe) = &probe {
                    probe.hang();
                }
                Ok(())
            }
            _ => panic!("{SECRET}"),
        }
    }
}

impl Plugin for FaultyPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(FaultyPlugin::serve);
    }

    fn start(&self, _: &Host) -> Result<()> {
        self.settings.at("start")
    }

    fn session_ended(&self, _: &SessionId) {
        let _shown = self.settings.at("session_ended");
    }

    fn save(&self, _: Scope<'_>) -> Result<Option<State>> {
        self.settings.at("save")?;
        State::json(1, &1).map(Some)
    }

    fn restore(&self, _: Scope<'_>, _: State) -> Result<()> {
        self.settings.at("restore")
    }

    fn clear(&self, _: Scope<'_>) -> Result<()> {
        self.settings.at("clear")
    }

    fn teardown(&self) {
        let _shown = self.settings.at("teardown");
    }
}

register_plugin!(
    FaultyPlugin,
    cls = "test.Faulty",
    capability = "test",
    config = Settings,
    build = FaultyPlugin::new
);
