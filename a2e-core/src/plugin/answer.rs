//! How a handler ends: a reply, an error, a pass to the next plugin, or work to be done elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use super::Run;
use crate::codec::{RawJson, encode_fields};
use crate::protocol::Message;
use crate::request::Call;
use crate::{Error, Result};

/// What a handler returns.
pub type Answer<R> = Result<Outcome<R>>;

/// A future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a handler ends when it does not fail.
#[derive(Debug)]
pub enum Outcome<R> {
    /// The answer.
    Reply(R),
    /// Not mine; if no plugin takes it, the answer is this error.
    Pass(Error),
    /// Decoded and accepted on the reader; the rest is done elsewhere. Only from an `inline` handler.
    Later(Later<R>),
    /// Done, and the type is one that is never answered.
    Nothing,
}

impl<R> From<R> for Outcome<R> {
    fn from(reply: R) -> Self {
        Self::Reply(reply)
    }
}

impl<R> Outcome<R> {
    /// Goes on as CPU-bound work on the worker pool.
    pub fn on_pool(work: impl FnOnce(&Call) -> Answer<R> + Send + 'static) -> Self {
        Self::Later(Later(Work::Sync(Run::Pool, Box::new(work))))
    }

    /// Goes on as work that blocks (files, databases) on a thread for that.
    pub fn on_blocking(work: impl FnOnce(&Call) -> Answer<R> + Send + 'static) -> Self {
        Self::Later(Later(Work::Sync(Run::Blocking, Box::new(work))))
    }

    /// Goes on as a future.
    pub fn on_future(work: impl Future<Output = Answer<R>> + Send + 'static) -> Self {
        Self::Later(Later(Work::Future(Box::pin(work))))
    }
}

/// Work that an inline handler leaves to the dispatcher; made by the `on_*` functions of [`Outcome`].
pub struct Later<R>(pub(crate) Work<R>);

impl<R> fmt::Debug for Later<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Work::Sync(run, _) => run.as_str(),
            Work::Future(_) => Run::Future.as_str(),
        })
    }
}

pub(crate) type SyncWork<R> = Box<dyn FnOnce(&Call) -> Answer<R> + Send>;

pub(crate) enum Work<R> {
    Sync(Run, SyncWork<R>),
    Future(BoxFuture<Answer<R>>),
}

/// A reply whose type is known only at run time: its wire type and the fields of its body.
#[derive(Debug)]
pub struct RawReply {
    pub(crate) wire_type: Cow<'static, str>,
    pub(crate) fields: Vec<u8>,
}

impl RawReply {
    /// Encodes `body`, a struct or map without the envelope's fields.
    ///
    /// # Errors
    /// `internal_error` when it has no form on the wire (NaN, too deep, not an object).
    pub fn new<T: Serialize + ?Sized>(
        wire_type: impl Into<Cow<'static, str>>,
        body: &T,
    ) -> Result<Self> {
        let mut fields = Vec::with_capacity(128);
        encode_body(body, &mut fields)?;
        Ok(Self { wire_type: wire_type.into(), fields })
    }

    /// Takes a body that is JSON already; it is not decoded.
    ///
    /// # Errors
    /// `internal_error` when it is no object, or has fields of the envelope.
    pub fn from_json(wire_type: impl Into<Cow<'static, str>>, body: &RawJson) -> Result<Self> {
        Self::new(wire_type, body)
    }
}

/// What the dispatcher sees of an [`Outcome`]: the reply is encoded already.
pub(crate) enum Ended {
    /// The body fields are in the buffer that was passed along.
    Reply(Cow<'static, str>),
    Pass(Error),
    Later(EncodedWork),
    Nothing,
}

pub(crate) type EncodedSync = Box<dyn FnOnce(&Call, &mut Vec<u8>) -> Result<Ended> + Send>;
pub(crate) type EncodedFuture = BoxFuture<Result<(Ended, Vec<u8>)>>;

pub(crate) enum EncodedWork {
    Sync(Run, EncodedSync),
    Future(EncodedFuture),
}

fn encode_body<T: Serialize + ?Sized>(body: &T, out: &mut Vec<u8>) -> Result<()> {
    encode_fields(body, out).map_err(|error| Error::internal(format!("reply not encoded: {error}")))
}

/// Encodes a typed answer into `out`.
pub(crate) fn encode_answer<R: Message + Serialize>(
    answer: Answer<R>,
    out: &mut Vec<u8>,
) -> Result<Ended> {
    encode_with(answer, out, |reply, out| {
        encode_body(&reply, out)?;
        Ok(Cow::Borrowed(R::TYPE))
    })
}

/// The same for answers whose type is known only at run time.
pub(crate) fn encode_raw_answer(answer: Answer<RawReply>, out: &mut Vec<u8>) -> Result<Ended> {
    encode_with(answer, out, |reply, out| {
        out.extend_from_slice(&reply.fields);
        Ok(reply.wire_type)
    })
}

/// Writes the fields of a reply and gives back its type.
type Encode<R> = fn(R, &mut Vec<u8>) -> Result<Cow<'static, str>>;

#[inline]
fn encode_with<R: 'static>(
    answer: Answer<R>,
    out: &mut Vec<u8>,
    encode: Encode<R>,
) -> Result<Ended> {
    let work = match answer? {
        Outcome::Reply(reply) => return encode(reply, out).map(Ended::Reply),
        Outcome::Pass(error) => return Ok(Ended::Pass(error)),
        Outcome::Nothing => return Ok(Ended::Nothing),
        Outcome::Later(later) => later.0,
    };
    Ok(Ended::Later(match work {
        Work::Sync(run, work) => {
            EncodedWork::Sync(run, Box::new(move |call, out| encode_with(work(call), out, encode)))
        }
        Work::Future(work) => EncodedWork::Future(Box::pin(async move {
            let mut out = Vec::with_capacity(128);
            encode_with(work.await, &mut out, encode).map(|ended| (ended, out))
        })),
    }))
}
