//! The results of several subagents as one.

use serde_json::{Map, Value, json};

use super::protocol::AwaitResponse;
use super::upper::MergeStrategy;

/// Merges by a strategy.
pub(super) fn merge(strategy: MergeStrategy, states: &[AwaitResponse]) -> Map<String, Value> {
    match strategy {
        MergeStrategy::HierarchicalSummary | MergeStrategy::Collect => {
            let each = states.iter().map(|it| (it.subagent_id.clone(), result_of(it)));
            each.collect()
        }
        MergeStrategy::Voting | MergeStrategy::Vote => vote(states),
        MergeStrategy::Custom => {
            let each = states.iter().map(|it| {
                json!({ "subagent_id": it.subagent_id, "status": it.status, "result": it.result,
                    "error": it.error })
            });
            Map::from_iter([("subagents".to_owned(), each.collect())])
        }
    }
}

/// The result that most subagents have; of equals the one that came first. One that has none does not vote.
fn vote(states: &[AwaitResponse]) -> Map<String, Value> {
    let mut counts: Vec<(&Map<String, Value>, Vec<&str>)> = Vec::new();
    for state in states {
        let Some(result) = &state.result else { continue };
        match counts.iter_mut().find(|(it, _)| *it == result) {
            Some((_, voters)) => voters.push(&state.subagent_id),
            None => counts.push((result, vec![&state.subagent_id])),
        }
    }
    let winner = counts.iter().rev().max_by_key(|(_, voters)| voters.len());
    let votes: Vec<Value> = counts
        .iter()
        .map(|(result, voters)| json!({ "result": result, "votes": voters.len(), "subagents": voters }))
        .collect();
    let winner = winner.map_or(Value::Null, |(result, _)| Value::Object((*result).clone()));
    Map::from_iter([("winner".to_owned(), winner), ("votes".to_owned(), votes.into())])
}

fn result_of(state: &AwaitResponse) -> Value {
    state.result.clone().map_or(Value::Null, Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_merged() {
        let state = |id: &str, result: Value| AwaitResponse {
            subagent_id: id.to_owned(),
            result: result.as_object().cloned(),
            ..AwaitResponse::default()
        };
        let yes = json!({ "answer": 1, "by": "x" });
        let states = [
            state("a", json!({ "answer": 2 })),
            state("b", yes.clone()),
            state("c", json!({ "by": "x", "answer": 1 })),
            state("d", json!(null)),
        ];
        for strategy in [MergeStrategy::Collect, MergeStrategy::HierarchicalSummary] {
            let merged = merge(strategy, &states);
            assert_eq!((&merged["b"], &merged["d"], merged.len()), (&yes, &json!(null), 4));
        }
        for strategy in [MergeStrategy::Vote, MergeStrategy::Voting] {
            let merged = merge(strategy, &states);
            assert_eq!(merged["winner"], yes);
            assert_eq!(merged["votes"][1]["subagents"], json!(["b", "c"]));
        }
        let first = merge(MergeStrategy::Vote, states.get(..2).unwrap());
        assert_eq!(first["winner"], json!({ "answer": 2 }), "of equals the first");
        assert_eq!(merge(MergeStrategy::Vote, &[])["winner"], json!(null));
        assert_eq!(merge(MergeStrategy::Custom, &states)["subagents"].as_array().unwrap().len(), 4);
    }
}
