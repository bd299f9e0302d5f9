//! Changes that would help, of what the ledger says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::config::LearnConfig;
use super::ledger::{Judged, Ledger};
use super::policy;
use super::protocol::{ChangeScope, Edit, LearnPlanRequest, Proposal, Strategy};
use super::refine::{escaped, rounded};

/// A score or a mean reward below this calls for a change.
const POOR: f64 = 0.5;

/// Most proposals that come of judgements.
const MOST_JUDGED: usize = 20;

fn edit(target: &str, op: &str, path: String, new_value: Value, reason: String) -> Edit {
    let (target, op) = (target.to_owned(), op.to_owned());
    Edit { target, op, path, old_value: Value::Null, new_value, reason }
}

fn weight_path(component: &str) -> String {
    format!("router.weights.{}", escaped(component))
}

/// Proposals without their ids: for components whose steps bring little, and for poor judgements, the newest of
/// each component.
pub(super) fn proposals(
    ledger: &Ledger,
    request: &LearnPlanRequest,
    config: &LearnConfig,
    now: f64,
) -> Vec<Proposal> {
    let LearnPlanRequest { component_name: wanted, scope } = request;
    let is_wanted = |name: &str| wanted.is_empty() || wanted == name;
    let proposal = |component: &str, summary: String, edits, confidence: f64| Proposal {
        refinement_id: String::new(),
        scope: *scope,
        component_name: component.to_owned(),
        feedback_summary: summary,
        edits,
        confidence: rounded(confidence.clamp(0.0, 1.0)),
        created_at: now,
        status: "proposed".to_owned(),
    };
    let mut proposals = Vec::new();
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let least = config.min_experiences as f64;
    for (name, arm) in ledger.arms() {
        if is_wanted(&name) && arm.count >= least && arm.mean < POOR {
            let summary =
                format!("{} steps with a mean reward of {}", arm.count, rounded(arm.mean));
            let weight = json!(rounded((2.0 * arm.mean).clamp(0.0, 1.0)));
            let edits =
                vec![edit("router_weight", "update", weight_path(&name), weight, summary.clone())];
            proposals.push(proposal(&name, summary, edits, 1.0 - arm.mean));
        }
    }
    let mut seen = BTreeSet::new();
    for judged in ledger.recent().filter(|it| it.score < POOR && is_wanted(&it.component)) {
        if seen.len() < MOST_JUDGED && seen.insert(&judged.component) {
            let summary = format!("a score of {}", judged.score);
            let edits = judged_edits(judged, &summary);
            proposals.push(proposal(&judged.component, summary, edits, 1.0 - judged.score));
        }
    }
    proposals
}

fn judged_edits(judged: &Judged, summary: &str) -> Vec<Edit> {
    let Judged { component, score, text } = judged;
    let mut edits = Vec::new();
    if !text.is_empty() {
        let (path, value) = ("prompt.template".to_owned(), json!(text));
        edits.push(edit("prompt", "replace", path, value, summary.to_owned()));
    }
    let threshold = json!(rounded(0.5 + 0.3 * score));
    let path = "verifier.threshold".to_owned();
    edits.push(edit("verifier", "update", path, threshold, summary.to_owned()));
    let weight = json!(rounded(score.max(0.1)));
    edits.push(edit("router_weight", "update", weight_path(component), weight, summary.to_owned()));
    edits
}

/// The edits that put the weights of a strategy in force, without those that change nothing.
pub(super) fn weights(
    ledger: &Ledger,
    strategy: Strategy,
    custom: &BTreeMap<String, f64>,
    wanted: &str,
    config: &LearnConfig,
) -> Vec<Edit> {
    let made = match strategy {
        Strategy::Custom => policy::Weights { weights: custom.clone(), ..Default::default() },
        other => policy::weights(other, &ledger.arms(), config),
    };
    let name = strategy_name(strategy);
    let weights = made.weights.iter().map(|(component, value)| {
        (
            component,
            edit("router_weight", "update", weight_path(component), json!(value), name.clone()),
        )
    });
    let preferences = made.preferences.iter().map(|(component, value)| {
        let path = format!("policy.preferences.{}", escaped(component));
        (component, edit("router", "update", path, json!(value), name.clone()))
    });
    let all = weights.chain(preferences);
    let wanted = all.filter(|(component, _)| wanted.is_empty() || *component == wanted);
    let edits = wanted.map(|(_, edit)| {
        let old_value = ledger.value(&edit.path).cloned().unwrap_or_default();
        Edit { old_value, ..edit }
    });
    edits.filter(|edit| edit.old_value != edit.new_value).collect()
}

fn strategy_name(strategy: Strategy) -> String {
    let name = serde_json::to_value(strategy).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// The proposal of an adaptation.
pub(super) fn adaptation(
    refinement_id: String,
    component_name: &str,
    strategy: Strategy,
    edits: Vec<Edit>,
    created_at: f64,
) -> Proposal {
    Proposal {
        refinement_id,
        scope: if component_name.is_empty() { ChangeScope::Global } else { ChangeScope::Local },
        component_name: component_name.to_owned(),
        feedback_summary: format!("weights by {}", strategy_name(strategy)),
        edits,
        confidence: 1.0,
        created_at,
        status: "proposed".to_owned(),
    }
}
