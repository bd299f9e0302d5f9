//! From what was learned to weights: the five strategies. Nothing is drawn here, so equal records make equal
//! weights; a router that draws by the weights does what the strategy means.
//!
//! | strategy | weight of component `i` | source |
//! |---|---|---|
//! | `ucb1` | 1 for the highest `mean_i + sqrt(2 ln N / n_i)`, else 0; rewards scaled to 0..1 | Auer, Cesa-Bianchi, Fischer: Finite-time analysis of the multiarmed bandit problem, 2002 |
//! | `epsilon_greedy` | `epsilon / k`, and `1 - epsilon` more for the highest mean | Sutton, Barto: Reinforcement learning, 2nd ed. 2018, section 2.2 |
//! | `softmax` | `exp(mean_i / t) / sum_j exp(mean_j / t)` | the same, section 2.8, with means as preferences and a temperature |
//! | `ppo` | `softmax(theta)_i`; `theta` climbs `sum_i n_i/N min(r_i A_i, clip(r_i, 1 - c, 1 + c) A_i)` | Schulman and others: Proximal policy optimization algorithms, 2017, equation 7 |
//! | `custom` | as given | |
//!
//! For `ppo`, `r_i` is the share of `i` after the step by that before it, and `A_i` its mean reward less that of
//! all, by their deviation. The preferences `theta` stand in the state as `policy.preferences`.

use std::collections::BTreeMap;

use super::config::LearnConfig;
use super::protocol::Strategy;

/// Gradient steps of one `ppo` adaptation: an epoch each, as in the paper.
const EPOCHS: usize = 10;

/// What is known of a component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arm {
    /// How often it was used.
    pub(super) count: f64,
    /// The mean reward.
    pub(super) mean: f64,
    /// Its preference before.
    pub(super) preference: f64,
}

/// What comes of a strategy, by component.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Weights {
    pub(super) weights: BTreeMap<String, f64>,
    /// Of `ppo`.
    pub(super) preferences: BTreeMap<String, f64>,
}

/// Makes weights; each component was used at least once. `custom` is not made here.
pub(super) fn weights(
    strategy: Strategy,
    arms: &BTreeMap<String, Arm>,
    config: &LearnConfig,
) -> Weights {
    let list: Vec<Arm> = arms.values().copied().collect();
    let (weights, preferences) = match strategy {
        Strategy::Ucb1 => (ucb1(&list), Vec::new()),
        Strategy::EpsilonGreedy => (epsilon_greedy(&list, config.epsilon), Vec::new()),
        Strategy::Softmax => {
            let scaled: Vec<f64> = list.iter().map(|arm| arm.mean / config.temperature).collect();
            (softmax(&scaled), Vec::new())
        }
        Strategy::Ppo => {
            let preferences = ppo(&list, config.clip, config.learning_rate);
            (softmax(&preferences), preferences)
        }
        Strategy::Custom => return Weights::default(),
    };
    let named = |values: Vec<f64>| arms.keys().cloned().zip(values).collect();
    Weights { weights: named(weights), preferences: named(preferences) }
}

/// 1 for the first of the highest, else 0.
fn highest(values: &[f64]) -> Vec<f64> {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = values.iter().position(|value| *value >= most);
    (0..values.len()).map(|place| f64::from(Some(place) == best)).collect()
}

fn ucb1(arms: &[Arm]) -> Vec<f64> {
    let total: f64 = arms.iter().map(|arm| arm.count).sum();
    let low = arms.iter().map(|arm| arm.mean).fold(f64::INFINITY, f64::min);
    let high = arms.iter().map(|arm| arm.mean).fold(f64::NEG_INFINITY, f64::max);
    // The bound holds for rewards from 0 to 1; what is within stays as it is.
    let (low, high) = (low.min(0.0), high.max(1.0));
    let bound = |arm: &Arm| {
        let scaled = (arm.mean - low) / (high - low);
        scaled + (2.0 * total.ln().max(0.0) / arm.count).sqrt()
    };
    highest(&arms.iter().map(bound).collect::<Vec<_>>())
}

#[allow(clippy::cast_precision_loss, reason = "a number of components")]
fn epsilon_greedy(arms: &[Arm], epsilon: f64) -> Vec<f64> {
    let best = highest(&arms.iter().map(|arm| arm.mean).collect::<Vec<_>>());
    let any = epsilon / arms.len().max(1) as f64;
    best.into_iter().map(|best| any + (1.0 - epsilon) * best).collect()
}

fn softmax(values: &[f64]) -> Vec<f64> {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = values.iter().map(|value| (value - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The preferences after some steps up the clipped objective.
fn ppo(arms: &[Arm], clip: f64, rate: f64) -> Vec<f64> {
    let total: f64 = arms.iter().map(|arm| arm.count).sum();
    let share = |arm: &Arm| arm.count / total;
    let mean: f64 = arms.iter().map(|arm| share(arm) * arm.mean).sum();
    let spread: f64 = arms.iter().map(|arm| share(arm) * (arm.mean - mean).powi(2)).sum();
    // Equal rewards have no advantage over each other.
    let advantage = |arm: &Arm| (arm.mean - mean) / (spread.sqrt() + 1e-8);
    let mut theta: Vec<f64> = arms.iter().map(|arm| arm.preference).collect();
    let before = softmax(&theta);
    for _ in 0..EPOCHS {
        let now = softmax(&theta);
        // d/d theta_j of r_i is r_i (delta_ij - pi_j); a clipped term is flat.
        let pulls: Vec<f64> = arms
            .iter()
            .zip(now.iter().zip(&before))
            .map(|(arm, (now, before))| {
                let (ratio, gain) = (now / before, advantage(arm));
                let is_flat =
                    (gain > 0.0 && ratio > 1.0 + clip) || (gain < 0.0 && ratio < 1.0 - clip);
                if is_flat { 0.0 } else { share(arm) * gain * ratio }
            })
            .collect();
        let sum: f64 = pulls.iter().sum();
        for (theta, (pull, now)) in theta.iter_mut().zip(pulls.iter().zip(&now)) {
            *theta += rate * (pull - now * sum);
        }
    }
    theta
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms(list: &[(&str, f64, f64)]) -> BTreeMap<String, Arm> {
        let arm = |(name, count, mean): &(&str, f64, f64)| {
            ((*name).to_owned(), Arm { count: *count, mean: *mean, preference: 0.0 })
        };
        list.iter().map(arm).collect()
    }

    fn made(strategy: Strategy, list: &[(&str, f64, f64)]) -> Vec<f64> {
        let made = weights(strategy, &arms(list), &LearnConfig::default());
        made.weights.into_values().collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn each_formula_by_hand() {
        let even = [("a", 50.0, 0.8), ("b", 50.0, 0.2)];
        near(&made(Strategy::Ucb1, &even), &[1.0, 0.0]);
        // sqrt(2 ln 102 / 2) = 2.15 outweighs 0.6 of mean.
        near(&made(Strategy::Ucb1, &[("a", 100.0, 0.8), ("b", 2.0, 0.2)]), &[0.0, 1.0]);
        near(&made(Strategy::EpsilonGreedy, &even), &[0.95, 0.05]);
        let (a, b) = ((0.8_f64 / 0.5).exp(), (0.2_f64 / 0.5).exp());
        near(&made(Strategy::Softmax, &even), &[a / (a + b), b / (a + b)]);
        near(&made(Strategy::Custom, &even), &[]);
        near(&made(Strategy::Softmax, &[("a", 1.0, -1e9), ("b", 1.0, -1e9)]), &[0.5, 0.5]);
        near(&made(Strategy::Ppo, &[("a", 9.0, 0.5), ("b", 1.0, 0.5)]), &[0.5, 0.5]);
        near(&made(Strategy::Ppo, &[("only", 9.0, 0.5)]), &[1.0]);
    }

    #[test]
    fn a_ppo_step_goes_the_right_way_and_not_far() {
        let config = LearnConfig::default();
        let mut arms = arms(&[("a", 50.0, 0.8), ("b", 50.0, 0.2), ("c", 10.0, 0.5)]);
        let mut before = 1.0 / 3.0;
        for _ in 0..50 {
            let made = weights(Strategy::Ppo, &arms, &config);
            let now = made.weights["a"];
            assert!(now > before - 1e-12, "{now} after {before}");
            // One step beyond the clip is taken before the term is flat.
            assert!(now <= before * (1.0 + config.clip) * 1.35, "{now} after {before}");
            assert!((made.weights.values().sum::<f64>() - 1.0).abs() < 1e-9);
            before = now;
            for (name, theta) in made.preferences {
                arms.get_mut(&name).unwrap().preference = theta;
            }
        }
        assert!(before > 0.9, "{before}");
    }
}
