//! Runs the handlers of a request.
//!
//! [`Walk`] is the way of one request over the handlers of its route: it asks each in order, folds
//! what they say, and ends the request. A handler that does not run on the reader becomes [`HandlerRun`],
//! which takes a permit at the plugin's gate and goes to its runner: the worker pool, a blocking
//! thread, or the futures' own runtime. The watchdog gives up what takes too long.

mod contain;
mod futures;
mod intercept;
mod pool;
mod runners;
mod walk;
mod watchdog;
mod work;

pub(crate) use runners::Runners;
pub(crate) use walk::Walk;
