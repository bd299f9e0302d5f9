//! The resources of a server that sessions are told of when they change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::request::SessionHandle;
use a2e_core::{Error, Result};
use serde_json::Value;

use super::Upstream;
use crate::mcp::contract::Updates;
use crate::mcp::link::{Link, Watched};
use crate::mcp::protocol::ServerPush;

/// Most resources of one server that are watched.
const MAX_RESOURCES: usize = 1024;

/// Most that are told of one resource.
const MAX_LISTENERS: usize = 1024;

/// Resources by URI.
#[derive(Default)]
pub(super) struct Subscriptions(
    /// Held for a look-up, a change, or while a push is queued.
    Mutex<Table>,
);

#[derive(Default)]
struct Table {
    next: u64,
    resources: HashMap<String, Resource>,
}

#[derive(Default)]
struct Resource {
    sessions: HashMap<SessionId, SessionHandle>,
    /// Of other plugins, by number.
    others: HashMap<u64, Updates>,
    /// Keeps the server telling, where that is a stream of its own.
    watched: Option<Watched>,
}

impl Resource {
    fn is_unwatched(&self) -> bool {
        self.sessions.is_empty() && self.others.is_empty()
    }
}

impl Subscriptions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !self.table().resources.is_empty()
    }

    /// Watches a resource for a session.
    pub(super) async fn add(
        &self,
        upstream: &Upstream,
        link: &Arc<Link>,
        uri: &str,
        session: SessionHandle,
    ) -> Result<()> {
        self.watch(upstream, link, uri).await?;
        let mut table = self.table();
        let resource = table.resources.entry(uri.to_owned()).or_default();
        if resource.sessions.len() >= MAX_LISTENERS {
            return Err(Error::new(ErrorCode::Overloaded, "too many sessions watch it"));
        }
        resource.sessions.insert(session.id().clone(), session);
        Ok(())
    }

    /// Watches a resource for another plugin; its number, for [`remove`](Self::remove).
    pub(super) async fn add_other(
        &self,
        upstream: &Upstream,
        link: &Arc<Link>,
        uri: &str,
        updates: Updates,
    ) -> Result<u64> {
        self.watch(upstream, link, uri).await?;
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        let resource = table.resources.entry(uri.to_owned()).or_default();
        if resource.others.len() >= MAX_LISTENERS {
            return Err(Error::new(ErrorCode::Overloaded, "too many watch it"));
        }
        resource.others.insert(number, updates);
        Ok(number)
    }

    /// Has the server tell of a resource, where it does not yet.
    async fn watch(&self, upstream: &Upstream, link: &Arc<Link>, uri: &str) -> Result<()> {
        {
            let table = self.table();
            if table.resources.contains_key(uri) {
                return Ok(());
            }
            if table.resources.len() >= MAX_RESOURCES {
                let text = format!("{MAX_RESOURCES} resources are watched already");
                return Err(Error::new(ErrorCode::Overloaded, text));
            }
        }
        if !link.facts().can("resources", "subscribe") {
            let text = "it tells of no changes of resources";
            return Err(Error::new(ErrorCode::McpCapabilityMissing, text));
        }
        let watched = link.subscribe(uri, upstream.config.start_timeout()).await?;
        self.table().resources.entry(uri.to_owned()).or_default().watched = watched;
        Ok(())
    }

    /// After a new start: has the server tell of all of them again. One that it refuses is forgotten; one
    /// that it did not come to is asked for at the next start.
    pub(super) async fn renew(&self, upstream: &Upstream, link: &Arc<Link>) {
        let uris: Vec<String> = self.table().resources.keys().cloned().collect();
        for uri in uris {
            if link.is_over() {
                return;
            }
            match link.subscribe(&uri, upstream.config.start_timeout()).await {
                Ok(watched) => {
                    if let Some(resource) = self.table().resources.get_mut(&uri) {
                        resource.watched = watched;
                    }
                }
                Err(error) => {
                    tracing::warn!(server = upstream.id, uri, %error, "a resource is not watched");
                    if error.detail().contains_key("rpc_code") {
                        self.table().resources.remove(&uri);
                    }
                }
            }
        }
    }

    /// A resource has changed.
    pub(super) fn tell(&self, push: &ServerPush) {
        let uri = push.params.get("uri").and_then(Value::as_str).unwrap_or_default();
        let others: Vec<Updates> = {
            let table = self.table();
            let Some(resource) = table.resources.get(uri) else { return };
            for session in resource.sessions.values() {
                // One that is too slow asks again anyway when it reads.
                session.push(push, None).ok();
            }
            resource.others.values().cloned().collect()
        };
        for updates in others {
            updates();
        }
    }

    /// Whether anybody watches a resource.
    pub(super) fn is_watched(&self, uri: &str) -> bool {
        self.table().resources.contains_key(uri)
    }

    /// The resources that nobody watches any more.
    pub(super) fn session_ended(&self, session: &SessionId) -> Vec<String> {
        self.forget(|resource| {
            resource.sessions.remove(session);
        })
    }

    /// The resources that nobody watches any more.
    pub(super) fn remove(&self, number: u64) -> Vec<String> {
        self.forget(|resource| {
            resource.others.remove(&number);
        })
    }

    fn forget(&self, from: impl Fn(&mut Resource)) -> Vec<String> {
        let (mut left, mut uris) = (Vec::new(), Vec::new());
        let mut table = self.table();
        table.resources.retain(|uri, resource| {
            from(resource);
            let is_left = resource.is_unwatched();
            if is_left {
                left.push(resource.watched.take());
                uris.push(uri.clone());
            }
            !is_left
        });
        drop(table);
        // What tells a newer server that it need not tell any more runs when these are dropped.
        drop(left);
        uris
    }
}
