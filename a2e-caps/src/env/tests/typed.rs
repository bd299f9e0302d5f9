//! The typed client.

use a2e_client::{Client, Options};

use super::*;
use crate::env::{EnvClient, JsonObject};

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_client_does_all_of_it() {
    let host = host_with(json!({})).await;
    let client = Client::connect(host.executor().connect(), Options::new("a")).await.unwrap();
    let envs = EnvClient::new(&client);
    let inc = || JsonObject::of(&json!({ "type": "inc" })).unwrap();
    let spaces = envs.spaces("counter_env").await.unwrap();
    assert!(spaces.options_schema.is_none());
    let (episode, obs) = envs.reset("counter_env", None, JsonObject::default()).await.unwrap();
    assert_eq!((obs.episode_id.as_str(), obs.step_num), (episode.id(), 0));
    assert_eq!(episode.step(inc()).await.unwrap().step_num, 1);
    assert_eq!(episode.plan().await.unwrap().len(), 4);
    assert_eq!(episode.render("json").await.unwrap().get(), r#"{"count":1,"step_num":1}"#);
    let forks = episode.fork(2).await.unwrap();
    let steps = [(&forks[0], inc()), (&forks[1], inc()), (&forks[1], inc())];
    let seen = envs.batch_step(steps).await.unwrap();
    assert_eq!(seen.iter().map(|obs| obs.step_num).collect::<Vec<_>>(), [2, 2, 3]);
    let (restored, obs) = envs.restore(forks[1].snapshot().await.unwrap()).await.unwrap();
    assert_eq!(obs.step_num, 3);
    restored.close().await.unwrap();
    assert_eq!(episode.observe().await.unwrap().step_num, 1);
    assert_eq!(envs.experience(10).await.unwrap().len(), 4);
    let error = envs.reset("chess", None, JsonObject::default()).await.unwrap_err();
    assert!(error.to_string().contains("chess"), "{error}");
    client.close().await;
    host.stop().await;
}
