//! The typed client against a host.

use a2e_client::{Client, Options};

use super::*;
use crate::memory::{
    Memory, MemoryEntry, MemoryError, MemoryForgetRequest, MemoryRetrieveRequest, MemoryTier,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_client_remembers_recalls_and_forgets() {
    let host = TestHost::start(config(json!({ "max_entry_bytes": 1000 }))).await;
    let client = Client::connect(host.executor().connect(), Options::new("a")).await.unwrap();
    let memory = Memory::open(&client, "n").await.unwrap();
    let key = json!({ "k": [1, "é"] });
    for (tier, value) in
        [(MemoryTier::Semantic, 3), (MemoryTier::Episodic, 2), (MemoryTier::Working, 1)]
    {
        memory.remember(&key, &vec![value], tier).await.unwrap();
        assert_eq!(memory.recall::<Vec<i32>>(&key).await.unwrap(), Some(vec![value]), "{tier:?}");
    }
    assert_eq!(memory.recall::<Value>(&json!({})).await.unwrap(), None);

    let wanted = MemoryRetrieveRequest { tier: Some(MemoryTier::Semantic), ..Default::default() };
    let found: Vec<MemoryEntry> = memory.retrieve(wanted).await.unwrap().entries;
    assert!(found[0].created_at.is_some_and(|at| at > 0.0));
    let again = memory.store(&found).await.unwrap();
    assert_eq!((again.stored.len(), again.errors.len()), (1, 0), "what was read can be written");

    let keys = vec![found[0].key.clone()];
    let doomed = |tier| MemoryForgetRequest { keys: keys.clone(), tier, ..Default::default() };
    let default = MemoryForgetRequest { keys: keys.clone(), ..Default::default() };
    assert_eq!(memory.forget(default).await.unwrap(), 1, "episodic, as on the wire");
    assert_eq!(memory.forget(doomed(None)).await.unwrap(), 2);
    client.close().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_client_tells_what_went_wrong() {
    let host = TestHost::start(config(json!({ "max_entry_bytes": 1000 }))).await;
    let client = Client::connect(host.executor().connect(), Options::new("a")).await.unwrap();
    let memory = Memory::open(&client, "n").await.unwrap();
    let (key, tier) = (json!({}), MemoryTier::Working);
    let refused = memory.remember(&key, &"x".repeat(1000), tier).await.unwrap_err();
    assert!(
        matches!(&refused, MemoryError::NotStored(text) if text.contains("max_entry_bytes")),
        "{refused}"
    );
    let no_object = memory.remember(&json!("k"), &1, tier).await.unwrap_err();
    assert!(no_object.to_string().contains("expected an object"), "{no_object}");
    memory.remember(&key, &"text", tier).await.unwrap();
    assert!(matches!(memory.recall::<i32>(&key).await, Err(MemoryError::Json(_))));
    let query = "q".repeat(2000);
    let wanted = MemoryRetrieveRequest { query, ..Default::default() };
    let error = memory.retrieve(wanted).await.unwrap_err();
    assert!(error.to_string().contains("at most 1024"), "{error}");
    client.close().await;
    host.stop().await;
}
