//! `/ws`: a WebSocket is an episode, a question at a time; its end is the episode's. `/mcp`: one of JSON-RPC.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::session::EnvSession;
use super::wire::{Frame, Said};
use super::{check, refused, rpc};
use crate::http::Shared;
use crate::http::admit::Caller;
use crate::http::reply::Refused;

/// Frames that wait while one is answered; then the client is not read.
const WAITING: usize = 4;

/// How long a client may take to take a frame; then the connection is cut.
const TAKE_LIMIT: Duration = Duration::from_secs(10);

/// Why a socket is closed.
type End = (u16, &'static str);

/// What is spoken over a socket.
#[derive(Clone, Copy)]
enum Speech {
    OpenEnv,
    JsonRpc,
}

impl Speech {
    async fn answer(self, session: &mut EnvSession, question: &str) -> Option<String> {
        Some(match self {
            Self::OpenEnv => match Said::read(question) {
                Ok(said) => answer(session, said?).await.text(),
                Err(frame) => frame.text(),
            },
            Self::JsonRpc => rpc::reply(question).to_string(),
        })
    }

    fn refusal(self, error: &Error) -> String {
        match self {
            Self::OpenEnv => Frame::of_error(error).text(),
            Self::JsonRpc => rpc::refusal(error).to_string(),
        }
    }
}

/// `GET /ws`.
pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refused> {
    open(&shared, caller, name, upgrade, Speech::OpenEnv).await
}

/// `GET /mcp`.
pub(super) async fn upgrade_rpc(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refused> {
    open(&shared, caller, name, upgrade, Speech::JsonRpc).await
}

async fn open(
    shared: &Shared,
    caller: Caller,
    name: String,
    upgrade: WebSocketUpgrade,
    speech: Speech,
) -> Result<Response, Refused> {
    check(shared, &caller)?;
    let session = EnvSession::open(shared, caller, name).await;
    match &session {
        // What else is wrong with it is heard of at the reset.
        Ok(session) => session.look().await.map_err(|error| refused(&error))?,
        // A client of OpenEnv hears of a full server over the socket.
        Err(error) if *error.code() == ErrorCode::Overloaded => {}
        Err(error) => return Err(refused(error)),
    }
    let most = shared.executor.config().limits.max_line_bytes;
    Ok(upgrade
        .max_message_size(most)
        .max_frame_size(most)
        .on_upgrade(move |socket| serve(session, socket, speech)))
}

/// Serves one WebSocket until it ends.
async fn serve(session: Result<EnvSession>, socket: WebSocket, speech: Speech) {
    let (mut frames, input) = socket.split();
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            send(&mut frames, speech.refusal(&error)).await;
            return close(&mut frames, (close_code::NORMAL, "")).await;
        }
    };
    let (questions, waiting) = mpsc::channel(WAITING);
    let gone = CancellationToken::new();
    let reader = tokio::spawn(read(input, questions, gone.clone()));
    let end = tokio::select! {
        end = talk(&mut session, &mut frames, waiting, speech) => end,
        () = gone.cancelled() => None,
    };
    session.end().await;
    let why = match end {
        Some(end) => {
            close(&mut frames, end).await;
            reader.abort();
            return;
        }
        None => reader.await.unwrap_or_default(),
    };
    if let Some(end) = why {
        close(&mut frames, end).await;
    } else {
        // The peer has closed it; the library has the answer ready. The peer may be gone.
        let _told = tokio::time::timeout(TAKE_LIMIT, frames.close()).await;
    }
}

/// Answers one question after another until the client or the host has enough; `None` when the client is gone.
async fn talk(
    session: &mut EnvSession,
    frames: &mut SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<Utf8Bytes>,
    speech: Speech,
) -> Option<End> {
    loop {
        let question = tokio::select! {
            question = waiting.recv() => question?,
            () = session.ended() => return Some((close_code::AWAY, "the host has ended the session")),
        };
        let Some(answer) = speech.answer(session, &question).await else {
            return Some((close_code::NORMAL, ""));
        };
        if !send(frames, answer).await {
            return Some((close_code::POLICY, "the answer was not taken"));
        }
    }
}

async fn answer(session: &mut EnvSession, said: Said) -> Frame {
    let answered = match said {
        Said::Reset(data) => session.reset(data).await.map(Frame::Observation),
        Said::Step(action) => session.step(action, None).await.map(Frame::Observation),
        Said::State => session.state().await.map(Frame::State),
        Said::Mcp(request) => Ok(Frame::Mcp(rpc::reply(request.get()))),
    };
    answered.unwrap_or_else(|error| Frame::of_error(&error))
}

/// Reads questions until the client is gone, also while one is answered; gives the rule that it broke.
async fn read(
    mut input: SplitStream<WebSocket>,
    questions: mpsc::Sender<Utf8Bytes>,
    gone: CancellationToken,
) -> Option<End> {
    let _gone = gone.drop_guard();
    loop {
        match input.next().await {
            Some(Ok(Message::Text(text))) => questions.send(text).await.ok()?,
            // Answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return Some((close_code::UNSUPPORTED, "messages are text frames"));
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "WebSocket lost");
                return Some((close_code::SIZE, "too long, or no WebSocket frame"));
            }
            Some(Ok(Message::Close(_))) | None => return None,
        }
    }
}

/// Whether the client took a frame.
async fn send(frames: &mut SplitSink<WebSocket, Message>, text: String) -> bool {
    let sent = frames.send(Message::Text(text.into()));
    tokio::time::timeout(TAKE_LIMIT, sent).await.is_ok_and(|it| it.is_ok())
}

async fn close(frames: &mut SplitSink<WebSocket, Message>, (code, reason): End) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    // The client may be gone.
    let sent = frames.send(Message::Close(Some(frame)));
    let _told = tokio::time::timeout(TAKE_LIMIT, sent).await;
}
