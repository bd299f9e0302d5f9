//! The typed client.

use a2e_client::{Client, Options};

use super::*;
use crate::json::JsonObject;
use crate::learn::LearnClient;
use crate::learn::protocol::{Experience, LearnPlanRequest, Strategy};

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_client_does_all_of_it() {
    let host = host(json!({ "min_experiences": 1 })).await;
    let client = Client::connect(host.executor().connect(), Options::new("a")).await.unwrap();
    let learn = LearnClient::new(&client);
    let feedback = serde_json::from_value(judged("gpt", 0.25)).unwrap();
    assert_eq!(learn.feedback(vec![feedback]).await.unwrap().new_score, Some(0.25));
    let action = JsonObject::of(&json!({ "component_name": "grep" })).unwrap();
    let step = Experience { action, reward: 0.1, ..Experience::default() };
    assert_eq!(learn.experience(vec![step]).await.unwrap(), 1);
    assert_eq!(learn.stats("").await.unwrap().len(), 2);
    assert_eq!(learn.adapt(Strategy::Ucb1).await.unwrap().updated.len(), 2);
    let plan = learn.plan(&LearnPlanRequest::default()).await.unwrap();
    let proposal = plan[0].clone();
    assert!(learn.review(proposal.clone()).await.unwrap().approved);
    let applied = learn.apply(proposal).await.unwrap();
    assert!(learn.rollback(&applied.refinement_id).await.unwrap().rolled_back);
    assert_eq!(learn.history().await.unwrap().len(), 3);
    client.close().await;
    host.stop().await;
}
