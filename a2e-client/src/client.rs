//! The client: calls, pushes, the end.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use a2e_core::protocol::{HandshakeResponse, Message, Ping, Pong, Request, Shutdown};

use crate::calling::{Calling, Entry, TimeLimit, read_typed};
use crate::error::{ClientError, Closed};
use crate::link::Link;
use crate::mailbox::Mailbox;
use crate::message::{EventMessage, Received};
use crate::options::{CallOptions, Limit};
use crate::push::{PushStream, Subscription, Target};
use crate::stats::Stats;
use crate::transport::Process;

/// How long a host may take to answer `ping`.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// How long a host may take to end its output after we ended ours.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// How long what was sent last may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A connection to a host. Cheap to clone; all clones are one connection, which is cut when the last
/// of them and of their calls is dropped. [`close`](Client::close) ends it in order.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    pub(crate) session: OnceLock<HandshakeResponse>,
    pub(crate) process: Option<Process>,
    pub(crate) reader: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.begin_close();
        self.link.end(Closed::ByUs);
        self.reader.abort();
    }
}

/// What kind of call is started.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Waits for its turn and takes no events.
    Plain,
    /// Waits for its turn and takes events.
    WithEvents,
    /// Is answered by the host's reader and needs no turn.
    Control,
}

/// Calls.
impl Client {
    /// Sends a request and waits for its reply.
    ///
    /// Dropping the future sends `cancel`.
    ///
    /// # Errors
    /// The host's error, the time-out of the call ([`Options::call_timeout`](crate::Options::call_timeout)),
    /// the loss of the connection, or an answer that is not what the protocol says.
    pub async fn rpc<Q>(&self, request: &Q) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.rpc_with(request, CallOptions::default()).await
    }

    /// As [`rpc`](Self::rpc), with a time limit of its own.
    ///
    /// # Errors
    /// As `rpc`.
    pub async fn rpc_with<Q>(
        &self,
        request: &Q,
        options: CallOptions,
    ) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let read = read_typed::<Q::Reply>;
        self.start(Q::TYPE.into(), request, options, Kind::Plain, read).await?.reply().await
    }

    /// As [`rpc`](Self::rpc); `on_event` gets every event of the call before its reply.
    ///
    /// # Errors
    /// As `rpc`, and [`ClientError::EventsNotTaken`] when `on_event` is too slow for them.
    pub async fn rpc_with_events<Q>(
        &self,
        request: &Q,
        mut on_event: impl FnMut(EventMessage),
    ) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let mut calling = self.call(request).await?;
        while let Some(event) = calling.next_event().await {
            on_event(event);
        }
        calling.reply().await
    }

    /// Sends a request and gives back the call, for its events and its reply.
    ///
    /// ```no_run
    /// # async fn doc<Q>(client: a2e_client::Client, request: Q) -> Result<(), a2e_client::ClientError>
    /// # where Q: a2e_core::protocol::Request + serde::Serialize, Q::Reply: serde::de::DeserializeOwned {
    /// let mut calling = client.call(&request).await?;
    /// while let Some(event) = calling.next_event().await {
    ///     eprintln!("{} {}", event.kind().as_str(), event.data().get());
    /// }
    /// let reply = calling.reply().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub async fn call<Q>(&self, request: &Q) -> Result<Calling<Q::Reply>, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.call_with(request, CallOptions::default()).await
    }

    /// As [`call`](Self::call), with a time limit of its own.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub async fn call_with<Q>(
        &self,
        request: &Q,
        options: CallOptions,
    ) -> Result<Calling<Q::Reply>, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.start(Q::TYPE.into(), request, options, Kind::WithEvents, read_typed::<Q::Reply>).await
    }

    /// As [`rpc`](Self::rpc), for types that are known only at run time. `body` is a struct or map
    /// without the envelope's fields; the reply may be of any type.
    ///
    /// # Errors
    /// As `rpc`.
    pub async fn rpc_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        options: CallOptions,
    ) -> Result<Received, ClientError> {
        let wire_type = Cow::Owned(wire_type.to_owned());
        self.start(wire_type, body, options, Kind::Plain, Ok).await?.reply().await
    }

    /// As [`call_with`](Self::call_with), for types that are known only at run time.
    ///
    /// # Errors
    /// What keeps it from being sent.
    pub async fn call_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        options: CallOptions,
    ) -> Result<Calling<Received>, ClientError> {
        self.start(Cow::Owned(wire_type.to_owned()), body, options, Kind::WithEvents, Ok).await
    }

    async fn start<T: Serialize + ?Sized, R>(
        &self,
        wire_type: Cow<'static, str>,
        body: &T,
        options: CallOptions,
        kind: Kind,
        read: fn(Received) -> Result<R, ClientError>,
    ) -> Result<Calling<R>, ClientError> {
        let link = &self.inner.link;
        link.check_open()?;
        let limit = TimeLimit::new(match options.deadline {
            Limit::Inherited => Some(link.options.call_timeout),
            Limit::After(after) => Some(after),
            Limit::Never => None,
        });
        let id = link.ids.next_id();
        let encoded = link.encode(id.as_str(), &wire_type, None, body)?;
        let turn = async {
            let permit = if kind == Kind::Control { None } else { Some(link.permit().await?) };
            link.room().await.map(|()| permit)
        };
        let permit = limit.hold(turn).await.ok_or_else(|| limit.error(&wire_type))??;
        let mut entry = Entry::new(&self.inner, id.clone(), permit.is_some());
        if let Some(permit) = permit {
            permit.forget();
        }
        let events =
            (kind == Kind::WithEvents).then(|| Arc::new(Mailbox::new(link.options.event_bound)));
        let reply = self.send_call(&mut entry, id, &encoded, events.clone())?;
        Ok(Calling::new(entry, reply, events, wire_type, limit, read))
    }

    fn send_call(
        &self,
        entry: &mut Entry,
        id: a2e_core::protocol::MessageId,
        encoded: &[u8],
        events: Option<Arc<Mailbox>>,
    ) -> Result<oneshot::Receiver<crate::pending::Outcome>, ClientError> {
        let link = &self.inner.link;
        let reply = link.pending.register(id, events, encoded.len());
        // Looked at after it is in the table: an end before this is seen here, one after it ends the call.
        if let Err(error) = link.check_open().and_then(|()| link.send(encoded)) {
            entry.unsent();
            return Err(error);
        }
        link.counters.calls.add();
        Ok(reply)
    }

    /// Sends a message that is not answered, such as a one-way type.
    ///
    /// # Errors
    /// When it cannot be encoded or the connection has ended.
    pub async fn send<M: Message + Serialize>(&self, message: &M) -> Result<(), ClientError> {
        self.send_raw(M::TYPE, None, message).await
    }

    /// As [`send`](Self::send), for types that are known only at run time; `req_id` names the message
    /// of the host that it answers.
    ///
    /// # Errors
    /// As `send`.
    pub async fn send_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        req_id: Option<&str>,
        body: &T,
    ) -> Result<(), ClientError> {
        let link = &self.inner.link;
        let encoded = link.encode(link.ids.next_id().as_str(), wire_type, req_id, body)?;
        link.room().await?;
        link.send(&encoded)
    }

    /// Asks whether the host lives; at most 5 s. Not queued behind other calls.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub async fn ping(&self) -> Result<Pong, ClientError> {
        self.control(&Ping {}, PING_LIMIT).await
    }

    /// A call that the host answers on its reader.
    pub(crate) async fn control<Q>(
        &self,
        request: &Q,
        limit: Duration,
    ) -> Result<Q::Reply, ClientError>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let options = CallOptions::within(limit);
        let read = read_typed::<Q::Reply>;
        self.start(Q::TYPE.into(), request, options, Kind::Control, read).await?.reply().await
    }

    /// Asks the host to end a request; its call then ends with the error `cancelled`. For ids of
    /// [`Calling::id`]; dropping a call does the same and waits for no answer.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn cancel(&self, req_id: &str) -> Result<(), ClientError> {
        self.inner.link.room().await?;
        if self.inner.link.cancel(req_id) { Ok(()) } else { self.inner.link.check_open() }
    }
}

/// Pushes.
impl Client {
    /// Calls `handler` with every message of this type that no waiting call takes, until the guard is
    /// dropped: pushes, events of requests that have ended (`proc/read/event`) or whose call takes no
    /// events, requests of the host, and errors that name no request (`error`).
    ///
    /// It runs on the reader, so it must not block: hand long work to a task. A panic is caught,
    /// counted and logged.
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
    /// What the host said in the handshake; `None` where none was made.
    pub fn session(&self) -> Option<&HandshakeResponse> {
        self.inner.session.get()
    }

    /// A look at the connection.
    pub fn stats(&self) -> Stats {
        self.inner.link.stats()
    }

    /// The id of the host process, while this client's own host process lives.
    pub fn process_id(&self) -> Option<u32> {
        self.inner.process.as_ref().and_then(Process::id)
    }

    /// Waits for the end of the connection.
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
    /// has ended when this returns.
    pub async fn close(&self) {
        let Inner { link, process, .. } = &*self.inner;
        link.begin_close();
        // What cannot be sent is lost with the connection.
        let _sent = tokio::time::timeout(FLUSH_LIMIT, link.outbox.sent()).await;
        link.outbox.end();
        match process {
            Some(process) => process.end().await,
            None => drop(tokio::time::timeout(CLOSE_LIMIT, link.ended()).await),
        }
        // A host process has ended, and its last words were read, or will be within a moment.
        let _ended = tokio::time::timeout(FLUSH_LIMIT, link.ended()).await;
        link.end(Closed::ByUs);
    }
}
