//! What was learned so far: records of components, the policy, and what was changed of it. No I/O and no clock: the
//! same notes in the same order make the same ledger, so it is had again from its logs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use a2e_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::policy::Arm;
use super::protocol::{ComponentRecord, Edit, Experience, Feedback, HistoryEntry, Proposal};
use super::refine::{self, Undo, rounded};
use super::sketch::Sketch;

/// Judgements that a plan looks at, changes that history tells, and changes that can be taken back.
const MOST_RECENT: usize = 100;
const MOST_HISTORY: usize = 1000;
const MOST_UNDOS: usize = 256;

/// Most bytes of the changes that are told, and of what takes changes back, as JSON.
const MOST_KEPT: usize = 4 << 20;

/// Most bytes that are kept of the text of a judgement; its log has the whole.
const MOST_TEXT: usize = 4 << 10;

/// Longest duration of a step, in milliseconds.
const MOST_DURATION: f64 = 1e12;

/// Longest name of a component.
pub(super) const MOST_NAME: usize = 256;

/// Most bytes of the policy.
const MOST_POLICY: usize = 1 << 20;

/// Everything that is kept in RAM.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// What edits change: `router`, `prompt` and what else they make.
    policy: Map<String, Value>,
    policy_version: String,
    stats: BTreeMap<String, Component>,
    /// Episodes that ended.
    rollouts: u64,
    experiences: u64,
    created_at: f64,
    recent: VecDeque<Judged>,
    history: Newest<HistoryEntry>,
    undos: Newest<(String, Vec<Undo>)>,
}

/// What is known of a component.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Component {
    calls_total: u64,
    calls_success: u64,
    calls_failed: u64,
    scores: Mean,
    rewards: Mean,
    durations: Mean,
    last_called: f64,
    sketch: Sketch,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Mean {
    #[serde(deserialize_with = "sum")]
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    #[allow(clippy::cast_precision_loss, reason = "a count")]
    fn value(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

/// A sum that was too large for JSON was written as null.
fn sum<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The newest of a kind, with their bytes as JSON: a bounded number, in [`MOST_KEPT`] bytes, and always the last one.
#[derive(Clone, Debug)]
struct Newest<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Serialize> Newest<T> {
    fn push(&mut self, item: T, most: usize) {
        let bytes = serde_json::to_vec(&item).map_or(0, |it| it.len());
        self.items.push_back((bytes, item));
        self.bytes += bytes;
        while self.items.len() > 1 && (self.items.len() > most || self.bytes > MOST_KEPT) {
            self.bytes -= self.items.pop_front().map_or(0, |it| it.0);
        }
    }

    /// Takes out the first that is meant.
    fn take(&mut self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.iter().position(is_meant)?;
        let (bytes, item) = self.items.remove(place)?;
        self.bytes -= bytes;
        Some(item)
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.items.iter().map(|it| &it.1)
    }
}

/// What a plan needs of a judgement.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) component: String,
    pub(super) score: f64,
    pub(super) text: String,
}

/// A line of `refinements.jsonl`: a change that was made or taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) event: Event,
    pub(super) refinement_id: String,
    pub(super) ts: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proposal: Option<Proposal>,
    /// Places of the edits that were made.
    #[serde(default)]
    pub(super) applied: Vec<usize>,
    #[serde(default)]
    pub(super) undo: Vec<Undo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Applied,
    RolledBack,
}

/// The component that a judgement is about.
pub(super) fn component_of(feedback: &Feedback) -> &str {
    let turn = feedback.rated_turn.as_ref();
    let version = turn.and_then(|turn| turn.version.as_deref()).filter(|it| !it.is_empty());
    let model = turn.map(|turn| turn.model.as_str()).filter(|it| !it.is_empty());
    version.or(model).unwrap_or("unknown")
}

/// What a step says of its components.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action {
    component_name: Value,
    components: Value,
    tools: Value,
    duration_ms: Value,
}

/// The components that a step counts for, each once; and its duration.
pub(super) fn components_of(experience: &Experience) -> (BTreeSet<String>, Option<f64>) {
    let action: Action = experience.action.decode("action").unwrap_or_default();
    let lists =
        [&action.components, &action.tools].into_iter().filter_map(Value::as_array).flatten();
    let all = lists.chain([&action.component_name]);
    let text =
        |value: &Value| value.as_str().or_else(|| value.get("name")?.as_str()).map(str::to_owned);
    let names = all.filter_map(text).filter(|name| !name.is_empty()).collect();
    let duration = action.duration_ms.as_f64();
    (names, duration.filter(|it| (0.0..=MOST_DURATION).contains(it)))
}

impl Ledger {
    pub(super) fn new(now: f64) -> Self {
        Self { created_at: now, policy_version: "v0".to_owned(), ..Self::default() }
    }

    /// Whether these components may be added.
    ///
    /// # Errors
    /// A name that is too long, or too many names.
    pub(super) fn check<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        most: usize,
    ) -> Result<()> {
        let mut new = BTreeSet::new();
        for name in names {
            if name.len() > MOST_NAME {
                let text =
                    format!("a component's name has {} bytes; at most {MOST_NAME}", name.len());
                return Err(Error::schema("", text));
            }
            if !self.stats.contains_key(name) {
                new.insert(name);
            }
        }
        let count = self.stats.len() + new.len();
        if !new.is_empty() && count > most {
            let text = format!("there would be {count} components; `max_components` is {most}");
            return Err(Error::runtime(text));
        }
        Ok(())
    }

    pub(super) fn note_feedback(&mut self, feedback: &Feedback) {
        let component = component_of(feedback).to_owned();
        let of = self.stats.entry(component.clone()).or_default();
        of.calls_total += 1;
        of.calls_success += u64::from(feedback.score > 0.0);
        of.calls_failed += u64::from(feedback.score < 0.0);
        of.scores.add(feedback.score);
        of.last_called = of.last_called.max(feedback.ts.unwrap_or_default());
        let said = [&feedback.correction, &feedback.comment].into_iter().find(|it| !it.is_empty());
        let text = said
            .map(|it| it.split_at(it.floor_char_boundary(MOST_TEXT)).0.to_owned())
            .unwrap_or_default();
        self.recent.push_back(Judged { component, score: feedback.score, text });
        if self.recent.len() > MOST_RECENT {
            self.recent.pop_front();
        }
    }

    pub(super) fn note_experience(&mut self, experience: &Experience) {
        self.experiences += 1;
        self.rollouts += u64::from(experience.done);
        let (names, duration) = components_of(experience);
        for name in names {
            let of = self.stats.entry(name).or_default();
            of.calls_total += 1;
            of.calls_success += u64::from(experience.reward > 0.0);
            of.calls_failed += u64::from(experience.reward < 0.0);
            of.rewards.add(experience.reward);
            of.last_called = of.last_called.max(experience.ts.unwrap_or_default());
            if let Some(duration) = duration {
                of.durations.add(duration);
                of.sketch.add(duration);
            }
        }
    }

    /// Tries a proposal on a copy; gives the change, and what was wrong with its edits.
    pub(super) fn try_out(&self, proposal: Proposal, now: f64) -> (Change, Vec<String>) {
        let mut policy = self.policy.clone();
        let (mut applied, mut undo, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for (place, edit) in proposal.edits.iter().enumerate() {
            match refine::make(&mut policy, edit) {
                Ok(before) => {
                    applied.push(place);
                    undo.push(before);
                }
                Err(fault) => faults.push(format!("edits[{place}]: {fault}")),
            }
        }
        let bytes = serde_json::to_vec(&policy).map_or(usize::MAX, |it| it.len());
        if bytes > MOST_POLICY {
            faults.push(format!("the policy would have {bytes} bytes; at most {MOST_POLICY}"));
            (applied, undo) = (Vec::new(), Vec::new());
        }
        let refinement_id = proposal.refinement_id.clone();
        let (event, proposal, policy_version) = (Event::Applied, Some(proposal), None);
        let ts = now;
        (Change { event, refinement_id, ts, proposal, applied, undo, policy_version }, faults)
    }

    /// Whether a change can be taken back.
    pub(super) fn has_undo(&self, refinement_id: &str) -> bool {
        self.undos.iter().any(|(id, _)| id == refinement_id)
    }

    /// Notes a change, and makes it unless the policy has it already.
    pub(super) fn note_change(&mut self, change: Change, is_made: bool) {
        let id = change.refinement_id.clone();
        let total = change.proposal.as_ref().map_or(0, |it| it.edits.len());
        match change.event {
            Event::Applied => {
                let edits = change.proposal.iter().flat_map(|it| &it.edits).enumerate();
                for (_, edit) in edits.filter(|(place, _)| change.applied.contains(place)) {
                    if !is_made {
                        // It was tried out before.
                        refine::make(&mut self.policy, edit).map(drop).unwrap_or_default();
                    }
                }
                if !is_made && let Some(version) = &change.policy_version {
                    self.policy_version.clone_from(version);
                }
                self.undos.push((id.clone(), change.undo), MOST_UNDOS);
            }
            Event::RolledBack => {
                let undo = self.undos.take(|(known, _)| *known == id).map(|it| it.1);
                for undo in undo.into_iter().flatten().rev() {
                    if !is_made {
                        refine::take_back(&mut self.policy, undo);
                    }
                }
            }
        }
        let entry = HistoryEntry {
            refinement_id: id,
            event: match change.event {
                Event::Applied => "applied".to_owned(),
                Event::RolledBack => "rolled_back".to_owned(),
            },
            ts: change.ts,
            applied_edits: change.applied.len(),
            failed_edits: total - change.applied.len().min(total),
            proposal: change.proposal,
        };
        self.history.push(entry, MOST_HISTORY);
    }

    pub(super) fn experiences(&self) -> u64 {
        self.experiences
    }

    /// The last changes, oldest first.
    pub(super) fn history(&self, count: usize) -> Vec<HistoryEntry> {
        let skipped = self.history.iter().len().saturating_sub(count);
        self.history.iter().skip(skipped).cloned().collect()
    }

    /// The edits of changes so far.
    pub(super) fn past_edits(&self) -> impl Iterator<Item = &Edit> {
        self.history.iter().filter_map(|it| it.proposal.as_ref()).flat_map(|it| &it.edits)
    }

    /// The last judgements, newest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Judged> {
        self.recent.iter().rev()
    }

    /// Records of this component, or of all.
    pub(super) fn records(&self, name: &str) -> Vec<ComponentRecord> {
        let wanted = self.stats.iter().filter(|(known, _)| name.is_empty() || *known == name);
        let record = |(name, of): (&String, &Component)| ComponentRecord {
            component_name: name.clone(),
            calls_total: of.calls_total,
            calls_success: of.calls_success,
            calls_failed: of.calls_failed,
            avg_duration_ms: rounded(of.durations.value()),
            avg_score: rounded(if of.scores.count == 0 { of.rewards } else { of.scores }.value()),
            last_called: of.last_called,
            p95_duration_ms: rounded(of.sketch.quantile(0.95)),
        };
        wanted.map(record).collect()
    }

    /// The mean of the scores of a component.
    pub(super) fn score(&self, name: &str) -> Option<f64> {
        let scores = self.stats.get(name)?.scores;
        (scores.count > 0).then(|| rounded(scores.value()))
    }

    /// Components with rewards.
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    pub(super) fn arms(&self) -> BTreeMap<String, Arm> {
        let used = self.stats.iter().filter(|(_, of)| of.rewards.count > 0);
        let arm = |(name, of): (&String, &Component)| {
            let preference = self.value(&format!("policy.preferences.{}", refine::escaped(name)));
            let preference = preference.and_then(Value::as_f64).unwrap_or_default();
            let count = of.rewards.count as f64;
            (name.clone(), Arm { count, mean: of.rewards.value(), preference })
        };
        used.map(arm).collect()
    }

    /// The weights that are in force, of this component or of all.
    pub(super) fn weights(&self, name: &str) -> BTreeMap<String, f64> {
        let all = self.value("router.weights").and_then(Value::as_object);
        let weights = all.into_iter().flatten().filter(|(it, _)| name.is_empty() || *it == name);
        weights.filter_map(|(name, weight)| Some((name.clone(), weight.as_f64()?))).collect()
    }

    /// A value of the policy.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        refine::find(&self.policy, &refine::names(path))
    }

    /// `harness_state.json`, but for what its file adds.
    pub(super) fn to_json(&self, policy_name: &str, now: f64) -> Map<String, Value> {
        let mut state = self.policy.clone();
        let own = json!({
            "policy_name": policy_name,
            "policy_version": self.policy_version,
            "checkpoint_uri": null,
            "rollouts": self.rollouts,
            "experiences": self.experiences,
            "stats": self.stats,
            "scope": "global",
            "created_at": self.created_at,
            "updated_at": now,
        });
        if let Value::Object(own) = own {
            state.extend(own);
        }
        state
    }

    /// Reads [`to_json`](Self::to_json) back.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn from_json(mut state: Map<String, Value>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Own {
            policy_version: String,
            #[serde(default)]
            rollouts: u64,
            #[serde(default)]
            experiences: u64,
            stats: BTreeMap<String, Component>,
            created_at: f64,
        }
        let own: Own = serde_json::from_value(Value::Object(state.clone()))
            .map_err(|error| Error::runtime(format!("harness state: {error}")))?;
        for name in refine::OWN {
            state.remove(name);
        }
        let Own { policy_version, rollouts, experiences, stats, created_at } = own;
        let policy = state;
        Ok(Self {
            policy,
            policy_version,
            stats,
            rollouts,
            experiences,
            created_at,
            ..Self::default()
        })
    }

    /// For a snapshot: the changes, too.
    pub(super) fn changes(&self) -> (Vec<HistoryEntry>, Vec<(String, Vec<Undo>)>) {
        (self.history.iter().cloned().collect(), self.undos.iter().cloned().collect())
    }

    /// Takes [`changes`](Self::changes) back.
    pub(super) fn set_changes(
        &mut self,
        history: Vec<HistoryEntry>,
        undos: Vec<(String, Vec<Undo>)>,
    ) {
        for it in history {
            self.history.push(it, MOST_HISTORY);
        }
        for it in undos {
            self.undos.push(it, MOST_UNDOS);
        }
    }
}
