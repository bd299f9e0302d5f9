//! The tasks of a host: bounded in number and in bytes, each its principal's alone, kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_client::{ClientError, Received};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::id::random_hex;
use a2e_core::{Clock as _, SystemClock};
use rmcp::model::{
    CallToolResult, CreateTaskResult, ErrorData, GetTaskResult, ServerNotification,
    TaskStatusNotification, TaskStatusNotificationParams,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::run::{Running, Step};
use super::task::Task;
use crate::serve::mcp::McpFront;
use crate::serve::mcp::convert;
use crate::serve::mcp::session::{Context, is_modern};

/// Most tasks of a host, and of one principal; a call that would be one more is waited for.
const MAX_TASKS: usize = 1024;
const MAX_OF_PRINCIPAL: usize = 128;

/// Bytes of results that are kept for one principal; a task whose result does not fit has failed.
const MAX_KEPT: usize = 64 << 20;

/// The tasks, by id.
#[derive(Default)]
pub(in crate::serve::mcp) struct Tasks {
    clock: SystemClock,
    /// Held for a look-up, a change or a count.
    table: Mutex<HashMap<String, Arc<Task>>>,
}

type Answers = mpsc::Receiver<BTreeMap<String, Value>>;

impl Tasks {
    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task, where there is room for one.
    fn open(
        &self,
        principal: String,
        ttl: Duration,
        cancel: CancellationToken,
    ) -> Option<(Arc<Task>, Answers)> {
        let id = random_hex().ok()?;
        let mut table = self.table();
        let own = table.values().filter(|task| task.principal == principal).count();
        if table.len() >= MAX_TASKS || own >= MAX_OF_PRINCIPAL {
            return None;
        }
        let (task, answers) = Task::new(id.clone(), principal, ttl, cancel);
        let task = Arc::new(task);
        table.insert(id, Arc::clone(&task));
        Some((task, answers))
    }

    /// The task of this id, for its principal; another's is told apart from none.
    ///
    /// # Errors
    /// When there is none.
    fn find(&self, id: &str, principal: &str) -> Result<Arc<Task>, ErrorData> {
        let found = self.table().get(id).filter(|task| task.principal == principal).cloned();
        let text = "no such task: it was never made, or its time is over";
        found.ok_or_else(|| ErrorData::invalid_params(text, None))
    }

    /// Ends a task; its result is kept where there is room.
    fn end(&self, task: &Task, end: Result<CallToolResult, Option<ErrorData>>, ttl: Duration) {
        let size = task.end(end, ttl);
        let table = self.table();
        let own = table.values().filter(|it| it.principal == task.principal);
        let kept: usize = own.map(|it| it.size()).sum();
        drop(table);
        if kept > MAX_KEPT {
            let text = format!("its result of {size} bytes is not kept: there are {kept} already");
            task.end(Err(Some(ErrorData::internal_error(text, None))), ttl);
        }
    }

    /// Looks after a call until it has ended and its time is over.
    async fn keep(self: Arc<Self>, mut running: Running, mut told: Told, mut answers: Answers) {
        let front = Arc::clone(&running.session.front);
        let (ttl, began) = (front.settings.task_ttl_s, self.clock.now());
        let end = loop {
            match running.step(&told.context).await {
                Step::Done(reply) => {
                    break ended(&running, reply, &told).await.map_err(Some);
                }
                Step::Cancelled => break Err(None),
                Step::Long => running.become_task(Some(Arc::clone(&told.task))),
                Step::Asks(asks) => {
                    if let Err(error) = told.task.ask(asks) {
                        break Err(Some(error));
                    }
                    told.tell().await;
                    tokio::select! {
                        biased;
                        () = told.task.cancel.cancelled() => break Err(None),
                        Some(given) = answers.recv() => running.take_answers(given),
                        () = running.given_up() => {}
                    }
                }
            }
        };
        // The call ends now, and with it what it holds in its session.
        drop(running);
        self.end(&told.task, end, self.clock.now().since(began) + ttl);
        told.tell().await;
        let Told { task, .. } = told;
        tokio::time::sleep(ttl).await;
        self.table().remove(&task.id);
    }
}

/// The result of a task's call. What broke in the host is a failure of the task, as the extension has it.
async fn ended(
    running: &Running,
    reply: Result<Received, ClientError>,
    told: &Told,
) -> Result<CallToolResult, ErrorData> {
    match &reply {
        Err(error) if error.code() == Some(&ErrorCode::InternalError) => {
            Err(convert::error(error, &told.context))
        }
        _ => running.session.ended(&told.tool, reply, &told.context).await,
    }
}

/// A task and the client that made it.
struct Told {
    task: Arc<Task>,
    tool: String,
    /// Of the call, which has been answered with the task.
    context: Context,
}

impl Told {
    /// Tells a client with a session where the task stands. Others look after it: rmcp has no room for tasks
    /// in `subscriptions/listen` yet.
    async fn tell(&mut self) {
        if !is_modern(&self.context) {
            let told = TaskStatusNotificationParams::new(self.task.detailed());
            let told = TaskStatusNotification::new(told);
            let told = ServerNotification::TaskStatusNotification(told);
            let _gone = self.context.peer.send_notification(told).await;
        }
    }
}

impl McpFront {
    /// Makes a call a task; `None`, where there is no room: then its client waits for it.
    pub(in crate::serve::mcp) fn make_task(
        &self,
        mut running: Running,
        tool: &str,
        principal: String,
        context: &Context,
    ) -> Result<CreateTaskResult, Box<Running>> {
        let cancel = running.session.ended.child_token();
        let opened = self.tasks.open(principal, self.settings.task_ttl_s, cancel);
        let Some((task, answers)) = opened else {
            tracing::warn!(tool, "a call does not become a task: there are too many");
            running.become_task(None);
            return Err(Box::new(running));
        };
        running.become_task(Some(Arc::clone(&task)));
        let mut context = context.clone();
        // That of the request ends with its answer.
        context.ct = task.cancel.clone();
        let made = CreateTaskResult::new(task.seed());
        let told = Told { task, tool: tool.to_owned(), context };
        tokio::spawn(Arc::clone(&self.tasks).keep(running, told, answers));
        Ok(made)
    }

    /// `tasks/get`.
    ///
    /// # Errors
    /// When the principal has no such task; of the others as well.
    pub(in crate::serve::mcp) fn task(
        &self,
        id: &str,
        principal: &str,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.tasks.find(id, principal)?.detailed()))
    }

    /// `tasks/update`.
    pub(in crate::serve::mcp) fn update_task(
        &self,
        id: &str,
        principal: &str,
        answers: BTreeMap<String, Value>,
    ) -> Result<(), ErrorData> {
        self.tasks.find(id, principal)?.answer(answers)
    }

    /// `tasks/cancel`: the call is cancelled in the host; one that has ended stays as it is.
    pub(in crate::serve::mcp) fn cancel_task(
        &self,
        id: &str,
        principal: &str,
    ) -> Result<(), ErrorData> {
        self.tasks.find(id, principal)?.cancel.cancel();
        Ok(())
    }
}
