//! A WebSocket as a connection: a text frame is a line.

use std::io;
use std::sync::Arc;

use a2e_core::transport::{ByteSink, ByteSource, Connection, Peer, memory_pair};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// The longest frame that is taken.
const MOST: usize = 64 << 20;

/// Opens a connection to `ws://host:port/ws`, given as `host:port`.
pub(crate) async fn open(authority: &str) -> io::Result<Connection> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MOST);
    config.max_frame_size = Some(MOST);
    let url = format!("ws://{authority}/ws");
    let opened = client_async_with_config(url, stream, Some(config)).await;
    let (socket, _) = opened.map_err(io::Error::other)?;
    let (frames, input) = socket.split();
    let (client, inner) = memory_pair();
    let Connection { source, sink, .. } = inner;
    let coming = tokio::spawn(receive(input, sink));
    tokio::spawn(async move {
        send(frames, source).await;
        coming.abort();
    });
    Ok(Connection { peer: Peer::named(format!("ws {authority}")), ..client })
}

type Socket = WebSocketStream<TcpStream>;

/// Sends each line that the client writes as a frame, and closes behind the last.
async fn send(mut frames: SplitSink<Socket, Message>, source: ByteSource) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if frames.send(Message::text(line)).await.is_err() {
            return;
        }
    }
    // The host may be gone.
    let _told = frames.close().await;
}

/// Gives each frame to the client as a line, until the host ends it.
async fn receive(mut input: SplitStream<Socket>, sink: Arc<dyn ByteSink>) {
    while let Some(Ok(message)) = input.next().await {
        let Message::Text(text) = message else { continue };
        let line = [text.as_bytes(), b"\n"].concat();
        if super::write_all(&*sink, &line).await.is_err() {
            return;
        }
    }
    sink.close();
}
