//! The states of a subagent, and what leads from one to another.

use super::protocol::SubagentStatus;

/// What happens to a subagent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It gets a task.
    Delegate,
    /// Its task begins.
    Begin,
    /// Its task has a result.
    Complete,
    /// Its task has none.
    Fail,
    /// Its task is not wanted any more.
    Cancel,
    /// It is not wanted any more.
    Terminate,
}

impl SubagentStatus {
    /// The state after a step; `None` where that is nothing to a subagent in this state.
    pub(super) fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Ready | Self::Completed | Self::Failed | Self::Cancelled, Step::Delegate) => {
                Some(Self::Waiting)
            }
            (Self::Waiting, Step::Begin) => Some(Self::Running),
            (Self::Running, Step::Complete) => Some(Self::Completed),
            (Self::Running | Self::Waiting, Step::Fail) => Some(Self::Failed),
            (Self::Running | Self::Waiting, Step::Cancel) => Some(Self::Cancelled),
            (Self::Terminated, _) => None,
            (_, Step::Terminate) => Some(Self::Terminated),
            _ => None,
        }
    }

    /// Whether it has a task.
    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }

    /// The state as events name it.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SubagentStatus::{
        Cancelled, Completed, Failed, Ready, Running, Terminated, Waiting,
    };
    use super::*;

    /// Every state by every step: nothing else is possible.
    #[test]
    fn the_whole_machine() {
        use Step::{Begin, Cancel, Complete, Delegate, Fail, Terminate};
        let steps = [Delegate, Begin, Complete, Fail, Cancel, Terminate];
        let (w, t) = (Some(Waiting), Some(Terminated));
        for (from, to) in [
            (Ready, [w, None, None, None, None, t]),
            (Waiting, [None, Some(Running), None, Some(Failed), Some(Cancelled), t]),
            (Running, [None, None, Some(Completed), Some(Failed), Some(Cancelled), t]),
            (Completed, [w, None, None, None, None, t]),
            (Failed, [w, None, None, None, None, t]),
            (Cancelled, [w, None, None, None, None, t]),
            (Terminated, [None; 6]),
        ] {
            for (step, expected) in steps.into_iter().zip(to) {
                assert_eq!(from.after(step), expected, "{from:?} {step:?}");
            }
            assert_eq!(from.is_busy(), matches!(from, Waiting | Running));
            let wire = serde_json::to_value(from).unwrap();
            assert_eq!(wire.as_str().unwrap().to_lowercase(), from.event());
        }
    }
}
