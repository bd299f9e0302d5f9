//! A session: its identity, its requests in flight, its outbox, what plugins keep for it.
//!
//! Connections attach to it and leave it. One over stdio or a socket ends with its connection; one
//! that a front keeps goes on without, and numbers its lines.

mod answers;
mod asks;
mod handle;
mod in_flight;
mod kept_to;
mod life;
mod live;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;

use self::answers::Answers;
use self::asks::Asks;
use self::in_flight::InFlight;
use self::life::Life;
use super::asker::Budget;
use super::course::CancelReason;
use super::request::{Request, fingerprint};
use super::{EmitError, Services};
use crate::Time;
use crate::codec::encode_fields;
use crate::codec::envelope::write_message;
use crate::layers::{Place, discard};
use crate::out::Outbox;
use crate::protocol::approval::APPROVALS;
use crate::protocol::{CapabilityName, EARLY_EVENTS, SessionId};
use crate::sync::Mutex;
use crate::transport::{Identity, Peer, Right};

pub(crate) use answers::KeptAnswer;
pub use handle::{Hold, SessionHandle};
pub(crate) use life::{SessionPhase, drained, unless_draining};
pub(crate) use live::LiveSessions;

/// What becomes of a session when its connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDetach {
    /// It ends: its requests are cancelled, plugins let go of it.
    End,
    /// It goes on without a connection for this long: its requests run, its lines are numbered and
    /// kept for the next connection, within the bounds of `max_resume_bytes`.
    Keep(Duration),
}

pub(crate) struct Session {
    /// Tells it from every other session of the host, also from one of the same id.
    pub(crate) number: u64,
    id: SessionIds,
    pub(crate) peer: Peer,
    opener: Opener,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) services: Arc<Services>,
    pub(crate) in_flight: InFlight,
    pub(crate) life: Life,
    /// What the handshakes said.
    agent: Agent,
    pub(crate) asks: Asks,
    keeps: Keeps,
}

/// The opener as its front knows it, and the principal whose token the handshake had.
struct Opener {
    first: Standing,
    adopted: OnceLock<Standing>,
}

/// Whose a session is, and where its handlers run beyond the reader.
pub(crate) struct Standing {
    pub(crate) identity: Identity,
    pub(crate) place: Arc<Place>,
}

/// The id that it was opened with, and that of the session that it goes on with.
struct SessionIds {
    first: SessionId,
    resumed: OnceLock<SessionId>,
}

/// What the agent said of itself.
#[derive(Default)]
struct Agent {
    /// Set by the first handshake that gives one.
    name: OnceLock<Arc<str>>,
    /// The capabilities that its handshakes accepted.
    used: Mutex<Vec<CapabilityName>>,
    is_authenticated: AtomicBool,
    /// Whether it shook hands with the operator token.
    has_operator_token: AtomicBool,
    takes_early_events: AtomicBool,
    takes_approvals: AtomicBool,
}

/// What is kept of a session beside its requests.
struct Keeps {
    /// Data made by [`Call::state`](super::Call::state), by plugin instance and type.
    states: Mutex<HashMap<(usize, TypeId), PluginState>>,
    /// Only where requests may be sent again after their end.
    answers: Option<Answers>,
    /// The request whose handler runs on the reader now.
    inline: Mutex<Option<Arc<Request>>>,
    /// Of requests that plugins make in it by themselves.
    budget: Arc<Budget>,
}

pub(crate) type PluginState = Arc<dyn Any + Send + Sync>;

/// What a session is made of.
pub(crate) struct Opened {
    pub(crate) id: SessionId,
    pub(crate) peer: Peer,
    pub(crate) identity: Identity,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) place: Arc<Place>,
    pub(crate) on_detach: OnDetach,
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Session {
    pub(crate) fn new(services: &Arc<Services>, opened: Opened) -> Arc<Self> {
        let Opened { id, peer, mut identity, outbox, place, on_detach } = opened;
        // Where nobody is told apart from others, environments are everybody's.
        identity.rights.env_control |= services.config.server.principals.is_empty();
        let agent = Agent::default();
        let is_open = !services.config.needs_token() || identity.is_authenticated();
        agent.is_authenticated.store(is_open, Ordering::Release);
        Arc::new(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            id: SessionIds { first: id, resumed: OnceLock::new() },
            peer,
            opener: Opener { first: Standing { identity, place }, adopted: OnceLock::new() },
            outbox,
            services: Arc::clone(services),
            in_flight: InFlight::default(),
            life: Life::default(),
            agent,
            asks: Asks::default(),
            keeps: Keeps {
                states: Mutex::default(),
                answers: matches!(on_detach, OnDetach::Keep(_)).then(Answers::default),
                inline: Mutex::default(),
                budget: Arc::default(),
            },
        })
    }

    /// Its id; that of an earlier connection once it goes on with its session.
    pub(crate) fn id(&self) -> &SessionId {
        self.id.resumed.get().unwrap_or(&self.id.first)
    }

    /// It goes on with another session.
    pub(super) fn rename(&self, id: &SessionId) {
        // A connection resumes once, before anything else could have renamed it.
        let _first = self.id.resumed.set(id.clone());
    }

    fn standing(&self) -> &Standing {
        self.opener.adopted.get().unwrap_or(&self.opener.first)
    }

    /// Whose it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.standing().identity
    }

    /// Where its handlers run beyond the reader.
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.standing().place
    }

    /// Whether its front knew whose it is.
    pub(crate) fn is_known_to_front(&self) -> bool {
        self.opener.first.identity.is_authenticated()
    }

    /// It is another's from now on.
    fn adopt(&self, standing: Standing) {
        // Handshakes are taken one after another, and no second one gets as far.
        let _first = self.opener.adopted.set(standing);
    }

    /// Of requests that plugins make in it by themselves.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.keeps.budget
    }

    pub(crate) fn now(&self) -> Time {
        self.services.clock.now()
    }

    // --- the agent

    /// Whether it may be served beyond the handshake.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.agent.is_authenticated.load(Ordering::Acquire)
    }

    /// A good handshake came.
    pub(crate) fn authenticate(&self, is_operator: bool, name: &str) {
        self.agent.is_authenticated.store(true, Ordering::Release);
        self.agent.has_operator_token.store(is_operator, Ordering::Release);
        if !name.is_empty() {
            // The first name stays: audit records of one session name one agent.
            self.agent.name.get_or_init(|| name.into());
        }
    }

    /// What its last handshake said of its client.
    pub(crate) fn note_client(&self, features: &[String]) {
        let has = |feature: &str| features.iter().any(|it| it == feature);
        self.agent.takes_early_events.store(has(EARLY_EVENTS), Ordering::Release);
        self.agent.takes_approvals.store(has(APPROVALS), Ordering::Release);
    }

    /// Whether somebody is there who answers when a call waits for a person.
    pub(in crate::request) fn takes_approvals(&self) -> bool {
        self.agent.takes_approvals.load(Ordering::Acquire)
    }

    pub(super) fn takes_early_events(&self) -> bool {
        self.agent.takes_early_events.load(Ordering::Acquire)
    }

    /// Whether its peer has this right, by its identity or by the operator token.
    pub(crate) fn may(&self, right: Right) -> bool {
        self.identity().may(right) || self.agent.has_operator_token.load(Ordering::Acquire)
    }

    /// The agent's name; empty before a handshake that gives one.
    pub(crate) fn agent_id(&self) -> Arc<str> {
        self.agent.name.get().cloned().unwrap_or_default()
    }

    pub(crate) fn agent_id_ref(&self) -> Option<&str> {
        self.agent.name.get().map(AsRef::as_ref)
    }

    /// Its principal, where it was authenticated.
    pub(crate) fn principal(&self) -> Option<&str> {
        Some(self.identity().principal.as_str()).filter(|principal| !principal.is_empty())
    }

    /// Whether it asked for this capability and got it.
    pub(crate) fn uses(&self, capability: &CapabilityName) -> bool {
        self.life.phase() == SessionPhase::Ready && self.agent.used.lock().contains(capability)
    }

    pub(crate) fn note_used(&self, capabilities: Vec<CapabilityName>) {
        *self.agent.used.lock() = capabilities;
    }

    // --- messages that answer nothing

    /// Sends a message that answers no request.
    pub(crate) fn push<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        self.queue(wire_type, body, req_id)?;
        self.outbox.flush();
        Ok(())
    }

    /// As [`push`](Self::push), but left for the next flush.
    pub(crate) fn queue<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        req_id: Option<&str>,
    ) -> Result<(), EmitError> {
        let mut fields = Vec::with_capacity(128);
        encode_fields(body, &mut fields).map_err(|error| EmitError::Encode(error.to_string()))?;
        self.queue_fields(wire_type, &fields, req_id);
        Ok(())
    }

    /// Queues a message whose fields are encoded.
    pub(crate) fn queue_fields(&self, wire_type: &str, fields: &[u8], req_id: Option<&str>) {
        let now = self.now();
        self.outbox.append(|out| {
            write_message(out, &self.services.ids.wire, now, wire_type, req_id, fields);
        });
    }

    // --- requests

    pub(crate) fn has_too_many_bytes(&self) -> bool {
        self.in_flight.bytes() >= self.services.config.limits.max_in_flight_bytes
    }

    /// Ends every request in flight.
    pub(crate) fn end_all(&self, reason: CancelReason) {
        for request in self.in_flight.all() {
            request.end_early(reason);
        }
    }

    /// The request whose handler runs on the reader now.
    pub(crate) fn inline(&self) -> Option<Arc<Request>> {
        self.keeps.inline.lock().clone()
    }

    /// Says which handler's request runs on the reader. Said before its plugin is looked at: a reload
    /// pauses the plugin first and looks here afterwards.
    pub(crate) fn set_inline(&self, request: Option<&Arc<Request>>) {
        *self.keeps.inline.lock() = request.cloned();
    }

    /// Has the watchdog look at it until it has no work.
    pub(crate) fn be_watched(self: &Arc<Self>) {
        if !self.life.is_watched.swap(true, Ordering::SeqCst) {
            self.services.watch.session(self);
        }
    }

    /// Whether the watchdog must look again; else the session reports itself when it has work.
    pub(crate) fn stays_watched(&self) -> bool {
        let is_busy = || !self.in_flight.is_empty() || self.outbox.is_held();
        if is_busy() {
            return true;
        }
        self.life.is_watched.store(false, Ordering::SeqCst);
        // Work that came in between saw the flag still set and did not report itself.
        is_busy() && !self.life.is_watched.swap(true, Ordering::SeqCst)
    }

    // --- what is kept

    /// Keeps an answer for a repeat of its request, where that may come.
    pub(super) fn keep_answer(&self, request: &Request, line: &[u8], now: Time) {
        if let Some(answers) = &self.keeps.answers {
            answers.keep(request, line, now);
        }
    }

    /// What is known of an ended request under this id.
    pub(crate) fn kept_answer(&self, id: &str, line: &str, now: Time) -> Option<KeptAnswer> {
        let answers = self.keeps.answers.as_ref()?;
        answers.find(id, fingerprint(line), line.len(), now)
    }

    /// Whether answers are kept, so that a line's mark is needed also on the reader.
    pub(crate) fn keeps_answers(&self) -> bool {
        self.keeps.answers.is_some()
    }

    /// A plugin's own data for this session, made on first use.
    pub(crate) fn plugin_state<T: Any + Send + Sync>(
        &self,
        plugin: usize,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let key = (plugin, TypeId::of::<T>());
        let known = || {
            let states = self.keeps.states.lock();
            states.get(&key).cloned().and_then(|state| state.downcast::<T>().ok())
        };
        if let Some(state) = known() {
            return state;
        }
        // Made without the lock: it is the plugin's code. The second maker takes the first's.
        let fresh = Arc::new(make());
        let mut states = self.keeps.states.lock();
        let state = states.entry(key).or_insert_with(|| Arc::clone(&fresh) as PluginState);
        Arc::clone(state).downcast::<T>().unwrap_or(fresh)
    }

    /// Takes out the data of one plugin instance.
    pub(crate) fn take_states_of(&self, plugin: usize) -> Vec<PluginState> {
        let mut states = self.keeps.states.lock();
        states.extract_if(|key, _| key.0 == plugin).map(|(_, state)| state).collect()
    }

    /// Takes out the data of all plugins.
    pub(crate) fn take_states(&self) -> Vec<PluginState> {
        let mut states = self.keeps.states.lock();
        states.drain().map(|(_, state)| state).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Empty unless a handler outlived the session's end. The thread that drops it is no plugin's.
        for state in self.take_states() {
            discard("state of a session", state);
        }
    }
}

show!(Session, id: |it| *it.id(), peer: |it| it.peer);
