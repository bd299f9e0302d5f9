//! One server: started when it is used, watched while it runs, listed while it does not.

mod ears;
mod keeper;
mod listing;
mod pins;
mod start;
mod state;
mod store;
mod subscribed;

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use a2e_core::children::{Child, Tail};
use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde_json::{Map, Value};
use tokio::sync::{Notify, Semaphore, watch};

pub(in crate::mcp) use ears::{ASKED, ASKING};
pub(in crate::mcp) use listing::{Listing, RemoteTool};
pub(in crate::mcp) use pins::{Judged, approve, judge, pin};
pub(in crate::mcp) use store::Store;

use self::state::{Phase, State};
use self::subscribed::Subscriptions;
use super::config::ServerConfig;
use super::contract::Updates;
use super::link::{Asker, Link, TokenSource, gone};
use super::offers::offered;
use super::protocol::{McpServerInfo, Root};

/// What all servers of a plugin share.
pub(in crate::mcp) struct Shared {
    pub(in crate::mcp) host: Host,
    pub(in crate::mcp) roots: Vec<Root>,
    /// Of servers that do not say their own; zero: never.
    pub(in crate::mcp) idle_stop: Duration,
    /// One permit per server that may begin to start at a time.
    pub(in crate::mcp) starts: Arc<Semaphore>,
    pub(in crate::mcp) state_dir: Option<std::path::PathBuf>,
}

/// What is known of the offers of a server.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Known {
    pub(in crate::mcp) listing: Listing,
    pub(in crate::mcp) judged: Judged,
}

/// One server.
pub(in crate::mcp) struct Upstream {
    pub(in crate::mcp) id: String,
    pub(in crate::mcp) config: ServerConfig,
    /// Whether a message added it: messages may end it, too.
    pub(in crate::mcp) is_registered: bool,
    shared: Arc<Shared>,
    store: Store,
    token: Arc<TokenSource>,
    state: watch::Sender<State>,
    /// What it offers; held for a copy. None before it was ever heard.
    known: Mutex<Option<Arc<Known>>>,
    /// Wakes the keeper: it is to be started, or its lists are to be read again.
    wanted: Notify,
    relist: Notify,
    /// Calls under way, and when the last one ended, in microseconds of the host's clock.
    uses: AtomicUsize,
    last_used: AtomicU64,
    calls: Semaphore,
    restarts: AtomicU32,
    list_us: AtomicU64,
    /// The end of what its runs wrote to standard error.
    tail: Tail,
    /// The program that runs; held for a copy.
    child: Mutex<Option<Arc<Child>>>,
    subscribed: Subscriptions,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    pub(in crate::mcp) fn new(
        id: String,
        config: ServerConfig,
        is_registered: bool,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        // What a message says is not kept: another session may mean another thing by it.
        let folder = shared.state_dir.clone().filter(|_| !is_registered);
        let store = Store::new(folder, &id, &config);
        let known = store.listing().map(|listing| {
            let judged = judge(&listing, config.approve, &mut store.pins(), false);
            Arc::new(Known { listing, judged })
        });
        Arc::new(Self {
            token: Arc::new(TokenSource::new(&config, &shared.host)),
            calls: Semaphore::new(usize::from(config.max_calls.max(1))),
            id,
            config,
            is_registered,
            shared: Arc::clone(shared),
            store,
            state: watch::Sender::new(State::default()),
            known: Mutex::new(known),
            wanted: Notify::new(),
            relist: Notify::new(),
            uses: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            list_us: AtomicU64::new(0),
            tail: Tail::default(),
            child: Mutex::new(None),
            subscribed: Subscriptions::default(),
        })
    }

    /// Keeps it, until the plugin ends or it is unregistered.
    pub(in crate::mcp) fn keep(self: &Arc<Self>) {
        let keeper = Arc::clone(self);
        self.shared.host.spawn(async move { keeper.run().await });
    }

    /// What it offers, as far as that is known.
    pub(in crate::mcp) fn known(&self) -> Option<Arc<Known>> {
        held(&self.known).clone()
    }

    /// Its name for people.
    pub(in crate::mcp) fn name(&self) -> &str {
        if self.config.name.is_empty() { &self.id } else { &self.config.name }
    }

    /// Waits until it was heard once, or has failed once.
    pub(in crate::mcp) async fn heard(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        // The sender is ours.
        let seen = state.wait_for(|it| it.is_ready() || it.failures > 0).await.ok();
        match seen.and_then(|it| it.failure.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Asks it, starting it where it does not run. The server is told when the caller waits no more.
    ///
    /// # Errors
    /// `mcp_server_unavailable`, retryable, when it is not to be had or goes away; what it answers.
    pub(in crate::mcp) async fn request(
        self: &Arc<Self>,
        method: &str,
        params: Map<String, Value>,
        asker: Option<Asker>,
    ) -> Result<Map<String, Value>> {
        let _use = self.used();
        let limit = self.config.timeout();
        let answer = async {
            // Closed never; the wait ends with the call.
            let _permit = self.calls.acquire().await.ok();
            self.link().await?.request(method, params, asker).await
        };
        let answer = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let text = format!("no answer to `{method}` within {:.1} s", limit.as_secs_f64());
            Err(Error::new(ErrorCode::McpServerUnavailable, text))
        });
        answer.map_err(|error| self.told(error))
    }

    /// The connection, once it is open.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut state = self.state.subscribe();
        // A connection that has just ended is a failure that is not counted yet.
        let before = {
            let now = state.borrow_and_update();
            let ends = matches!(&now.phase, Phase::Ready(link) if link.is_over());
            now.failures + u64::from(ends)
        };
        loop {
            let now = state.borrow_and_update().clone();
            match now.phase {
                Phase::Ready(link) if !link.is_over() => return Ok(link),
                Phase::Ended => return Err(gone("it was unregistered")),
                // A try may be due; this call does not wait for it.
                Phase::Quarantined => {
                    self.wanted.notify_one();
                    return Err(now.failure.unwrap_or_else(|| gone("it is left alone")));
                }
                _ if now.failures > before => {
                    return Err(now.failure.unwrap_or_else(|| gone("it did not start")));
                }
                Phase::Idle | Phase::Failed => self.wanted.notify_one(),
                _ => {}
            }
            if state.changed().await.is_err() {
                return Err(gone("the plugin has ended"));
            }
        }
    }

    /// Counts a use: while there is one, it is not idle.
    pub(in crate::mcp) fn used(self: &Arc<Self>) -> Use {
        self.uses.fetch_add(1, Ordering::AcqRel);
        Use(Arc::clone(self))
    }

    /// An error with the server's name and its last words.
    fn told(&self, error: Error) -> Error {
        if error.detail().contains_key("server_id") {
            return error;
        }
        let mut text = format!("MCP server `{}`: {}", self.id, error.message());
        let is_down =
            matches!(error.code(), ErrorCode::McpServerUnavailable | ErrorCode::McpTransportError)
                || (*error.code() == ErrorCode::McpProtocolError
                    && !error.detail().contains_key("rpc_code"));
        let tail = if is_down { self.tail.lines() } else { Vec::new() };
        if let Some(last) = tail.iter().rev().find(|line| !line.trim().is_empty()) {
            text = format!("{text}; stderr: {last}");
        }
        let mut told = Error::new(error.code().clone(), text).with_retryable(error.is_retryable());
        for (key, value) in error.detail() {
            told = told.with_detail(key, value.clone());
        }
        if !tail.is_empty() {
            let lines = tail.get(tail.len().saturating_sub(20)..).unwrap_or_default();
            told = told.with_detail("stderr", lines.to_vec());
        }
        told.with_detail("server_id", self.id.as_str())
    }

    /// Takes a list over; tells agents when it is another.
    fn learn(&self, listing: Listing) {
        let mut pins = self.store.pins();
        // Registered servers keep nothing, so their pins live with what is known of them.
        if self.is_registered
            && let Some(known) = self.known()
        {
            pins = known.judged.offered.iter().map(|it| (it.name.clone(), pin(it))).collect();
        }
        let before = pins.clone();
        let judged = judge(&listing, self.config.approve, &mut pins, true);
        for waiting in &judged.waiting {
            let tool = &waiting.tool;
            tracing::warn!(server = self.id, tool, found = waiting.found, "a definition waits");
        }
        if pins != before
            && let Err(error) = self.store.keep_pins(&pins)
        {
            tracing::warn!(server = self.id, %error, "approved definitions are not kept");
        }
        self.store.keep_listing(&listing);
        self.take(Known { listing, judged });
    }

    /// Looks at the approved definitions again.
    async fn judge_again(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let look = move || {
            let Some(known) = this.known() else { return };
            let listing = known.listing.clone();
            let judged = judge(&listing, this.config.approve, &mut this.store.pins(), false);
            if judged != known.judged {
                this.take(Known { listing, judged });
            }
        };
        // Files, so on a thread that may block. It fails when the host ends.
        tokio::task::spawn_blocking(look).await.ok();
    }

    fn take(&self, known: Known) {
        let known = Arc::new(known);
        let before = held(&self.known).replace(Arc::clone(&known));
        let is_same =
            before.is_some_and(|it| it.listing == known.listing && it.judged == known.judged);
        if !is_same {
            self.shared.host.contribution_changed();
        }
    }

    /// A line for operators, where something is not as it should be.
    pub(in crate::mcp) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let state = self.state.borrow().clone();
        if let Some(error) = &state.failure {
            notes.push(format!("{} ({})", error.message(), state.status().as_str()));
        }
        let known = self.known().unwrap_or_default();
        for waiting in &known.judged.waiting {
            notes.push(format!(
                "{0}: the definition of `{1}` waits: `a2e mcp approve {0}`",
                self.id, waiting.tool
            ));
        }
        notes
    }

    /// Where it stands.
    pub(in crate::mcp) fn info(&self) -> McpServerInfo {
        let state = self.state.borrow().clone();
        let known = self.known().unwrap_or_default();
        let Known { listing, judged } = &*known;
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let last_ping_ms = self.list_us.load(Ordering::Relaxed) as f64 / 1000.0;
        McpServerInfo {
            server_id: self.id.clone(),
            name: self.name().to_owned(),
            transport: self.config.transport().as_str().to_owned(),
            status: state.status(),
            mcp_version: listing.version.clone(),
            server_name: listing.server_name.clone(),
            server_version: listing.server_version.clone(),
            error: state.failure.as_ref().map(|it| it.message().to_owned()).unwrap_or_default(),
            tools_count: count(offered(self).len()),
            resources_count: count(listing.resources.len()),
            prompts_count: count(listing.prompts.len()),
            last_ping_ms,
            connected_at: state.since.as_secs_f64(),
            restarts: self.restarts.load(Ordering::Relaxed),
            quarantined: judged.waiting.iter().map(|it| it.tool.clone()).collect(),
            stray_lines: state.strays(),
            stderr: self.tail.lines(),
        }
    }

    /// Ends it for good, and waits until nothing of it is left.
    pub(in crate::mcp) async fn end(&self) {
        self.state.send_modify(|state| state.phase = Phase::Ended);
        self.wanted.notify_one();
        let child = held(&self.child).take();
        if let Some(child) = child {
            child.stop(start::GRACE).await;
        }
    }

    /// As [`end`](Self::end), where nobody waits: what runs is killed.
    pub(in crate::mcp) fn drop_child(&self) {
        self.state.send_modify(|state| state.phase = Phase::Ended);
        held(&self.child).take();
    }

    /// Has a resource watched for a session.
    pub(in crate::mcp) async fn subscribe(self: &Arc<Self>, uri: &str, call: &Call) -> Result<()> {
        let _use = self.used();
        let link = self.link().await.map_err(|error| self.told(error))?;
        let subscribed = self.subscribed.add(self, &link, uri, call.session()).await;
        subscribed.map_err(|error| self.told(error))
    }

    /// Has a resource watched for another plugin, until what this gives back is dropped.
    pub(in crate::mcp) async fn subscribe_other(
        self: &Arc<Self>,
        uri: &str,
        updates: Updates,
    ) -> Result<Listener> {
        let _use = self.used();
        let link = self.link().await.map_err(|error| self.told(error))?;
        let added = self.subscribed.add_other(self, &link, uri, updates).await;
        let number = added.map_err(|error| self.told(error))?;
        Ok(Listener { upstream: Arc::clone(self), number })
    }

    /// Forgets what was watched for a session.
    pub(in crate::mcp) fn session_ended(self: &Arc<Self>, session: &a2e_core::protocol::SessionId) {
        let uris = self.subscribed.session_ended(session);
        self.unwatch(uris);
    }

    /// Has a server of the older era tell of these no more.
    fn unwatch(self: &Arc<Self>, uris: Vec<String>) {
        let Phase::Ready(link) = self.state.borrow().phase.clone() else { return };
        if uris.is_empty() || link.is_over() || link.facts().is_modern {
            return;
        }
        let this = Arc::clone(self);
        self.shared.host.spawn(async move {
            let limit = this.config.start_timeout();
            for uri in uris {
                if let Err(error) = link.unsubscribe(&uri, limit).await {
                    tracing::debug!(server = this.id, uri, %error, "it goes on telling");
                }
                // Somebody may watch it again since, and was before this.
                if this.subscribed.is_watched(&uri) {
                    link.subscribe(&uri, limit).await.map(drop).ok();
                }
            }
        });
    }
}

/// Has a resource watched for another plugin.
pub(in crate::mcp) struct Listener {
    upstream: Arc<Upstream>,
    number: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let uris = self.upstream.subscribed.remove(self.number);
        self.upstream.unwatch(uris);
    }
}

/// A use of a server. What is idle is counted from the end of the last one.
pub(in crate::mcp) struct Use(Arc<Upstream>);

impl Drop for Use {
    fn drop(&mut self) {
        let now = self.0.shared.host.now().mono.as_micros();
        self.0.last_used.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
        self.0.uses.fetch_sub(1, Ordering::AcqRel);
    }
}
