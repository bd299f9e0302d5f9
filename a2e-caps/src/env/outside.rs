//! Environments that are served outside of this process, and the episodes there.

use std::sync::Arc;

use a2e_core::Result;
use serde_json::Value;

use super::contract::{JsonObject, Link, Observed, Spaces};
#[cfg(feature = "http")]
use super::openenv::{EpisodeSocket, Server};
use super::process::{Pool, Worker};

/// Where an environment is served.
#[derive(Clone, Debug)]
pub(super) enum Outside {
    /// By programs, one for each episode.
    Process(Arc<Pool>),
    /// By an OpenEnv server.
    #[cfg(feature = "http")]
    OpenEnv(Arc<Server>),
}

/// One episode there. Dropping it ends it there.
#[derive(Debug)]
pub(super) enum OutsideEpisode {
    Process(Box<Worker>),
    #[cfg(feature = "http")]
    OpenEnv(Box<EpisodeSocket>),
}

impl Outside {
    pub(super) async fn spaces(&self) -> Result<Spaces> {
        match self {
            Self::Process(pool) => pool.spaces().await,
            #[cfg(feature = "http")]
            Self::OpenEnv(server) => server.spaces().await,
        }
    }

    /// A place for an episode, which is reset next.
    pub(super) async fn open(&self, link: &Link) -> Result<OutsideEpisode> {
        Ok(match self {
            Self::Process(pool) => {
                OutsideEpisode::Process(Box::new(pool.worker(Some(link.clone())).await?))
            }
            #[cfg(feature = "http")]
            Self::OpenEnv(server) => OutsideEpisode::OpenEnv(Box::new(server.open().await?)),
        })
    }

    /// Closes an episode.
    pub(super) async fn give_back(self, episode: OutsideEpisode) {
        match (self, episode) {
            (Self::Process(pool), OutsideEpisode::Process(worker)) => {
                tokio::task::yield_now().await;
                pool.give_back(*worker).await;
            }
            #[cfg(feature = "http")]
            (Self::OpenEnv(server), OutsideEpisode::OpenEnv(socket)) => {
                let closed = server.give_back(*socket);
                tokio::task::yield_now().await;
                closed.await;
            }
            #[cfg(feature = "http")]
            _ => {}
        }
    }

    /// The plugin ends: so does what waits for episodes.
    pub(super) fn end(&self) {
        match self {
            Self::Process(pool) => pool.clear(),
            #[cfg(feature = "http")]
            Self::OpenEnv(server) => server.stop(),
        }
    }
}

impl OutsideEpisode {
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Process(worker) => worker.has_ended(),
            #[cfg(feature = "http")]
            Self::OpenEnv(socket) => socket.has_ended(),
        }
    }

    /// Whether it is of no use any more.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Process(worker) => worker.is_broken(),
            #[cfg(feature = "http")]
            Self::OpenEnv(socket) => socket.is_broken(),
        }
    }

    pub(super) async fn reset(&mut self, seed: i64, options: &JsonObject) -> Result<Observed> {
        match self {
            Self::Process(worker) => worker.reset(seed, options).await,
            #[cfg(feature = "http")]
            Self::OpenEnv(socket) => socket.reset(seed, options).await,
        }
    }

    pub(super) async fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        match self {
            Self::Process(worker) => worker.step(action).await,
            #[cfg(feature = "http")]
            Self::OpenEnv(socket) => socket.step(action).await,
        }
    }

    pub(super) async fn render(&mut self, mode: &str) -> Result<Value> {
        match self {
            Self::Process(worker) => worker.render(mode).await,
            // OpenEnv draws nothing; its state is what else it shows.
            #[cfg(feature = "http")]
            Self::OpenEnv(socket) if mode == "state" => socket.state().await,
            #[cfg(feature = "http")]
            Self::OpenEnv(_) => Ok(Value::Null),
        }
    }

    pub(super) async fn plan(&mut self, state: Option<&JsonObject>) -> Result<Vec<JsonObject>> {
        match self {
            Self::Process(worker) => worker.plan(state).await,
            #[cfg(feature = "http")]
            Self::OpenEnv(_) => Ok(Vec::new()),
        }
    }
}
