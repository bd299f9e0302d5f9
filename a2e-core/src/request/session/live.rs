//! The sessions of a host: how many there may be, by host, tenant and principal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::{OnDetach, Opened, Session, Standing};
use crate::config::HostConfig;
use crate::layers::Place;
use crate::out::{Bounds, OnLoss, Outbox};
use crate::protocol::{ErrorCode, SessionId};
use crate::request::{Approvals, Services};
use crate::transport::{ByteSink, Identity, Peer};
use crate::{Error, Result};

/// Every session that has not ended.
pub(crate) struct LiveSessions {
    table: DashMap<SessionId, Arc<Session>>,
    /// Sessions of each authenticated principal.
    principals: DashMap<String, usize>,
    /// Where the handlers of each tenant run; one entry for each tenant that was ever seen and is
    /// configured, so bounded by the configuration.
    tenants: DashMap<String, Arc<Place>>,
    place: Arc<Place>,
    /// Requests that wait until one of them decides.
    pub(crate) approvals: Approvals,
    is_draining: AtomicBool,
    /// Bytes that the process uses, as last looked at; 0 without a budget.
    memory: AtomicUsize,
    config: Arc<HostConfig>,
}

/// Of the memory budget: beyond this share requests are refused, beyond that one connections (R23).
const REQUESTS_AT: usize = 92;
const CONNECTIONS_AT: usize = 95;

impl LiveSessions {
    pub(crate) fn new(config: &Arc<HostConfig>) -> Self {
        Self {
            table: DashMap::new(),
            principals: DashMap::new(),
            tenants: DashMap::new(),
            place: Place::new(config.limits.max_in_flight_host, None),
            approvals: Approvals::default(),
            is_draining: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
            config: Arc::clone(config),
        }
    }

    /// Opens a session.
    /// Errors: `shutting_down` when the host is ending, `overloaded` when it has as many sessions as it may,
    /// in all or of this principal, or too little memory.
    pub(crate) fn open(
        &self,
        services: &Arc<Services>,
        peer: Peer,
        identity: Identity,
        sink: Option<Arc<dyn ByteSink>>,
        on_detach: OnDetach,
        stall: Duration,
    ) -> Result<Arc<Session>> {
        let limits = &services.config.limits;
        let overloaded = |text: String| Err(Error::new(ErrorCode::Overloaded, text));
        if self.is_draining() {
            return Err(Error::new(ErrorCode::ShuttingDown, "the host is ending"));
        }
        if self.table.len() >= limits.max_sessions {
            return overloaded(format!("the host has {} sessions already", limits.max_sessions));
        }
        if self.is_over(CONNECTIONS_AT) {
            return overloaded("the host has too little memory for another session".to_owned());
        }
        let place = Place::new(limits.max_in_flight, Some(self.place_of(&identity)));
        let id = SessionId::random()?;
        let most = limits.max_sessions_per_principal;
        if !self.count_in(&identity.principal, most) {
            let name = &identity.principal;
            return overloaded(format!("`{name}` has {most} sessions already"));
        }
        let bounds = Bounds {
            bytes: limits.max_outbound_bytes,
            stall: (!peer.is_stdio).then_some(stall),
            on_loss: match on_detach {
                OnDetach::End => OnLoss::Close,
                OnDetach::Keep(_) => OnLoss::Detach,
            },
        };
        let runtime = services.runtime.clone();
        let outbox = Outbox::new(sink, Arc::clone(services.audit.log()), runtime, bounds);
        let opened = Opened { id: id.clone(), peer, identity, outbox, place, on_detach };
        let session = Session::new(services, opened);
        self.table.insert(id, Arc::clone(&session));
        if self.is_draining() {
            // The drain may have looked at the sessions just before.
            session.drain(services.clock.now().mono);
        }
        Ok(session)
    }

    /// A session that nobody had authenticated is this principal's from now on. Nothing was served in it
    /// before.
    /// Errors: `overloaded` when the principal has as many sessions as it may.
    pub(crate) fn adopt(&self, session: &Session, identity: Identity) -> Result<()> {
        let limits = &self.config.limits;
        let most = limits.max_sessions_per_principal;
        if !self.count_in(&identity.principal, most) {
            let text = format!("`{}` has {most} sessions already", identity.principal);
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        let place = Place::new(limits.max_in_flight, Some(self.place_of(&identity)));
        session.adopt(Standing { identity, place });
        Ok(())
    }

    /// Where the handlers of an identity's tenant run.
    pub(crate) fn place_of(&self, identity: &Identity) -> Arc<Place> {
        let limit = |tenant: &str| self.config.tenants.get(tenant)?.max_in_flight;
        let known = identity.tenant.as_deref().and_then(|name| Some((name, limit(name)?)));
        let Some((name, limit)) = known else { return Arc::clone(&self.place) };
        let entry = self.tenants.entry(name.to_owned());
        let place = entry.or_insert_with(|| Place::new(limit, Some(Arc::clone(&self.place))));
        Arc::clone(place.value())
    }

    /// Counts a session of a principal in; false when it has too many. Nobody in particular is not
    /// counted.
    fn count_in(&self, principal: &str, most: usize) -> bool {
        if principal.is_empty() {
            return true;
        }
        let mut count = self.principals.entry(principal.to_owned()).or_insert(0);
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    pub(crate) fn remove(&self, session: &Session) {
        let is_it = |_: &SessionId, it: &Arc<Session>| it.number == session.number;
        if self.table.remove_if(session.id(), is_it).is_some() {
            let principal = &session.identity().principal;
            if let Some(mut count) = self.principals.get_mut(principal) {
                *count = count.saturating_sub(1);
            }
            self.principals.remove_if(principal, |_, count| *count == 0);
        }
    }

    /// The connection of `session` goes on with an earlier session, under its id.
    pub(crate) fn rename(&self, session: &Arc<Session>, id: &SessionId) {
        let first = session.id().clone();
        self.table.insert(id.clone(), Arc::clone(session));
        session.rename(id);
        self.table.remove(&first);
        if self.is_draining() {
            // The drain may have looked at the sessions in between.
            session.drain(session.now().mono);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.table.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Takes no new sessions, and has those that there are end by then (monotonic).
    pub(crate) fn drain(&self, until: Duration) {
        self.is_draining.store(true, Ordering::SeqCst);
        for session in self.all() {
            session.drain(until);
        }
    }

    /// Notes how many bytes the process uses.
    pub(crate) fn note_memory(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the process uses, as last looked at.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    fn is_over(&self, percent: usize) -> bool {
        let budget = self.config.limits.memory_budget_bytes;
        budget.is_some_and(|budget| self.memory() >= budget / 100 * percent)
    }

    /// Refuses requests while memory is short.
    /// Errors: `overloaded` beyond 92 % of the budget.
    pub(crate) fn has_memory(&self) -> Result<()> {
        if self.is_over(REQUESTS_AT) {
            let text = "the host has too little memory for another request";
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        Ok(())
    }
}

show!(LiveSessions, count: |it| it.count());
