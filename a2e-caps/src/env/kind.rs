//! An environment as it is served: its name, and where its episodes run.

use std::fmt;
use std::sync::Arc;

use a2e_core::Result;
use a2e_core::plugin::Host;
use a2e_core::protocol::PluginName;
use a2e_core::request::Call;

use super::config::{EnvConfig, OpenEnvConfig};
use super::contract::{EnvironmentClass, Spaces};
use super::outside::Outside;
use super::process::Pool;
use super::worlds;

/// An environment under its name.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The plugin that brings it; `None`: the configuration of this one names it.
    pub(super) owner: Option<PluginName>,
}

/// Where episodes run.
pub(super) enum Kind {
    /// In this process.
    Local(Arc<dyn EnvironmentClass>),
    /// Elsewhere.
    Outside(Outside),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "local",
            Self::Outside(_) => "outside",
        })
    }
}

impl Served {
    /// Those of a configuration, in its order.
    ///
    /// # Errors
    /// When a program is to serve one and there are no children to be had, or a server cannot be where it should.
    pub(super) fn all(config: &EnvConfig, host: &Host) -> Result<Vec<Arc<Self>>> {
        let mut served = Vec::new();
        let mut serve = |name: &str, kind| {
            served.push(Arc::new(Self { name: name.to_owned(), kind, owner: None }));
        };
        for name in &config.environments {
            if let Some(class) = worlds::find(name) {
                serve(name, Kind::Local(class));
            }
        }
        if !config.processes.is_empty() {
            host.children()?;
        }
        for it in &config.processes {
            let pool = Outside::Process(Arc::new(Pool::new(it.clone(), host.clone())));
            serve(&it.name, Kind::Outside(pool));
        }
        for it in &config.openenv {
            serve(&it.name, Kind::Outside(openenv(it, host)?));
        }
        Ok(served)
    }

    /// Whether the tenant of a call sees the plugin that brings it.
    pub(super) fn is_seen(&self, host: &Host, call: &Call) -> bool {
        let tenant = call.identity().tenant.as_deref();
        self.owner.as_ref().is_none_or(|owner| host.is_seen(owner, tenant))
    }

    /// What it takes and gives.
    ///
    /// # Errors
    /// Those of what serves it outside.
    pub(super) async fn spaces(self: Arc<Self>) -> Result<Spaces> {
        match &self.kind {
            Kind::Local(class) => Ok(class.spaces()),
            Kind::Outside(outside) => {
                tokio::task::yield_now().await;
                outside.spaces().await
            }
        }
    }
}

#[cfg(feature = "http")]
fn openenv(config: &OpenEnvConfig, host: &Host) -> Result<Outside> {
    let server = super::openenv::Server::new(config.clone(), host.clone())?;
    Ok(Outside::OpenEnv(Arc::new(server)))
}

#[cfg(not(feature = "http"))]
fn openenv(config: &OpenEnvConfig, _host: &Host) -> Result<Outside> {
    let text = format!("openenv: `{}` is not served by this build (feature `http`)", config.name);
    Err(a2e_core::Error::runtime(text))
}
