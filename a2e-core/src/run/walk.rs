//! The way of one request over the handlers of its route.

use std::sync::Arc;

use super::contain::{contain, said};
use super::intercept;
use super::runners::{Parcel, Runners};
use super::work::{HandlerRun, Task};
use crate::codec::{Body, Incoming};
use crate::counters::Count;
use crate::layers::{Entry, NEVER, Probe, Run, micros};
use crate::plugin::{Door, Ended, Handler};
use crate::request::{Call, Now, Request, Said, Verdict};
use crate::route::{Chain, Endpoint, Found, Route, RouteHandler};
use crate::{Error, Result};

/// A request on its way. Whatever asks the next handler owns it: the reader, a runner's thread, or a
/// queue.
pub(crate) struct Walk {
    pub(super) runners: Arc<Runners>,
    pub(super) request: Arc<Request>,
    pub(super) route: Arc<Route>,
    chain: Chain,
    /// The line, once it has left the reader or an interceptor has changed it.
    pub(super) body: Option<Body>,
    /// Whether this thread is the session's reader.
    pub(super) is_on_reader: bool,
    /// Why a person has to approve it, where one has to.
    pub(super) rules: Vec<String>,
}

/// What came of asking one handler: it said something, or the walk goes on elsewhere.
pub(super) type NextSaid = Option<(Walk, Said, Arc<Endpoint>)>;

impl Walk {
    /// A request of a client, on the reader of its session.
    pub(crate) fn on_reader(
        runners: &Arc<Runners>,
        request: Arc<Request>,
        route: &Arc<Route>,
    ) -> Self {
        let (runners, route) = (Arc::clone(runners), Arc::clone(route));
        let (chain, rules) = (Chain::default(), Vec::new());
        Self { runners, request, route, chain, body: None, is_on_reader: true, rules }
    }

    /// A request of another handler, on any thread.
    pub(crate) fn elsewhere(
        runners: &Arc<Runners>,
        request: Arc<Request>,
        route: Arc<Route>,
        body: Body,
    ) -> Self {
        let runners = Arc::clone(runners);
        let body = Some(body);
        let (chain, rules) = (Chain::default(), Vec::new());
        Self { runners, request, route, chain, body, is_on_reader: false, rules }
    }

    /// Asks the interceptors, then the handlers, until the request has ended or goes on elsewhere.
    /// `line` is the line on the reader.
    pub(crate) fn begin(self, line: Option<Incoming<'_>>) {
        if self.route.interceptors.is_empty() {
            self.drive(line);
        } else {
            intercept::begin(self, line);
        }
    }

    /// Asks the handlers from the present one on.
    pub(super) fn drive(mut self, line: Option<Incoming<'_>>) {
        while let Some(entry) = self.route.handlers.get(self.chain.step).cloned() {
            if self.request.is_cancelled() {
                return;
            }
            let Some((walk, said, endpoint)) = self.ask(&entry, line) else { return };
            let Some(walk) = walk.absorb(said, &endpoint) else { return };
            self = walk;
        }
        self.conclude();
    }

    /// Asks one handler, through the layers.
    fn ask(self, entry: &RouteHandler, line: Option<Incoming<'_>>) -> NextSaid {
        let services = &self.runners.services;
        // Admission: a plugin that fails, is replaced or says that it is down takes no calls.
        let (endpoint, admitted) = entry.endpoint.entry(&*services.clock);
        let (probe, has_to_wait) = match admitted {
            Entry::Go(probe) => (probe, false),
            Entry::Wait | Entry::Moved => (None, true),
            Entry::Refused(error) => return Some((self, Said::broken(error), endpoint)),
        };
        // Route: the handler, in the session's own instance where it has one.
        let handler = match self.handler(entry, &endpoint) {
            Ok(Found::Handler(handler)) => handler,
            Ok(Found::Starting) => return self.wait_for_instance(endpoint, line),
            Err(error) => return Some((self, Said::broken(error), endpoint)),
        };
        endpoint.label.stats.calls.add();
        // Runner: short work runs here, contained and under the deadline; all else takes a permit.
        if handler.run == Run::Inline && self.is_on_reader && !has_to_wait {
            return self.run_inline(&handler, endpoint, probe, line);
        }
        self.leave(Task::Handler(handler), endpoint, probe, line)
    }

    fn handler(&self, entry: &RouteHandler, endpoint: &Arc<Endpoint>) -> Result<Found> {
        if Arc::ptr_eq(endpoint, &entry.endpoint) && endpoint.instances.is_none() {
            return Ok(Found::Handler(Arc::clone(&entry.handler)));
        }
        endpoint.find(&self.request.spec.wire_type, &self.request.session)
    }

    /// Runs a handler on the reader. A route with this one handler is answered without a detour.
    fn run_inline(
        self,
        handler: &Handler,
        endpoint: Arc<Endpoint>,
        probe: Option<Probe>,
        line: Option<Incoming<'_>>,
    ) -> NextSaid {
        let incoming = line.or_else(|| self.body.as_ref().map(Body::as_incoming));
        let (Some(Door::Sync(door)), Some(incoming)) = (&handler.door, incoming) else {
            let error = Error::internal("a handler without its line");
            return Some((self, Said::broken(error), endpoint));
        };
        // The acceptance is the start: nothing lies between them on the reader.
        let started_us = self.request.accepted.mono_us();
        let label = &endpoint.label;
        let until_us = until_us(&endpoint, started_us);
        let now = Now { label: Some(Arc::clone(label)), until_us, probe, ..Now::default() };
        let run = self.request.course.begin(now, started_us)?;
        let call = Call(Arc::clone(&self.request));
        let mut out = Vec::with_capacity(256);
        let span = self.request.run_span(label);
        let result = contain(&self.runners.services, label, || {
            span.in_scope(|| door(incoming, &call, &mut out))
        });
        drop(span);
        if self.request.said(run).is_err() {
            self.runners.services.counters.add(Count::LateAnswer);
            return None;
        }
        match result {
            Ok(Ok(Ended::Reply(wire_type))) if self.route.handlers.len() == 1 => {
                let by = Some(Arc::clone(label));
                self.end(&Verdict::Reply { wire_type, fields: out, by });
                None
            }
            Ok(Ok(Ended::Later(work))) => self.leave(Task::Later(work), endpoint, None, line),
            Ok(result) => Some((self, said(result, out), endpoint)),
            Err(broken) => Some((self, broken, endpoint)),
        }
    }

    /// Takes the request off the reader: lists it, so that it can be cancelled and times out, and
    /// hands its work to the plugin's gate.
    pub(super) fn leave(
        mut self,
        task: Task,
        endpoint: Arc<Endpoint>,
        probe: Option<Probe>,
        line: Option<Incoming<'_>>,
    ) -> NextSaid {
        let has_next = self.chain.step.saturating_add(1) < self.route.handlers.len();
        self.leave_reader(line, has_next || !matches!(task, Task::Later(_)));
        let services = Arc::clone(&self.runners.services);
        let work = HandlerRun::new(self, task, Arc::clone(&endpoint), probe);
        let walk = work.walk();
        match endpoint.gate.submit(Box::new(work), endpoint.label.name.as_str()) {
            Ok(()) => None,
            // Its queue is full or it is quarantined: the next plugin may do better.
            Err(error) => {
                if *error.code() == crate::protocol::ErrorCode::Overloaded {
                    services.counters.add(Count::Overloaded);
                }
                Some((walk.take()?, Said::broken(error), endpoint))
            }
        }
    }

    pub(super) fn leave_reader(&mut self, line: Option<Incoming<'_>>, needs_body: bool) {
        if needs_body && self.body.is_none() {
            self.body = line.map(Incoming::to_body);
        }
        if self.is_on_reader {
            if let Some(line) = line {
                self.request.note_line(line.text());
            }
            self.request.list();
            self.is_on_reader = false;
        }
    }

    /// Goes on when this session's own instance has started; the reader does not wait for it.
    fn wait_for_instance(
        mut self,
        endpoint: Arc<Endpoint>,
        line: Option<Incoming<'_>>,
    ) -> NextSaid {
        self.leave_reader(line, true);
        let session = Arc::clone(&self.request.session);
        let parked = Parcel::new(self);
        let again = parked.clone();
        let ready = Box::new(move || {
            if let Some(walk) = again.take() {
                walk.drive(None);
            }
        });
        let waits = match &endpoint.instances {
            Some(instances) => instances.when_started(&session, ready),
            None => Err(Error::internal("an instance of no session")),
        };
        let error = waits.err()?;
        Some((parked.take()?, Said::broken(error), endpoint))
    }

    /// Folds what a handler said; `None` when the request has ended.
    fn absorb(mut self, said: Said, endpoint: &Arc<Endpoint>) -> Option<Self> {
        let (fold, by) = (self.route.spec.fold, Some(Arc::clone(&endpoint.label)));
        let is_decided = self.chain.absorb(fold, said, by);
        if self.chain.superseded > 0 {
            self.runners.services.counters.add(Count::Superseded);
            self.chain.superseded = 0;
        }
        if !is_decided && self.chain.step < self.route.handlers.len() {
            return Some(self);
        }
        self.conclude();
        None
    }

    /// A handler that ran elsewhere has said something: folds it and asks the next.
    pub(super) fn resume(self, said: Said, endpoint: &Arc<Endpoint>) {
        if let Some(walk) = self.absorb(said, endpoint) {
            walk.drive(None);
        }
    }

    /// Every handler was asked that is to be.
    fn conclude(mut self) {
        let verdict = self.chain.conclude(self.route.spec.fold, self.route.spec.is_one_way);
        self.end(&verdict);
    }

    /// Ends the request. A session whose calls end on its reader is then held back until the audit has
    /// room: faster than the disk takes records, it would lose them.
    fn end(&self, verdict: &Verdict) {
        self.request.end(verdict);
        if self.is_on_reader {
            self.runners.services.audit.wait_for_room();
        }
    }
}

/// When a run that begins now is given up by the plugin's own deadline.
pub(super) fn until_us(endpoint: &Endpoint, now_us: u64) -> u64 {
    endpoint.deadline.map_or(NEVER, |limit| now_us.saturating_add(micros(limit)))
}
