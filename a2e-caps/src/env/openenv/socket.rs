//! The WebSocket of one episode: one question at a time, and its answer, however long that takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use a2e_core::codec::RawJson;
use a2e_core::{Error, Result};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::Server;
use super::endpoint::Socket;
use super::wire::{Asked, Told};
use crate::env::contract::{JsonObject, Observed};

/// Answers that wait. There is one question at a time; a server that says more is held back.
const ANSWERS: usize = 4;

/// One episode at a server. Dropping it cuts the connection, which ends the episode there.
pub(in crate::env) struct EpisodeSocket {
    server: Arc<Server>,
    frames: SplitSink<Socket, Message>,
    answers: mpsc::Receiver<Result<Told, String>>,
    reader: JoinHandle<()>,
    has_ended: Arc<AtomicBool>,
    is_broken: bool,
}

impl fmt::Debug for EpisodeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_broken = self.is_broken();
        f.debug_struct("EpisodeSocket").field("is_broken", &is_broken).finish_non_exhaustive()
    }
}

impl EpisodeSocket {
    pub(super) fn new(server: Arc<Server>, socket: Socket) -> Self {
        let (frames, input) = socket.split();
        let (sender, answers) = mpsc::channel(ANSWERS);
        let has_ended = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read(input, sender, Arc::clone(&has_ended)));
        Self { server, frames, answers, reader, has_ended, is_broken: false }
    }

    pub(in crate::env) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    pub(in crate::env) fn is_broken(&self) -> bool {
        self.is_broken || self.has_ended()
    }

    pub(in crate::env) async fn reset(
        &mut self,
        seed: i64,
        options: &JsonObject,
    ) -> Result<Observed> {
        let mut fields: BTreeMap<String, RawJson> = options.decode("options")?;
        let seed = RawJson::of(&seed).map_err(|error| Error::internal(error.to_string()))?;
        fields.insert("seed".to_owned(), seed);
        self.observe(&Asked::Reset(fields)).await
    }

    pub(in crate::env) async fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        self.observe(&Asked::Step(action)).await
    }

    /// The server's own state.
    pub(in crate::env) async fn state(&mut self) -> Result<Value> {
        match self.ask(&Asked::State).await? {
            Told::State(state) => Ok(state),
            _ => Err(self.broken("answered a question for its state with something else").await),
        }
    }

    async fn observe(&mut self, asked: &Asked<'_>) -> Result<Observed> {
        match self.ask(asked).await? {
            Told::Observation(seen) => Ok(seen),
            _ => Err(self.broken("answered without an observation").await),
        }
    }

    /// Asks, and waits for the answer. What is dropped before that leaves the socket broken: the answer may
    /// still come, and has no id.
    async fn ask(&mut self, asked: &Asked<'_>) -> Result<Told> {
        if self.is_broken {
            return Err(self.broken("has an open question").await);
        }
        self.is_broken = true;
        let text = serde_json::to_string(asked)
            .map_err(|error| Error::internal(format!("request not encoded: {error}")))?;
        let unasked = self.answers.try_recv().ok();
        if unasked.is_none() {
            // Where it is not taken any more, what the server said before says why.
            let _sent = self.frames.send(Message::text(text)).await;
        }
        let is_unasked = unasked.is_some();
        let told = match unasked {
            Some(told) => Some(told),
            None => self.answers.recv().await,
        };
        match told {
            Some(Ok(Told::Error(error))) if Told::ends(&error) => Err(error),
            Some(Ok(_)) if is_unasked => Err(self.broken("said something unasked").await),
            Some(Ok(told)) => {
                self.is_broken = false;
                if let Told::Error(error) = told { Err(error) } else { Ok(told) }
            }
            Some(Err(why)) => Err(self.broken(&why).await),
            None => Err(self.broken("has closed the connection").await),
        }
    }

    async fn broken(&mut self, why: &str) -> Error {
        self.is_broken = true;
        self.server.failed(why, self.has_ended()).await
    }

    /// Has the server end the episode, and waits until it has: then it has a place for another.
    pub(super) async fn close(mut self) {
        if let Ok(text) = serde_json::to_string(&Asked::Close) {
            // One that is gone has closed it.
            let _sent = self.frames.send(Message::text(text)).await;
        }
        while let Some(Ok(_)) = self.answers.recv().await {}
    }
}

impl Drop for EpisodeSocket {
    fn drop(&mut self) {
        // The reader has the other half of the connection.
        self.reader.abort();
    }
}

/// Reads frames until the connection ends, the last word is why. It answers pings and sends none: a server may
/// be silent for as long as a step takes.
async fn read(
    mut input: SplitStream<Socket>,
    answers: mpsc::Sender<Result<Told, String>>,
    has_ended: Arc<AtomicBool>,
) {
    loop {
        let told = match input.next().await {
            Some(Ok(Message::Text(text))) => Told::read(&text),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => Err("sent a binary frame".to_owned()),
            Some(Ok(Message::Close(frame))) => {
                // The next look sends the answer.
                let _closed = futures_util::FutureExt::now_or_never(input.next());
                let why = frame.filter(|it| !it.reason.is_empty());
                let why = why.map(|it| format!(": {}", it.reason)).unwrap_or_default();
                Err(format!("has closed the connection{why}"))
            }
            Some(Err(error)) => Err(format!("broke off: {error}")),
            None => Err("has closed the connection".to_owned()),
        };
        let is_end = told.is_err();
        if is_end {
            has_ended.store(true, Ordering::Release);
        }
        if answers.send(told).await.is_err() || is_end {
            return;
        }
    }
}
