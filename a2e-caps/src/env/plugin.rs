//! Answers `env/*`: finds environments and episodes, and has them asked.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use a2e_core::codec::RawJson;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Scope};
use a2e_core::protocol::{ErrorCode, Message, SessionId, id};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::transport::Right;
use a2e_core::{Error, Result, register_plugin};
use dashmap::DashMap;
use futures_util::future::join_all;
use serde_json::json;

use super::config::EnvConfig;
use super::contract::{EnvironmentClass, JsonObject};
use super::episodes::{
    Ask, Asker, Desk, Episode, Room, Told, check, options_weight, restore, save, weight,
};
use super::kind::{Kind, Served};
use super::protocol::{
    EnvBatchStepRequest, EnvBatchStepResponse, EnvCloseRequest, EnvCloseResponse,
    EnvExpListRequest, EnvExpListResponse, EnvForkRequest, EnvForkResponse, EnvObservation,
    EnvObserveRequest, EnvObserveResponse, EnvPlanAsResponse, EnvPlanRequest, EnvPlanResponse,
    EnvRenderRequest, EnvRenderResponse, EnvResetRequest, EnvResetResponse, EnvRestoreRequest,
    EnvRestoreResponse, EnvSnapshot, EnvSnapshotRequest, EnvSnapshotResponse, EnvSpaceRequest,
    EnvSpaceResponse, EnvSpacesRequest, EnvStepMessage, EnvStepRequest, EnvStepResponse,
};

/// Steps of a batch that are tried at once on the reader.
const INLINE_STEPS: usize = 4;

/// Serves environments to sessions.
struct EnvPlugin(Arc<Shared>);

/// The part that work on other threads needs too.
struct Shared {
    host: Host,
    served: Vec<Arc<Served>>,
    room: Arc<Room>,
    sessions: DashMap<SessionId, Arc<Desk>>,
    max_episodes: usize,
}

impl Plugin for EnvPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::reset);
        on.inline(Self::step);
        on.inline(Self::observe);
        on.inline(Self::close);
        on.inline(Self::space);
        on.inline(|it: &Self, EnvSpacesRequest { env_name }, call: &Call| {
            it.space(EnvSpaceRequest { env_name }, call)
        });
        on.inline(Self::render);
        on.inline(Self::plan);
        on.inline(|it: &Self, request: EnvPlanAsResponse, call: &Call| {
            let EnvPlanAsResponse { episode_id, state } = request;
            it.plan(EnvPlanRequest { episode_id, state }, call)
        });
        on.inline(Self::batch_step);
        on.inline(Self::experience);
        on.inline(Self::snapshot);
        // What it brings may take long to read.
        on.future(Self::restore_episode);
        on.inline(Self::fork);
    }

    fn session_ended(&self, session: &SessionId) {
        if let Some((_, desk)) = self.0.sessions.remove(session) {
            for episode in desk.end() {
                self.0.let_go(episode);
            }
        }
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        let desk = self.0.sessions.get(session).map(|it| Arc::clone(&it));
        desk.map(|desk| save(&desk)).transpose().map(Option::flatten)
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Ok(()) };
        let desk = Arc::new(Desk::new(Arc::clone(&self.0.room)));
        restore(&state, &desk, |name| self.0.named(name))?;
        self.0.sessions.insert(session.clone(), desk);
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if let Scope::Session(session) = scope {
            self.session_ended(session);
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let names: Vec<&str> = self.0.served.iter().map(|it| it.name.as_str()).collect();
        vec![format!("{} episodes of {}", self.0.room.episodes(), names.join(", "))]
    }

    fn teardown(&self) {
        for served in &self.0.served {
            if let Kind::Outside(outside) = &served.kind {
                outside.end();
            }
        }
    }
}

impl EnvPlugin {
    fn new(config: EnvConfig, host: &Host) -> Result<Self> {
        config.check()?;
        let served = Served::all(&config, host)?;
        let max_episodes = config.max_episodes.get();
        let (host, room) = (host.clone(), Arc::new(Room::new(config)));
        Ok(Self(Arc::new(Shared { host, served, room, sessions: DashMap::new(), max_episodes })))
    }

    fn asker(&self, call: &Call) -> Asker {
        Asker { host: self.0.host.clone(), session: call.session() }
    }

    /// An episode of the session.
    fn episode(&self, id: &str, call: &Call) -> Result<Arc<Episode>> {
        let desk = self.0.sessions.get(call.session_id()).map(|it| Arc::clone(&it));
        let episode = desk.and_then(|desk| desk.find(id)).ok_or_else(no_episode)?;
        if !episode.served.is_seen(&self.0.host, call) {
            return Err(no_episode());
        }
        call.note_subject("env_name", || episode.served.name.clone());
        Ok(episode)
    }

    fn reset(&self, request: EnvResetRequest, call: &Call) -> Answer<EnvResetResponse> {
        let served = match self.0.find(&request.env_name, call) {
            Ok(served) => served,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        may_control(call)?;
        let bytes = options_weight(&request.options, "options")?;
        let seed = request.seed.map_or_else(drawn_seed, Ok)?;
        call.note_subject("seed", || seed.to_string());
        let desk = self.0.desk(call);
        let (start, left) = desk.start(&served, bytes)?;
        if let Some(over) = left {
            self.0.let_go(over);
        }
        let episode = Arc::new(Episode::new(start, seed, request.options));
        let begun = Arc::clone(&self.0).begin(desk, episode, self.asker(call), call.clone());
        now_or_later(async move { Ok(EnvResetResponse { obs: begun.await? }.into()) })
    }

    fn step(&self, request: EnvStepRequest, call: &Call) -> Answer<EnvStepResponse> {
        let EnvStepRequest { episode_id, action, .. } = request;
        let episode = match self.episode(&episode_id, call) {
            Ok(episode) => episode,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        let step = stepped(episode, action, self.asker(call));
        now_or_later(async move { Ok(EnvStepResponse { obs: step.await? }.into()) })
    }

    fn observe(&self, request: EnvObserveRequest, call: &Call) -> Answer<EnvObserveResponse> {
        Ok(match self.episode(&request.episode_id, call) {
            Ok(episode) => EnvObserveResponse { obs: episode.seen() }.into(),
            Err(error) => Outcome::Pass(error),
        })
    }

    fn close(&self, request: EnvCloseRequest, call: &Call) -> Answer<EnvCloseResponse> {
        let desk = self.0.sessions.get(call.session_id()).map(|it| Arc::clone(&it));
        if let Some(episode) = desk.and_then(|desk| desk.take(&request.episode_id)) {
            call.note_subject("env_name", || episode.served.name.clone());
            self.0.let_go(episode);
        }
        Ok(EnvCloseResponse { closed: true }.into())
    }

    fn space(&self, request: EnvSpaceRequest, call: &Call) -> Answer<EnvSpaceResponse> {
        let served = match self.0.find(&request.env_name, call) {
            Ok(served) => served,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        now_or_later(async move {
            let spaces = served.spaces().await?;
            let (action_space, state_schema) = (spaces.actions, spaces.states);
            let options_schema = spaces.options;
            Ok(EnvSpaceResponse { action_space, state_schema, options_schema }.into())
        })
    }

    fn render(&self, request: EnvRenderRequest, call: &Call) -> Answer<EnvRenderResponse> {
        let episode = match self.episode(&request.episode_id, call) {
            Ok(episode) => episode,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        let mode = request.mode.unwrap_or_else(|| "screenshot".to_owned());
        let (turn, asker) = (episode.turn(), self.asker(call));
        now_or_later(async move {
            let ask = Ask::Render(mode.clone());
            let told = Arc::clone(&episode).ask(turn, ask, asker).await?;
            if let Told::Shown(Some(render)) = told {
                return Ok(EnvRenderResponse { render }.into());
            }
            let state = episode.seen().state.raw().clone();
            let render = match mode.as_str() {
                "text" => RawJson::of(state.get()),
                "json" => Ok(state),
                _ => RawJson::of(&()),
            };
            let render = render.map_err(|error| Error::internal(format!("the state: {error}")))?;
            Ok(EnvRenderResponse { render }.into())
        })
    }

    fn plan(&self, request: EnvPlanRequest, call: &Call) -> Answer<EnvPlanResponse> {
        let found = if let Some(id) = &request.episode_id {
            self.episode(id, call)
        } else {
            let desk = self.0.sessions.get(call.session_id()).map(|it| Arc::clone(&it));
            let newest = desk.and_then(|desk| desk.newest());
            newest.filter(|it| it.served.is_seen(&self.0.host, call)).ok_or_else(no_episode)
        };
        let episode = match found {
            Ok(episode) => episode,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        let (turn, asker) = (episode.turn(), self.asker(call));
        now_or_later(async move {
            let told = episode.ask(turn, Ask::Plan(request.state), asker).await?;
            let suggested_actions = if let Told::Planned(plan) = told { plan } else { Vec::new() };
            Ok(EnvPlanResponse { suggested_actions }.into())
        })
    }

    fn batch_step(
        &self,
        request: EnvBatchStepRequest,
        call: &Call,
    ) -> Answer<EnvBatchStepResponse> {
        let EnvBatchStepRequest { episode_ids, actions, .. } = request;
        if episode_ids.len() != actions.len() {
            let (ids, given) = (episode_ids.len(), actions.len());
            return Err(Error::schema("actions", format!("{given} actions for {ids} episodes")));
        }
        let found: Vec<_> = episode_ids.iter().map(|id| self.episode(id, call)).collect();
        if !found.is_empty() && found.iter().all(Result::is_err) {
            return Ok(Outcome::Pass(at_index(0, no_episode())));
        }
        let mut steps = Vec::with_capacity(found.len());
        for (index, (found, action)) in found.into_iter().zip(actions).enumerate() {
            let episode = found.map_err(|error| at_index(index, error))?;
            steps.push((episode, action));
        }
        let is_short = steps.len() <= INLINE_STEPS;
        let (asker, req_id) = (self.asker(call), call.id().to_owned());
        let step = |(episode, action)| stepped(episode, action, asker.clone());
        let steps: Vec<_> = steps.into_iter().map(step).collect();
        let work = async move {
            let mut results = Vec::with_capacity(steps.len());
            for (index, step) in join_all(steps).await.into_iter().enumerate() {
                let obs = step.map_err(|error| at_index(index, error))?;
                let wire_type = EnvStepResponse::TYPE.to_owned();
                results.push(EnvStepMessage { wire_type, req_id: req_id.clone(), obs });
            }
            Ok(EnvBatchStepResponse { results }.into())
        };
        if is_short { now_or_later(work) } else { Ok(Outcome::on_future(work)) }
    }

    fn experience(&self, request: EnvExpListRequest, call: &Call) -> Answer<EnvExpListResponse> {
        let desk = self.0.sessions.get(call.session_id()).map(|it| Arc::clone(&it));
        // Text beyond ASCII grows to three times its bytes when it is written.
        let most = self.0.host.config().limits.max_line_bytes / 3;
        let episodes = desk.map(|desk| {
            let history = desk.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.last(&request.episode_id, request.limit, most)
        });
        Ok(EnvExpListResponse { episodes: episodes.unwrap_or_default() }.into())
    }

    fn snapshot(&self, request: EnvSnapshotRequest, call: &Call) -> Answer<EnvSnapshotResponse> {
        let episode = match self.episode(&request.episode_id, call) {
            Ok(episode) => episode,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        may_control(call)?;
        let turn = episode.turn();
        now_or_later(async move {
            Ok(EnvSnapshotResponse { snapshot: episode.snapshot(turn).await? }.into())
        })
    }

    async fn restore_episode(
        self: Arc<Self>,
        request: EnvRestoreRequest,
        call: Call,
    ) -> Answer<EnvRestoreResponse> {
        let EnvRestoreRequest { snapshot, .. } = request;
        let served = match self.0.find(&snapshot.env_name, &call) {
            Ok(served) => served,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        may_control(&call)?;
        check(&snapshot)?;
        let made = Arc::clone(&self.0).go_on(served, snapshot, self.asker(&call), call);
        Ok(EnvRestoreResponse { obs: made.await? }.into())
    }

    fn fork(&self, request: EnvForkRequest, call: &Call) -> Answer<EnvForkResponse> {
        let EnvForkRequest { episode_id, count, .. } = request;
        let episode = match self.episode(&episode_id, call) {
            Ok(episode) => episode,
            Err(error) => return Ok(Outcome::Pass(error)),
        };
        may_control(call)?;
        if count == 0 || count > self.0.max_episodes {
            let text = format!("is not within 1 to {}", self.0.max_episodes);
            return Err(Error::schema("count", text));
        }
        let (turn, asker, call) = (episode.turn(), self.asker(call), call.clone());
        let shared = Arc::clone(&self.0);
        now_or_later(async move {
            let snapshot = Arc::clone(&episode).snapshot(turn).await?;
            let fork = |_| {
                let (served, snapshot) = (Arc::clone(&episode.served), snapshot.clone());
                Arc::clone(&shared).go_on(served, snapshot, asker.clone(), call.clone())
            };
            let made = join_all((0..count).map(fork)).await;
            // One that failed ends the request, and with it go the others.
            Ok(EnvForkResponse { episodes: made.into_iter().collect::<Result<_>>()? }.into())
        })
    }
}

impl Shared {
    /// The environment of this name, for the tenant of a call.
    fn find(&self, name: &str, call: &Call) -> Result<Arc<Served>> {
        if let Some(served) = self.named(name).filter(|it| it.is_seen(&self.host, call)) {
            return Ok(served);
        }
        let shown: String = name.chars().take(64).collect();
        let known: Vec<&str> = self.served.iter().map(|it| it.name.as_str()).collect();
        let text = format!("no environment `{shown}` here; there are {}", known.join(", "));
        Err(Error::runtime(text).with_detail("environments", json!(known)))
    }

    /// The environment of this name, for every tenant; that of the plugin is its first one.
    fn named(&self, name: &str) -> Option<Arc<Served>> {
        let is_plugin = self.host.plugin().as_str() == name;
        let own = self.served.iter().find(|it| it.name == name);
        if let Some(served) = own.or_else(|| self.served.first().filter(|_| is_plugin)) {
            return Some(Arc::clone(served));
        }
        let mut offered = self.host.contributions::<dyn EnvironmentClass>().into_iter();
        let found = offered.find(|it| it.name == name)?;
        let (name, kind, owner) = (found.name, Kind::Local(found.item), Some(found.owner));
        Some(Arc::new(Served { name, kind, owner }))
    }

    fn desk(&self, call: &Call) -> Arc<Desk> {
        let make = || Arc::new(Desk::new(Arc::clone(&self.room)));
        let desk = Arc::clone(&self.sessions.entry(call.session_id().clone()).or_insert_with(make));
        if !call.session().is_open() {
            // It ended meanwhile, and nobody would take this one out.
            self.sessions.remove(call.session_id());
            desk.end();
        }
        desk
    }

    /// Begins an episode and takes it into the session. Without a reply nobody knows of it, and it goes.
    async fn begin(
        self: Arc<Self>,
        desk: Arc<Desk>,
        episode: Arc<Episode>,
        asker: Asker,
        call: Call,
    ) -> Result<EnvObservation> {
        let turn = episode.turn();
        let told = Arc::clone(&episode).ask(turn, Ask::Begin, asker).await?;
        let Told::Seen(obs) = told else { return Err(Error::internal("nothing was seen")) };
        if !desk.add(Arc::clone(&episode)) {
            return Err(Error::new(ErrorCode::ShuttingDown, "the session has ended"));
        }
        call.after_reply(move |was_reply| {
            if !was_reply && let Some(episode) = desk.take(&episode.id) {
                self.let_go(episode);
            }
        });
        Ok(obs)
    }

    /// Begins an episode where another stood.
    async fn go_on(
        self: Arc<Self>,
        served: Arc<Served>,
        mut snapshot: EnvSnapshot,
        asker: Asker,
        call: Call,
    ) -> Result<EnvObservation> {
        let desk = self.desk(&call);
        let (start, left) = desk.start(&served, weight(&snapshot))?;
        if let Some(over) = left {
            self.let_go(over);
        }
        snapshot.obs.created_at = asker.host.now().wall.as_secs_f64().max(f64::MIN_POSITIVE);
        let episode = Arc::new(Episode::restored(start, snapshot));
        self.begin(desk, episode, asker, call).await
    }

    /// Lets go of a retired episode, here if that takes no wait.
    fn let_go(&self, episode: Arc<Episode>) {
        let mut work = Box::pin(episode.let_go());
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.host.spawn(work);
        }
    }
}

/// Takes a step when its turn has come; the place in the queue is taken at once.
fn stepped(
    episode: Arc<Episode>,
    action: JsonObject,
    asker: Asker,
) -> impl Future<Output = Result<EnvObservation>> + Send + 'static {
    let turn = episode.turn();
    async move {
        match episode.ask(turn, Ask::Step(action), asker).await? {
            Told::Seen(obs) => Ok(obs),
            _ => Err(Error::internal("nothing was seen")),
        }
    }
}

/// Does the work here as far as it takes no wait, and the rest as a future.
fn now_or_later<R: 'static>(work: impl Future<Output = Answer<R>> + Send + 'static) -> Answer<R> {
    let mut work = Box::pin(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Ok(Outcome::on_future(work)),
    }
}

fn no_episode() -> Error {
    Error::runtime("No active episode. Call reset().")
}

fn at_index(index: usize, error: Error) -> Error {
    let text = format!("episode_ids[{index}]: {}", error.message());
    let detail = error.detail().clone();
    let retryable = error.is_retryable();
    let error = Error::new(error.code().clone(), text).with_retryable(retryable);
    detail
        .into_iter()
        .fold(error, |error, (key, value)| error.with_detail(&key, value))
        .with_detail("index", index)
}

/// Whether the session may begin, copy and restore episodes; where no principals are configured, each may.
fn may_control(call: &Call) -> Result<()> {
    if call.identity().may(Right::EnvControl) {
        return Ok(());
    }
    let text = format!("`{}` needs the right `env-control`", call.wire_type());
    Err(Error::new(ErrorCode::Forbidden, text))
}

/// 31 bits, which every library takes as a seed.
fn drawn_seed() -> Result<i64> {
    let hex = id::random_hex()?;
    let bits = hex.get(..8).and_then(|part| i64::from_str_radix(part, 16).ok());
    Ok(bits.unwrap_or_default() & i64::from(i32::MAX))
}

register_plugin!(
    EnvPlugin,
    cls = "a2e.caps.env.plugin.EnvPlugin",
    capability = "env",
    config = EnvConfig,
    build = EnvPlugin::new,
    about = "environments to act in: counter_env, gridworld, cartpole, those of programs and OpenEnv servers",
    default_settings = Some("{}")
);
