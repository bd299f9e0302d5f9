//! The state machine against a model, on a clock that is set by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::{RestartPolicy, Restarts, Verdict};
use crate::clock::Clock;
use crate::testing::ManualClock;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs of these lengths in milliseconds, each started when its wait is over; what follows each end:
/// the wait in milliseconds, `None` for the quarantine.
fn waits(policy: RestartPolicy, runs: &[u64]) -> Vec<Option<u64>> {
    let clock = ManualClock::new();
    let mut restarts = Restarts::new(policy);
    let wait = |run: &u64| {
        clock.advance(ms(*run));
        match restarts.ended(clock.now().mono, ms(*run)) {
            Verdict::Quarantine => None,
            Verdict::After(wait) => {
                clock.advance(wait);
                Some(u64::try_from(wait.as_millis()).unwrap())
            }
        }
    };
    runs.iter().map(wait).collect()
}

#[test]
fn r34_waits_double_and_more_than_five_ends_in_a_minute_are_too_many() {
    let policy = RestartPolicy::default();
    let at_once = waits(policy, &[0; 8]);
    let expected = [Some(100), Some(200), Some(400), Some(800), Some(1600), None, None, None];
    assert_eq!(at_once, expected);
    // Five ends a minute are tolerated for ever, with ever longer waits.
    let slow = waits(policy, &[12_000; 12]);
    let expected: Vec<_> = (0..12).map(|number| Some((100_u64 << number).min(30_000))).collect();
    assert_eq!(slow, expected);
    // A run of more than a minute makes the next wait short again.
    let recovered = waits(policy, &[0, 0, 0, 61_000, 0]);
    assert_eq!(recovered, [Some(100), Some(200), Some(400), Some(100), Some(200)]);
    // One of just a minute does not.
    assert_eq!(waits(policy, &[0, 60_000]), [Some(100), Some(200)]);
}

#[test]
fn r34_a_reset_forgets_everything() {
    let mut restarts = Restarts::new(RestartPolicy::default());
    for _ in 0..6 {
        restarts.ended(ms(1), ms(0));
    }
    assert!(restarts.is_quarantined());
    // Time alone does not end the quarantine.
    assert_eq!(restarts.ended(ms(10_000_000), ms(9_000_000)), Verdict::Quarantine);
    restarts.reset();
    assert!(!restarts.is_quarantined());
    assert_eq!(restarts.ended(ms(10_000_000), ms(0)), Verdict::After(ms(100)));
}

#[test]
fn strange_policies_hold_too() {
    let base = RestartPolicy::default();
    for (policy, runs, expected) in [
        (RestartPolicy { burst: 0, ..base }, vec![0], vec![None]),
        (RestartPolicy { factor: 0, ..base }, vec![0, 0], vec![Some(100), Some(0)]),
        (RestartPolicy { factor: 1, ..base }, vec![0, 0], vec![Some(100), Some(100)]),
        (RestartPolicy { longest: ms(10), ..base }, vec![0, 0], vec![Some(10), Some(10)]),
        (
            RestartPolicy { window: ms(0), ..base },
            vec![0; 3],
            vec![Some(100), Some(200), Some(400)],
        ),
        (RestartPolicy { factor: u32::MAX, ..base }, vec![0, 0], vec![Some(100), Some(30_000)]),
    ] {
        assert_eq!(waits(policy, &runs), expected, "{policy:?}");
    }
}

/// The rules once more, over the whole history.
fn model(policy: &RestartPolicy, ends: &[(Duration, Duration)]) -> Verdict {
    let is_burst = |at: usize| {
        let now = ends[at].0;
        let recent = ends[..=at].iter().filter(|(end, _)| now.saturating_sub(*end) < policy.window);
        // An end is in its own window, however short that is.
        recent.count().max(1) > policy.burst as usize
    };
    if (0..ends.len()).any(is_burst) {
        return Verdict::Quarantine;
    }
    let streak = ends.iter().rev().take_while(|(_, run)| *run <= policy.window).count();
    let before = if streak == ends.len() { streak - 1 } else { streak };
    let mut wait = policy.first;
    for _ in 0..before {
        wait = (wait * policy.factor).min(policy.longest);
    }
    Verdict::After(wait.min(policy.longest))
}

proptest! {
    #[test]
    fn r34_the_machine_does_what_the_rules_say(
        runs in proptest::collection::vec(0_u64..25_000, 1..40),
        burst in 0_u32..8,
        window in 1_u64..70_000,
    ) {
        let policy = RestartPolicy { burst, window: ms(window), ..RestartPolicy::default() };
        let mut restarts = Restarts::new(policy);
        let (mut now, mut ends) = (Duration::ZERO, Vec::new());
        for run in runs {
            now += ms(run);
            ends.push((now, ms(run)));
            let verdict = restarts.ended(now, ms(run));
            prop_assert_eq!(verdict, model(&policy, &ends), "{:?}", ends);
            prop_assert_eq!(restarts.is_quarantined(), verdict == Verdict::Quarantine);
        }
    }
}
