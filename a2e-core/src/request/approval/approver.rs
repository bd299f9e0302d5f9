//! Who may decide about a request that waits, and the decision.

use std::sync::Arc;

use serde::Serialize;

use super::{Services, Session, Waiting};
use crate::counters::Count;
use crate::protocol::ErrorCode;
use crate::protocol::approval::{ApprovalAnswerRequest, ApprovalAnswered, ApprovalAsk};
use crate::request::SessionPhase;
use crate::transport::Right;
use crate::{Error, Result};

impl Session {
    /// The sessions that are there to decide about requests of this one.
    pub(super) fn approvers(&self) -> Vec<Arc<Session>> {
        let mut all = self.services.live.all();
        all.retain(|it| it.is_there_to_approve() && it.may_decide_for(self));
        all
    }

    fn is_there_to_approve(&self) -> bool {
        self.takes_approvals() && self.life.phase() == SessionPhase::Ready && !self.outbox.is_dead()
    }

    /// Whether it may decide about requests of this session: with the right, within its tenant, and not
    /// about its own. The program that started the host over stdio is trusted to ask a person.
    fn may_decide_for(&self, asker: &Session) -> bool {
        let (own, other) = (self.identity(), asker.identity());
        let is_launcher = self.peer.is_stdio && self.principal().is_none();
        let is_itself = self.number == asker.number && !is_launcher;
        let is_same = self.principal().is_some() && self.principal() == asker.principal();
        let is_of_tenant = own.tenant.is_none() || own.tenant == other.tenant;
        self.may(Right::Approve) && is_of_tenant && !is_itself && !is_same
    }

    /// Sends a push if there is room for one.
    pub(super) fn is_told<T: Serialize>(&self, wire_type: &str, message: &T) -> bool {
        let is_sent =
            !self.outbox.is_full_for_pushes() && self.push(wire_type, message, None).is_ok();
        if !is_sent {
            self.services.counters.add(Count::DroppedPush);
        }
        is_sent
    }
}

impl Services {
    /// The requests that this session may decide about, the oldest first.
    pub(crate) fn approvals_for(&self, approver: &Session) -> Vec<ApprovalAsk> {
        let (now, limit) = (self.clock.now(), self.config.limits.approval_wait);
        let waiting = self.live.approvals.waiting.lock();
        let own = waiting.values().filter(|it| approver.may_decide_for(&it.request.session));
        let mut asks: Vec<ApprovalAsk> = own
            .map(|it| {
                let left = limit.saturating_sub(now.since(it.since));
                ApprovalAsk { left_s: left.as_secs_f64(), ..it.ask.clone() }
            })
            .collect();
        drop(waiting);
        asks.sort_by(|a, b| a.left_s.total_cmp(&b.left_s));
        asks
    }

    /// Takes the decision of this session about a request. It counts once.
    ///
    /// # Errors
    /// `unknown_approval` when no such request waits that the session may decide about (any more),
    /// `invalid_message` when the digest is that of something else; it still waits then.
    pub(crate) fn decide(
        &self,
        approver: &Session,
        answer: &ApprovalAnswerRequest,
    ) -> Result<(ApprovalAnswered, ApprovalAsk)> {
        let unknown = || {
            self.counters.add(Count::ApprovalRefused);
            let text = "no call of this approval_id waits that you may approve; it may be over";
            Error::new(ErrorCode::UnknownApproval, text)
        };
        {
            let waiting = self.live.approvals.waiting.lock();
            let it = waiting.get(&answer.approval_id).ok_or_else(unknown)?;
            if !approver.may_decide_for(&it.request.session) || it.request.has_ended() {
                return Err(unknown());
            }
            if it.ask.digest != answer.digest {
                self.counters.add(Count::ApprovalRefused);
                let text = "the digest is not that of the call that waits";
                return Err(Error::invalid(text));
            }
        }
        let by = approver.principal().unwrap_or(&approver.peer.name).to_owned();
        let outcome = if answer.approve { "approved" } else { "denied" };
        // Another may have been faster.
        let it = self.end_wait(&answer.approval_id, outcome, &by).ok_or_else(unknown)?;
        it.request.note_subject("approval", || format!("{outcome} by {by}"));
        let Waiting { ask, go_on, .. } = it;
        let decision = if answer.approve {
            self.counters.add(Count::ApprovalGranted);
            Ok(())
        } else {
            self.counters.add(Count::ApprovalDenied);
            let error = Error::new(ErrorCode::ApprovalDenied, denial(&by, &answer.reason));
            Err(error.with_detail("by", by.as_str()).with_detail("rules", ask.rules.as_slice()))
        };
        // The caller is the reader of the approver's session, which has its own work.
        self.runtime.spawn(async move { go_on(decision) });
        let approval_id = answer.approval_id.clone();
        Ok((ApprovalAnswered { approval_id, approved: answer.approve }, ask))
    }
}

fn denial(by: &str, reason: &str) -> String {
    // It is a person's, and goes into an error.
    let reason = reason.get(..reason.floor_char_boundary(1024)).unwrap_or_default().trim();
    let colon = if reason.is_empty() { "" } else { ": " };
    format!("`{by}` did not approve this call{colon}{reason}")
}
