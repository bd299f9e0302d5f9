//! One episode: what an agent sees of it, and how its environment is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use a2e_core::codec::RawJson;
use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::SessionHandle;
use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex as Queue, OwnedMutexGuard, OwnedSemaphorePermit, watch};

use super::body::{Body, Live, Run};
use super::history::History;
use crate::env::contract::{EnvironmentClass, JsonObject, Link, Observed};
use crate::env::kind::{Kind, Served};
use crate::env::outside::Outside;
use crate::env::protocol::{EnvExperience, EnvObservation, EnvSnapshot};

/// Bytes of actions that are kept, so that a run can be had again.
const MOST_LOG: usize = 256 << 10;

/// Actions that are taken again on the reader, and bytes of a state that is read there.
const SHORT_RUN: usize = 64;
const SHORT_STATE: usize = 64 << 10;

/// An episode of a session.
#[derive(Debug)]
pub(in crate::env) struct Episode {
    pub(in crate::env) id: String,
    /// Counts up in a plugin.
    pub(in crate::env) number: u64,
    pub(in crate::env) served: Arc<Served>,
    seed: i64,
    options: JsonObject,
    /// Held for a copy or a change, never while the environment works.
    view: Mutex<View>,
    /// The environment itself; held while it works. Its queue keeps the order of requests.
    body: Arc<Queue<Body>>,
    is_closed: watch::Sender<bool>,
    history: Arc<Mutex<History>>,
    /// `None`: they are free, but for those that a thread holds.
    places: Mutex<Option<Places>>,
}

/// The places of an episode in session and host, and those of its bytes. A thread that works for it has them too.
pub(in crate::env) type Places = Arc<[OwnedSemaphorePermit; 3]>;

/// What is known of an episode without its environment.
#[derive(Debug)]
struct View {
    seen: EnvObservation,
    /// The actions so far, where the environment does not save itself.
    actions: Vec<JsonObject>,
    bytes: usize,
    keeps: Keeps,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keeps {
    /// It can be had again by its actions.
    Actions,
    /// There were too many of them.
    TooMany,
    /// The environment saves itself.
    Itself,
}

/// What is asked of an environment.
#[derive(Clone, Debug)]
pub(in crate::env) enum Ask {
    /// That it is there: after a reset or a restore.
    Begin,
    Step(JsonObject),
    Render(String),
    Plan(Option<JsonObject>),
}

/// What came of it.
#[derive(Debug)]
pub(in crate::env) enum Told {
    Seen(EnvObservation),
    Shown(Option<RawJson>),
    Planned(Vec<JsonObject>),
}

/// The host, and the session of the request that an episode works for.
#[derive(Clone, Debug)]
pub(in crate::env) struct Asker {
    pub(in crate::env) host: Host,
    pub(in crate::env) session: SessionHandle,
}

/// A place in the queue of an episode.
pub(in crate::env) enum Turn {
    Now(OwnedMutexGuard<Body>),
    Later(Pin<Box<dyn Future<Output = OwnedMutexGuard<Body>> + Send>>),
}

impl Turn {
    async fn taken(self) -> OwnedMutexGuard<Body> {
        match self {
            Self::Now(body) => body,
            Self::Later(waiting) => waiting.await,
        }
    }
}

/// The parts of a new episode.
pub(in crate::env) struct Start {
    pub(in crate::env) id: String,
    pub(in crate::env) number: u64,
    pub(in crate::env) served: Arc<Served>,
    pub(in crate::env) history: Arc<Mutex<History>>,
    pub(in crate::env) places: Places,
}

impl Episode {
    /// One that begins; asleep.
    pub(in crate::env) fn new(start: Start, seed: i64, options: JsonObject) -> Self {
        let obs = EnvObservation {
            episode_id: start.id.clone(),
            step_num: 0,
            state: JsonObject::default(),
            done: false,
            truncated: false,
            reward: None,
            created_at: 0.0,
            metadata: None,
            info: None,
        };
        let (actions, saved) = (Vec::new(), None);
        let env_name = start.served.name.clone();
        Self::restored(start, EnvSnapshot { env_name, seed, options, actions, saved, obs })
    }

    /// One that goes on where another stood; asleep.
    pub(in crate::env) fn restored(start: Start, snapshot: EnvSnapshot) -> Self {
        let Start { id, number, served, history, places } = start;
        let EnvSnapshot { seed, options, actions, saved, mut obs, .. } = snapshot;
        obs.episode_id.clone_from(&id);
        let keeps = if saved.is_some() { Keeps::Itself } else { Keeps::Actions };
        let bytes = actions.iter().map(|it| it.raw().get().len()).sum();
        Self {
            id,
            number,
            served,
            seed,
            options,
            view: Mutex::new(View { seen: obs, actions, bytes, keeps }),
            body: Arc::new(Queue::new(Body { saved, ..Body::default() })),
            is_closed: watch::Sender::new(false),
            history,
            places: Mutex::new(Some(places)),
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The episode as it stands.
    pub(in crate::env) fn seen(&self) -> EnvObservation {
        self.view().seen.clone()
    }

    pub(in crate::env) fn is_done(&self) -> bool {
        self.view().seen.done
    }

    fn is_begun(&self) -> bool {
        self.view().seen.created_at > 0.0
    }

    /// Queues up.
    pub(in crate::env) fn turn(&self) -> Turn {
        if let Ok(body) = Arc::clone(&self.body).try_lock_owned() {
            return Turn::Now(body);
        }
        let mut waiting = Box::pin(Arc::clone(&self.body).lock_owned());
        // The first poll is what takes the place in the queue.
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(body) => Turn::Now(body),
            Poll::Pending => Turn::Later(waiting),
        }
    }

    /// Asks the environment when its turn has come. Ready at the first poll when a quick one is free.
    /// When this is dropped before, a program that was asked is killed, and had again as it stood before.
    pub(in crate::env) async fn ask(
        self: Arc<Self>,
        turn: Turn,
        ask: Ask,
        asker: Asker,
    ) -> Result<Told> {
        let mut body = turn.taken().await;
        if *self.is_closed.borrow() {
            return Err(closed());
        }
        if matches!(ask, Ask::Step(_)) && self.is_done() {
            return Err(Error::runtime("Episode already completed. Call reset()."));
        }
        match &self.served.kind {
            Kind::Local(class) if class.is_quick() && self.is_short(&body, &ask) => {
                self.ask_local(&**class, &mut body, &ask, &asker)
            }
            Kind::Local(class) => {
                let (me, class) = (Arc::clone(&self), Arc::clone(class));
                let places = self.places().clone();
                // The first poll may be on a thread without a runtime.
                tokio::task::yield_now().await;
                // The thread goes on when nobody waits any more, and keeps the episode and its places until it is
                // done.
                let work = move || {
                    let told = me.ask_local(&*class, &mut body, &ask, &asker);
                    drop((body, places));
                    told
                };
                let done = tokio::task::spawn_blocking(work).await;
                done.unwrap_or_else(|error| Err(Error::internal(format!("environment: {error}"))))
            }
            Kind::Outside(outside) => {
                tokio::task::yield_now().await;
                let mut is_closed = self.is_closed.subscribe();
                tokio::select! {
                    told = self.ask_outside(outside, &mut body, &ask, &asker) => told,
                    _ = is_closed.wait_for(|it| *it) => Err(closed()),
                }
            }
        }
    }

    /// Whether a quick environment is done with this at once: it draws nothing, and has no long run again.
    fn is_short(&self, body: &Body, ask: &Ask) -> bool {
        if matches!(ask, Ask::Render(_)) {
            return false;
        }
        if body.live.is_some() {
            return true;
        }
        let view = self.view();
        let state = body.saved.as_ref().unwrap_or(view.seen.state.raw());
        view.actions.len() <= SHORT_RUN && state.get().len() <= SHORT_STATE
    }

    fn ask_local(
        &self,
        class: &dyn EnvironmentClass,
        body: &mut Body,
        ask: &Ask,
        asker: &Asker,
    ) -> Result<Told> {
        let (mut live, begun) = body.local(class, || self.link(asker), || self.run())?;
        let told = match ask {
            Ask::Begin => {
                if !self.is_begun() && live.save().is_some() {
                    self.view().keeps = Keeps::Itself;
                }
                self.begin(begun, asker)
            }
            Ask::Step(action) => {
                let seen = live.step(action).and_then(|seen| sound(seen, asker));
                seen.map(|seen| self.record(body, action, seen, asker))
            }
            Ask::Render(mode) => live.render(mode).and_then(picture),
            Ask::Plan(state) => live.plan(state.as_ref()).map(Told::Planned),
        };
        // One whose state cannot be told is had again as it was.
        let is_lost = matches!(&told, Err(error) if *error.code() == ErrorCode::InternalError);
        if !is_lost {
            body.live = Some(Live::Local(live));
        }
        told
    }

    async fn ask_outside(
        &self,
        outside: &Outside,
        body: &mut Body,
        ask: &Ask,
        asker: &Asker,
    ) -> Result<Told> {
        let (mut live, begun) = body.outside(outside, || self.link(asker), || self.run()).await?;
        let told = match ask {
            Ask::Begin => self.begin(begun, asker),
            Ask::Step(action) => {
                let seen = live.step(action).await.and_then(|seen| sound(seen, asker));
                seen.map(|seen| self.record(body, action, seen, asker))
            }
            Ask::Render(mode) => {
                let shown = live.render(mode).await;
                shown.and_then(|shown| picture(Some(shown).filter(|it| !it.is_null())))
            }
            Ask::Plan(state) => live.plan(state.as_ref()).await.map(Told::Planned),
        };
        let is_lost = matches!(&told, Err(error) if *error.code() == ErrorCode::InternalError);
        if !is_lost && !live.is_broken() {
            body.live = Some(Live::Outside(live));
        }
        told
    }

    fn link(&self, asker: &Asker) -> Link {
        let steps = self.view().seen.step_num;
        Link::new(asker.host.clone(), asker.session.clone(), &self.id, steps)
    }

    /// What it takes to have it again.
    fn run(&self) -> Result<Run> {
        let view = self.view();
        if view.keeps != Keeps::Actions {
            let text =
                "the episode is lost: its actions are too many to be taken again. Call reset().";
            return Err(Error::runtime(text));
        }
        let state = (view.seen.created_at > 0.0).then(|| view.seen.state.clone());
        let (actions, options) = (view.actions.clone(), self.options.clone());
        Ok(Run { seed: self.seed, options, actions, state })
    }

    /// Notes what was seen at the reset; one that was begun before stands as it stood.
    fn begin(&self, seen: Option<Observed>, asker: &Asker) -> Result<Told> {
        if let Some(seen) = seen.filter(|_| !self.is_begun()) {
            let seen = sound(seen, asker)?;
            let metadata = seen.metadata.map(|it| it.decode::<Map<String, Value>>("metadata"));
            let mut metadata = metadata.transpose()?.unwrap_or_default();
            metadata.insert("seed".to_owned(), json!(self.seed));
            let mut view = self.view();
            view.seen = EnvObservation {
                episode_id: self.id.clone(),
                step_num: 0,
                state: seen.state,
                done: seen.done,
                truncated: seen.truncated,
                reward: seen.reward,
                created_at: asker.host.now().wall.as_secs_f64().max(f64::MIN_POSITIVE),
                metadata: JsonObject::of(&metadata).ok(),
                info: seen.info,
            };
        }
        Ok(Told::Seen(self.seen()))
    }

    /// Notes a step.
    fn record(&self, body: &Body, action: &JsonObject, seen: Observed, asker: &Asker) -> Told {
        let mut view = self.view();
        let step_num = view.seen.step_num + 1;
        let now = EnvObservation {
            episode_id: self.id.clone(),
            step_num,
            state: seen.state,
            done: seen.done,
            truncated: seen.truncated,
            reward: seen.reward,
            created_at: asker.host.now().wall.as_secs_f64().max(f64::MIN_POSITIVE),
            metadata: Some(seen.metadata.unwrap_or_default()),
            info: seen.info,
        };
        let before = std::mem::replace(&mut view.seen, now.clone());
        if view.keeps == Keeps::Actions {
            view.bytes += action.raw().get().len();
            view.actions.push(action.clone());
            if view.bytes > MOST_LOG {
                (view.keeps, view.actions) = (Keeps::TooMany, Vec::new());
            }
        }
        drop(view);
        if let Some(link) = &body.link {
            link.set_steps(step_num);
        }
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push(EnvExperience {
            episode_id: self.id.clone(),
            step: step_num,
            state: before.state,
            action: action.clone(),
            reward: now.reward,
            next_state: now.state.clone(),
            done: now.done,
        });
        Told::Seen(now)
    }

    /// All that is needed to go on from here, when its turn has come.
    pub(in crate::env) async fn snapshot(self: Arc<Self>, turn: Turn) -> Result<EnvSnapshot> {
        let body = turn.taken().await;
        self.snapshot_of(&body)
    }

    /// As [`snapshot`](Self::snapshot), on a thread that may block.
    pub(in crate::env) fn snapshot_blocking(&self) -> Result<EnvSnapshot> {
        // A program that works says nothing of itself anyway.
        match &self.served.kind {
            Kind::Outside(_) => self.snapshot_of(&Body::default()),
            Kind::Local(_) => self.snapshot_of(&self.body.blocking_lock()),
        }
    }

    fn snapshot_of(&self, body: &Body) -> Result<EnvSnapshot> {
        let saved = match &body.live {
            Some(Live::Local(live)) => {
                let saved = live.save().map(|it| RawJson::of(&it)).transpose();
                saved.map_err(|error| Error::internal(format!("not saved: {error}")))?
            }
            Some(Live::Outside(_)) => None,
            None => body.saved.clone(),
        };
        let actions = if saved.is_some() { Vec::new() } else { self.run()?.actions };
        let env_name = self.served.name.clone();
        let (seed, options, obs) = (self.seed, self.options.clone(), self.seen());
        Ok(EnvSnapshot { env_name, seed, options, actions, saved, obs })
    }

    fn places(&self) -> MutexGuard<'_, Option<Places>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The episode is over for its agent: requests that wait are refused, and its places are free. Those of an
    /// environment that may take its time on a thread here are free when it is let go.
    pub(in crate::env) fn retire(&self) {
        self.is_closed.send_replace(true);
        if !matches!(&self.served.kind, Kind::Local(class) if !class.is_quick()) {
            self.free();
        }
    }

    /// Frees its places, but for a thread that still works for it.
    pub(in crate::env) fn free(&self) {
        let places = self.places().take();
        drop(places);
    }

    /// Lets go of the environment of a retired episode.
    pub(in crate::env) async fn let_go(self: Arc<Self>) {
        let mut body = self.turn().taken().await;
        let places = self.places().take();
        if let Some(link) = body.link.take() {
            link.close();
        }
        match (body.live.take(), &self.served.kind) {
            (Some(Live::Local(mut live)), Kind::Local(class)) if class.is_quick() => live.close(),
            (Some(Live::Local(mut live)), _) => {
                tokio::task::yield_now().await;
                // What it panics with is in the log of the runtime.
                let close = move || {
                    live.close();
                    drop(places);
                };
                tokio::task::spawn_blocking(close).await.ok();
            }
            (Some(Live::Outside(episode)), Kind::Outside(outside)) => {
                outside.clone().give_back(episode).await;
            }
            _ => {}
        }
    }
}

fn closed() -> Error {
    Error::runtime("the episode was closed")
}

fn picture(shown: Option<Value>) -> Result<Told> {
    let shown = shown.map(|it| RawJson::of(&it)).transpose();
    shown.map(Told::Shown).map_err(|error| Error::runtime(format!("the picture: {error}")))
}

/// Checks what an environment says it saw.
fn sound(seen: Observed, asker: &Asker) -> Result<Observed> {
    if seen.reward.is_some_and(|reward| !reward.is_finite()) {
        return Err(Error::internal("the environment's reward is not finite"));
    }
    let most = asker.host.config().limits.max_line_bytes / 2;
    let parts = [Some(&seen.state), seen.metadata.as_ref(), seen.info.as_ref()];
    let bytes: usize = parts.into_iter().flatten().map(|it| it.raw().get().len()).sum();
    if bytes > most {
        let text = format!("the environment's state has {bytes} bytes; at most {most} fit");
        return Err(Error::internal(text));
    }
    Ok(seen)
}
