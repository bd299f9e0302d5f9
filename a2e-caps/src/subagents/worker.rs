//! What works on the tasks of a subagent: a program of the operator's, or nothing but time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::children::{Child, Command};
use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::SessionHandle;
use a2e_core::transport::{Identity, Peer, from_pipes};
use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::agent::Facts;
use super::config::SubagentSettings;
use super::protocol::{SubagentConfig, SubagentStatus};
use super::scope;
use super::upper::{SubagentAwaitResponse, SubagentDelegateRequest, SubagentEvent, SubagentTask};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// A question to a program has no limit of its own: the task has.
const NO_LIMIT: Duration = Duration::from_hours(2);

/// The worker of one subagent.
pub(super) enum Worker {
    /// Gives a summary after a while.
    BuiltIn(Duration),
    /// A program that speaks A2E.
    Program(Program),
}

/// The program of one subagent: started when it is needed, ended with the subagent.
pub(super) struct Program {
    host: Host,
    settings: Arc<SubagentSettings>,
    /// Whose session it gets.
    identity: Identity,
    /// Guards what runs; held for a copy.
    running: Mutex<Option<Arc<Link>>>,
}

/// A program that runs, and its session.
struct Link {
    child: Child,
    session: SessionHandle,
}

impl Worker {
    /// The worker that the settings name.
    pub(super) fn new(
        host: &Host,
        settings: &Arc<SubagentSettings>,
        id: &str,
        config: &SubagentConfig,
        spawner: &Identity,
    ) -> Self {
        if settings.command.is_empty() {
            return Self::BuiltIn(Duration::from_millis(settings.worker_ms));
        }
        Self::Program(Program {
            host: host.clone(),
            settings: Arc::clone(settings),
            identity: scope::identity(id, config, spawner),
            running: Mutex::default(),
        })
    }

    /// Has it ready for a first task.
    ///
    /// # Errors
    /// When its program cannot be started.
    pub(super) async fn prepare(&self, id: &str) -> Result<()> {
        match self {
            Self::BuiltIn(_) => Ok(()),
            Self::Program(program) => program.link(id).await.map(drop),
        }
    }

    /// Works on a task. Dropping the future gives it up, and ends the program that worked on it.
    ///
    /// # Errors
    /// Why there is no result, for people.
    pub(super) async fn run(
        &self,
        facts: &Facts,
        task: SubagentTask,
        waiting: Vec<SubagentEvent>,
    ) -> Result<Map<String, Value>> {
        match self {
            Self::BuiltIn(time) => {
                tokio::time::sleep(*time).await;
                let mut result = Map::new();
                let summary = format!("Completed task: {}", task.name);
                result.insert("summary".to_owned(), summary.into());
                result.insert("instruction".to_owned(), task.instruction.into());
                if !waiting.is_empty() {
                    let messages = waiting.into_iter().map(|it| Value::Object(it.content));
                    result.insert("messages".to_owned(), messages.collect());
                }
                Ok(result)
            }
            Self::Program(program) => program.run(facts, task, waiting).await,
        }
    }

    /// Sends an event to its program; false where none runs.
    pub(super) fn push(&self, event: &SubagentEvent) -> bool {
        let Self::Program(program) = self else { return false };
        program.current().is_some_and(|link| link.session.push(event, None).is_ok())
    }

    /// Ends its program and whatever that started.
    pub(super) fn stop(&self) {
        let Self::Program(program) = self else { return };
        let Some(link) = program.lock().take() else { return };
        program.end(link);
    }
}

/// A task that a program works on; the program is ended where it is given up.
struct Task<'a> {
    program: &'a Program,
    link: Option<Arc<Link>>,
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.program.forget(&link);
        self.program.end(link);
    }
}

impl Program {
    async fn run(
        &self,
        facts: &Facts,
        task: SubagentTask,
        waiting: Vec<SubagentEvent>,
    ) -> Result<Map<String, Value>> {
        let link = self.link(&facts.id).await?;
        let mut task_of = Task { program: self, link: Some(Arc::clone(&link)) };
        for event in &waiting {
            link.session.push_wait(event, None).await?;
        }
        let (subagent_id, agent) = (facts.id.clone(), Some(facts.config.clone()));
        let asked = SubagentDelegateRequest { subagent_id, task, agent };
        let answer = tokio::select! {
            answer = link.session.ask("SUBAGENT_DELEGATE_REQ", &asked, NO_LIMIT) => answer,
            // An answer that came before the end of the program counts.
            () = link.ended() => Err(Error::new(ErrorCode::SandboxCrash, "ended")),
        };
        task_of.link = None;
        match answer {
            Ok(answer) => read(answer.get()),
            Err(error) if link.session.is_open() && !link.has_ended() => Err(error),
            Err(_) => {
                self.forget(&link);
                Err(link.last_words().await)
            }
        }
    }

    /// The program that runs; started where none does.
    async fn link(&self, id: &str) -> Result<Arc<Link>> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let none = || Error::internal("no command");
        let (program, arguments) = self.settings.command.split_first().ok_or_else(none)?;
        let mut command = Command::new(program).args(arguments).env("A2E_SUBAGENT_ID", id);
        command.env_pass.clone_from(&self.settings.env_pass);
        command.cwd.clone_from(&self.settings.cwd);
        let mut child = self.host.children()?.spawn(command).await?;
        child.drain_stderr();
        let (Some(source), Some(sink)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(Error::internal("the program has no pipes"));
        };
        let connection = from_pipes(source, sink, Peer::named(format!("subagent {id}")));
        let session = self.host.serve(connection, self.identity.clone())?;
        let link = Arc::new(Link { child, session });
        *self.lock() = Some(Arc::clone(&link));
        Ok(link)
    }

    fn end(&self, link: Arc<Link>) {
        self.host.spawn(async move {
            link.child.stop(GRACE).await;
        });
    }

    fn current(&self) -> Option<Arc<Link>> {
        let link = self.lock().clone();
        link.filter(|it| !it.has_ended() && it.session.is_open())
    }

    fn forget(&self, gone: &Arc<Link>) {
        let mut running = self.lock();
        if running.as_ref().is_some_and(|it| Arc::ptr_eq(it, gone)) {
            *running = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn has_ended(&self) -> bool {
        self.child.exit().is_some()
    }

    /// Waits until the program has ended or its session was cut.
    async fn ended(&self) {
        let cut = async {
            while self.session.is_open() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            _ = self.child.wait() => {}
            () = cut => {}
        }
    }

    /// Why it ended, with the last line that it said.
    async fn last_words(&self) -> Error {
        // Its streams end before it does.
        let has_ended = tokio::time::timeout(GRACE, self.child.wait()).await.is_ok();
        let exit = self.child.stop(GRACE).await;
        let exit = if has_ended { exit.to_string() } else { "its session".to_owned() };
        let said = self.child.last_words().await;
        let text = said.map(|line| format!(": {line}")).unwrap_or_default();
        Error::runtime(format!("the program of the subagent ended with {exit}{text}"))
    }
}

/// The answer of a program: a result, or why there is none.
fn read(line: &str) -> Result<Map<String, Value>> {
    let answer: SubagentAwaitResponse = serde_json::from_str(line).map_err(|error| {
        Error::runtime(format!("the program answered what is no result: {error}"))
    })?;
    match answer.status {
        SubagentStatus::Completed => Ok(answer.result.unwrap_or_default()),
        SubagentStatus::Failed => {
            let text = answer.error.unwrap_or_else(|| "the program did not say why".to_owned());
            Err(Error::runtime(text))
        }
        other => {
            let shown = json!(other);
            Err(Error::runtime(format!(
                "the program answered {shown}; COMPLETED and FAILED end a task"
            )))
        }
    }
}
