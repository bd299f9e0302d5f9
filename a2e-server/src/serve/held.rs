//! A client of MCP over stdio that does not read: held back while it asks (R21), let go of when it has left (R17).

use std::io;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most messages that a client has not read yet. What it says beyond that waits.
const MAX_UNREAD: usize = 128;

/// How long a client that has ended its side may take to read the rest.
const REST: Duration = Duration::from_secs(2);

/// A transport to such a client.
pub(super) struct Held<T> {
    inner: T,
    /// Messages that wait to be sent.
    unread: watch::Sender<usize>,
    /// Nothing is sent any more.
    over: CancellationToken,
}

impl<T> Held<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, unread: watch::Sender::new(0), over: CancellationToken::new() }
    }

    /// Gives the client a while to read the rest.
    fn ends(&self) {
        let over = self.over.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REST).await;
            over.cancel();
        });
    }
}

/// A message that is not sent yet.
struct Unread(watch::Sender<usize>);

impl Unread {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl<T: Transport<RoleServer, Error = io::Error>> Transport<RoleServer> for Held<T> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (unread, over) = (Unread::new(&self.unread), self.over.clone());
        let sent = self.inner.send(item);
        async move {
            let result = tokio::select! {
                result = sent => result,
                () = over.cancelled() => Err(io::ErrorKind::TimedOut.into()),
            };
            drop(unread);
            result
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        // The sender is ours.
        self.unread.subscribe().wait_for(|count| *count < MAX_UNREAD).await.map(drop).ok();
        let message = self.inner.receive().await;
        if message.is_none() {
            self.ends();
        }
        message
    }

    async fn close(&mut self) -> io::Result<()> {
        // The inner one waits for what is being sent.
        self.ends();
        self.inner.close().await
    }
}
