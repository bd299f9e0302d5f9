//! The steps that a session has taken, as `env/exp/list` gives them.

use std::collections::VecDeque;

use crate::env::protocol::EnvExperience;

/// The cost of a step beside its texts, roughly.
const STEP_COST: usize = 160;

/// The last steps of a session.
#[derive(Debug)]
pub(in crate::env) struct History {
    steps: VecDeque<EnvExperience>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

fn cost(step: &EnvExperience) -> usize {
    let texts = [&step.state, &step.action, &step.next_state];
    texts.iter().map(|it| it.raw().get().len()).sum::<usize>() + step.episode_id.len() + STEP_COST
}

impl History {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { steps: VecDeque::new(), bytes: 0, most, most_bytes }
    }

    /// Adds a step; the oldest leave when there are too many.
    pub(super) fn push(&mut self, step: EnvExperience) {
        self.bytes += cost(&step);
        self.steps.push_back(step);
        while self.steps.len() > self.most || self.bytes > self.most_bytes {
            let Some(oldest) = self.steps.pop_front() else { return };
            self.bytes -= cost(&oldest);
        }
    }

    /// The last steps, of one episode or of all, as many as fit, oldest first.
    pub(in crate::env) fn last(
        &self,
        episode: &str,
        limit: usize,
        most_bytes: usize,
    ) -> Vec<EnvExperience> {
        let mut left = most_bytes;
        let wanted =
            self.steps.iter().rev().filter(|it| episode.is_empty() || it.episode_id == episode);
        let fits = |step: &&EnvExperience| {
            let fits = cost(step) <= left;
            left = left.saturating_sub(cost(step));
            fits
        };
        let mut steps: Vec<_> = wanted.take(limit).take_while(fits).cloned().collect();
        steps.reverse();
        steps
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<EnvExperience> {
        self.steps.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(episode_id: &str, step: u64) -> EnvExperience {
        let (state, episode_id) = (crate::json::JsonObject::default(), episode_id.to_owned());
        let (action, next_state) = (state.clone(), state.clone());
        EnvExperience { episode_id, step, state, action, reward: None, next_state, done: false }
    }

    fn numbers(steps: &[EnvExperience]) -> Vec<u64> {
        steps.iter().map(|it| it.step).collect()
    }

    #[test]
    fn the_oldest_leave_and_the_last_are_given_in_order() {
        let mut history = History::new(4, usize::MAX);
        for number in 1..=6 {
            history.push(step(if number % 2 == 0 { "a" } else { "b" }, number));
        }
        for (episode, limit, expected) in [
            ("", 100, &[3, 4, 5, 6][..]),
            ("", 2, &[5, 6]),
            ("a", 100, &[4, 6]),
            ("a", 1, &[6]),
            ("c", 100, &[]),
            ("", 0, &[]),
        ] {
            assert_eq!(numbers(&history.last(episode, limit, usize::MAX)), expected);
        }
        assert_eq!(numbers(&history.last("", 100, 400)), [5, 6], "as many as fit");
    }

    #[test]
    fn bytes_bound_it_as_well() {
        let mut history = History::new(usize::MAX, 500);
        (0..1000).for_each(|number| history.push(step("a", number)));
        assert!(history.bytes <= 500 && !history.steps.is_empty());
    }
}
