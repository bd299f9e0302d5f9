//! The doors by which a plugin takes messages: `inline`, `pool`, `blocking`, `future`, `dynamic`.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::Plugin;
use super::answer::{Answer, EncodedFuture, Ended, RawReply, encode_answer, encode_raw_answer};
use crate::Result;
use crate::codec::{Body, Incoming, decode};
use crate::dispatch::Call;
use crate::protocol::{Deadline, Fold, Message, Request};

/// Where a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// On the reader: bounded CPU work below 100 us, no I/O, no wait.
    Inline,
    /// On the worker pool: CPU-bound and short work.
    Pool,
    /// On a thread that may block: files, databases, foreign libraries.
    Blocking,
    /// As a future.
    Future,
}

impl Run {
    /// The name in configuration and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Pool => "pool",
            Self::Blocking => "blocking",
            Self::Future => "future",
        }
    }
}

/// What a message type declares, for types that are known only at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSpec {
    /// The text of `type`.
    pub wire_type: Cow<'static, str>,
    /// The type of its reply.
    pub reply_type: Cow<'static, str>,
    /// How several answers become one.
    pub fold: Fold,
    /// How long it may take.
    pub deadline: Deadline,
    /// Whether it is never answered.
    pub is_one_way: bool,
}

impl TypeSpec {
    /// What a typed request declares.
    pub fn of<Q: Request>() -> Self {
        Self {
            wire_type: Cow::Borrowed(Q::TYPE),
            reply_type: Cow::Borrowed(<Q::Reply as Message>::TYPE),
            fold: Q::FOLD,
            deadline: Q::DEADLINE,
            is_one_way: Q::IS_ONE_WAY,
        }
    }

    /// A request type with the defaults: fold `All`, the host's deadline.
    pub fn request(
        wire_type: impl Into<Cow<'static, str>>,
        reply_type: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            wire_type: wire_type.into(),
            reply_type: reply_type.into(),
            fold: Fold::All,
            deadline: Deadline::Default,
            is_one_way: false,
        }
    }
}

pub(crate) type SyncDoor =
    Box<dyn Fn(Incoming<'_>, &Call, &mut Vec<u8>) -> Result<Ended> + Send + Sync>;
pub(crate) type FutureDoor = Box<dyn Fn(Body, Call) -> EncodedFuture + Send + Sync>;

pub(crate) enum Door {
    Sync(SyncDoor),
    Future(FutureDoor),
}

/// One handler of a plugin: what it takes, where it runs, how to call it.
pub struct Handler {
    pub(crate) spec: TypeSpec,
    pub(crate) run: Run,
    pub(crate) door: Door,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("spec", &self.spec)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Collects the handlers of a plugin; passed to [`Plugin::handlers`].
#[derive(Debug)]
pub struct Handlers<P> {
    plugin: Arc<P>,
    list: Vec<Handler>,
}

impl<P: Plugin> Handlers<P> {
    /// The handlers that `plugin` declares.
    pub(crate) fn of(plugin: &Arc<P>) -> Vec<Handler> {
        let mut handlers = Self { plugin: Arc::clone(plugin), list: Vec::new() };
        P::handlers(&mut handlers);
        handlers.list
    }

    /// The instance, for plugins whose types depend on their settings.
    pub fn plugin(&self) -> &P {
        &self.plugin
    }

    /// Runs on the reader: bounded CPU work below 100 us, no I/O, no wait. May end in `Later`.
    pub fn inline<Q: Request>(&mut self, handler: fn(&P, Q, &Call) -> Answer<Q::Reply>) {
        self.sync(Run::Inline, handler);
    }

    /// Runs on the worker pool: CPU-bound and short work.
    pub fn pool<Q: Request>(&mut self, handler: fn(&P, Q, &Call) -> Answer<Q::Reply>) {
        self.sync(Run::Pool, handler);
    }

    /// Runs on a thread that may block, behind the plugin's permits.
    pub fn blocking<Q: Request>(&mut self, handler: fn(&P, Q, &Call) -> Answer<Q::Reply>) {
        self.sync(Run::Blocking, handler);
    }

    /// Runs as a future; it is dropped when the call ends early. Its thread belongs to a tokio that futures of
    /// handlers share: one that blocks it holds up others, not the sessions. It may be polled once more than it
    /// asked for.
    pub fn future<Q, F, Fut>(&mut self, handler: F)
    where
        Q: Request,
        F: Fn(Arc<P>, Q, Call) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Answer<Q::Reply>> + Send + 'static,
    {
        let plugin = Arc::clone(&self.plugin);
        let door: FutureDoor = Box::new(move |body, call| {
            let plugin = Arc::clone(&plugin);
            Box::pin(async move {
                let request = decode::<Q>(body.as_incoming())?;
                drop(body);
                let mut out = Vec::with_capacity(128);
                let ended = encode_answer(handler(plugin, request, call).await, &mut out)?;
                Ok((ended, out))
            })
        });
        self.push(TypeSpec::of::<Q>(), Run::Future, Door::Future(door));
    }

    /// Takes a type that is known only at run time, as checked raw JSON. `run` is not `Future`.
    pub fn dynamic(
        &mut self,
        spec: TypeSpec,
        run: Run,
        handler: impl Fn(&P, Incoming<'_>, &Call) -> Answer<RawReply> + Send + Sync + 'static,
    ) {
        let plugin = Arc::clone(&self.plugin);
        let door: SyncDoor = Box::new(move |incoming, call, out| {
            encode_raw_answer(handler(&plugin, incoming, call), out)
        });
        // A synchronous handler cannot run as a future; a thread that may block is the nearest.
        let run = if run == Run::Future { Run::Blocking } else { run };
        self.push(spec, run, Door::Sync(door));
    }

    /// Takes a type that is known only at run time, as a future.
    pub fn dynamic_future<F, Fut>(&mut self, spec: TypeSpec, handler: F)
    where
        F: Fn(Arc<P>, Body, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<RawReply>> + Send + 'static,
    {
        let plugin = Arc::clone(&self.plugin);
        let door: FutureDoor = Box::new(move |body, call| {
            let answer = handler(Arc::clone(&plugin), body, call);
            Box::pin(async move {
                let mut out = Vec::new();
                encode_raw_answer(answer.await, &mut out).map(|ended| (ended, out))
            })
        });
        self.push(spec, Run::Future, Door::Future(door));
    }

    fn sync<Q: Request>(&mut self, run: Run, handler: fn(&P, Q, &Call) -> Answer<Q::Reply>) {
        let plugin = Arc::clone(&self.plugin);
        let door: SyncDoor = Box::new(move |incoming, call, out| {
            encode_answer(handler(&plugin, decode::<Q>(incoming)?, call), out)
        });
        self.push(TypeSpec::of::<Q>(), run, Door::Sync(door));
    }

    fn push(&mut self, spec: TypeSpec, run: Run, door: Door) {
        self.list.push(Handler { spec, run, door });
    }
}
