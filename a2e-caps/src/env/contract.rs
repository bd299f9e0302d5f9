//! What an environment is, for those who bring one of their own.
//!
//! A plugin offers one with `host.contribute::<dyn EnvironmentClass>(name, class)` in its `start`; the env
//! plugins of the host then serve it under that name, beside their own.
//!
//! ```
//! use std::sync::Arc;
//! use a2e_caps::env::JsonObject;
//! use a2e_caps::env::contract::{Environment, EnvironmentClass, Link, Observed, Spaces};
//! use a2e_core::{Result, plugin::Host};
//! use serde_json::json;
//!
//! /// Is over when the agent has guessed the number.
//! struct Guess { number: u64 }
//!
//! #[derive(serde::Deserialize)]
//! struct Try { guess: u64 }
//!
//! impl Environment for Guess {
//!     fn reset(&mut self, seed: u64, _options: &JsonObject) -> Result<Observed> {
//!         self.number = seed % 10;
//!         Observed::of(&json!({ "hint": "none" }))
//!     }
//!     fn step(&mut self, action: &JsonObject) -> Result<Observed> {
//!         let Try { guess } = action.decode("action")?;
//!         let hint = if guess < self.number { "more" } else { "less" };
//!         let is_found = guess == self.number;
//!         Ok(Observed::of(&json!({ "hint": hint }))?.reward(f64::from(is_found)).done(is_found))
//!     }
//! }
//!
//! struct Guesses;
//!
//! impl EnvironmentClass for Guesses {
//!     fn spaces(&self) -> Spaces {
//!         let guess = json!({ "type": "object", "properties": { "guess": { "type": "integer" } } });
//!         Spaces::new(&guess, &json!({ "type": "object" }))
//!     }
//!     fn make(&self, _link: Link) -> Result<Box<dyn Environment>> {
//!         Ok(Box::new(Guess { number: 0 }))
//!     }
//! }
//!
//! fn start(host: &Host) -> Result<()> {
//!     host.contribute::<dyn EnvironmentClass>("guess", Arc::new(Guesses))?.keep();
//!     Ok(())
//! }
//! ```

use a2e_core::codec::RawJson;
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use super::link::{Link, Push};
pub use crate::json::JsonObject;

/// A kind of environment, of which each episode gets an instance.
pub trait EnvironmentClass: Send + Sync + 'static {
    /// What it takes and gives. Asked on readers: no I/O, no wait.
    fn spaces(&self) -> Spaces;

    /// Makes an instance, which is reset or restored next. `link` is for what it has to say unasked.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn make(&self, link: Link) -> Result<Box<dyn Environment>>;

    /// Whether each of its functions takes below 50 us and neither blocks nor waits: then they run on the
    /// reader, which is the fastest way; else on threads that may block.
    fn is_quick(&self) -> bool {
        false
    }
}

/// One episode. Called by one thread at a time, and no more once a step has said that it is over, but for
/// `render`, `save` and `close`.
///
/// Equal seeds, options and actions must give equal states: a run is had again that way where the environment
/// does not `save`.
pub trait Environment: Send + 'static {
    /// Begins; called once.
    ///
    /// # Errors
    /// `reset_denied`, or `schema_violation` for options that it does not take.
    fn reset(&mut self, seed: u64, options: &JsonObject) -> Result<Observed>;

    /// Takes a step. An error means that nothing has changed.
    ///
    /// # Errors
    /// `unknown_action`, or `schema_violation` for one of the wrong form.
    fn step(&mut self, action: &JsonObject) -> Result<Observed>;

    /// A picture in this mode; `None` has the host show the state itself, as `text` or `json`.
    ///
    /// # Errors
    /// Whatever keeps it from being drawn.
    fn render(&mut self, mode: &str) -> Result<Option<Value>> {
        let _ = mode;
        Ok(None)
    }

    /// What it would do, from this state or from where it stands.
    ///
    /// # Errors
    /// `schema_violation` for a state that is none of its own.
    fn plan(&mut self, state: Option<&JsonObject>) -> Result<Vec<JsonObject>> {
        let _ = state;
        Ok(Vec::new())
    }

    /// All that a new instance needs to go on from here; `None`: its run has to be had again.
    fn save(&self) -> Option<Value> {
        None
    }

    /// Takes back what `save` gave, in place of a reset. It may come from an agent: check it.
    ///
    /// # Errors
    /// When it is not its own.
    fn restore(&mut self, saved: &RawJson) -> Result<()> {
        let _ = saved;
        Err(Error::runtime("this environment restores nothing"))
    }

    /// The episode is closed.
    fn close(&mut self) {}
}

/// What an environment takes and gives, as JSON Schemas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spaces {
    /// Of actions.
    pub actions: JsonObject,
    /// Of states.
    pub states: JsonObject,
    /// Of the options of a reset.
    pub options: Option<JsonObject>,
}

impl Spaces {
    /// Spaces from two JSON objects; what is no object counts as an empty one.
    pub fn new(actions: &Value, states: &Value) -> Self {
        let object = |value| JsonObject::of(value).unwrap_or_default();
        Self { actions: object(actions), states: object(states), options: None }
    }

    /// The same with the options of a reset.
    #[must_use]
    pub fn options(self, options: &Value) -> Self {
        Self { options: JsonObject::of(options).ok(), ..self }
    }
}

/// What came of a reset or a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The state.
    pub state: JsonObject,
    /// The reward of the step; finite.
    pub reward: Option<f64>,
    /// Whether the episode is over.
    pub done: bool,
    /// Whether it is over because of a limit.
    pub truncated: bool,
    /// For `obs.metadata`.
    pub metadata: Option<JsonObject>,
    /// For `obs.info`.
    pub info: Option<JsonObject>,
}

impl Observed {
    /// A state without a reward, after which the episode goes on.
    ///
    /// # Errors
    /// When the value is no JSON object.
    pub fn of<T: Serialize + ?Sized>(state: &T) -> Result<Self> {
        let state = JsonObject::of(state)
            .map_err(|error| Error::internal(format!("the environment's state: {error}")))?;
        Ok(Self {
            state,
            reward: Some(0.0),
            done: false,
            truncated: false,
            metadata: None,
            info: None,
        })
    }

    /// The same with a reward.
    #[must_use]
    pub fn reward(self, reward: f64) -> Self {
        Self { reward: Some(reward), ..self }
    }

    /// The same, over or not.
    #[must_use]
    pub fn done(self, done: bool) -> Self {
        Self { done, ..self }
    }

    /// The same, cut off by a limit or not; what is cut off is over.
    #[must_use]
    pub fn truncated(self, truncated: bool) -> Self {
        Self { truncated, done: self.done || truncated, ..self }
    }
}

/// The kind of an action: its `type`, or else its `action_type`.
///
/// # Errors
/// `schema_violation` when it has neither.
pub fn kind(action: &JsonObject) -> Result<String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: Option<String>,
        action_type: Option<String>,
    }
    let Kind { kind, action_type } = action.decode("action")?;
    kind.or(action_type).ok_or_else(|| Error::schema("action.type", "is missing"))
}

/// An action of a kind that the environment does not have.
pub fn unknown_action(kind: &str, known: &[&str]) -> Error {
    let shown: String = kind.chars().take(64).collect();
    let text = format!("no action `{shown}` here; there are {}", known.join(", "));
    Error::new(a2e_core::protocol::ErrorCode::UnknownAction, text)
        .with_detail("actions", json!(known))
}
