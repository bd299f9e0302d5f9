//! When a plugin that panics is built anew or taken out of service (R31). Pure: the time is a
//! parameter.

use std::collections::VecDeque;
use std::time::Duration;

/// This many panics within [`PANIC_WINDOW`] have a plugin built anew.
const PANICS: usize = 3;
const PANIC_WINDOW: Duration = Duration::from_mins(1);

/// A plugin that was built anew within this time and panics on is taken out of service.
const SECOND_CHANCE: Duration = Duration::from_mins(10);

/// What is to be done after a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    Nothing,
    /// Tear it down, build it, restore it from the last snapshot.
    Rebuild,
    /// It was rebuilt and it goes on: out of service.
    Quarantine,
}

/// The panics of a plugin, over all its instances.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    recent: VecDeque<Duration>,
    rebuilt: Option<Duration>,
}

impl Panics {
    pub(crate) fn panicked(&mut self, now: Duration) -> Remedy {
        self.recent.retain(|at| now.saturating_sub(*at) <= PANIC_WINDOW);
        self.recent.push_back(now);
        if self.recent.len() < PANICS {
            return Remedy::Nothing;
        }
        self.remedy(now)
    }

    /// The plugin says itself that its state is not to be trusted.
    pub(crate) fn remedy(&mut self, now: Duration) -> Remedy {
        self.recent.clear();
        let is_second = self.rebuilt.is_some_and(|at| now.saturating_sub(at) <= SECOND_CHANCE);
        if is_second {
            return Remedy::Quarantine;
        }
        self.rebuilt = Some(now);
        Remedy::Rebuild
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r31_three_panics_rebuild_and_three_more_quarantine() {
        use Remedy::{Nothing, Quarantine, Rebuild};
        let cases: [(&[u64], &[Remedy]); 4] = [
            (&[0, 1, 2], &[Nothing, Nothing, Rebuild]),
            (&[0, 50, 100, 101], &[Nothing, Nothing, Nothing, Rebuild]),
            (&[0, 1, 2, 3, 4, 5], &[Nothing, Nothing, Rebuild, Nothing, Nothing, Quarantine]),
            (&[0, 1, 2, 700, 701, 702], &[Nothing, Nothing, Rebuild, Nothing, Nothing, Rebuild]),
        ];
        for (at, expected) in cases {
            let mut panics = Panics::default();
            let remedies: Vec<Remedy> =
                at.iter().map(|at| panics.panicked(Duration::from_secs(*at))).collect();
            assert_eq!(remedies, expected, "{at:?}");
        }
    }
}
