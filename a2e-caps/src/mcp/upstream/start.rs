//! The start of a server: its program or its address, the beginning of the conversation, its lists.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use a2e_core::children::{Child, Command, Exit};
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};

use super::ears::Ears;
use super::listing::Listing;
use super::{Upstream, held};
use crate::mcp::config::{Era, Transport};
use crate::mcp::link::{Fate, Http, Link, NotOpened, Opening, Stdio, Upcalls};

/// From the end of its input, and then from SIGTERM, to the kill of the whole tree.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How long a start keeps others from beginning: what takes longer waits for something.
const SEAT: Duration = Duration::from_millis(700);

/// How long the last words of a program that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A server that answers.
pub(super) struct Running {
    pub(super) link: Arc<Link>,
    child: Option<Arc<Child>>,
}

impl Running {
    /// Waits for the end of the program; for ever where there is none.
    pub(super) async fn exit(&self) -> Exit {
        match &self.child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    }
}

impl Upstream {
    /// Starts it and learns what it offers.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub(super) async fn start(self: &Arc<Self>) -> Result<Running> {
        let limit = self.config.start_timeout();
        let seat = Arc::clone(&self.shared.starts).acquire_owned().await;
        self.shared.host.spawn(async move {
            tokio::time::sleep(SEAT).await;
            drop(seat);
        });
        let begun = async {
            let link = self.open().await?;
            let child = held(&self.child).clone();
            Ok(Running { link: Arc::new(link), child })
        };
        let slow = |what: &str| {
            let text = format!("no {what} within {:.1} s", limit.as_secs_f64());
            Error::new(ErrorCode::McpServerUnavailable, text).with_retryable(true)
        };
        let running: Result<Running> = match tokio::time::timeout(limit, begun).await {
            Ok(running) => running,
            Err(_) => Err(slow("answer to the beginning")),
        };
        let running = running?;
        match tokio::time::timeout(limit, self.list(&running.link)).await {
            Ok(listed) => listed?,
            Err(_) => return Err(slow("list of what it offers")),
        }
        if running.link.facts().is_modern {
            running.link.watch_lists();
        }
        Ok(running)
    }

    /// Asks for its lists.
    async fn list(self: &Arc<Self>, link: &Link) -> Result<()> {
        let clock = self.shared.host.clock();
        let began = clock.now();
        let mut listing = Listing::of(&self.id, link).await?;
        let took = clock.now().since(began).as_micros();
        self.list_us.store(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
        let is_modern = link.facts().is_modern;
        listing.opening = Some(if is_modern { Opening::Discover } else { Opening::Initialize });
        listing.resources.retain(|it| self.config.wants_resource(&it.name, &it.uri));
        let this = Arc::clone(self);
        let learnt = tokio::task::spawn_blocking(move || this.learn(listing)).await;
        learnt.map_err(|error| Error::internal(error.to_string()))
    }

    /// As at the start, when it says that something has changed. A list that does not come leaves the
    /// last one.
    pub(super) async fn list_again(self: &Arc<Self>, running: &Running) {
        let list = tokio::time::timeout(self.config.start_timeout(), self.list(&running.link));
        let failed = tokio::select! {
            listed = list => !matches!(listed, Ok(Ok(()))),
            _ = running.exit() => true,
        };
        if failed {
            tracing::warn!(server = self.id, "lists that have changed are not told");
        }
    }

    /// Begins the conversation, in the way that worked last; else in the other.
    async fn open(self: &Arc<Self>) -> Result<Link> {
        let known = self.known().and_then(|known| known.listing.opening);
        let (first, other) = match (self.config.era, known, self.config.transport()) {
            (Era::Legacy, ..) => (Opening::Initialize, None),
            (Era::Modern, ..) => (Opening::Discover, None),
            (Era::Auto, Some(Opening::Discover), _) => {
                (Opening::Discover, Some(Opening::Initialize))
            }
            // Many older programs start all that they have at the first request that they do not know;
            // over HTTP nothing is started by it.
            (Era::Auto, None, Transport::Http) => (Opening::Probe, None),
            (Era::Auto, ..) => (Opening::Initialize, Some(Opening::Discover)),
        };
        match (self.begin(first).await, other) {
            (Ok(link), _) => Ok(link),
            (Err(it), Some(other)) if it.is_other_era => {
                let refused = it.error;
                self.begin(other).await.map_err(|again| {
                    // What the server said to the usual way tells more.
                    if again.is_other_era { refused } else { again.error }
                })
            }
            (Err(it), _) => Err(it.error),
        }
    }

    async fn begin(self: &Arc<Self>, opening: Opening) -> Result<Link, NotOpened> {
        let ears: Arc<dyn Upcalls> = Arc::new(Ears::new(self));
        let plain = |error| NotOpened { error, is_other_era: false };
        let fate = Arc::new(Fate::default());
        match self.config.transport() {
            Transport::Stdio => {
                let stdio = self.spawn(&fate).await.map_err(plain)?;
                let opened = Link::open(stdio, opening, ears, Arc::clone(&fate));
                let child = held(&self.child).clone();
                let exit = async {
                    match child {
                        Some(child) => child.wait().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    opened = opened => match opened {
                        Err(it) if fate.over.is_cancelled() => {
                            self.last_words().await;
                            Err(it)
                        }
                        other => other,
                    },
                    exit = exit => {
                        self.last_words().await;
                        let text = format!("it ended with {exit} before it answered");
                        Err(plain(crate::mcp::link::gone(text)))
                    }
                }
            }
            Transport::Http => {
                let http = self.http().await.map_err(plain)?;
                Link::open(http.transport(), opening, ears, fate).await
            }
            Transport::Sse => {
                let http = self.http().await.map_err(plain)?;
                let events = http.events(Arc::clone(&fate)).await.map_err(plain)?;
                Link::open(events, opening, ears, fate).await
            }
        }
    }

    async fn http(&self) -> Result<Http> {
        let headers = self.config.headers.iter();
        Http::new(&self.config.url, headers, Arc::clone(&self.token)).await
    }

    /// Starts the program under the guard. One that was tried before it is ended first.
    async fn spawn(&self, fate: &Arc<Fate>) -> Result<Stdio> {
        let before = held(&self.child).take();
        if let Some(before) = before {
            before.kill().await;
        }
        let mut words = self.config.argv().into_iter();
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(program).args(words);
        command.cwd.clone_from(&self.config.cwd);
        command.env_pass.clone_from(&self.config.env_pass);
        let env = self.config.env.iter();
        command.env = env.map(|(name, value)| (name.into(), value.into())).collect();
        let mut child = self.shared.host.children()?.spawn(command).await.map_err(|error| {
            let text = format!("`{program}` does not start: {}", error.message());
            Error::new(ErrorCode::McpServerUnavailable, text)
        })?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        child.drain_stderr_into(&self.tail);
        *held(&self.child) = Some(Arc::new(child));
        match (input, output) {
            (Some(input), Some(output)) => Ok(Stdio::new(input, output, Arc::clone(fate))),
            _ => Err(Error::internal("a program without pipes")),
        }
    }

    /// Waits until a program that has ended has said its last words, for a moment.
    pub(super) async fn last_words(&self) {
        let child = held(&self.child).clone();
        if let Some(child) = child {
            tokio::time::timeout(LAST_WORDS, child.last_words()).await.map(drop).ok();
        }
    }
}
