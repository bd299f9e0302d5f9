//! Environments of OpenEnv servers: where a server is, and the sockets of its episodes.

mod endpoint;
mod program;
mod socket;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::{OnceCell, OwnedRwLockReadGuard, RwLock};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::OpenEnvConfig;
use super::contract::{JsonObject, Spaces};
use endpoint::Endpoint;
use program::Program;
pub(in crate::env) use socket::EpisodeSocket;

/// How long a server may take to close an episode; then its connection is cut.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The longest file of a token.
const TOKEN: u64 = 16 << 10;

/// A server.
pub(in crate::env) struct Server {
    config: OpenEnvConfig,
    host: Host,
    place: Place,
    /// Made at the first use of TLS.
    tls: OnceCell<TlsConnector>,
    spaces: OnceCell<Spaces>,
    /// Held for reading by what closes an episode: a server may have one place alone, so that the next
    /// episode waits for the end of the one before.
    closing: Arc<RwLock<()>>,
}

#[derive(Debug)]
enum Place {
    At(Endpoint),
    Run(Arc<Program>),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("place", &self.place).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Schemas {
    #[serde(default)]
    action: JsonObject,
    #[serde(default)]
    observation: JsonObject,
}

impl Server {
    /// A server as it is configured; nothing is connected to or started yet.
    ///
    /// # Errors
    /// A URL that is none, or no children to be had.
    pub(in crate::env) fn new(config: OpenEnvConfig, host: Host) -> Result<Self> {
        let place = if let Some(url) = &config.url {
            let wrong =
                |why| Error::runtime(format!("openenv: the url of `{}` {why}", config.name));
            Place::At(Endpoint::parse(url).map_err(wrong)?)
        } else {
            host.children()?;
            Place::Run(Arc::new(Program::new(config.clone(), host.clone())))
        };
        let closing = Arc::default();
        Ok(Self { config, host, place, tls: OnceCell::new(), spaces: OnceCell::new(), closing })
    }

    /// Where it serves now.
    async fn endpoint(&self) -> Result<Endpoint> {
        match &self.place {
            Place::At(endpoint) => Ok(endpoint.clone()),
            Place::Run(program) => program.ready().await,
        }
    }

    /// The header that shows the token, read anew: it may have been replaced.
    async fn token(&self) -> Result<Option<HeaderValue>> {
        let Some(file) = &self.config.token_file else { return Ok(None) };
        let text = read_token(file).await.map_err(|why| {
            Error::runtime(format!("openenv: the token_file of `{}`: {why}", self.config.name))
        })?;
        Ok(Some(text))
    }

    /// Opens the socket of an episode.
    ///
    /// # Errors
    /// `unavailable` when the server is not there; those of its start.
    pub(in crate::env) async fn open(self: &Arc<Self>) -> Result<EpisodeSocket> {
        drop(self.closing.write().await);
        let endpoint = self.endpoint().await?;
        let token = self.token().await?;
        let most = self.host.config().limits.max_line_bytes;
        let socket = endpoint.open(&self.tls, token.as_ref(), most).await?;
        Ok(EpisodeSocket::new(Arc::clone(self), socket))
    }

    /// What the server says that it takes and gives; asked for once.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(in crate::env) async fn spaces(&self) -> Result<Spaces> {
        let ask = async {
            let endpoint = self.endpoint().await?;
            let token = self.token().await?;
            let most = self.host.config().limits.max_line_bytes / 2;
            let page = endpoint.get(&self.tls, token.as_ref(), "/schema", most).await;
            let (status, body) = page?;
            if status != StatusCode::OK {
                return Err(endpoint.failed(format_args!("answered /schema with {status}")));
            }
            let wrong = |error| endpoint.failed(format_args!("has a bad /schema: {error}"));
            let it: Schemas = serde_json::from_slice(&body).map_err(wrong)?;
            Ok(Spaces { actions: it.action, states: it.observation, options: None })
        };
        self.spaces.get_or_try_init(|| ask).await.cloned()
    }

    /// An error that says what is wrong with the server, and how its program ended, where it has.
    async fn failed(&self, why: &str, is_cut: bool) -> Error {
        let (place, end) = match &self.place {
            Place::At(endpoint) => (format!("at {endpoint}"), None),
            Place::Run(program) => (format!("`{}`", self.config.name), program.end(is_cut).await),
        };
        let text = format!("the OpenEnv server {place} {why}{}", end.unwrap_or_default());
        Error::new(ErrorCode::Unavailable, text)
    }

    /// Notes that an episode is to be closed, and gives what does it.
    pub(in crate::env) fn give_back(
        &self,
        socket: EpisodeSocket,
    ) -> impl Future<Output = ()> + Send + 'static {
        let closing = Arc::clone(&self.closing);
        // Taken at once, so that a reset that comes next finds it taken.
        let taken: Option<OwnedRwLockReadGuard<()>> = Arc::clone(&closing).try_read_owned().ok();
        async move {
            let taken = match taken {
                Some(taken) => taken,
                None => closing.read_owned().await,
            };
            // Cut when it takes too long.
            timeout(CLOSE_LIMIT, socket.close()).await.ok();
            drop(taken);
        }
    }

    /// Ends the program for good, where the host runs it.
    pub(in crate::env) fn stop(&self) {
        if let Place::Run(program) = &self.place {
            program.stop();
        }
    }
}

async fn read_token(file: &Path) -> Result<HeaderValue, String> {
    let size = tokio::fs::metadata(file).await.map_err(|error| error.to_string())?.len();
    if size > TOKEN {
        return Err(format!("it has more than {TOKEN} bytes"));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| error.to_string())?;
    let header = HeaderValue::try_from(format!("Bearer {}", text.trim()));
    let mut header = header.map_err(|_| "it holds what is no token".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}
