//! One subagent: its state, its task, its mailbox, its worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::plugin::Host;
use a2e_core::protocol::SessionId;
use a2e_core::request::SessionHandle;
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::protocol::{AwaitResponse, SubagentConfig, SubagentInfo, SubagentStatus};
use super::state::Step;
use super::upper::{SubagentEvent, SubagentNote, SubagentTask};
use super::worker::Worker;

/// Most messages that wait for a subagent.
const MAILBOX: usize = 64;

/// Most bytes of a result, as JSON.
const MAX_RESULT: usize = 256 << 10;

/// The time of a task, unless it is set, and at most.
const DEFAULT_SECONDS: u32 = 600;
const MOST_SECONDS: u32 = 3600;

/// Where a subagent stands.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) status: SubagentStatus,
    pub(super) result: Option<Map<String, Value>>,
    pub(super) error: Option<String>,
    /// Of the last task, from 1.
    task: u64,
    /// Its name.
    task_name: String,
}

/// What never changes of a subagent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) config: SubagentConfig,
    pub(super) parent_agent_id: Option<String>,
    pub(super) root_agent_id: Option<String>,
    pub(super) depth: u32,
}

/// A subagent.
pub(super) struct Agent {
    pub(super) facts: Facts,
    /// The session that spawned it.
    pub(super) owner: SessionId,
    /// The session of the first agent of all these.
    pub(super) root: SessionId,
    pub(super) worker: Worker,
    view: watch::Sender<View>,
    /// One permit: for the task that runs, until its worker has let go of it.
    turn: Semaphore,
    /// Guards the messages that wait; held for a push or a pop.
    mailbox: Mutex<VecDeque<SubagentEvent>>,
    /// Where its events go. Guards the handle; held for a copy.
    told: Mutex<SessionHandle>,
}

/// What outlives the host.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    facts: Facts,
    root: SessionId,
    status: SubagentStatus,
    result: Option<Map<String, Value>>,
    error: Option<String>,
}

impl Agent {
    pub(super) fn new(
        facts: Facts,
        (owner, root): (SessionId, SessionId),
        worker: Worker,
        told: SessionHandle,
    ) -> Self {
        let view = watch::Sender::new(View::default());
        let (mailbox, told) = (Mutex::default(), Mutex::new(told));
        Self { facts, owner, root, worker, view, turn: Semaphore::new(1), mailbox, told }
    }

    pub(super) fn status(&self) -> SubagentStatus {
        self.view.borrow().status
    }

    pub(super) fn info(&self) -> SubagentInfo {
        let it = &self.facts;
        SubagentInfo {
            subagent_id: it.id.clone(),
            name: it.config.name.clone(),
            status: self.status(),
            config: it.config.clone(),
            parent_agent_id: it.parent_agent_id.clone(),
            root_agent_id: it.root_agent_id.clone(),
            depth: it.depth,
        }
    }

    pub(super) fn outcome(&self) -> AwaitResponse {
        let View { status, result, error, .. } = self.view.borrow().clone();
        AwaitResponse { subagent_id: self.facts.id.clone(), status, result, error }
    }

    /// Waits until it has no task.
    pub(super) async fn settled(&self) -> AwaitResponse {
        // The sender is ours.
        self.view.subscribe().wait_for(|it| !it.status.is_busy()).await.map(drop).ok();
        self.outcome()
    }

    /// Gives it a task, which runs beside the call; false where it takes none now.
    pub(super) fn delegate(
        self: &Arc<Self>,
        task: SubagentTask,
        room: &Arc<Semaphore>,
        host: &Host,
        told: SessionHandle,
    ) -> bool {
        *lock(&self.told) = told;
        let Some(number) = self.take(&task.name) else { return false };
        let permit = Arc::clone(room).try_acquire_owned().ok();
        if permit.is_some() {
            self.step(Some(number), Step::Begin, |_| ());
        }
        let (agent, room) = (Arc::clone(self), Arc::clone(room));
        host.spawn(async move { agent.work(number, task, permit, room).await });
        true
    }

    /// Ends its task. Gives back its state then.
    pub(super) fn cancel(&self) -> SubagentStatus {
        self.step(None, Step::Cancel, |_| ());
        self.status()
    }

    /// Ends it with what it does.
    pub(super) fn terminate(&self) {
        self.step(None, Step::Terminate, |_| ());
        self.worker.stop();
    }

    /// Hands a message to its program, or puts it into its mailbox; false when that is full.
    pub(super) fn deliver(&self, from: &str, note: &SubagentNote) -> bool {
        let content = json!({ "from_subagent_id": from, "message": note });
        let event = SubagentEvent {
            subagent_id: self.facts.id.clone(),
            event: "message".to_owned(),
            content: content.as_object().cloned().unwrap_or_default(),
        };
        let told = lock(&self.told).clone();
        queue(&told, &event);
        told.flush();
        if self.status() == SubagentStatus::Terminated {
            return false;
        }
        if self.worker.push(&event) {
            return true;
        }
        let mut mailbox = lock(&self.mailbox);
        if mailbox.len() >= MAILBOX {
            return false;
        }
        mailbox.push_back(event);
        true
    }

    /// What outlives the host; a task does not.
    pub(super) fn saved(&self) -> Saved {
        let View { mut status, result, mut error, .. } = self.view.borrow().clone();
        if status.is_busy() {
            status = SubagentStatus::Failed;
            error = Some("the host ended meanwhile".to_owned());
        }
        Saved { facts: self.facts.clone(), root: self.root.clone(), status, result, error }
    }

    /// The subagent that was saved.
    pub(super) fn restored(
        saved: Saved,
        owner: SessionId,
        told: SessionHandle,
        worker: impl FnOnce(&str, &SubagentConfig) -> Worker,
    ) -> Self {
        let Saved { facts, root, status, result, error } = saved;
        let worker = worker(&facts.id, &facts.config);
        let agent = Self::new(facts, (owner, root), worker, told);
        agent.view.send_modify(|it| {
            (it.status, it.result, it.error) = (status, result, error);
        });
        agent
    }

    fn take(&self, name: &str) -> Option<u64> {
        let mut number = None;
        self.step(None, Step::Delegate, |view| {
            view.task += 1;
            (view.result, view.error) = (None, None);
            name.clone_into(&mut view.task_name);
            number = Some(view.task);
        });
        number
    }

    /// Works on a task until it is done, its time is over or it is not wanted any more.
    async fn work(
        &self,
        number: u64,
        task: SubagentTask,
        permit: Option<OwnedSemaphorePermit>,
        room: Arc<Semaphore>,
    ) {
        // What the task before left behind is ended first.
        let _turn = self.turn.acquire().await;
        let mut view = self.view.subscribe();
        let done = async {
            let mut permit = permit;
            if permit.is_none() {
                permit = room.acquire_owned().await.ok();
                self.step(Some(number), Step::Begin, |_| ());
            }
            let waiting: Vec<SubagentEvent> = lock(&self.mailbox).drain(..).collect();
            let done = self.worker.run(&self.facts, task, waiting).await;
            drop(permit);
            done
        };
        let is_mine = |view: &View| view.task == number && view.status.is_busy();
        let limit = self.limit();
        let done = tokio::select! {
            done = tokio::time::timeout(limit, done) => done,
            _ = view.wait_for(|view| !is_mine(view)) => return,
        };
        let done = done.unwrap_or_else(|_| {
            let text = format!("timeout: the task was not done within {} s", limit.as_secs());
            Err(Error::runtime(text))
        });
        let done = done.and_then(bounded);
        match done {
            Ok(result) => {
                self.step(Some(number), Step::Complete, |view| view.result = Some(result));
            }
            Err(error) => {
                let text = error.message().to_owned();
                self.step(Some(number), Step::Fail, |view| {
                    view.result = Some(Map::from_iter([("error".to_owned(), text.clone().into())]));
                    view.error = Some(text);
                });
            }
        }
    }

    fn limit(&self) -> Duration {
        let seconds = match self.facts.config.timeout_seconds {
            0 => DEFAULT_SECONDS,
            seconds => seconds.min(MOST_SECONDS),
        };
        Duration::from_secs(seconds.into())
    }

    /// Takes a step, of this task where it is one's; false where it is none in this state. Tells of the new state
    /// before anyone sees it, so that events are in order and come before replies.
    fn step(&self, task: Option<u64>, step: Step, change: impl FnOnce(&mut View)) -> bool {
        let told = lock(&self.told).clone();
        let is_taken = self.view.send_if_modified(|view| {
            let next = view.status.after(step);
            let Some(next) = next.filter(|_| task.is_none_or(|it| it == view.task)) else {
                return false;
            };
            view.status = next;
            change(view);
            queue(&told, &self.state_event(view));
            true
        });
        told.flush();
        is_taken
    }

    fn state_event(&self, view: &View) -> SubagentEvent {
        let mut content = Map::new();
        content.insert("status".to_owned(), json!(view.status));
        content.insert("task".to_owned(), view.task_name.clone().into());
        content.extend(view.error.clone().map(|error| ("error".to_owned(), error.into())));
        let event = view.status.event().to_owned();
        SubagentEvent { subagent_id: self.facts.id.clone(), event, content }
    }
}

/// A reader that is slow, or gone, asks for the state when it comes back.
fn queue(told: &SessionHandle, event: &SubagentEvent) {
    if let Err(error) = told.queue(event, None) {
        tracing::debug!(%error, subagent = event.subagent_id, "an event of a subagent was not taken");
    }
}

fn bounded(result: Map<String, Value>) -> Result<Map<String, Value>> {
    let bytes = serde_json::to_string(&result).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_RESULT {
        let text = format!("the result has {bytes} bytes; {MAX_RESULT} at most");
        return Err(Error::runtime(text));
    }
    Ok(result)
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
