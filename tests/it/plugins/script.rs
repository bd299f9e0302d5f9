//! `test.Script`: does what its settings, or the request under its name, tell it to do.
//!
//! An act is words: `reply`, `error CODE`, `pass CODE`, `nothing`, `panic`, `nan`, `hang`, `block`,
//! `watch`, `bomb`, `trace`, or one of `pool`, `blocking`, `future` and then an act that is done there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::{Body, Incoming, decode};
use a2e_core::plugin::{
    Answer, BoxFuture, Handlers, Host, Outcome, Plugin, RawReply, Run, TypeSpec,
};
use a2e_core::protocol::{Deadline, ErrorCode, Fold};
use a2e_core::request::Call;
use a2e_core::{Error, Result, register_plugin};
use serde::Deserialize;
use serde_json::json;

use super::{Bomb, SECRET};
use crate::probe::Probe;

/// How long a request of `script/soon` may take.
pub(crate) const SOON: Duration = Duration::from_millis(150);

#[derive(Debug, Deserialize)]
struct Settings {
    /// Where it runs: `inline`, `pool`, `blocking`, `future`.
    #[serde(default = "inline")]
    run: String,
    #[serde(default = "reply")]
    act: String,
    /// A type that it declares otherwise than all others do.
    #[serde(default)]
    contradicts: String,
    /// A type that it alone has.
    #[serde(default)]
    own_type: String,
}

fn inline() -> String {
    "inline".into()
}

fn reply() -> String {
    "reply".into()
}

#[derive(Debug, Default, Deserialize)]
struct Request {
    /// Acts by plugin.
    #[serde(default)]
    acts: BTreeMap<String, String>,
    #[serde(default)]
    probe: String,
    /// How long the reply is.
    #[serde(default)]
    pad: usize,
}

struct Script {
    name: String,
    settings: Settings,
}

/// What one request is to do.
struct Scene {
    name: String,
    act: String,
    request: Request,
}

impl Scene {
    fn probe(&self) -> Option<Arc<Probe>> {
        Probe::of(&self.request.probe)
    }

    fn reply(&self) -> Answer<RawReply> {
        let name = &self.name;
        let items = json!([{ "name": name, "by": name }, { "name": "common", "by": name }]);
        let pad = "x".repeat(self.request.pad);
        let body = json!({ "by": name, "items": items, "first": name, "pad": pad });
        Ok(RawReply::new("script/resp", &body)?.into())
    }

    /// Takes the first word off the act.
    fn next_word(&mut self) -> String {
        let (word, rest) = match self.act.split_once(' ') {
            Some((word, rest)) => (word.to_owned(), rest.to_owned()),
            None => (std::mem::take(&mut self.act), String::new()),
        };
        self.act = rest;
        word
    }

    fn play(mut self, call: &Call) -> Answer<RawReply> {
        let word = self.next_word();
        match word.as_str() {
            "reply" => self.reply(),
            "error" => Err(Error::new(ErrorCode::parse(&self.act), self.name.clone())),
            "pass" => Ok(Outcome::Pass(Error::new(ErrorCode::parse(&self.act), self.name))),
            "nothing" => Ok(Outcome::Nothing),
            "panic" => panic!("{SECRET}"),
            "nan" => Ok(RawReply::new("script/resp", &BTreeMap::from([("x", f64::NAN)]))?.into()),
            "hang" | "block" => {
                self.probe().inspect(|probe| probe.hang());
                self.reply()
            }
            "watch" => {
                let probe = self.probe();
                if let Some(it) = &probe {
                    it.note("watching");
                }
                while !call.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if let Some(it) = &probe {
                    it.note("cancelled");
                }
                Err(Error::runtime("cancelled"))
            }
            "trace" => {
                let trace = call.trace().map(|trace| trace.to_string());
                let body = json!({ "by": self.name, "trace": trace, "state": call.trace_state() });
                Ok(RawReply::new("script/resp", &body)?.into())
            }
            "pool" => Ok(Outcome::on_pool(self.later())),
            "blocking" => Ok(Outcome::on_blocking(self.later())),
            "future" => {
                let call = call.clone();
                Ok(Outcome::on_future(self.play_async(call)))
            }
            other => Err(Error::runtime(format!("no act `{other}`"))),
        }
    }

    /// The rest of the act as work for elsewhere. `bomb` explodes when it is dropped before it is done.
    fn later(self) -> impl FnOnce(&Call) -> Answer<RawReply> + Send + 'static {
        let mut bomb = Bomb(self.act == "bomb");
        move |call: &Call| {
            if bomb.disarm() { self.reply() } else { self.play(call) }
        }
    }

    async fn play_async(mut self, call: Call) -> Answer<RawReply> {
        let probe = self.probe();
        match self.act.as_str() {
            "hang" => {
                let dropped = Dropped(probe.clone());
                if let Some(probe) = probe {
                    probe.wait().await;
                }
                std::mem::forget(dropped);
                self.act = "reply".into();
            }
            "bomb" => {
                let mut bomb = Bomb(true);
                if let Some(probe) = probe {
                    probe.wait().await;
                }
                bomb.disarm();
                self.act = "reply".into();
            }
            _ => {}
        }
        self.play(&call)
    }
}

/// Notes that a future was dropped before its end.
struct Dropped(Option<Arc<Probe>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(probe) = &self.0 {
            probe.note("future dropped");
        }
    }
}

impl Script {
    fn scene(&self, incoming: Incoming<'_>) -> Result<Scene> {
        let request: Request = decode(incoming)?;
        let act = request.acts.get(&self.name).unwrap_or(&self.settings.act).clone();
        let scene = Scene { name: self.name.clone(), act, request };
        if let Some(probe) = scene.probe() {
            probe.note(self.name.clone());
        }
        Ok(scene)
    }
}

impl Plugin for Script {
    fn handlers(on: &mut Handlers<Self>) {
        let settings = &on.plugin().settings;
        let (run, contradicts) = (settings.run.clone(), settings.contradicts.clone());
        let mut specs = vec![
            spec("script/all/req", Fold::All, Deadline::Default),
            spec("script/first/req", Fold::First, Deadline::Default),
            spec("script/merge/req", Fold::Merge, Deadline::Default),
            spec("script/merge_by/req", Fold::MergeBy("name"), Deadline::Default),
            spec("script/soon/req", Fold::First, Deadline::After(SOON)),
            spec("script/timed/req", Fold::First, Deadline::TimeoutField(30)),
            spec("script/never/req", Fold::First, Deadline::None),
            TypeSpec { is_one_way: true, ..spec("script/heard", Fold::First, Deadline::Default) },
        ];
        if !settings.own_type.is_empty() {
            let wire_type = settings.own_type.clone();
            let own = spec("", Fold::First, Deadline::Default);
            specs.push(TypeSpec { wire_type: wire_type.into(), ..own });
        }
        for mut spec in specs {
            if spec.wire_type == contradicts {
                spec.deadline = Deadline::After(Duration::from_secs(7));
            }
            let run = match run.as_str() {
                "pool" => Run::Pool,
                "blocking" => Run::Blocking,
                "future" => {
                    on.dynamic_future(spec, Script::play_raw);
                    continue;
                }
                _ => Run::Inline,
            };
            on.dynamic(spec, run, |plugin, incoming, call| plugin.scene(incoming)?.play(call));
        }
    }
}

impl Script {
    fn play_raw(self: Arc<Self>, body: Body, call: Call) -> BoxFuture<Answer<RawReply>> {
        Box::pin(async move {
            let scene = self.scene(body.as_incoming())?;
            scene.play_async(call).await
        })
    }
}

fn spec(wire_type: &'static str, fold: Fold, deadline: Deadline) -> TypeSpec {
    TypeSpec { fold, deadline, ..TypeSpec::request(wire_type, "script/resp") }
}

fn build(settings: Settings, host: &Host) -> Result<Script> {
    Ok(Script { name: host.plugin().to_string(), settings })
}

register_plugin!(
    Script,
    cls = "test.Script",
    capability = "test",
    config = Settings,
    build = build
);
