//! `cartpole`: a pole on a cart, to be kept upright.
//!
//! Dynamics and constants are those of Barto, Sutton and Anderson (1983) as Gymnasium's `CartPole-v1` has them
//! (`gymnasium/envs/classic_control/cartpole.py`): explicit Euler steps of 0.02 s, over beyond 2.4 or 12
//! degrees, truncated after 500 steps, a reward of 1 for each step.

use a2e_core::codec::{RawJson, decode_field};
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::random::Random;
use crate::env::contract::{
    Environment, EnvironmentClass, JsonObject, Link, Observed, Spaces, kind, unknown_action,
};

const GRAVITY: f64 = 9.8;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = CART_MASS + POLE_MASS;
/// Half of the pole.
const LENGTH: f64 = 0.5;
const POLE_MOMENT: f64 = POLE_MASS * LENGTH;
const FORCE: f64 = 10.0;
/// Seconds of a step.
const TAU: f64 = 0.02;
const MOST_X: f64 = 2.4;
const MOST_THETA: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;
const MOST_STEPS: u64 = 500;

pub(super) struct CartPoles;

impl EnvironmentClass for CartPoles {
    fn spaces(&self) -> Spaces {
        let actions = json!({
            "type": "object",
            "properties": {
                "type": { "enum": ["left", "right", "push"] },
                "direction": { "enum": [0, 1], "description": "of `push`: 0 is left, 1 is right" },
            },
            "required": ["type"],
        });
        let states = json!({
            "type": "object",
            "properties": {
                "x": { "type": "number", "description": "place of the cart; over beyond 2.4" },
                "x_dot": { "type": "number" },
                "theta": { "type": "number", "description": "radians; over beyond 0.2095" },
                "theta_dot": { "type": "number" },
            },
            "required": ["x", "x_dot", "theta", "theta_dot"],
        });
        let options = json!({
            "type": "object",
            "properties": {
                "low": { "type": "number", "default": -0.05 },
                "high": { "type": "number", "default": 0.05 },
                "state": states,
            },
        });
        Spaces::new(&actions, &states).options(&options)
    }

    fn make(&self, _link: Link) -> Result<Box<dyn Environment>> {
        Ok(Box::new(CartPole::default()))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

#[derive(Default, Serialize, Deserialize)]
struct CartPole {
    at: At,
    steps: u64,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct At {
    x: f64,
    x_dot: f64,
    theta: f64,
    theta_dot: f64,
}

/// Where a run begins: in `state`, or drawn from these bounds.
#[derive(Deserialize)]
struct Options {
    #[serde(default = "low")]
    low: f64,
    #[serde(default = "high")]
    high: f64,
    #[serde(default)]
    state: Option<At>,
}

fn low() -> f64 {
    -0.05
}

fn high() -> f64 {
    0.05
}

impl At {
    /// One Euler step under this force.
    fn push(self, force: f64) -> Self {
        let (sin, cos) = self.theta.sin_cos();
        let pulled = (force + POLE_MOMENT * (self.theta_dot * self.theta_dot) * sin) / TOTAL_MASS;
        let theta_acc = (GRAVITY * sin - cos * pulled)
            / (LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / TOTAL_MASS));
        let x_acc = pulled - POLE_MOMENT * theta_acc * cos / TOTAL_MASS;
        Self {
            x: self.x + TAU * self.x_dot,
            x_dot: self.x_dot + TAU * x_acc,
            theta: self.theta + TAU * self.theta_dot,
            theta_dot: self.theta_dot + TAU * theta_acc,
        }
    }

    fn has_fallen(self) -> bool {
        self.x.abs() > MOST_X || self.theta.abs() > MOST_THETA
    }

    fn is_sound(self) -> bool {
        [self.x, self.x_dot, self.theta, self.theta_dot].iter().all(|it| it.abs() < 1e6)
    }
}

impl Environment for CartPole {
    fn reset(&mut self, seed: u64, options: &JsonObject) -> Result<Observed> {
        let Options { low, high, state } = options.decode("options")?;
        if low > high || low.abs().max(high.abs()) > MOST_X {
            return Err(Error::schema("options.low", "is not at most `high`, both within 2.4"));
        }
        let mut random = Random::new(seed);
        let mut draw = || random.between(low, high);
        let drawn = At { x: draw(), x_dot: draw(), theta: draw(), theta_dot: draw() };
        self.at = state.unwrap_or(drawn);
        if !self.at.is_sound() || self.at.has_fallen() {
            return Err(Error::schema("options.state", "has fallen already"));
        }
        Observed::of(&self.at)
    }

    fn step(&mut self, action: &JsonObject) -> Result<Observed> {
        #[derive(Deserialize)]
        struct Direction {
            direction: u8,
        }
        let force = match kind(action)?.as_str() {
            "left" => -FORCE,
            "right" => FORCE,
            "push" => match action.decode("action")? {
                Direction { direction: 0 } => -FORCE,
                Direction { direction: 1 } => FORCE,
                Direction { .. } => return Err(Error::schema("action.direction", "is not 0 or 1")),
            },
            other => return Err(unknown_action(other, &["left", "right", "push"])),
        };
        self.at = self.at.push(force);
        self.steps += 1;
        let seen = Observed::of(&self.at)?.reward(1.0).done(self.at.has_fallen());
        Ok(seen.truncated(self.steps >= MOST_STEPS))
    }

    fn render(&mut self, mode: &str) -> Result<Option<Value>> {
        if mode != "text" {
            return Ok(None);
        }
        let At { x, theta, .. } = self.at;
        // 25 columns over the way that the cart has.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 24")]
        let column = ((x / MOST_X + 1.0) * 12.0).round().clamp(0.0, 24.0) as usize;
        let pole = if theta < -0.02 {
            '\\'
        } else if theta > 0.02 {
            '/'
        } else {
            '|'
        };
        let place = " ".repeat(column);
        let text = format!("{place}{pole}\n{place}o\n{}\n", "-".repeat(25));
        Ok(Some(json!(text)))
    }

    /// A controller that keeps it upright for long: against the fall and the drift.
    fn plan(&mut self, state: Option<&JsonObject>) -> Result<Vec<JsonObject>> {
        let at: At = state.map_or(Ok(self.at), |state| state.decode("state"))?;
        let lean = at.theta + 0.5 * at.theta_dot + 0.02 * at.x + 0.05 * at.x_dot;
        let way = if lean < 0.0 { "left" } else { "right" };
        Ok(vec![JsonObject::of(&json!({ "type": way })).unwrap_or_default()])
    }

    fn save(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    fn restore(&mut self, saved: &RawJson) -> Result<()> {
        let saved: Self = decode_field(saved, "snapshot.saved")?;
        if !saved.at.is_sound() || saved.steps > MOST_STEPS {
            return Err(Error::schema("snapshot.saved", "is no state of a cart and its pole"));
        }
        *self = saved;
        Ok(())
    }
}
