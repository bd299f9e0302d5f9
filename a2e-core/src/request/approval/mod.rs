//! Requests that wait for a person: bounded in number and time, each answered once. While one waits it
//! holds no permit, and its deadline stands still.

mod approver;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::{Request, Services, Session};
use crate::codec::{Body, RawJson};
use crate::counters::Count;
use crate::protocol::approval::{ApprovalAsk, ApprovalOver};
use crate::protocol::host::ApprovalStatus;
use crate::protocol::{ErrorCode, Message, SessionId};
use crate::sync::Mutex;
use crate::{Error, Result, Time};

/// One session may fill a quarter of the table.
const SHARE: usize = 4;

/// What a request goes on with: nothing more to say, or why it ends.
pub(crate) type GoOn = Box<dyn FnOnce(Result<()>) + Send>;

/// The requests that wait.
#[derive(Default)]
pub(crate) struct Approvals {
    /// By their ids, which are random. Guarded for a look-up or a change.
    waiting: Mutex<BTreeMap<String, Waiting>>,
}

struct Waiting {
    request: Arc<Request>,
    ask: ApprovalAsk,
    since: Time,
    go_on: GoOn,
    /// Of the task that ends the wait.
    timer: AbortHandle,
}

impl Request {
    /// Has the request wait until somebody decides. Its message is `body` from now on.
    ///
    /// # Errors
    /// `approval_unavailable` when nobody is there to ask, `overloaded` when too many wait already; then
    /// nothing has changed.
    pub(crate) fn wait_for_approval(
        self: &Arc<Self>,
        body: &Body,
        rules: Vec<String>,
        go_on: GoOn,
    ) -> Result<()> {
        let services = &self.session.services;
        let (approvals, limit) = (&services.live.approvals, services.config.limits.approval_wait);
        self.note_subject("approval_rule", || rules.join("; "));
        let approvers = self.session.approvers();
        if approvers.is_empty() {
            return Err(self.nobody(&rules, "nobody is there to ask"));
        }
        let ask = self.ask(body, rules, limit)?;
        let (id, rules) = (ask.approval_id.clone(), ask.rules.clone());
        let told = ask.clone();
        {
            let mut waiting = approvals.waiting.lock();
            let most = services.config.limits.max_approvals;
            let own =
                waiting.values().filter(|it| it.request.session.number == self.session.number);
            if waiting.len() >= most || own.count() >= most.div_ceil(SHARE) {
                services.counters.add(Count::Overloaded);
                let text = "too many calls wait for an approval already";
                return Err(Error::new(ErrorCode::Overloaded, text));
            }
            let (request, since) = (Arc::clone(self), services.clock.now());
            let timer = expire_after(services, &id, limit);
            waiting.insert(id.clone(), Waiting { request, ask, since, go_on, timer });
        }
        services.counters.add(Count::ApprovalAsked);
        self.stand_still(limit);
        let (weak, key) = (Arc::downgrade(services), id.clone());
        self.after_answer(Box::new(move |_| {
            // Whatever ended it: nobody is to be asked any more.
            if let Some(services) = weak.upgrade() {
                services.end_wait(&key, "gone", "");
            }
        }));
        let taken = approvers.iter().filter(|it| it.is_told(ApprovalAsk::TYPE, &told)).count();
        if taken == 0 && services.end_wait(&id, "gone", "").is_some() {
            return Err(self.nobody(&rules, "nobody who could be asked reads"));
        }
        Ok(())
    }

    fn nobody(&self, rules: &[String], why: &str) -> Error {
        self.session.services.counters.add(Count::ApprovalUnavailable);
        self.note_subject("approval", || "unavailable".to_owned());
        let text = format!("this call needs an approval, and {why}");
        Error::new(ErrorCode::ApprovalUnavailable, text).with_detail("rules", rules)
    }

    fn ask(&self, body: &Body, rules: Vec<String>, limit: Duration) -> Result<ApprovalAsk> {
        let session = &self.session;
        let request = RawJson::parse(body.text().to_owned())
            .map_err(|error| Error::internal(error.to_string()))?;
        let mut digest = blake3::Hasher::new();
        let principal = session.principal().unwrap_or_default();
        let parts = ["a2e approval", principal, session.id().as_str(), body.text()];
        for part in parts.into_iter().chain(rules.iter().map(String::as_str)) {
            digest.update(&part.len().to_le_bytes());
            digest.update(part.as_bytes());
        }
        Ok(ApprovalAsk {
            // As hard to guess as the id of a session.
            approval_id: SessionId::random()?.to_string(),
            digest: digest.finalize().to_hex().to_string(),
            rules,
            principal: principal.to_owned(),
            agent_id: session.agent_id().to_string(),
            request_id: self.id.to_string(),
            message_type: self.spec.wire_type.to_string(),
            request,
            left_s: limit.as_secs_f64(),
        })
    }
}

/// Ends the wait when nobody answers.
fn expire_after(services: &Arc<Services>, id: &str, limit: Duration) -> AbortHandle {
    let (weak, id): (Weak<Services>, _) = (Arc::downgrade(services), id.to_owned());
    let timer = services.runtime.spawn(async move {
        tokio::time::sleep(limit).await;
        let Some(services) = weak.upgrade() else { return };
        let Some(it) = services.end_wait(&id, "expired", "") else { return };
        services.counters.add(Count::ApprovalExpired);
        it.request.note_subject("approval", || "expired".to_owned());
        let text = format!("nobody approved this call within {} s", limit.as_secs_f64());
        let error = Error::new(ErrorCode::ApprovalUnavailable, text);
        (it.go_on)(Err(error.with_detail("rules", it.ask.rules)));
    });
    timer.abort_handle()
}

impl Services {
    /// Takes a request out of the table, once, and tells who was asked.
    fn end_wait(&self, id: &str, outcome: &str, by: &str) -> Option<Waiting> {
        let it = self.live.approvals.waiting.lock().remove(id)?;
        it.timer.abort();
        let waited = self.clock.now().since(it.since);
        it.request.go_on_counting(self.config.limits.approval_wait, waited);
        let (approval_id, outcome, by) = (id.to_owned(), outcome.to_owned(), by.to_owned());
        let over = ApprovalOver { approval_id, outcome, by };
        for session in it.request.session.approvers() {
            session.is_told(ApprovalOver::TYPE, &over);
        }
        Some(it)
    }
}

impl Approvals {
    /// What waits, for status.
    pub(crate) fn status(&self, now: Time) -> Vec<ApprovalStatus> {
        let waiting = self.waiting.lock();
        let look = |it: &Waiting| ApprovalStatus {
            approval_id: it.ask.approval_id.clone(),
            rules: it.ask.rules.clone(),
            principal: it.ask.principal.clone(),
            agent_id: it.ask.agent_id.clone(),
            session_id: it.request.session.id().to_string(),
            req_id: it.ask.request_id.clone(),
            message_type: it.ask.message_type.clone(),
            age_seconds: now.since(it.since).as_secs_f64(),
        };
        let mut all: Vec<ApprovalStatus> = waiting.values().map(look).collect();
        all.sort_by(|a, b| b.age_seconds.total_cmp(&a.age_seconds));
        all
    }
}

show!(Approvals, waiting: |it| it.waiting.lock().len());
