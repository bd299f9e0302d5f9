//! The users of a store: each host announces itself by a shared lock, which the system releases however the
//! host ends.

use std::fs::{File, TryLockError};
use std::io;

use crate::{Error, Result};

/// How often, and how far apart, a lock is tried that another program has: 10 s in all.
const TRIES: u32 = 1_000;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Takes a lock when it is free; false when another program has it for too long.
pub(super) fn patiently(lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    for _ in 0..TRIES {
        match lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// A host works with the store, until dropped.
#[derive(Debug)]
pub(super) struct Live(#[allow(dead_code, reason = "held for its lock")] Option<File>);

impl Live {
    /// Announces a host.
    /// Errors: When another program has the store [`Alone`] for too long.
    pub(super) fn announce(file: io::Result<File>, what: &str) -> Result<Self> {
        let Ok(file) = file else { return Ok(Self(None)) };
        match patiently(|| file.try_lock_shared()) {
            Ok(true) => return Ok(Self(Some(file))),
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, what, "no such locks here; a restore will not see this host");
                return Ok(Self(None));
            }
        }
        let text = format!("{what} is being restored by another program");
        Err(Error::runtime(text).with_retryable(true))
    }
}

/// Exclusive use of the store, until dropped: hosts that start wait for the end.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code, reason = "held for its lock")] File);

impl Alone {
    /// `None` when a host works with the store.
    pub(super) fn claim(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
