//! One process that serves one episode at a time: requests one after another, pushes in between.

use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::Clock;
use a2e_core::children::Child;
use a2e_core::codec::envelope::encode_message;
use a2e_core::codec::{LineBuffer, LineItem, RawJson, decode_field};
use a2e_core::protocol::{ErrorCode, Message, Request};
use a2e_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::wire::{Line, Rendered, begun, error_of, observed};
use crate::env::contract::{JsonObject, Link, Observed, Spaces};
use crate::env::protocol::{
    EnvCloseRequest, EnvPlanRequest, EnvRenderRequest, EnvResetRequest, EnvResetResponse,
    EnvSpaceRequest, EnvStepRequest,
};

/// Answers that wait. There is one question at a time; a program that says more is held back.
const ANSWERS: usize = 4;

/// Bytes of one read.
const READ: usize = 64 << 10;

/// A process and the way to it. Dropping it kills the process.
#[derive(Debug)]
pub(in crate::env) struct Worker {
    child: Child,
    stdin: Option<Sender>,
    answers: mpsc::Receiver<Result<(String, String, RawJson)>>,
    clock: Arc<dyn Clock>,
    env_name: String,
    /// The episode, as the program calls it.
    episode_id: String,
    pushes: Arc<Mutex<Pushes>>,
    next_id: u64,
    is_broken: bool,
    _permit: OwnedSemaphorePermit,
}

/// Where pushes go. Held for a copy or a change.
#[derive(Debug, Default)]
struct Pushes {
    /// The way to the agent of the episode.
    link: Option<Link>,
    /// The episode whose pushes are that agent's, as the program calls it; `None` until its reset is answered.
    episode_id: Option<String>,
    /// The last id that the program gave. A push under one that it gives again could be of the episode before.
    last_id: Option<String>,
}

impl Pushes {
    fn begin(&mut self, id: Option<String>) {
        self.episode_id = id.filter(|id| self.last_id.as_ref() != Some(id));
        if self.episode_id.is_some() {
            self.last_id.clone_from(&self.episode_id);
        }
    }

    fn way(&self, episode_id: &str) -> Option<Link> {
        self.link.clone().filter(|_| self.episode_id.as_deref() == Some(episode_id))
    }
}

impl Worker {
    pub(in crate::env) fn new(
        mut child: Child,
        clock: Arc<dyn Clock>,
        env_name: &str,
        max_line: usize,
        link: Option<Link>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        child.drain_stderr();
        let (sender, answers) = mpsc::channel(ANSWERS);
        let pushes = Arc::new(Mutex::new(Pushes { link, ..Pushes::default() }));
        if let Some(stdout) = child.stdout.take() {
            // Ends with the pipe, and the pipe with the process.
            tokio::spawn(read(stdout, LineBuffer::new(max_line), sender, Arc::clone(&pushes)));
        }
        Self {
            stdin: child.stdin.take(),
            child,
            answers,
            clock,
            env_name: env_name.to_owned(),
            episode_id: String::new(),
            pushes,
            next_id: 0,
            is_broken: false,
            _permit: permit,
        }
    }

    /// Serves another episode from now on, or none.
    pub(in crate::env) fn serve(&mut self, link: Option<Link>) {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        (pushes.link, pushes.episode_id) = (link, None);
    }

    /// Whether the process has ended.
    pub(in crate::env) fn has_ended(&self) -> bool {
        self.child.exit().is_some()
    }

    /// Whether it is of no use any more.
    pub(in crate::env) fn is_broken(&self) -> bool {
        self.is_broken || self.has_ended()
    }

    pub(in crate::env) async fn spaces(&mut self) -> Result<Spaces> {
        let request = EnvSpaceRequest { env_name: self.env_name.clone() };
        let told = self.typed(&request).await?;
        let options = told.options_schema;
        Ok(Spaces { actions: told.action_space, states: told.state_schema, options })
    }

    pub(in crate::env) async fn reset(
        &mut self,
        seed: i64,
        options: &JsonObject,
    ) -> Result<Observed> {
        let (env_name, options) = (self.env_name.clone(), options.clone());
        let (seed, timeout) = (Some(seed), None);
        let told = self.typed(&EnvResetRequest { env_name, seed, options, timeout }).await?;
        let (episode_id, begun) = observed(told.obs);
        self.episode_id = episode_id;
        Ok(begun)
    }

    pub(in crate::env) async fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        let (episode_id, action) = (self.episode_id.clone(), action.clone());
        let told = self.typed(&EnvStepRequest { episode_id, action, timeout: None }).await?;
        Ok(observed(told.obs).1)
    }

    pub(in crate::env) async fn render(&mut self, mode: &str) -> Result<serde_json::Value> {
        let (episode_id, mode) = (self.episode_id.clone(), Some(mode.to_owned()));
        let told: Rendered = self.ask(&EnvRenderRequest { episode_id, mode }).await?;
        Ok(told.render)
    }

    pub(in crate::env) async fn plan(
        &mut self,
        state: Option<&JsonObject>,
    ) -> Result<Vec<JsonObject>> {
        let (episode_id, state) = (Some(self.episode_id.clone()), state.cloned());
        Ok(self.typed(&EnvPlanRequest { episode_id, state }).await?.suggested_actions)
    }

    pub(in crate::env) async fn close(&mut self) -> Result<()> {
        let episode_id = std::mem::take(&mut self.episode_id);
        self.typed(&EnvCloseRequest { episode_id }).await.map(drop)
    }

    async fn typed<Q: Request + Serialize>(&mut self, request: &Q) -> Result<Q::Reply>
    where
        Q::Reply: DeserializeOwned,
    {
        self.ask(request).await
    }

    /// Asks, and waits for the answer. What is dropped before that leaves the worker broken: the answer may
    /// still come.
    async fn ask<Q: Request + Serialize, R: DeserializeOwned>(&mut self, request: &Q) -> Result<R> {
        if self.is_broken() {
            return Err(self.ended().await);
        }
        self.is_broken = true;
        self.next_id += 1;
        let id = self.next_id.to_string();
        let mut line = Vec::with_capacity(256);
        encode_message(&mut line, &id, self.clock.now(), Q::TYPE, None, request)
            .map_err(|error| Error::internal(format!("request not encoded: {error}")))?;
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        let stdin = self.stdin.as_mut();
        let stdin = stdin.ok_or_else(|| Error::internal("the program has no input"))?;
        if stdin.write_all(&line).await.is_err() {
            return Err(self.ended().await);
        }
        let Some(answer) = self.answers.recv().await else {
            return Err(self.ended().await);
        };
        let (req_id, wire_type, body) = answer?;
        if req_id != id {
            let text = format!("the program answered `{req_id}`, which was not asked");
            return Err(Error::new(ErrorCode::SandboxCrash, text));
        }
        if wire_type == "error" {
            self.is_broken = false;
            return Err(error_of(&body));
        }
        if wire_type != <Q::Reply as Message>::TYPE {
            let text = format!("the program answered `{}` with `{wire_type}`", Q::TYPE);
            return Err(Error::new(ErrorCode::SandboxCrash, text));
        }
        let decoded = decode_field(&body, &wire_type).map_err(|error| {
            let text = format!("the program's answer is not as it should be: {}", error.message());
            Error::new(ErrorCode::SandboxCrash, text)
        })?;
        self.is_broken = false;
        Ok(decoded)
    }

    /// How it ended, or was ended: one that is broken or closed its output alone is killed.
    async fn ended(&self) -> Error {
        let exit = self.child.kill().await;
        let said = self.child.last_words().await;
        let said = said.map(|line| format!("; it said last: {line}")).unwrap_or_default();
        let text = format!("the program that serves the environment has ended with {exit}{said}");
        Error::new(ErrorCode::SandboxCrash, text)
    }
}

/// Reads what the program writes: pushes go to the agent, and hold the program back where that reads slowly;
/// the rest are answers.
async fn read(
    mut stdout: Receiver,
    mut lines: LineBuffer,
    answers: mpsc::Sender<Result<(String, String, RawJson)>>,
    pushes: Arc<Mutex<Pushes>>,
) {
    loop {
        let told = match lines.next_item() {
            Some(LineItem::Line(length)) => {
                let bytes = lines.front(length).trim_ascii().to_vec();
                lines.consume(length);
                if bytes.is_empty() {
                    continue;
                }
                Line::read(&bytes)
            }
            Some(LineItem::TooLong) => {
                let text = "the program wrote a line longer than `max_line_bytes`";
                Err(Error::new(ErrorCode::SandboxCrash, text))
            }
            None => {
                lines.prepare(READ);
                match stdout.read_buf(lines.buffer()).await {
                    Ok(1..) => continue,
                    _ => return,
                }
            }
        };
        match told {
            Ok(Line::Push { episode_id, push }) => {
                let to = pushes.lock().unwrap_or_else(PoisonError::into_inner).way(&episode_id);
                if let Some(to) = to {
                    // An agent that is gone needs no push.
                    to.push_wait(push).await.ok();
                }
            }
            Ok(Line::Answer { req_id, wire_type, body }) => {
                // Here, since a push may follow at once.
                if wire_type == EnvResetResponse::TYPE {
                    let id = begun(&body);
                    pushes.lock().unwrap_or_else(PoisonError::into_inner).begin(id);
                }
                if answers.send(Ok((req_id, wire_type, body))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The next caller hears of it; the pipe is closed then, and the process ends.
                answers.send(Err(error)).await.ok();
                return;
            }
        }
    }
}
