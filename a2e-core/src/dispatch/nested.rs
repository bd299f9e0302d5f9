//! Requests from one handler to another, through the same table.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::active::{Accepted, Active, CancelReason, Target as ReplyTarget};
use super::call::Call;
use super::route::Route;
use super::run::{self, Place};
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::codec::scan::{Key, Scanned, scan};
use crate::codec::{Body, Incoming, RawJson, decode};
use crate::protocol::{CapabilityName, ErrorCode, Request};
use crate::{Error, Result};

/// How deep requests may lead to requests.
const MAX_DEPTH: usize = 4;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever handles the type.
    Route,
    /// The plugin of this instance name.
    Plugin(String),
    /// Plugins of this capability.
    Capability(CapabilityName),
}

/// A request that is about to be made on behalf of another. Made by [`Call::to_plugin`] and
/// [`Call::to_capability`].
#[derive(Clone, Debug)]
pub struct Nested<'c> {
    call: &'c Call,
    target: Target,
}

impl Call {
    /// Asks whoever handles `Q`, under this call's deadline, session and audit. For async handlers.
    ///
    /// ```ignore
    /// let listed: ToolListResponse = call.request(&ToolListRequest::default()).await?;
    /// ```
    ///
    /// # Errors
    /// What the other handler answered; `unknown_type` when there is none, `runtime_error` when
    /// requests lead to requests more than 4 deep.
    pub async fn request<Q>(&self, request: &Q) -> Result<Q::Reply>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        Nested { call: self, target: Target::Route }.request(request).await
    }

    /// Asks one plugin, by its instance name.
    pub fn to_plugin(&self, name: impl Into<String>) -> Nested<'_> {
        Nested { call: self, target: Target::Plugin(name.into()) }
    }

    /// Asks the plugins of one capability.
    pub fn to_capability(&self, name: &str) -> Nested<'_> {
        Nested { call: self, target: Target::Capability(CapabilityName::parse(name)) }
    }
}

impl Nested<'_> {
    /// As [`Call::request`].
    ///
    /// # Errors
    /// As [`Call::request`].
    pub async fn request<Q>(&self, request: &Q) -> Result<Q::Reply>
    where
        Q: Request + Serialize,
        Q::Reply: DeserializeOwned,
    {
        let fields = self.ask(Q::TYPE, request).await?;
        let line = format!("{{{}}}", String::from_utf8_lossy(&fields));
        let scanned = scan(line.as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        decode(Incoming::of(&scanned))
    }

    /// As [`request`](Self::request), with types that are known only at run time; gives back the
    /// fields of the reply as one object.
    ///
    /// # Errors
    /// As [`Call::request`].
    pub async fn request_raw<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
    ) -> Result<RawJson> {
        let fields = self.ask(wire_type, body).await?;
        let text = format!("{{{}}}", String::from_utf8_lossy(&fields));
        RawJson::parse(text).map_err(|error| Error::internal(error.to_string()))
    }

    async fn ask<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> Result<Vec<u8>> {
        let parent = &self.call.0;
        if parent.has_ended() {
            return Err(Error::new(ErrorCode::Cancelled, "the request has ended"));
        }
        if parent.depth() + 1 > MAX_DEPTH {
            let text = format!("requests lead to requests more than {MAX_DEPTH} deep");
            return Err(Error::runtime(text));
        }
        let route = self.route(wire_type)?;
        let (line, id) = self.line(wire_type, body)?;
        let scanned = scan(&line).map_err(|error| Error::internal(error.to_string()))?;
        let (sender, answer) = oneshot::channel();
        let child = self.child(&route, &scanned, &id, sender);
        let body = Incoming::of(&scanned).to_body();
        let guard = CancelOnDrop(Arc::clone(&child));
        child.session.list(&child);
        start_on_tokio(child, body);
        let reply = answer.await.unwrap_or_else(|_| Err(Error::internal("no answer was given")));
        drop(guard);
        reply
    }

    /// The route of the type, cut down to the plugins that are meant.
    fn route(&self, wire_type: &str) -> Result<Arc<Route>> {
        let active = &self.call.0;
        let unknown = |text: String| Error::new(ErrorCode::UnknownType, text);
        let table = active.kernel.table();
        let route = table
            .get(wire_type)
            .ok_or_else(|| unknown(format!("no plugin handles `{wire_type}`")))?;
        let is_meant = |name: &str, capability: &CapabilityName| match &self.target {
            Target::Route => true,
            Target::Plugin(meant) => meant == name,
            Target::Capability(meant) => meant == capability,
        };
        if self.target == Target::Route {
            return Ok(Arc::clone(route));
        }
        let handlers: Vec<_> = route
            .handlers
            .iter()
            .filter(|entry| is_meant(entry.slot.name.as_str(), &entry.slot.capability))
            .cloned()
            .collect();
        if handlers.is_empty() {
            return Err(unknown(format!("{:?} does not handle `{wire_type}`", self.target)));
        }
        Ok(Arc::new(Route::new(route.spec.clone(), handlers, route.interceptors.clone())))
    }

    fn line<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> Result<(Vec<u8>, String)> {
        let kernel = &self.call.0.kernel;
        let mut fields = Vec::with_capacity(128);
        encode_fields(body, &mut fields)
            .map_err(|error| Error::internal(format!("request not encoded: {error}")))?;
        let mut line = Vec::with_capacity(fields.len() + 128);
        write_message(&mut line, &kernel.inner_ids, kernel.clock.now(), wire_type, None, &fields);
        line.pop();
        let id = scan(&line).ok().and_then(|it| it.get(Key::Id).as_text().map(str::to_owned));
        Ok((line, id.unwrap_or_default()))
    }

    fn child(
        &self,
        route: &Arc<Route>,
        scanned: &Scanned<'_>,
        id: &str,
        sender: oneshot::Sender<Result<Vec<u8>>>,
    ) -> Arc<Active> {
        let parent = &self.call.0;
        let now = parent.kernel.clock.now();
        let own = route.deadline_us(&scanned.get(Key::Timeout), now);
        let accepted = Accepted {
            id,
            correlation_id: parent.correlation_id.as_deref(),
            input_bytes: scanned.text.len(),
            at: now,
            deadline_us: own.min(parent.deadline_us),
        };
        let mut child = Active::new(&parent.kernel, &parent.session, route, &accepted);
        child.set_slot(None);
        child.target = ReplyTarget::Caller(Mutex::new(Some(sender)));
        child.parent = Some(Arc::clone(parent));
        Arc::new(child)
    }
}

/// A handler that runs inline may take its time here: the caller's thread is not the reader.
fn start_on_tokio(child: Arc<Active>, body: Body) {
    let runtime = child.kernel.runtime.clone();
    runtime.spawn(async move {
        run::start(&Call(child), body.as_incoming(), Place::Elsewhere);
    });
}

/// Ends the inner request when the outer one stops waiting for it.
struct CancelOnDrop(Arc<Active>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.0.end_early(CancelReason::Cancelled);
            self.0.kernel.sweep();
        }
    }
}
