//! A call of a client on its way through the host: its events become notifications, its questions are asked.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use a2e_caps::mcp::contract::{AskResponse, Question, TASK};
use a2e_client::{CallOptions, Calling, ClientError, EventMessage, Received};
use a2e_core::Error;
use a2e_core::protocol::id::random_hex;
use a2e_core::protocol::{ErrorCode, EventKind};
use rmcp::model::{
    ErrorData, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::asking::{self, Pending, knows_tasks};
use super::task::Task;
use crate::serve::mcp::desk::{Asked, Listed};
use crate::serve::mcp::session::{Context, Session, is_modern};

/// A request of the host that a client waits for, or that waits for its client.
pub(in crate::serve::mcp) struct Running {
    pub(in crate::serve::mcp) session: Arc<Session>,
    /// How long the client waits by itself; `None`: to the end.
    patience: Option<Pin<Box<Sleep>>>,
    /// The task that it has become.
    pub(super) task: Option<Arc<Task>>,
    /// The plugin that wants it to be a task.
    wants_task: Option<Asked>,
    /// `None` once it was answered.
    calling: Option<Calling<Received>>,
    asked: mpsc::Receiver<Asked>,
    _listed: Listed,
    /// Answers that came before their question.
    answers: BTreeMap<String, Value>,
    pending: Option<Pending>,
    /// What was told last of how far it is; it only grows.
    progress: f64,
}

/// What a call has come to.
pub(in crate::serve::mcp) enum Step {
    /// To its end.
    Done(Result<Received, ClientError>),
    /// To questions that the client is to answer with a request.
    Asks(BTreeMap<String, Question>),
    /// To where its client, which knows tasks, need not wait any longer.
    Long,
    /// The client wants no answer any more.
    Cancelled,
}

impl Running {
    /// Sends the request.
    ///
    /// # Errors
    /// When there is no session, or it takes no more requests.
    pub(in crate::serve::mcp) async fn start(
        session: Arc<Session>,
        context: &Context,
        wire_type: &str,
        mut body: Map<String, Value>,
        answers: BTreeMap<String, Value>,
    ) -> Result<Self, ErrorData> {
        let link = session.link(context).await?;
        let mark = random_hex().map_err(|it| ErrorData::internal_error(it.to_string(), None))?;
        let (listed, asked) = session.front.desk.listen(&link.id, &mark);
        body.insert("correlation_id".to_owned(), mark.into());
        let most = session.front.settings.limit(knows_tasks(context)) + Duration::from_secs(5);
        let calling = link.client.call_raw(wire_type, &body, CallOptions::within(most)).await;
        let calling = calling.map_err(|it| ErrorData::internal_error(it.to_string(), None))?;
        Ok(Self {
            calling: Some(calling),
            asked,
            _listed: listed,
            answers,
            pending: None,
            progress: -1.0,
            patience: None,
            task: None,
            wants_task: None,
            session,
        })
    }

    /// Says how long its client waits before it wants a task instead.
    pub(in crate::serve::mcp) fn wait_at_most(&mut self, patience: Option<Duration>) {
        self.patience = patience.map(|it| Box::pin(tokio::time::sleep(it)));
    }

    /// Goes on as a task; without one, to its end.
    pub(super) fn become_task(&mut self, task: Option<Arc<Task>>) {
        self.patience = None;
        self.task = task;
        if let Some(asked) = self.wants_task.take() {
            let granted = granted(&asked.questions);
            asked.reply(match self.task {
                Some(_) => Ok(granted),
                None => Err(Error::new(ErrorCode::Overloaded, "too many tasks are kept")),
            });
        }
    }

    /// Takes the answers of a client that was asked.
    pub(in crate::serve::mcp) fn take_answers(&mut self, answers: BTreeMap<String, Value>) {
        self.answers.extend(answers);
    }

    /// Goes on until there is something to tell the client.
    pub(in crate::serve::mcp) async fn step(&mut self, context: &Context) -> Step {
        if let Some(asks) = self.settle() {
            return Step::Asks(asks);
        }
        loop {
            let Some(calling) = self.calling.as_mut() else { return Step::Cancelled };
            tokio::select! {
                biased;
                () = context.ct.cancelled() => {
                    self.calling = None;
                    return Step::Cancelled;
                }
                () = over(self.patience.as_mut()) => {
                    self.patience = None;
                    return Step::Long;
                }
                Some(asked) = self.asked.recv() => {
                    if asked.questions.values().any(|it| it.method == TASK) {
                        if let Some(long) = self.asked_for_task(asked) {
                            return long;
                        }
                    } else if is_modern(context) || self.task.is_some() {
                        self.pending = Some(Pending::new(asked, context));
                        if let Some(asks) = self.settle() {
                            return Step::Asks(asks);
                        }
                    } else {
                        asking::ask_in_session(asked, context);
                    }
                }
                event = calling.next_event() => match event {
                    Some(event) => self.forward(&event, context).await,
                    None => break,
                }
            }
        }
        match self.calling.take() {
            Some(calling) => Step::Done(calling.reply().await),
            None => Step::Cancelled,
        }
    }

    /// Has the call become a task, where its client knows them and it is none yet.
    fn asked_for_task(&mut self, asked: Asked) -> Option<Step> {
        if self.task.is_some() {
            let granted = granted(&asked.questions);
            asked.reply(Ok(granted));
        } else if self.patience.is_some() {
            self.wants_task = Some(asked);
            return Some(Step::Long);
        } else {
            let unable = asking::unable(&asked.questions);
            asked.reply(Err(unable));
        }
        None
    }

    /// Resolves when the plugin does not wait for the answers that are missing any more.
    pub(super) async fn given_up(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.gone().await;
            self.pending = None;
        }
    }

    /// Answers the questions that wait, where the client has answered all of them; the others.
    fn settle(&mut self) -> Option<BTreeMap<String, Question>> {
        let mut pending = self.pending.take()?;
        pending.fill(&mut self.answers);
        let open = pending.open();
        if open.is_empty() {
            pending.reply();
            return None;
        }
        self.pending = Some(pending);
        Some(open)
    }

    async fn forward(&mut self, event: &EventMessage, context: &Context) {
        let data: Map<String, Value> = event.data().decode().unwrap_or_default();
        if let Some(task) = &self.task {
            // What is told of a request ends with its answer, and that was the task.
            if let Some(message) = data.get("message").and_then(Value::as_str) {
                task.tell(message);
            }
            return;
        }
        if *event.kind() == EventKind::Progress {
            self.tell_progress(&data, context).await;
            return;
        }
        let Some(least) = self.session.level(context) else { return };
        let level = match data.get("level").and_then(Value::as_str) {
            Some("debug") => LoggingLevel::Debug,
            Some("warning" | "warn") => LoggingLevel::Warning,
            Some("error") => LoggingLevel::Error,
            _ => LoggingLevel::Info,
        };
        if (level as u8) < (least as u8) {
            return;
        }
        let data = match (event.kind(), data.get("message")) {
            (EventKind::Log | EventKind::Status, Some(message)) => message.clone(),
            _ => Value::Object(data),
        };
        let told = LoggingMessageNotificationParam::new(level, data);
        let told = told.with_logger(event.wire_type().to_owned());
        let _gone = context.peer.notify_logging_message(told).await;
    }

    async fn tell_progress(&mut self, data: &Map<String, Value>, context: &Context) {
        let (Some(token), Some(done)) =
            (context.meta.get_progress_token(), data.get("pct").and_then(Value::as_f64))
        else {
            return;
        };
        // Progress only grows; what does not is left out.
        if done <= self.progress {
            return;
        }
        self.progress = done;
        let mut told = ProgressNotificationParam::new(token, done).with_total(100.0);
        told.message = data.get("message").and_then(Value::as_str).map(str::to_owned);
        let _gone = context.peer.notify_progress(told).await;
    }
}

/// Resolves when the patience of a client is over; never without.
async fn over(patience: Option<&mut Pin<Box<Sleep>>>) {
    match patience {
        Some(patience) => patience.await,
        None => std::future::pending().await,
    }
}

/// The answer to a plugin whose call has become a task.
fn granted(questions: &BTreeMap<String, Question>) -> AskResponse {
    AskResponse { answers: questions.keys().map(|key| (key.clone(), Map::new())).collect() }
}
