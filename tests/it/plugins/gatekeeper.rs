//! `test.Gatekeeper`: an interceptor that does what its settings say, and notes what it sees.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{Answered, Before, Exchange, Handlers, Host, Interceptor, Plugin};
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result, register_plugin};
use serde::Deserialize;

use super::SECRET;
use crate::probe::Probe;

#[derive(Clone, Debug, Deserialize)]
struct Settings {
    pattern: String,
    #[serde(default)]
    rank: i64,
    /// `continue`, `modify`, `bad modify`, `cancel`, `ask`, `panic`, or `later` and one of these.
    act: String,
    #[serde(default)]
    probe: String,
    /// The name of its interceptor; its own where none is given.
    #[serde(default)]
    called: Option<String>,
}

struct Gatekeeper {
    settings: Settings,
    name: String,
}

impl Plugin for Gatekeeper {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        let guard = Guard { settings: self.settings.clone(), name: self.name.clone() };
        let called = self.settings.called.as_ref().unwrap_or(&self.name);
        host.intercept(called, &self.settings.pattern, self.settings.rank, Arc::new(guard))
    }
}

struct Guard {
    settings: Settings,
    name: String,
}

impl Guard {
    fn note(&self, text: &str) {
        if let Some(probe) = Probe::of(&self.settings.probe) {
            probe.note(format!("{} {text}", self.name));
        }
    }
}

fn decide(act: &str, name: &str, text: &str) -> Before {
    match act {
        "continue" => Before::Continue,
        "modify" => {
            let message: serde_json::Value = serde_json::from_str(text).unwrap();
            let said = message["text"].as_str().unwrap_or_default();
            let body = serde_json::json!({ "text": format!("{said}+{name}") });
            Before::Modify(RawJson::of(&body).unwrap())
        }
        "bad modify" => Before::Modify(RawJson::of(&[1]).unwrap()),
        "double modify" => {
            Before::Modify(RawJson::parse(r#"{"text":"x","id":"stolen"}"#.into()).unwrap())
        }
        "cancel" => Before::Cancel(Error::new(ErrorCode::ToolDenied, "not today")),
        "ask" => Before::Ask(name.to_owned()),
        "never" => Before::Later(Box::pin(std::future::pending())),
        "panic" => panic!("{SECRET}"),
        other => {
            let (later, rest) = other.split_once(' ').unwrap();
            assert_eq!(later, "later");
            let (rest, name, text) = (rest.to_owned(), name.to_owned(), text.to_owned());
            Before::Later(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                decide(&rest, &name, &text)
            }))
        }
    }
}

impl Interceptor for Guard {
    fn before(&self, exchange: &Exchange<'_>) -> Before {
        self.note(&format!("before {}", exchange.call().wire_type()));
        decide(&self.settings.act, &self.name, exchange.text())
    }

    fn after(&self, exchange: &Exchange<'_>, answered: &Answered<'_>) {
        let how = match (answered.reply_type(), answered.error()) {
            (Some(kind), None) => format!("{kind} {}", answered.reply_fields().unwrap()),
            (None, Some(error)) => error.code().to_string(),
            other => format!("{other:?}"),
        };
        self.note(&format!("after {} {how}", exchange.call().id()));
        assert!(self.settings.act != "panic after", "{SECRET}");
    }
}

fn build(settings: Settings, host: &Host) -> Result<Gatekeeper> {
    Ok(Gatekeeper { settings, name: host.plugin().to_string() })
}

register_plugin!(
    Gatekeeper,
    cls = "test.Gatekeeper",
    capability = "test",
    config = Settings,
    build = build
);
