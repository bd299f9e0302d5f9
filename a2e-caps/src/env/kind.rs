//! An environment as it is served: its name, and where its episodes run.

use std::fmt;
use std::sync::Arc;

use a2e_core::Result;

use super::contract::{EnvironmentClass, Spaces};
use super::process::Pool;

/// An environment under its name.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Where episodes run.
pub(super) enum Kind {
    /// In this process.
    Local(Arc<dyn EnvironmentClass>),
    /// In processes of their own.
    Process(Arc<Pool>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "local",
            Self::Process(_) => "process",
        })
    }
}

impl Served {
    /// What it takes and gives.
    ///
    /// # Errors
    /// Those of a program that serves it.
    pub(super) async fn spaces(self: Arc<Self>) -> Result<Spaces> {
        match &self.kind {
            Kind::Local(class) => Ok(class.spaces()),
            Kind::Process(pool) => {
                tokio::task::yield_now().await;
                pool.spaces().await
            }
        }
    }
}
