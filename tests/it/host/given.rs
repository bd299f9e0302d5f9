//! Instances that a program makes itself, and requests of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use a2e_caps::memory::{MemoryInitRequest, MemoryRetrieveRequest};
use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::executor::StartError;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::testing::TestHost;
use a2e_core::{Error, Result, message};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::{of, plugin, script, with};

#[derive(Debug, Serialize, Deserialize)]
struct CountRequest {
    by: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CountResponse {
    count: u64,
}

message!(CountResponse, "given/count/resp");
message!(CountRequest, "given/count/req" => CountResponse, First);

/// Counts where the program sees it.
struct SharedCounter {
    count: Arc<AtomicU64>,
    fails: bool,
}

impl SharedCounter {
    fn of(count: &Arc<AtomicU64>) -> Self {
        Self { count: Arc::clone(count), fails: false }
    }

    fn count(&self, request: CountRequest, _: &Call) -> Answer<CountResponse> {
        if request.by == 0 {
            return Err(Error::schema("by", "nothing to count"));
        }
        assert!(request.by < 100, "asked to panic");
        let before = self.count.fetch_add(request.by, Ordering::SeqCst);
        Ok(CountResponse { count: before + request.by }.into())
    }
}

impl Plugin for SharedCounter {
    fn handlers(on: &mut Handlers<Self>) {
        on.pool(Self::count);
    }

    fn start(&self, _: &Host) -> Result<()> {
        if self.fails { Err(Error::runtime("it will not")) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_with_the_state_of_its_program() {
    let count = Arc::new(AtomicU64::new(40));
    let builder = Executor::builder(with([plugin("echo", "Echo")]));
    let host = TestHost::build(builder.plugin(SharedCounter::of(&count))).await.unwrap();
    let reply = host.session().call("given/count/req", json!({ "by": 2 })).await;
    assert_eq!((&reply["count"], count.load(Ordering::SeqCst)), (&json!(42), 42));
    let status = of(&host.executor().status(), "shared_counter");
    assert_eq!(status.capability, "shared_counter");
    // Reloads leave it as it is: no configuration names it.
    for config in
        [with([plugin("echo", "Echo")]), HostConfig::new(), with([script("s", "pool", "reply")])]
    {
        let report = host.executor().reload(config).await.unwrap();
        assert!(report.kept.contains(&"shared_counter".to_owned()), "{report:?}");
        assert!(host.executor().call(&CountRequest { by: 1 }).await.is_ok());
    }
    assert_eq!(count.load(Ordering::SeqCst), 45);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_of_one_type_have_names_and_priorities() {
    let (one, two) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let entry = |name: &str, priority| {
        let mut entry = PluginConfig::new(name, "counting", "not used");
        entry.metadata.priority = Some(priority);
        entry
    };
    let builder = Executor::builder(HostConfig::new())
        .plugin_as(entry("one", 1), SharedCounter::of(&one))
        .plugin_as(entry("two", 2), SharedCounter::of(&two));
    let host = TestHost::build(builder).await.unwrap();
    host.executor().call(&CountRequest { by: 5 }).await.unwrap();
    assert_eq!((one.load(Ordering::SeqCst), two.load(Ordering::SeqCst)), (0, 5));
    assert_eq!(of(&host.executor().status(), "one").capability, "counting");
    host.stop().await;
    let twice = Executor::builder(HostConfig::new())
        .plugin(SharedCounter::of(&one))
        .plugin(SharedCounter::of(&two));
    match TestHost::build(twice).await {
        Err(StartError::Config(problems)) => {
            assert!(problems[0].to_string().contains("shared_counter"), "{problems:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_is_told_and_not_built_anew() {
    let count = Arc::new(AtomicU64::new(0));
    let builder = Executor::builder(with([plugin("echo", "Echo")]));
    let host = TestHost::build(builder.plugin(SharedCounter::of(&count))).await.unwrap();
    let mut session = host.session();
    for _ in 0..3 {
        assert_eq!(
            session.call_error("given/count/req", json!({ "by": 100 })).await,
            "internal_error"
        );
    }
    // Three panics within a minute ask for a rebuild, which is not to be had.
    let gone = async {
        while !format!("{:?}", of(&host.executor().status(), "shared_counter"))
            .contains("built anew")
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, gone).await.unwrap();
    let names = ["shared_counter".into()];
    let error = host.executor().rebuild(&names).await.unwrap_err();
    assert!(error.to_string().contains("cannot be built anew"), "{error}");
    host.stop().await;

    let mut entry = PluginConfig::new("broken", "counting", "");
    entry.metadata.required = true;
    let broken = SharedCounter { fails: true, ..SharedCounter::of(&count) };
    match TestHost::build(Executor::builder(HostConfig::new()).plugin_as(entry, broken)).await {
        Err(StartError::RequiredPlugin { plugin, reason }) => {
            assert_eq!((plugin.as_str(), reason.as_str()), ("broken", "it will not"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_asks_its_host_without_a_client() {
    let memory = PluginConfig::new("memory", "memory", "a2e.caps.memory.plugin.MemoryPlugin");
    let count = Arc::new(AtomicU64::new(0));
    let builder = Executor::builder(HostConfig::new().plugin(memory));
    let host = TestHost::build(builder.plugin(SharedCounter::of(&count))).await.unwrap();
    let executor = host.executor();
    assert_eq!(executor.call(&CountRequest { by: 1 }).await.unwrap().count, 1);
    let error = executor.call(&CountRequest { by: 0 }).await.unwrap_err();
    assert_eq!(error.code().as_str(), "schema_violation");
    // One session for all of the program's requests, and no other's.
    let opened = executor.call(&MemoryInitRequest::default()).await.unwrap();
    let wanted = MemoryRetrieveRequest { memory_id: opened.memory_id, ..Default::default() };
    assert_eq!(executor.call(&wanted).await.unwrap().total, 0);
    let body = json!({ "memory_id": wanted.memory_id });
    assert_eq!(host.session().call_error("memory/retrieve/req", body).await, "memory_not_found");
    let raw = executor.ask().unwrap().request_raw("given/count/req", &json!({ "by": 2 })).await;
    assert_eq!(raw.unwrap().get(), r#"{"count":3}"#);
    let none = executor.ask().unwrap().request_raw("no/such/req", &json!({})).await;
    assert_eq!(none.unwrap_err().code().as_str(), "unknown_type");
    host.stop().await;
}
