//! Models of the kernel's concurrent files. The files of `a2e-core` are compiled as they are; what
//! they need of the rest of the kernel stands in here under the same paths. A model runs a few
//! threads under every schedule, or every schedule with few preemptions.

#![cfg(loom)]

// The kernel's files say `tokio::sync` beside `crate::sync`: both are `sync` here.
extern crate self as tokio;

#[path = "../../../a2e-core/src/out/handover.rs"]
mod handover;
mod layers;
pub mod models;
mod protocol;
mod request;
pub mod sync;

/// Stands for the kernel's error.
#[derive(Debug)]
pub(crate) struct Error(#[expect(dead_code, reason = "shown when a model fails")] String);

impl Error {
    pub(crate) fn new(_code: protocol::ErrorCode, text: String) -> Self {
        Self(text)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
