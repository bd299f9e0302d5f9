//! `/ws`: one text frame is one message. A connection like a socket: its session ends with it, or is
//! resumed by a handshake over the next one.

use std::io;
use std::sync::Arc;

use a2e_core::transport::Connection;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::admit::Caller;
use crate::batch_sink::BatchSink;

pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let most = shared.executor.config().limits.max_line_bytes;
    upgrade
        .max_message_size(most)
        .max_frame_size(most)
        .on_upgrade(move |socket| serve(shared, caller, socket))
}

/// Serves one WebSocket until it ends.
async fn serve(shared: Arc<Shared>, caller: Caller, socket: WebSocket) {
    let (frames, input) = socket.split();
    let (sink, batches) = BatchSink::pair();
    let over = Over::default();
    let source = StreamReader::new(Box::pin(lines(input, over.clone())));
    let connection =
        Connection { source: Box::new(source), sink: Arc::new(sink), peer: caller.peer };
    let session = shared.executor.spawn_as(connection, caller.identity);
    send(frames, batches, over).await;
    // The session sees the end of its source or sink, and reports for itself.
    drop(session);
}

/// How a WebSocket came to its end.
#[derive(Clone, Default)]
struct Over {
    /// The peer has closed it, or broke a rule.
    input: CancellationToken,
    why: Arc<std::sync::OnceLock<(u16, &'static str)>>,
}

/// The messages of the peer, a line each.
fn lines(
    input: SplitStream<WebSocket>,
    over: Over,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    futures_util::stream::unfold((input, over), |(mut input, over)| async move {
        loop {
            let text = match input.next().await {
                Some(Ok(Message::Text(text))) => text,
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => {
                    let why = (close_code::UNSUPPORTED, "messages are text frames");
                    let _first = over.why.set(why);
                    break;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "WebSocket lost");
                    let _first =
                        over.why.set((close_code::SIZE, "too long, or no WebSocket frame"));
                    break;
                }
                Some(Ok(Message::Close(_))) | None => break,
            };
            return Some((Ok(line(&text)), (input, over)));
        }
        over.input.cancel();
        None
    })
}

/// A frame as one line: raw newlines can only be blanks between the tokens of a JSON text.
fn line(text: &str) -> Bytes {
    let blank = |byte: u8| if byte == b'\n' || byte == b'\r' { b' ' } else { byte };
    text.bytes().map(blank).chain([b'\n']).collect::<Vec<u8>>().into()
}

/// Sends each line as a frame, until the session or the peer has ended.
async fn send(
    mut frames: SplitSink<WebSocket, Message>,
    mut batches: mpsc::Receiver<Bytes>,
    over: Over,
) {
    loop {
        let batch = tokio::select! {
            batch = batches.recv() => batch,
            () = over.input.cancelled() => break,
        };
        let Some(batch) = batch else { break };
        if feed(&mut frames, &batch).await.is_err() {
            return;
        }
    }
    let why = over.why.get().copied();
    if over.input.is_cancelled() && why.is_none() {
        // The peer has closed it; the library has the answer ready. The peer may be gone.
        let _told = frames.close().await;
        return;
    }
    let (code, reason) = why.unwrap_or((close_code::NORMAL, ""));
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let _told = frames.send(Message::Close(Some(frame))).await;
}

async fn feed(frames: &mut SplitSink<WebSocket, Message>, batch: &[u8]) -> Result<(), axum::Error> {
    for line in batch.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // All that we send is ASCII.
        let text = String::from_utf8_lossy(line).into_owned();
        frames.feed(Message::Text(text.into())).await?;
    }
    frames.flush().await
}
