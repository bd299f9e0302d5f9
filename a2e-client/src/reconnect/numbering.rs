//! The numbering of the lines of a session, so that the host can go on behind the last one received.

use serde::{Deserialize, Serialize};

use a2e_core::protocol::number::optional_integer;

use crate::error::ClientError;
use crate::reconnect::state::SessionStart;

/// `resume` of `handshake/req`. An empty id asks only that the session can be resumed later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resume {
    pub(crate) session_id: String,
    pub(crate) last_seq: u64,
}

/// What `handshake/resp` says to it; both are absent from hosts that know nothing of it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct ResumeAnswer {
    #[serde(default)]
    pub(crate) resumed: Option<bool>,
    /// Lines lost for good; below 0 when that is not known.
    #[serde(default, deserialize_with = "optional_integer")]
    pub(crate) gap: Option<i64>,
}

/// The lines of a session are numbered from 1, in the order in which the host sends them, without
/// being marked: both sides count. Answers to handshakes are not counted, lost lines are.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// The session that can be resumed; empty where there is none.
    session_id: String,
    /// The number of the line that was received last.
    received: u64,
    /// The present connection's handshake is answered.
    is_counting: bool,
}

impl Numbering {
    /// A connection begins: what the host sends before it answers belongs to no session.
    pub(crate) fn begin(&mut self) {
        self.is_counting = false;
    }

    /// What the handshake asks for.
    pub(crate) fn request(&self) -> Resume {
        let last_seq = if self.session_id.is_empty() { 0 } else { self.received };
        Resume { session_id: self.session_id.clone(), last_seq }
    }

    /// A line was received.
    pub(crate) fn count(&mut self) {
        if self.is_counting {
            self.received = self.received.saturating_add(1);
        }
    }

    /// The session can be resumed: what is torn off its connection comes again.
    pub(crate) fn is_resumable(&self) -> bool {
        self.is_counting && !self.session_id.is_empty()
    }

    /// The host has answered; returns what the connection found, and how many lines were lost.
    pub(crate) fn accept(
        &mut self,
        session_id: &str,
        answer: ResumeAnswer,
    ) -> Result<(SessionStart, u64), ClientError> {
        let is_same = !self.session_id.is_empty() && self.session_id == session_id;
        match answer.resumed {
            Some(true) if !is_same => {
                let text = format!("session `{session_id}` was resumed, which was not asked for");
                return Err(ClientError::protocol(text));
            }
            Some(true) => {
                self.is_counting = true;
                let gap = answer.gap.and_then(|gap| u64::try_from(gap).ok());
                match gap {
                    Some(gap) => self.received = self.received.saturating_add(gap),
                    None => self.received = 0,
                }
                return Ok((SessionStart::Resumed { gap }, gap.unwrap_or(0)));
            }
            Some(false) => session_id.clone_into(&mut self.session_id),
            None => self.session_id.clear(),
        }
        self.received = 0;
        self.is_counting = true;
        Ok((SessionStart::New, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One connection: the answer (`None`: a host without resume), the number of lines after it, and what the
    /// next handshake asks for.
    type Step = ((&'static str, Option<(bool, i64)>), u64, (&'static str, u64));

    fn run(steps: &[Step]) {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.request(), Resume { session_id: String::new(), last_seq: 0 });
        for ((id, answer), lines, (next, last_seq)) in steps {
            numbering.begin();
            numbering.count();
            let answer = match answer {
                Some((resumed, gap)) => ResumeAnswer { resumed: Some(*resumed), gap: Some(*gap) },
                None => ResumeAnswer::default(),
            };
            numbering.accept(id, answer).unwrap();
            (0..*lines).for_each(|_| numbering.count());
            let expected = Resume { session_id: (*next).to_owned(), last_seq: *last_seq };
            assert_eq!(numbering.request(), expected, "{steps:?}");
        }
    }

    #[test]
    fn lines_are_numbered_over_resumes() {
        let fresh = |id| (id, Some((false, -1)));
        run(&[(fresh("a"), 5, ("a", 5)), (("a", Some((true, 0))), 3, ("a", 8))]);
        // Lost lines have numbers, too.
        run(&[(fresh("a"), 5, ("a", 5)), (("a", Some((true, 4))), 3, ("a", 12))]);
        // After a restart of the host they begin again.
        run(&[(fresh("a"), 5, ("a", 5)), (("a", Some((true, -1))), 3, ("a", 3))]);
        run(&[(fresh("a"), 5, ("a", 5)), (fresh("b"), 1, ("b", 1)), (fresh("c"), 0, ("c", 0))]);
    }

    #[test]
    fn a_host_that_knows_no_resume_is_asked_for_none() {
        run(&[(("a", None), 5, ("", 0)), (("b", None), 5, ("", 0))]);
        run(&[(("a", Some((false, -1))), 5, ("a", 5)), (("b", None), 5, ("", 0))]);
    }

    #[test]
    fn another_session_than_ours_is_refused() {
        let resumed = ResumeAnswer { resumed: Some(true), gap: Some(0) };
        let mut numbering = Numbering::default();
        assert!(numbering.accept("", resumed).is_err());
        assert!(numbering.accept("a", resumed).is_err());
        numbering.accept("a", ResumeAnswer { resumed: Some(false), gap: None }).unwrap();
        assert!(numbering.accept("b", resumed).is_err());
        assert!(numbering.accept("a", resumed).is_ok());
    }
}
