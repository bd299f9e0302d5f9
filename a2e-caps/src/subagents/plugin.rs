//! Answers `multi_agent/*` and `SUBAGENT_*`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::plugin::{Answer, Handlers, Host, Plugin, Scope};
use a2e_core::protocol::id::random_hex;
use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::request::Call;
use a2e_core::snapshot::State;
use a2e_core::{Error, Result, register_plugin};
use tokio::sync::Semaphore;

use super::agent::{Agent, Facts, Saved};
use super::config::SubagentSettings;
use super::family::Family;
use super::merge::merge;
use super::protocol::{
    AwaitRequest, AwaitResponse, DelegateRequest, DelegateResponse, ListRequest, ListResponse,
    SpawnRequest, SpawnResponse, SubagentConfig, SubagentInfo, SubagentStatus, TerminateRequest,
    TerminateResponse,
};
use super::upper::{
    SubagentAwaitRequest, SubagentAwaitResponse, SubagentCancelRequest, SubagentCancelResponse,
    SubagentDelegateRequest, SubagentDelegateResponse, SubagentListRequest, SubagentListResponse,
    SubagentMergeRequest, SubagentMergeResponse, SubagentMessageRequest, SubagentMessageResponse,
    SubagentSpawnRequest, SubagentSpawnResponse, SubagentTask, SubagentTerminateRequest,
    SubagentTerminateResponse,
};
use super::worker::Worker;
use crate::json::Room;

/// Most bytes of a task or a message, as JSON.
const MAX_BYTES: usize = 256 << 10;

/// Most bytes of a config, as JSON: a list has that of each subagent, 80 by default and with escapes.
const MAX_CONFIG: usize = 32 << 10;

/// Most subagents that one merge takes.
const MAX_MERGED: usize = 256;

/// The subagents of a host.
struct SubagentPlugin {
    host: Host,
    settings: Arc<SubagentSettings>,
    family: Family,
    /// A permit for each task that runs.
    room: Arc<Semaphore>,
    /// What was saved of sessions that have come back and asked for nothing yet. Held until they are in the family:
    /// subagents are here or there.
    saved: Mutex<HashMap<SessionId, Vec<Saved>>>,
}

impl SubagentPlugin {
    fn new(settings: SubagentSettings, host: &Host) -> Result<Self> {
        if !settings.command.is_empty() && !host.is_trial() {
            host.children()?;
        }
        let room = Arc::new(Semaphore::new(settings.max_running.get().min(Semaphore::MAX_PERMITS)));
        let (host, settings) = (host.clone(), Arc::new(settings));
        Ok(Self { host, settings, family: Family::default(), room, saved: Mutex::default() })
    }

    /// Brings the subagents of a session back that was restored: its worker and its events need the session itself.
    fn wake(&self, call: &Call) {
        let mut all = self.saved();
        let Some(saved) = all.remove(call.session_id()) else { return };
        let back = saved.into_iter().map(|it| {
            let worker = |id: &str, config: &SubagentConfig| {
                Worker::new(&self.host, &self.settings, id, config, call.identity())
            };
            Arc::new(Agent::restored(it, call.session_id().clone(), call.session(), worker))
        });
        self.family.put_back(back.collect());
    }

    fn saved(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Saved>>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subagent of the session of this call.
    fn find(&self, id: &str, call: &Call) -> Result<Arc<Agent>> {
        self.wake(call);
        self.family.find(id, call.session_id())
    }

    async fn spawn(
        &self,
        config: SubagentConfig,
        (parent_agent_id, root_agent_id): (Option<String>, Option<String>),
        call: &Call,
    ) -> Result<String> {
        limited("config", &config, MAX_CONFIG)?;
        self.wake(call);
        let place = self.family.place_of(call);
        if place.depth >= self.settings.max_depth {
            let text = format!("subagents may be {} deep (max_depth)", self.settings.max_depth);
            return Err(Error::new(ErrorCode::ProcLimit, text));
        }
        let id = format!("sub_{}", random_hex()?);
        let worker = Worker::new(&self.host, &self.settings, &id, &config, call.identity());
        let facts =
            Facts { id: id.clone(), config, parent_agent_id, root_agent_id, depth: place.depth };
        let sessions = (call.session_id().clone(), place.root);
        let agent = Arc::new(Agent::new(facts, sessions, worker, call.session()));
        // In its place before its program runs: that may ask for things at once.
        self.family.add(&agent, self.settings.max_subagents.get())?;
        let mut spawned = Spawned { family: &self.family, agent: &agent, is_done: false };
        agent.worker.prepare(&id).await?;
        // A request that terminated it meanwhile found no program to end.
        if agent.status() == SubagentStatus::Terminated {
            return Err(Error::runtime("the subagent was terminated before it was ready"));
        }
        if call.is_cancelled() {
            return Err(Error::new(ErrorCode::Cancelled, "nobody waits for the answer"));
        }
        spawned.is_done = true;
        call.note_subject("subagent_id", || id.clone());
        Ok(id)
    }

    fn delegate(
        &self,
        id: &str,
        task: SubagentTask,
        call: &Call,
    ) -> Result<(bool, SubagentStatus)> {
        limited("task", &task, MAX_BYTES)?;
        let agent = self.find(id, call)?;
        let is_taken = agent.delegate(task, &self.room, &self.host, call.session());
        let status = agent.status();
        // By the time of the answer its task may be over; that it was taken is what was asked.
        let is_over = is_taken && !status.is_busy();
        Ok((is_taken, if is_over { SubagentStatus::Running } else { status }))
    }

    async fn settled(&self, id: &str, call: &Call) -> Result<AwaitResponse> {
        Ok(self.find(id, call)?.settled().await)
    }

    fn list(&self, call: &Call) -> Vec<SubagentInfo> {
        self.wake(call);
        self.family.of(call.session_id()).iter().map(|it| it.info()).collect()
    }

    fn terminate(&self, id: &str, call: &Call) -> Result<SubagentStatus> {
        let agent = self.find(id, call)?;
        agent.terminate();
        Ok(agent.status())
    }

    fn message(
        &self,
        request: SubagentMessageRequest,
        call: &Call,
    ) -> Answer<SubagentMessageResponse> {
        limited("message", &request.message, MAX_BYTES)?;
        let (from, to) = (&request.from_subagent_id, &request.to_subagent_id);
        self.wake(call);
        let place = self.family.place_of(call);
        // A subagent speaks for itself and for those that it has spawned.
        if place.own_id.as_ref() != Some(from) {
            self.find(from, call)?;
        }
        let to = self.family.find_in(to, &place.root)?;
        Ok(SubagentMessageResponse { delivered: to.deliver(from, &request.message) }.into())
    }

    fn merge(&self, request: SubagentMergeRequest, call: &Call) -> Answer<SubagentMergeResponse> {
        let SubagentMergeRequest { subagent_ids, strategy } = request;
        if subagent_ids.len() > MAX_MERGED {
            let text = format!("{} ids; {MAX_MERGED} at most", subagent_ids.len());
            return Err(Error::schema("subagent_ids", text));
        }
        let mut named = HashSet::new();
        if let Some(place) = subagent_ids.iter().position(|id| !named.insert(id)) {
            return Err(Error::schema(format!("subagent_ids[{place}]"), "is there twice"));
        }
        let find = |id: &String| Ok(self.find(id, call)?.outcome());
        let states = subagent_ids.iter().map(find).collect::<Result<Vec<_>>>()?;
        let merged_result = merge(strategy, &states);
        // The rest of a line is for what else stands in the reply.
        let most = self.host.config().limits.max_line_bytes / 4 * 3;
        if !Room(most).take(&merged_result) {
            let text = format!("the results have more than {most} bytes; merge fewer subagents");
            return Err(Error::new(ErrorCode::OutOfMemory, text));
        }
        Ok(SubagentMergeResponse { merged_result }.into())
    }
}

/// A subagent that is being spawned; ended where that does not come to its end.
struct Spawned<'a> {
    family: &'a Family,
    agent: &'a Arc<Agent>,
    is_done: bool,
}

impl Drop for Spawned<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        self.family.remove(&self.agent.facts.id);
        self.agent.terminate();
    }
}

/// `multi_agent/*`.
impl SubagentPlugin {
    async fn on_spawn(self: Arc<Self>, it: SpawnRequest, call: Call) -> Answer<SpawnResponse> {
        let subagent_id = self.spawn(it.into(), (None, None), &call).await?;
        Ok(SpawnResponse { subagent_id, status: SubagentStatus::Ready }.into())
    }

    fn on_delegate(&self, it: DelegateRequest, call: &Call) -> Answer<DelegateResponse> {
        let task = SubagentTask {
            name: it.task_name,
            instruction: it.instruction,
            success_criteria: it.success_criteria,
            metadata: serde_json::Map::new(),
        };
        let (accepted, status) = self.delegate(&it.subagent_id, task, call)?;
        Ok(DelegateResponse { accepted, status }.into())
    }

    async fn on_await(self: Arc<Self>, it: AwaitRequest, call: Call) -> Answer<AwaitResponse> {
        Ok(self.settled(&it.subagent_id, &call).await?.into())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn on_list(&self, _it: ListRequest, call: &Call) -> Answer<ListResponse> {
        Ok(ListResponse { subagents: self.list(call) }.into())
    }

    fn on_terminate(&self, it: TerminateRequest, call: &Call) -> Answer<TerminateResponse> {
        self.terminate(&it.subagent_id, call)?;
        Ok(TerminateResponse { success: true, subagent_id: it.subagent_id, code: None }.into())
    }
}

/// `SUBAGENT_*`.
impl SubagentPlugin {
    async fn on_upper_spawn(
        self: Arc<Self>,
        it: SubagentSpawnRequest,
        call: Call,
    ) -> Answer<SubagentSpawnResponse> {
        let named = (it.parent_agent_id, it.root_agent_id);
        let subagent_id = self.spawn(it.agent, named, &call).await?;
        Ok(SubagentSpawnResponse { subagent_id, status: SubagentStatus::Ready }.into())
    }

    fn on_upper_delegate(
        &self,
        it: SubagentDelegateRequest,
        call: &Call,
    ) -> Answer<SubagentDelegateResponse> {
        let (accepted, status) = self.delegate(&it.subagent_id, it.task, call)?;
        Ok(SubagentDelegateResponse { accepted, status }.into())
    }

    async fn on_upper_await(
        self: Arc<Self>,
        it: SubagentAwaitRequest,
        call: Call,
    ) -> Answer<SubagentAwaitResponse> {
        let AwaitResponse { subagent_id, status, result, error } =
            self.settled(&it.subagent_id, &call).await?;
        Ok(SubagentAwaitResponse { subagent_id, status, result, error }.into())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn on_upper_list(&self, _it: SubagentListRequest, call: &Call) -> Answer<SubagentListResponse> {
        Ok(SubagentListResponse { subagents: self.list(call) }.into())
    }

    fn on_cancel(&self, it: SubagentCancelRequest, call: &Call) -> Answer<SubagentCancelResponse> {
        let status = self.find(&it.subagent_id, call)?.cancel();
        Ok(SubagentCancelResponse { subagent_id: it.subagent_id, status }.into())
    }

    fn on_upper_terminate(
        &self,
        it: SubagentTerminateRequest,
        call: &Call,
    ) -> Answer<SubagentTerminateResponse> {
        let status = self.terminate(&it.subagent_id, call)?;
        Ok(SubagentTerminateResponse { subagent_id: it.subagent_id, status }.into())
    }
}

impl Plugin for SubagentPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Self::on_spawn);
        on.pool(Self::on_delegate);
        on.future(Self::on_await);
        on.pool(Self::on_list);
        on.pool(Self::on_terminate);
        on.future(Self::on_upper_spawn);
        on.pool(Self::on_upper_delegate);
        on.future(Self::on_upper_await);
        on.pool(Self::message);
        on.pool(Self::on_upper_list);
        on.pool(Self::on_cancel);
        on.pool(Self::on_upper_terminate);
        on.pool(Self::merge);
    }

    fn session_ended(&self, session: &SessionId) {
        self.saved().remove(session);
        for agent in self.family.take(session) {
            agent.terminate();
        }
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        let Scope::Session(session) = scope else { return Ok(None) };
        let waiting = self.saved();
        let awake: Vec<Saved> = self.family.of(session).iter().map(|it| it.saved()).collect();
        let saved = if awake.is_empty() { waiting.get(session) } else { Some(&awake) };
        saved.filter(|it| !it.is_empty()).map(|it| State::json(1, it)).transpose()
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        let Scope::Session(session) = scope else { return Ok(()) };
        let saved = state.decode()?;
        self.saved().insert(session.clone(), saved);
        Ok(())
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        if let Scope::Session(session) = scope {
            self.session_ended(session);
        }
        Ok(())
    }

    fn teardown(&self) {
        for agent in self.family.take_all() {
            agent.terminate();
        }
    }
}

fn limited<T: serde::Serialize>(loc: &str, it: &T, most: usize) -> Result<()> {
    let bytes = serde_json::to_string(it).map_or(usize::MAX, |text| text.len());
    if bytes > most {
        return Err(Error::schema(loc, format!("{bytes} bytes; {most} at most")));
    }
    Ok(())
}

register_plugin!(
    SubagentPlugin,
    cls = "a2e.caps.subagents.plugin.SubagentPlugin",
    capability = "multi_agent",
    config = SubagentSettings,
    build = SubagentPlugin::new,
    about = "spawns subagents, gives them tasks, merges what they found"
);
