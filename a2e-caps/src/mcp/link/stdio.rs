//! Messages as lines over the pipes of a program.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Error;
use a2e_core::protocol::ErrorCode;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

use super::{Fate, gone};

/// Longest message of a server; as over HTTP.
pub(super) const MAX_MESSAGE: usize = 16 << 20;

/// How long a program may leave its input unread before it counts as hung.
const WRITE: Duration = Duration::from_secs(30);

/// The pipes of a program.
pub(in crate::mcp) struct Stdio {
    output: BufReader<pipe::Receiver>,
    /// The beginning of the line that is being read: reading may be interrupted anywhere.
    line: Vec<u8>,
    /// Held while one message is written.
    input: Arc<Mutex<Option<pipe::Sender>>>,
    fate: Arc<Fate>,
}

impl Stdio {
    pub(in crate::mcp) fn new(
        input: pipe::Sender,
        output: pipe::Receiver,
        fate: Arc<Fate>,
    ) -> Self {
        let (output, input) = (BufReader::new(output), Arc::new(Mutex::new(Some(input))));
        Self { output, line: Vec::new(), input, fate }
    }

    /// Reads to the end of a line; false at the end of the stream.
    async fn read_line(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.output.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let end = memchr(bytes);
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if self.line.len() + part.len() > MAX_MESSAGE {
                let text = format!("a message of more than {MAX_MESSAGE} bytes");
                self.fate.end(Error::new(ErrorCode::McpProtocolError, text));
                return Ok(false);
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.output.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

impl Transport<RoleClient> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (input, fate) = (Arc::clone(&self.input), Arc::clone(&self.fate));
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let Some(pipe) = input.as_mut() else {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "it was closed"));
            };
            if let Ok(written) = tokio::time::timeout(WRITE, pipe.write_all(&line)).await {
                return written;
            }
            // A part of the line may be out: nothing can follow it.
            *input = None;
            let text = format!("it read nothing for {} s", WRITE.as_secs());
            fate.end(gone(text.clone()));
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        while let Ok(true) = self.read_line().await {
            let text = self.line.trim_ascii();
            let message = match serde_json::from_slice(text) {
                Ok(message) => Some(message),
                Err(_) if text.is_empty() => None,
                Err(_) => {
                    self.fate.stray(text);
                    None
                }
            };
            self.line.clear();
            if self.line.capacity() > 1 << 16 {
                self.line = Vec::new();
            }
            if message.is_some() {
                return message;
            }
        }
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        // End of file: by the protocol, the server ends then.
        self.input.lock().await.take();
        Ok(())
    }
}
