//! `test.Tally`: a number per session that is saved with the session, in an instance of its own or in
//! one of the host. Also linked into the program under test, so it needs nothing of the tests.

#![allow(dead_code, reason = "the program under test reads no journal")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope, ScopeQuery, StateScope};
use a2e_core::protocol::SessionId;
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
struct Settings {
    /// The version of the states that it writes; it reads older ones, too.
    #[serde(default = "one")]
    version: u32,
    /// Where it notes what is asked of it.
    #[serde(default)]
    journal: String,
    /// The part of its life that goes wrong.
    #[serde(default)]
    fails_in: String,
    /// `error`, `panic`, `hang`.
    #[serde(default)]
    how: String,
    /// Sets a resolver: `project`, `panic`.
    #[serde(default)]
    resolver: String,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
struct Add {
    #[serde(default)]
    add: i64,
    #[serde(default)]
    metadata: Map<String, Value>,
}
message!(Add, "tally/add/req" => Tallied, First);

#[derive(Debug, Serialize)]
struct Tallied {
    total: i64,
    /// Sessions that this instance knows.
    sessions: usize,
    scope: String,
}
message!(Tallied, "tally/resp");

#[derive(Debug, Deserialize)]
struct Say {
    count: usize,
    #[serde(default)]
    size: usize,
}
message!(Say, "tally/say/req" => Said, First);

#[derive(Debug, Serialize)]
struct Said {}
message!(Said, "tally/say/resp");

#[derive(Debug, Serialize)]
struct Word {
    number: usize,
    text: String,
}
message!(Word, "tally/push");

/// What version 2 saves; version 1 saved the bare number.
#[derive(Debug, Serialize, Deserialize)]
struct Second {
    total: i64,
}

struct Tally {
    settings: Settings,
    totals: Mutex<BTreeMap<SessionId, i64>>,
}

impl Tally {
    fn add(&self, request: Add, call: &Call) -> Answer<Tallied> {
        self.at("add", None)?;
        let mut totals = self.totals();
        let total = totals.entry(call.session_id().clone()).or_default();
        *total += request.add;
        let (total, sessions) = (*total, totals.len());
        drop(totals);
        let scope = call.scope_with(&request.metadata).to_string();
        Ok(Tallied { total, sessions, scope }.into())
    }

    fn say(&self, request: Say, call: &Call) -> Answer<Said> {
        for number in 0..request.count {
            let word = Word { number, text: "\u{e4}".repeat(request.size) };
            call.session().push(&word, None)?;
        }
        Ok(Said {}.into())
    }

    fn totals(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, i64>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, part: &str, session: Option<&SessionId>) -> Result<()> {
        self.settings.at(part, session)
    }
}

impl Settings {
    fn at(&self, part: &str, session: Option<&SessionId>) -> Result<()> {
        let of = session.map(|id| format!(" {id}")).unwrap_or_default();
        if part != "add" {
            note(&self.journal, format!("{part}{of}"));
        }
        if self.fails_in != part {
            return Ok(());
        }
        match self.how.as_str() {
            "error" => Err(Error::runtime(format!("fails in {part}"))),
            "hang" => {
                hang(&self.journal);
                Ok(())
            }
            _ => panic!("fails in {part}"),
        }
    }
}

impl Plugin for Tally {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Tally::add);
        on.inline(Tally::say);
    }

    fn start(&self, host: &Host) -> Result<()> {
        match self.settings.resolver.as_str() {
            "project" => host.set_scope_resolver(|query: &ScopeQuery<'_>| {
                let project = query.metadata.get("project")?.as_str()?;
                Some(StateScope::shared(format!("{project} of {}", query.agent_id)))
            })?,
            "panic" => host.set_scope_resolver(|_: &ScopeQuery<'_>| panic!("no scope"))?,
            _ => {}
        }
        self.at("start", None)?;
        // The instance that declares the handlers starts before there are plugins.
        let is_own = !host.plugins().is_empty() && self.settings.fails_in == "own start";
        if is_own { self.at("own start", None) } else { Ok(()) }
    }

    fn session_ended(&self, session: &SessionId) {
        let _shown = self.at("session_ended", Some(session));
        self.totals().remove(session);
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        self.at("save", Some(session))?;
        let total = self.totals().get(session).copied();
        total
            .map(|total| match self.settings.version {
                1 => State::json(1, &total),
                version => State::json(version, &Second { total }),
            })
            .transpose()
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Err(Error::runtime("not ours")) };
        self.at("restore", Some(session))?;
        let total = match state.version() {
            1 => state.decode()?,
            version if version <= self.settings.version => state.decode::<Second>()?.total,
            version => {
                let own = self.settings.version;
                let text = format!("state of version {version} is newer than {own}");
                return Err(Error::runtime(text));
            }
        };
        self.totals().insert(session.clone(), total);
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if let Scope::Session(session) = scope {
            self.at("clear", Some(session))?;
            self.totals().remove(session);
        }
        Ok(())
    }

    fn teardown(&self) {
        let _shown = self.at("teardown", None);
    }
}

fn build(settings: Settings, _: &Host) -> Result<Tally> {
    settings.at("build", None)?;
    Ok(Tally { settings, totals: Mutex::default() })
}

register_plugin!(Tally, cls = "test.Tally", capability = "test", config = Settings, build = build);

// --- what tests see of it

/// By journal: the entries, and whether handlers that hang may go on.
static JOURNALS: Mutex<BTreeMap<String, (Vec<String>, bool)>> = Mutex::new(BTreeMap::new());

fn with_journal<T>(name: &str, look: impl FnOnce(&mut (Vec<String>, bool)) -> T) -> T {
    let mut journals = JOURNALS.lock().unwrap_or_else(PoisonError::into_inner);
    look(journals.entry(name.to_owned()).or_default())
}

fn note(journal: &str, text: String) {
    if !journal.is_empty() {
        with_journal(journal, |it| it.0.push(text));
    }
}

/// Blocks until the test lets it go, or for 20 s.
fn hang(journal: &str) {
    for _ in 0..4000 {
        if with_journal(journal, |it| it.1) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What was noted so far.
pub(crate) fn journal(name: &str) -> Vec<String> {
    with_journal(name, |it| it.0.clone())
}

/// Lets handlers go that hang under this journal, now and later.
pub(crate) fn release(name: &str) {
    with_journal(name, |it| it.1 = true);
}
