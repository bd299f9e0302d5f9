//! The client: pushes, state, the end. Its calls are in `rpc`, its ways to a host in `connect`.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::protocol::{HandshakeResponse, Shutdown};

use crate::error::{ClientError, Closed};
use crate::link::Link;
use crate::link::mailbox::Mailbox;
use crate::link::stats::Stats;
use crate::message::Received;
use crate::push::{PushStream, Subscription, Target};
use crate::reconnect::state::{ConnectionState, StateWatch};

/// How long a host may take to end its output after we ended ours.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// How long what was sent last may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A connection to a host. Cheap to clone; all clones are one connection, which is cut when the last
/// of them and of their calls is dropped. [`close`](Client::close) ends it in order.
///
/// With [`Reconnect`](crate::Reconnect) it is made again when it is lost. Calls that wait for answers
/// at that moment fail at once, but those that are [repeatable](crate::CallOptions::repeatable);
/// handlers and streams of pushes stay, and the host is asked to go on with the session: what it had
/// sent and we had not read comes then, once.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    /// The task that reads, and connects again.
    pub(crate) driver: tokio::task::AbortHandle,
    /// The handlers that were there before the connection.
    pub(crate) _subscriptions: Vec<Subscription>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.begin_close();
        self.link.end(Closed::ByUs);
        self.driver.abort();
        drop(self.link.replace_process(None));
    }
}

/// Pushes.
impl Client {
    /// Calls `handler` with every message of this type that no waiting call takes, until the guard is
    /// dropped: pushes, events of requests that have ended (`proc/read/event`) or whose call takes no
    /// events, requests of the host, and errors that name no request (`error`).
    ///
    /// It runs on the reader, so it must not block: hand long work to a task. A panic is caught,
    /// counted and logged. A handler that owns a clone of the client keeps the connection open until
    /// it is unsubscribed or the client is closed.
    pub fn on_push(
        &self,
        wire_type: &str,
        handler: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Subscription {
        self.inner.link.pushes.subscribe(wire_type, Target::Handler(Arc::new(handler)))
    }

    /// The same messages as a stream, see [`PushStream`] for what happens when it is not read.
    pub fn pushes(&self, wire_type: &str) -> PushStream {
        let link = &self.inner.link;
        let mailbox = Arc::new(Mailbox::new(link.options.push_bound));
        let target = Target::Stream(Arc::clone(&mailbox));
        let subscription = link.pushes.subscribe(wire_type, target);
        if link.end_reason().is_some() {
            mailbox.close();
        }
        PushStream::new(mailbox, subscription)
    }
}

/// State and end.
impl Client {
    /// What the host said in the last handshake; `None` where none was made.
    pub fn session(&self) -> Option<Arc<HandshakeResponse>> {
        self.inner.link.session()
    }

    /// The state of the connection now.
    pub fn state(&self) -> ConnectionState {
        self.inner.link.states().borrow().clone()
    }

    /// Its states from now on.
    pub fn states(&self) -> StateWatch {
        StateWatch::new(self.inner.link.states())
    }

    /// A look at the connection.
    pub fn stats(&self) -> Stats {
        self.inner.link.stats()
    }

    /// The id of the host process, while this client's own host process lives.
    pub fn process_id(&self) -> Option<u32> {
        self.inner.link.process().and_then(|process| process.id())
    }

    /// Waits for the end of the connection; one that is made again has not ended.
    pub async fn closed(&self) -> Closed {
        self.inner.link.ended().await
    }

    /// Asks the host to end the session and to finish accepted requests for up to `drain`, waits until
    /// it has, and closes. On stdio the host process ends.
    ///
    /// # Errors
    /// When the connection had ended before.
    pub async fn shutdown(&self, drain: Duration) -> Result<(), ClientError> {
        let seconds = drain.as_secs() + u64::from(drain.subsec_nanos() > 0);
        self.send(&Shutdown { timeout: seconds }).await?;
        self.inner.link.begin_close();
        let patience = Duration::from_secs(seconds).saturating_add(CLOSE_LIMIT);
        let waited = tokio::time::timeout(patience, self.closed()).await;
        if waited.is_err() {
            tracing::warn!("the host did not end in time after `shutdown`");
        }
        self.close().await;
        Ok(())
    }

    /// Ends the connection in order: sends what waits, ends our output, and waits for the host to end
    /// its own, 3 s at most. Calls that wait are answered until then, and fail after it.
    ///
    /// A host process of our own gets the end of its input, after 3 s SIGTERM, 2 s later SIGKILL, and
    /// has ended when this returns. A connection that is being made again is given up at once.
    pub async fn close(&self) {
        let link = &self.inner.link;
        link.begin_close();
        let outbox = link.outbox();
        // What cannot be sent is lost with the connection.
        let _sent = tokio::time::timeout(FLUSH_LIMIT, outbox.sent()).await;
        outbox.end();
        match link.process() {
            Some(process) => process.end().await,
            None => drop(tokio::time::timeout(CLOSE_LIMIT, link.ended()).await),
        }
        // A host process has ended, and its last words were read, or will be within a moment.
        let _ended = tokio::time::timeout(FLUSH_LIMIT, link.ended()).await;
        link.end(Closed::ByUs);
    }
}
