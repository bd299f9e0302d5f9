//! The messages of approvers: which calls wait, and what becomes of them.

use super::Operation;
use crate::audit::Detail;
use crate::codec::Incoming;
use crate::protocol::ErrorCode;
use crate::protocol::approval::{
    ApprovalAnswerRequest, ApprovalAnswered, ApprovalList, ApprovalListRequest,
};
use crate::sessions::hub::Served;
use crate::transport::Right;
use crate::{Error, Result};

impl Served {
    pub(super) fn list_approvals(&self, mut asked: Operation, incoming: Incoming<'_>) {
        let answer = self.may_approve().and_then(|()| {
            let _none: ApprovalListRequest = asked.read(incoming)?;
            Ok(ApprovalList { approvals: self.hub.services.approvals_for(&self.session) })
        });
        self.tell(&asked, &answer);
    }

    pub(super) fn decide(&self, mut asked: Operation, incoming: Incoming<'_>) {
        let answer = self.may_approve().and_then(|()| self.decided(&mut asked, incoming));
        self.tell(&asked, &answer);
    }

    fn decided(&self, asked: &mut Operation, incoming: Incoming<'_>) -> Result<ApprovalAnswered> {
        let answer: ApprovalAnswerRequest = asked.read(incoming)?;
        let decided = self.hub.services.decide(&self.session, &answer);
        let mut detail = Detail::default();
        detail.note("approval_id", &answer.approval_id);
        detail.note("decision", if answer.approve { "approve" } else { "deny" });
        if let Ok((_, ask)) = &decided {
            detail.note("caller", &ask.principal);
            detail.note("caller_agent", &ask.agent_id);
            detail.note("request_id", &ask.request_id);
            detail.note("message_type", &ask.message_type);
            detail.note("rules", &ask.rules.join("; "));
            detail.note("digest", &ask.digest);
        }
        if self.hub.services.audit.has_subjects() {
            asked.detail = Some(detail);
        }
        decided.map(|(answered, _)| answered)
    }

    fn may_approve(&self) -> Result<()> {
        self.may_look()?;
        if self.session.may(Right::Approve) {
            return Ok(());
        }
        let principal = self.session.principal().unwrap_or_default();
        let text = "this is for principals with the right `approve`";
        Err(Error::new(ErrorCode::Forbidden, text).with_detail("principal", principal))
    }
}
