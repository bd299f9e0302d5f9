//! Requests by handlers and plugins, through the same table as those of clients.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::asker::{Asker, Caller, NestedReply};
use super::call::Call;
use super::course::CancelReason;
use super::end::Verdict;
use super::request::{Accepted, Request};
use super::session::Session;
use super::spec::TypeSpec;
use crate::codec::envelope::write_message;
use crate::codec::scan::{Key, scan_written};
use crate::codec::{Body, Incoming, RawJson, decode, encode_fields};
use crate::layers::{Hop, NEVER, micros};
use crate::protocol::{CapabilityName, ErrorCode, Event, Request as Typed};
use crate::{Error, Result};

/// Requests lead to requests at most this deep (R66).
const MAX_DEPTH: usize = 4;

/// The plugins that are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NestedTarget {
    /// Those that handle the type.
    Route,
    /// The plugin of this instance name.
    Plugin(String),
    /// Plugins of this capability.
    Capability(CapabilityName),
}

/// Starts nested requests: what the dispatcher gives to the rooms below it.
pub(crate) trait Ask: Send + Sync {
    /// What the type declares in the view of this session, as far as the target handles it.
    ///
    /// # Errors
    /// `unknown_type` when no plugin that is meant handles it.
    fn spec(&self, asked: &AskFor<'_>) -> Result<Arc<TypeSpec>>;

    /// Asks the handlers; the answer goes to the request's asker.
    ///
    /// # Errors
    /// As [`spec`](Self::spec).
    fn start(&self, asked: &AskFor<'_>, request: Arc<Request>, body: Body) -> Result<()>;
}

/// The handlers that a nested request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskFor<'a> {
    pub(crate) session: &'a Session,
    pub(crate) target: &'a NestedTarget,
    pub(crate) wire_type: &'a str,
}

/// A request that a handler, or a plugin by itself, is about to make. Made by [`Call::to_plugin`],
/// [`Call::to_capability`], [`Call::to_route`] and [`Host::ask`](crate::plugin::Host::ask).
#[derive(Debug)]
pub struct Nested {
    session: Arc<Session>,
    /// The request on whose behalf it is made.
    parent: Option<Arc<Request>>,
    target: NestedTarget,
    /// The longest that it may take, beside what its type and its parent say.
    limit: Option<Duration>,
    events: Option<mpsc::Sender<Event>>,
}

impl Call {
    /// Asks the plugins that handle `Q`, under this call's deadline, session and audit. For async
    /// handlers.
    ///
    /// ```ignore
    /// let listed: ToolListResponse = call.request(&ToolListRequest::default()).await?;
    /// ```
    ///
    /// # Errors
    /// What the other handler answered; `unknown_type` when there is none, `runtime_error` when
    /// requests lead to requests more than 4 deep, `overloaded` when one request of a client leads to
    /// more than 64 others at a time.
    pub async fn request<Q>(&self, request: &Q) -> Result<Q::Reply>
    where
        Q: Typed + Serialize,
        Q::Reply: DeserializeOwned,
    {
        self.to_route().request(request).await
    }

    /// Asks the plugins that handle a type.
    pub fn to_route(&self) -> Nested {
        Nested::new(&self.0.session, Some(&self.0), NestedTarget::Route)
    }

    /// Asks one plugin, by its instance name.
    pub fn to_plugin(&self, name: impl Into<String>) -> Nested {
        Nested::new(&self.0.session, Some(&self.0), NestedTarget::Plugin(name.into()))
    }

    /// Asks the plugins of one capability.
    pub fn to_capability(&self, name: &str) -> Nested {
        let target = NestedTarget::Capability(CapabilityName::parse(name));
        Nested::new(&self.0.session, Some(&self.0), target)
    }
}

impl Nested {
    pub(crate) fn new(
        session: &Arc<Session>,
        parent: Option<&Arc<Request>>,
        target: NestedTarget,
    ) -> Self {
        let (session, parent) = (Arc::clone(session), parent.cloned());
        Self { session, parent, target, limit: None, events: None }
    }

    /// Asks other plugins than those that handle the type.
    #[must_use]
    pub fn to(mut self, target: NestedTarget) -> Self {
        self.target = target;
        self
    }

    /// Gives it no more time than this; its type and the call that it is made for may give less.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sends the events of the request there; without this they are dropped. An event that finds the
    /// channel full is dropped and counted if its kind may be, else its sender waits.
    #[must_use]
    pub fn events(mut self, to: mpsc::Sender<Event>) -> Self {
        self.events = Some(to);
        self
    }

    /// Sends a typed request and waits for its reply.
    ///
    /// # Errors
    /// As [`Call::request`].
    pub async fn request<Q>(self, request: &Q) -> Result<Q::Reply>
    where
        Q: Typed + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let fields = encoded(request)?;
        let fields = self.ask(Q::TYPE, &fields).await?;
        let line = format!("{{{}}}", String::from_utf8_lossy(&fields));
        let scanned =
            scan_written(line.as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        decode(Incoming::of(&scanned))
    }

    /// As [`request`](Self::request), with types that are known only at run time; gives back the
    /// fields of the reply as one object.
    ///
    /// # Errors
    /// As [`Call::request`].
    pub async fn request_raw<T: Serialize + ?Sized>(
        self,
        wire_type: &str,
        body: &T,
    ) -> Result<RawJson> {
        let fields = encoded(body)?;
        let fields = self.ask(wire_type, &fields).await?;
        RawJson::parse(format!("{{{}}}", String::from_utf8_lossy(&fields)))
            .map_err(|error| Error::internal(error.to_string()))
    }

    async fn ask(self, wire_type: &str, fields: &[u8]) -> Result<Vec<u8>> {
        let (sender, answer) = oneshot::channel();
        let guard = CancelOnDrop(self.start(wire_type, fields, sender)?);
        let reply = answer.await.unwrap_or_else(|_| Err(Error::internal("no answer was given")));
        drop(guard);
        reply
    }

    fn start(
        self,
        wire_type: &str,
        fields: &[u8],
        sender: oneshot::Sender<NestedReply>,
    ) -> Result<Arc<Request>> {
        let services = &self.session.services;
        let depth = self.parent.as_ref().map_or(0, |parent| parent.depth()) + 1;
        if self.parent.as_ref().is_some_and(|parent| parent.has_ended()) {
            return Err(Error::new(ErrorCode::Cancelled, "the request has ended"));
        }
        if depth > MAX_DEPTH {
            let text = format!("requests lead to requests more than {MAX_DEPTH} deep");
            return Err(Error::runtime(text));
        }
        let budget = match &self.parent {
            Some(parent) => Arc::clone(parent.budget.get_or_init(Arc::default)),
            None => Arc::clone(self.session.budget()),
        };
        let share = budget.take()?;
        let dispatcher = services.dispatcher()?;
        let asked = AskFor { session: &self.session, target: &self.target, wire_type };
        let spec = dispatcher.spec(&asked)?;
        let now = services.clock.now();
        let mut line = Vec::with_capacity(fields.len() + 128);
        let ids = &services.ids.inner;
        write_message(&mut line, ids, now, wire_type, None, fields);
        line.pop();
        let scanned = scan_written(&line).map_err(|error| Error::internal(error.to_string()))?;
        let own = spec.limit(&scanned.get(Key::Timeout));
        let limit = own.into_iter().chain(self.limit).min();
        let own_us = limit.map_or(NEVER, |limit| now.mono_us().saturating_add(micros(limit)));
        let parent_us = self.parent.as_ref().map_or(NEVER, |parent| parent.deadline_us());
        let correlation_id =
            self.parent.as_ref().and_then(|parent| parent.notes.correlation_id.as_deref());
        let id = scanned.get(Key::Id);
        let session = self.session.id().as_str();
        let hop = Hop { kind: wire_type, id: id.as_text().unwrap_or_default(), session };
        let above = self.parent.as_ref().and_then(|parent| parent.notes.trace.as_ref());
        let accepted = Accepted {
            id: id.as_text().unwrap_or_default(),
            spec: &spec,
            correlation_id,
            trace: above.map(|trace| Box::new(trace.child(hop))),
            detail: services.audit.describe(&spec, Incoming::of(&scanned)),
            input_bytes: scanned.text.len(),
            at: now,
            deadline_us: own_us.min(parent_us),
        };
        let caller = Caller::new(self.parent.clone(), depth, sender, self.events.clone(), share);
        let request = Request::new(&self.session, Asker::Caller(caller), accepted);
        request.budget.get_or_init(|| budget);
        let body = Incoming::of(&scanned).to_body();
        request.list();
        if let Err(error) = dispatcher.start(&asked, Arc::clone(&request), body) {
            // The route went away between the two looks; the request is in the session's table already.
            request.end(&Verdict::Error { error: error.clone(), by: None, is_panic: false });
            return Err(error);
        }
        Ok(request)
    }
}

fn encoded<T: Serialize + ?Sized>(body: &T) -> Result<Vec<u8>> {
    let mut fields = Vec::with_capacity(128);
    encode_fields(body, &mut fields)
        .map_err(|error| Error::internal(format!("request not encoded: {error}")))?;
    Ok(fields)
}

/// Ends the inner request when the outer one stops waiting for it.
struct CancelOnDrop(Arc<Request>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.0.end_early(CancelReason::Cancelled);
        }
    }
}
