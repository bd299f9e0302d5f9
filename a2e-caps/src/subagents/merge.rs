//! The results of several subagents as one.

use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::protocol::AwaitResponse;

/// Merges by a strategy.
///
/// # Errors
/// `runtime_error` for a strategy that there is not.
pub(super) fn merge(strategy: &str, states: &[AwaitResponse]) -> Result<Map<String, Value>> {
    match strategy {
        "hierarchical_summary" | "collect" => {
            let each = states.iter().map(|it| (it.subagent_id.clone(), result_of(it)));
            Ok(each.collect())
        }
        "voting" | "vote" => Ok(vote(states)),
        "custom" => {
            let each = states.iter().map(|it| {
                json!({ "subagent_id": it.subagent_id, "status": it.status, "result": it.result,
                    "error": it.error })
            });
            Ok(Map::from_iter([("subagents".to_owned(), each.collect())]))
        }
        other => {
            let text = format!(
                "no strategy is named `{other}`; there are hierarchical_summary, collect, voting, custom"
            );
            Err(Error::runtime(text))
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
        for strategy in ["collect", "hierarchical_summary"] {
            let merged = merge(strategy, &states).unwrap();
            assert_eq!((&merged["b"], &merged["d"], merged.len()), (&yes, &json!(null), 4));
        }
        for strategy in ["vote", "voting"] {
            let merged = merge(strategy, &states).unwrap();
            assert_eq!(merged["winner"], yes);
            assert_eq!(merged["votes"][1]["subagents"], json!(["b", "c"]));
        }
        let first = merge("vote", states.get(..2).unwrap()).unwrap();
        assert_eq!(first["winner"], json!({ "answer": 2 }), "of equals the first");
        assert_eq!(merge("vote", &[]).unwrap()["winner"], json!(null));
        assert_eq!(merge("custom", &states).unwrap()["subagents"].as_array().unwrap().len(), 4);
        assert!(merge("guess", &states).unwrap_err().message().contains("no strategy"));
    }
}
