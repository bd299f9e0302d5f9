//! The doors by which a plugin takes messages: `inline`, `pool`, `blocking`, `future`, `dynamic`.

use std::future::Future;
use std::sync::Arc;

use super::Plugin;
use super::answer::{Answer, EncodedFuture, Ended, RawReply, encode_answer, encode_raw_answer};
use crate::Result;
use crate::codec::{Body, Incoming, decode_noting};
use crate::layers::{Run, discard};
use crate::protocol::Request;
use crate::request::{Call, TypeSpec};

pub(crate) type SyncDoor =
    Box<dyn Fn(Incoming<'_>, &Call, &mut Vec<u8>) -> Result<Ended> + Send + Sync>;
pub(crate) type FutureDoor = Box<dyn Fn(Body, Call) -> EncodedFuture + Send + Sync>;

pub(crate) enum Door {
    Sync(SyncDoor),
    Future(FutureDoor),
}

/// One handler of a plugin: what it takes, where it runs, how to call it.
pub struct Handler {
    pub(crate) spec: Arc<TypeSpec>,
    pub(crate) run: Run,
    /// There until it is dropped.
    pub(crate) door: Option<Door>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It holds the plugin; a table may be the last that holds it.
        discard("handler", self.door.take());
    }
}

show!(Handler, spec: |it| it.spec, run: |it| it.run);

/// Collects the handlers of a plugin; passed to [`Plugin::handlers`].
#[derive(Debug)]
pub struct Handlers<P> {
    plugin: Arc<P>,
    list: Vec<Handler>,
}

impl<P: Plugin> Handlers<P> {
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
    /// handlers share: one that blocks it holds up others, not the sessions.
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
                let request = read::<Q>(body.as_incoming(), &call)?;
                drop(body);
                let mut out = Vec::with_capacity(128);
                let ended = encode_answer(handler(plugin, request, call).await, &mut out)?;
                Ok((ended, out))
            })
        });
        self.list.push(Handler::new(TypeSpec::of::<Q>(), Run::Future, Door::Future(door)));
    }

    /// Takes a type that is known only at run time, as checked raw JSON. `run` is not `Future`.
    pub fn dynamic(
        &mut self,
        spec: TypeSpec,
        run: Run,
        handler: impl Fn(&P, Incoming<'_>, &Call) -> Answer<RawReply> + Send + Sync + 'static,
    ) {
        let plugin = Arc::clone(&self.plugin);
        self.list
            .push(Handler::raw(spec, run, move |incoming, call| handler(&plugin, incoming, call)));
    }

    /// Takes a type that is known only at run time, as a future.
    pub fn dynamic_future<F, Fut>(&mut self, spec: TypeSpec, handler: F)
    where
        F: Fn(Arc<P>, Body, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<RawReply>> + Send + 'static,
    {
        let plugin = Arc::clone(&self.plugin);
        let handler = move |body, call| handler(Arc::clone(&plugin), body, call);
        self.list.push(Handler::raw_future(spec, handler));
    }

    fn sync<Q: Request>(&mut self, run: Run, handler: fn(&P, Q, &Call) -> Answer<Q::Reply>) {
        let plugin = Arc::clone(&self.plugin);
        let door: SyncDoor = Box::new(move |incoming, call, out| {
            encode_answer(handler(&plugin, read::<Q>(incoming, call)?, call), out)
        });
        self.list.push(Handler::new(TypeSpec::of::<Q>(), run, Door::Sync(door)));
    }
}

/// Decodes a request, and notes what this handler ignores of it.
fn read<Q: Request>(incoming: Incoming<'_>, call: &Call) -> Result<Q> {
    let (request, unknown) = decode_noting::<Q>(incoming);
    call.0.note_ignored(&unknown);
    request
}

impl Handler {
    fn new(spec: TypeSpec, run: Run, door: Door) -> Self {
        Self { spec: Arc::new(spec), run, door: Some(door) }
    }

    fn raw(
        spec: TypeSpec,
        run: Run,
        handler: impl Fn(Incoming<'_>, &Call) -> Answer<RawReply> + Send + Sync + 'static,
    ) -> Self {
        let door: SyncDoor = Box::new(move |incoming, call, out| {
            call.0.note_all_known();
            encode_raw_answer(handler(incoming, call), out)
        });
        // A synchronous handler cannot run as a future; a thread that may block is the nearest.
        let run = if run == Run::Future { Run::Blocking } else { run };
        Self::new(spec, run, Door::Sync(door))
    }

    fn raw_future<F, Fut>(spec: TypeSpec, handler: F) -> Self
    where
        F: Fn(Body, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<RawReply>> + Send + 'static,
    {
        let door: FutureDoor = Box::new(move |body, call| {
            call.0.note_all_known();
            let answer = handler(body, call);
            Box::pin(async move {
                let mut out = Vec::new();
                encode_raw_answer(answer.await, &mut out).map(|ended| (ended, out))
            })
        });
        Self::new(spec, Run::Future, Door::Future(door))
    }
}

/// Handlers that a plugin declares while it runs, because it learns only then what it handles: from a
/// child process, a remote service, a guest module. Given to
/// [`Host::declare`](super::Host::declare).
#[derive(Debug, Default)]
pub struct Declared {
    pub(crate) list: Vec<Handler>,
}

impl Declared {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler that runs as a future.
    #[must_use]
    pub fn future<F, Fut>(mut self, spec: TypeSpec, handler: F) -> Self
    where
        F: Fn(Body, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<RawReply>> + Send + 'static,
    {
        self.list.push(Handler::raw_future(spec, handler));
        self
    }

    /// Adds a handler that is a function; `run` says where. One that is to run as a future runs on a
    /// thread that may block.
    #[must_use]
    pub fn sync(
        mut self,
        spec: TypeSpec,
        run: Run,
        handler: impl Fn(Incoming<'_>, &Call) -> Answer<RawReply> + Send + Sync + 'static,
    ) -> Self {
        self.list.push(Handler::raw(spec, run, handler));
        self
    }
}
