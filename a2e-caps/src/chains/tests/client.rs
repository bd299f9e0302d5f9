//! The typed client.

use a2e_client::{Client, Options};

use super::*;
use crate::chains::{ChainNode, ChainPhase, ChainRequest, Chains, NodeKind};

#[tokio::test(flavor = "multi_thread")]
async fn typed_chains_and_their_events() {
    let Started { host, .. } = start().await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    let chains = Chains::new(&client);
    let map = ChainNode {
        items_path: "$.list".to_owned(),
        map_node: "w".to_owned(),
        next_node: "s".to_owned(),
        ..ChainNode::new("m", NodeKind::Map)
    };
    let chain = ChainRequest::new([
        map,
        ChainNode::tool("w", "work"),
        ChainNode::skill("s", "greet").with("who", "$.name"),
    ]);
    let chain = chain.input("list", json!([1, 2])).input("name", "Ada");
    let mut phases = Vec::new();
    let on_event = |event: crate::chains::ChainEvent| phases.push((event.node_id, event.phase));
    let done = chains.run_with_events(&chain, on_event).await.unwrap();
    assert!(done.success);
    assert_eq!(done.outputs["m"], json!([{ "value": 10 }, { "value": 20 }]));
    assert_eq!(phases.iter().filter(|it| it.1 == ChainPhase::Start).count(), 3);
    assert_eq!(phases.last(), Some(&("s".to_owned(), ChainPhase::Done)));
    let failed = chains.run(&ChainRequest::new([ChainNode::tool("a", "none")])).await.unwrap();
    let error = failed.error.unwrap();
    assert_eq!((error.code.as_str(), error.node_id.as_str()), ("chain_node_error", "a"));
    client.close().await;
    host.stop().await;
}
