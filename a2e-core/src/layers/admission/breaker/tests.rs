//! Tests of the breaker as scripts of calls and times.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Runs a script of `(ms, step)`: `+` ends well, `-` fails, `?` asks; gives the answers to `?`
/// and the state at the end.
fn run(script: &[(u32, char)]) -> (Vec<bool>, BreakerState) {
    let mut breaker = Breaker::default();
    let mut admitted = Vec::new();
    for (at, step) in script {
        let now = MS * *at;
        match step {
            '+' => drop(breaker.went_well(now)),
            '-' => drop(breaker.failed(now)),
            _ => admitted.push(!matches!(breaker.admit(now), Admit::Wait(_))),
        }
    }
    (admitted, breaker.state())
}

#[test]
fn r33_five_failures_in_a_row_open_and_one_probe_closes() {
    let five = [(0, '-'), (1, '-'), (2, '-'), (3, '-'), (4, '-')];
    let then = |more: &[(u32, char)]| run(&[&five, more].concat());
    assert_eq!(run(&five[..4]).1, BreakerState::Closed);
    assert_eq!(then(&[(5, '?')]), (vec![false], BreakerState::Open));
    // After a second one probe goes, and no other beside it.
    let probing = [(1005, '?'), (1006, '?'), (1007, '?')];
    assert_eq!(then(&probing), (vec![true, false, false], BreakerState::Probing));
    let well = [(1005, '?'), (1100, '+'), (1101, '?'), (1102, '?')];
    assert_eq!(then(&well), (vec![true, true, true], BreakerState::Closed));
    // A failed probe doubles the wait: closed again only after two seconds more.
    let bad = [(1005, '?'), (1100, '-'), (2200, '?'), (3099, '?'), (3100, '?')];
    assert_eq!(then(&bad), (vec![true, false, false, true], BreakerState::Probing));
    // A probe that is never heard of again does not block for ever.
    let lost = [(1005, '?'), (31_004, '?'), (31_005, '?')];
    assert_eq!(then(&lost).0, [true, false, true]);
    // Calls from before it opened change nothing.
    assert_eq!(then(&[(5, '+'), (6, '-'), (7, '?')]), (vec![false], BreakerState::Open));
}

#[test]
fn b12_a_probe_without_a_verdict_lets_the_next_call_try() {
    let mut breaker = Breaker::default();
    for _ in 0..IN_A_ROW {
        breaker.failed(Duration::ZERO);
    }
    let later = FIRST_WAIT;
    assert_eq!(breaker.admit(later), Admit::Probe(1));
    assert!(matches!(breaker.admit(later), Admit::Wait(_)));
    breaker.give_up_probe(1);
    assert_eq!(breaker.admit(later), Admit::Probe(2));
    // The first one's end comes late and changes nothing.
    breaker.give_up_probe(1);
    assert!(matches!(breaker.admit(later), Admit::Wait(_)));
}

#[test]
fn r33_half_of_the_last_twenty_within_ten_seconds_opens() {
    let alternating = |spacing: u32, calls: u32| -> Vec<(u32, char)> {
        (0..calls).map(|n| (n * spacing, if n % 2 == 0 { '-' } else { '+' })).collect()
    };
    assert_eq!(run(&alternating(100, 18)).1, BreakerState::Closed);
    assert_eq!(run(&alternating(100, 21)).1, BreakerState::Open);
    // Spread over more than ten seconds they do not.
    assert_eq!(run(&alternating(600, 60)).1, BreakerState::Closed);
    // One failure in three is too few.
    let thirds: Vec<_> = (0..90).map(|n| (n * 100, if n % 3 == 0 { '-' } else { '+' })).collect();
    assert_eq!(run(&thirds).1, BreakerState::Closed);
}

#[test]
fn r33_the_wait_doubles_up_to_a_minute() {
    let mut breaker = Breaker::default();
    let mut now = Duration::ZERO;
    for _ in 0..IN_A_ROW {
        breaker.failed(now);
    }
    let mut waits = Vec::new();
    for _ in 0..9 {
        let Admit::Wait(wait) = breaker.admit(now) else { panic!("it is open") };
        waits.push(wait.as_secs());
        now += wait;
        assert!(matches!(breaker.admit(now), Admit::Probe(_)));
        breaker.failed(now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(breaker.opened, 10);
}

#[test]
fn r33_a_plugin_that_is_well_again_costs_nothing() {
    let mut breaker = Breaker::default();
    assert!(breaker.is_at_rest());
    breaker.failed(Duration::ZERO);
    assert!(!breaker.is_at_rest());
    for call in 0..40 {
        breaker.went_well(MS * call * 10);
    }
    assert!(breaker.is_at_rest());
}
