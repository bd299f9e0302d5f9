//! Where a request stands, as one pure transition table.
//!
//! ```text
//! Waiting ──Begin──▶ Running ──Said──▶ Waiting ──End──▶ Ended
//!    │                  │ ╰──Lapse──▶ Waiting            ▲
//!    │                  ╰──End──▶ GivenUp ──Return───────┤
//!    ╰──End──────────────────────────────────────────────╯
//! ```
//!
//! A request has one answer: `End` succeeds once. A handler that goes on after the answer keeps the
//! request in `GivenUp` until it returns.

/// Where a request stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// In a queue, or between two handlers.
    #[default]
    Waiting,
    /// A handler works on it.
    Running { run: u32 },
    /// It was answered early, and its handler has not returned.
    GivenUp { run: u32 },
    /// It was answered, and nothing of it runs.
    Ended,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    Begin {
        run: u32,
    },
    /// The handler of this run has said what it has to say.
    Said {
        run: u32,
    },
    /// The time that this run had for itself is over; the next handler is asked.
    Lapse {
        run: u32,
    },
    /// The answer is given.
    End,
    /// The handler of this run has returned without a word.
    Return {
        run: u32,
    },
}

/// What happened does not fit where the request stands: it came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLate;

impl State {
    /// Where the request stands after an event.
    /// Errors: When the event comes too late; nothing changes then.
    pub(crate) fn after(self, event: Transition) -> Result<Self, TooLate> {
        use Transition::{Begin, End, Lapse, Return, Said};
        match (self, event) {
            (Self::Waiting, Begin { run }) => Ok(Self::Running { run }),
            (Self::Running { run }, Said { run: said } | Lapse { run: said }) if run == said => {
                Ok(Self::Waiting)
            }
            (Self::Waiting, End) => Ok(Self::Ended),
            (Self::Running { run }, End) => Ok(Self::GivenUp { run }),
            (Self::GivenUp { run }, Return { run: gone } | Said { run: gone }) if run == gone => {
                Ok(Self::Ended)
            }
            _ => Err(TooLate),
        }
    }

    /// Whether the answer was given.
    pub(crate) fn has_answer(self) -> bool {
        matches!(self, Self::GivenUp { .. } | Self::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_changes_what_it_may_and_nothing_else() {
        use State::{Ended, GivenUp, Running, Waiting};
        use Transition::{Begin, End, Lapse, Return, Said};
        let (one, two) = (1, 2);
        for (state, event, expected) in [
            (Waiting, Begin { run: one }, Ok(Running { run: one })),
            (Waiting, Said { run: one }, Err(TooLate)),
            (Waiting, Lapse { run: one }, Err(TooLate)),
            (Waiting, Return { run: one }, Err(TooLate)),
            (Waiting, End, Ok(Ended)),
            (Running { run: one }, Begin { run: two }, Err(TooLate)),
            (Running { run: one }, Said { run: one }, Ok(Waiting)),
            (Running { run: two }, Said { run: one }, Err(TooLate)),
            (Running { run: one }, Lapse { run: one }, Ok(Waiting)),
            (Running { run: two }, Lapse { run: one }, Err(TooLate)),
            (Running { run: one }, Return { run: one }, Err(TooLate)),
            (Running { run: one }, End, Ok(GivenUp { run: one })),
            (GivenUp { run: one }, End, Err(TooLate)),
            (GivenUp { run: one }, Begin { run: two }, Err(TooLate)),
            (GivenUp { run: one }, Lapse { run: one }, Err(TooLate)),
            (GivenUp { run: one }, Return { run: one }, Ok(Ended)),
            (GivenUp { run: one }, Said { run: one }, Ok(Ended)),
            (GivenUp { run: two }, Return { run: one }, Err(TooLate)),
            (Ended, Begin { run: one }, Err(TooLate)),
            (Ended, Said { run: one }, Err(TooLate)),
            (Ended, End, Err(TooLate)),
            (Ended, Return { run: one }, Err(TooLate)),
        ] {
            assert_eq!(state.after(event), expected, "{state:?} {event:?}");
        }
    }
}
