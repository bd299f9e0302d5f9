//! Calls: typed and raw, with and without their events.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use a2e_core::protocol::{Message, MessageId, Ping, Pong, Request};

use crate::calling::{Calling, Entry, TimeLimit, read_typed};
use crate::client::Client;
use crate::error::ClientError;
use crate::link::Link;
use crate::link::mailbox::Mailbox;
use crate::link::outbox::Outbox;
use crate::link::pending::{Candidate, Outcome};
use crate::message::{EventMessage, Received};
use crate::options::{CallOptions, Limit};

/// How long a host may take to answer `ping`.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// What kind of call is started.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Waits for its turn and takes no events.
    Plain,
    /// Waits for its turn and takes events.
    WithEvents,
    /// Is short and answered by the host's reader: needs no turn.
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
            if kind == Kind::Control {
                return link.room(true).await.map(|outbox| (None, outbox));
            }
            let permit = link.permit().await?;
            link.room(false).await.map(|outbox| (Some(permit), outbox))
        };
        let turn = limit.hold(turn).await.ok_or_else(|| limit.error(&wire_type))?;
        let (permit, outbox) = turn?;
        let entry = Entry::new(&self.inner, id, permit.is_some());
        if let Some(permit) = permit {
            permit.forget();
        }
        let request = Outgoing { encoded, kind, is_repeatable: options.is_repeatable };
        let sent = limit.hold(request.send(link, entry.id(), outbox)).await;
        let (reply, events) = sent.ok_or_else(|| limit.error(&wire_type))??;
        Ok(Calling::new(entry, reply, events, wire_type, limit, read))
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
        let limit =
            TimeLimit::new(link.options.reconnect.as_ref().map(|_| link.options.call_timeout));
        let sending = async {
            while !link.room(false).await?.append(&encoded) {}
            Ok(())
        };
        limit.hold(sending).await.unwrap_or_else(|| Err(limit.error(wire_type)))
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
        self.inner.link.room(true).await?;
        if self.inner.link.cancel(req_id) { Ok(()) } else { self.inner.link.check_open() }
    }
}

/// A request on its way out.
struct Outgoing {
    encoded: Vec<u8>,
    kind: Kind,
    is_repeatable: bool,
}

impl Outgoing {
    /// Sends it on `outbox`; where that turns out to be lost, on the next one.
    async fn send(
        &self,
        link: &Link,
        id: &MessageId,
        mut outbox: Arc<Outbox>,
    ) -> Result<(oneshot::Receiver<Outcome>, Option<Arc<Mailbox>>), ClientError> {
        let policy = link.options.reconnect.as_ref();
        let most_kept = policy.map_or(0, |policy| policy.max_kept_bytes);
        let is_kept = self.is_repeatable && policy.is_some();
        loop {
            let events = (self.kind == Kind::WithEvents)
                .then(|| Arc::new(Mailbox::new(link.options.event_bound)));
            let call = Candidate {
                id: id.clone(),
                events: events.clone(),
                sent_bytes: self.encoded.len(),
                sent_on: outbox.number,
                line: is_kept.then(|| Arc::from(&*self.encoded)),
            };
            let reply = link.pending.register(call, most_kept);
            // Looked at after it is in the table: an end before this is seen here, one after it ends
            // the call.
            let open = link.check_open();
            if open.is_ok() && outbox.append(&self.encoded) {
                link.counters.calls.add();
                return Ok((reply, events));
            }
            // Nothing was sent here. The loss may have found a repeatable call in the table, and the
            // return of the connection may have sent it.
            if !link.pending.forget_unsent(id.as_str(), outbox.number) && is_kept {
                return Ok((reply, events));
            }
            open?;
            outbox = link.room(self.kind == Kind::Control).await?;
        }
    }
}
