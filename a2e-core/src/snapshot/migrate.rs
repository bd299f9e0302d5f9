//! Old states read by a new plugin: one step from each version to the next.

use std::fmt;

use serde::de::DeserializeOwned;

use super::State;
use crate::{Error, Result};

/// The versions of a plugin's state that it can still read, and the steps between them.
///
/// An old state is decoded as what it was, then led through each step up to today's struct. The codec
/// may change from version to version: each state knows its own.
///
/// ```
/// use a2e_core::snapshot::{State, Versions};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct CounterV1(u32);
///
/// #[derive(Serialize, Deserialize)]
/// struct CounterV2 { calls: u64, failed: u64 }
///
/// let versions = Versions::first::<CounterV1>(1)
///     .then(|old| Ok(CounterV2 { calls: u64::from(old.0), failed: 0 }));
///
/// let old = State::bincode(1, &CounterV1(3))?;
/// assert_eq!(versions.read(&old)?.calls, 3);
///
/// let newer = State::bincode(3, &(3_u64, 0_u64, true))?;
/// assert_eq!(
///     versions.read(&newer).err().unwrap().message(),
///     "state has version 3; this program reads versions 1 to 2: it was saved by a newer one",
/// );
/// # Ok::<(), a2e_core::Error>(())
/// ```
pub struct Versions<T> {
    oldest: u32,
    newest: u32,
    /// Reads a state of a version before the newest.
    older: Read<T>,
}

type Read<T> = Box<dyn Fn(&State) -> Result<T> + Send + Sync>;

impl Versions<()> {
    /// The oldest version that is still read.
    pub fn first<T: DeserializeOwned>(version: u32) -> Versions<T> {
        let older = Box::new(|_: &State| Err(Error::internal("there is no older version")));
        Versions { oldest: version, newest: version, older }
    }
}

impl<T: DeserializeOwned + 'static> Versions<T> {
    /// The next version, and how the one before becomes it.
    #[must_use]
    pub fn then<U: DeserializeOwned>(
        self,
        step: impl Fn(T) -> Result<U> + Send + Sync + 'static,
    ) -> Versions<U> {
        let (oldest, from) = (self.oldest, self.newest);
        let newest = from.saturating_add(1);
        let older = Box::new(move |state: &State| {
            let old = self.read(state)?;
            step(old).map_err(|error| {
                let text = format!("state of version {from} cannot become version {newest}");
                Error::new(error.code().clone(), format!("{text}: {}", error.message()))
            })
        });
        Versions { oldest, newest, older }
    }
}

impl<T: DeserializeOwned> Versions<T> {
    /// The version to save with.
    pub fn newest(&self) -> u32 {
        self.newest
    }

    /// Reads a state of any of the versions.
    ///
    /// # Errors
    /// When the state has another version, is not what its version says, or a step fails. A plugin
    /// that returns this from `restore` starts empty, and the host leaves the saved state as it is.
    pub fn read(&self, state: &State) -> Result<T> {
        let (version, oldest, newest) = (state.version(), self.oldest, self.newest);
        let refused = |why: &str| {
            let known = if oldest == newest {
                format!("version {newest}")
            } else {
                format!("versions {oldest} to {newest}")
            };
            Err(Error::runtime(format!(
                "state has version {version}; this program reads {known}: {why}"
            )))
        };
        if version > newest {
            return refused("it was saved by a newer one");
        }
        if version < oldest {
            return refused("it is too old; a program in between can still read it");
        }
        if version == newest { state.decode() } else { (self.older)(state) }
    }
}

impl<T> fmt::Debug for Versions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions")
            .field("oldest", &self.oldest)
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}
