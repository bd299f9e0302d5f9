//! What plugins offer to each other comes and goes under load, and its consumers follow: tools of
//! providers, as an MCP client or a process plugin would contribute them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use a2e_caps::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};
use a2e_core::Result;
use a2e_core::config::PluginConfig;
use a2e_core::plugin::{BoxFuture, Host, Registration, Run};
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use super::grown::{Grown, of_class};
use crate::support::{PATIENCE, audited, end, of, records_of, settled, with};

/// A provider with one tool.
struct Toy {
    tool: String,
    run: Run,
    calls: AtomicU64,
    /// Whether it has a second tool, too.
    has_more: AtomicBool,
}

impl Toy {
    fn new(tool: impl Into<String>, run: Run) -> Arc<Self> {
        let (calls, has_more) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { tool: tool.into(), run, calls, has_more })
    }

    fn offer(self: &Arc<Self>, host: &Host) -> Registration {
        let item: Arc<dyn ToolProvider> = self.clone();
        host.contribute::<dyn ToolProvider>(&self.tool, item).expect("the name is free")
    }

    fn answer(&self, call: &ToolCall) -> Result<ToolOutput> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ToolOutput::of(call.tool())
    }
}

impl ToolProvider for Toy {
    fn tools(&self) -> Vec<ToolDefinition> {
        let mut tools = vec![ToolDefinition::new(self.tool.clone(), "")];
        if self.has_more.load(Ordering::SeqCst) {
            tools.push(ToolDefinition::new(format!("{}.more", self.tool), ""));
        }
        tools
    }

    fn run(&self, _: &str) -> Run {
        self.run
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        self.answer(&call)
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move { self.answer(&call) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_of_one_type_may_differ_in_what_they_have_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let host = TestHost::lenient(audited(with([]), &path)).await;
    host.executor().add_class(Grown::new("test.Grown")).unwrap();
    let mut session = host.session();
    let mut expected = json!({});
    for (name, field) in [("a", "first"), ("b", "second.path"), ("c", "first")] {
        let plugin =
            of_class("test.Grown", name, &["grown/req"]).with_setting("subject", vec![field]);
        host.executor().add_plugin(plugin).await.unwrap();
        expected[field] = "x".into();
        let body = json!({ "first": "x", "second": { "path": "x" }, "third": "x" });
        let id = session.send("grown/req", body).await;
        assert_eq!(session.reply_to(&id).await["type"], "grown/resp", "{name}");
        assert_eq!(records_of(&path, &id)[0]["subject"], expected, "{name}");
    }
    session.finish().await;
    end(host).await;
}

const RUNS: [Run; 4] = [Run::Inline, Run::Pool, Run::Blocking, Run::Future];

/// A host with the tools capability, and a plugin whose host the test uses to offer tools.
async fn start() -> (TestHost, Host) {
    let tools = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
    let host = TestHost::start(with([tools])).await;
    let class = Grown::new("test.Toys");
    host.executor().add_class(class.clone()).unwrap();
    host.executor().add_plugin(of_class("test.Toys", "toys", &[])).await.unwrap();
    let toys = class.host("toys");
    (host, toys)
}

async fn listed(session: &mut TestSession) -> Vec<String> {
    let reply = session.call("tool/list/req", json!({})).await;
    let tools = reply["tools"].as_array().unwrap_or_else(|| panic!("{reply}"));
    tools.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// What a call gives: the value, or the error's code.
async fn call(session: &mut TestSession, tool: &str) -> String {
    let body = json!({ "tool_name": tool, "arguments": {} });
    let reply = session.call("tool/call/req", body).await;
    let value = match &reply["code"] {
        Value::String(code) => code.clone(),
        _ => reply["data"]["data"]["value"].as_str().unwrap_or_default().to_owned(),
    };
    assert!(!value.is_empty(), "{reply}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_withdraws_when_it_is_dropped() {
    let (host, toys) = start().await;
    let mut session = host.session();
    for run in RUNS {
        let toy = Toy::new("toy", run);
        let registration = toy.offer(&toys);
        assert!(toys.contribute::<dyn ToolProvider>("toy", toy.clone()).is_err(), "it is taken");
        assert_eq!(call(&mut session, "toy").await, "toy", "{run:?}");
        assert_eq!(listed(&mut session).await, ["toy"]);
        drop(registration);
        assert_eq!(call(&mut session, "toy").await, "unknown_tool", "{run:?}");
        assert_eq!(listed(&mut session).await, [] as [&str; 0]);
        assert_eq!(toy.calls.load(Ordering::SeqCst), 1);
        released(&toy).await;
    }
    // One that is kept goes with its plugin; what is dropped afterwards withdraws nothing of others.
    let (kept, held) = (Toy::new("kept", Run::Pool), Toy::new("held", Run::Pool));
    kept.offer(&toys).keep();
    let registration = held.offer(&toys);
    assert_eq!(listed(&mut session).await, ["kept", "held"]);
    host.executor().remove_plugin(&"toys".into()).await.unwrap();
    assert_eq!(listed(&mut session).await, [] as [&str; 0]);
    drop(registration);
    released(&kept).await;
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

/// Waits until nothing but the test holds the provider.
async fn released(toy: &Arc<Toy>) {
    let gone = async {
        while Arc::strong_count(toy) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, gone).await.is_ok();
    assert!(in_time, "{} hold `{}`", Arc::strong_count(toy) - 1, toy.tool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_waits_for_the_next_generation() {
    let (host, toys) = start().await;
    let mut seen = toys.watch_contributions();
    let before = *seen.borrow_and_update();
    assert_eq!(before, toys.contribution_generation());
    let toy = Toy::new("toy", Run::Pool);
    let registration = toy.offer(&toys);
    for change in 0..3 {
        tokio::time::timeout(PATIENCE, seen.changed()).await.unwrap().unwrap();
        assert_eq!(*seen.borrow_and_update(), before + 1 + change);
        assert!(!seen.has_changed().unwrap());
        match change {
            0 => toys.contribution_changed(),
            1 => toys.contribute::<str>("text", "x".into()).unwrap().keep(),
            _ => {}
        }
    }
    drop(registration);
    tokio::time::timeout(PATIENCE, seen.changed()).await.unwrap().unwrap();
    assert!(toys.contributions::<dyn ToolProvider>().is_empty());
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_of_tools_that_come_change_and_go() {
    let (host, toys) = start().await;
    let mut session = host.session();
    session.handshake(&["tools"]).await;
    assert_eq!(listed(&mut session).await, [] as [&str; 0]);
    let toy = Toy::new("toy", Run::Pool);
    let mut registration = None;
    for change in ["comes", "changes", "goes"] {
        match change {
            "comes" => registration = Some(toy.offer(&toys)),
            "changes" => {
                toy.has_more.store(true, Ordering::SeqCst);
                toys.contribution_changed();
            }
            _ => drop(registration.take()),
        }
        // Nobody asks for the list: the plugin sees the change by itself.
        let told = tokio::time::timeout(PATIENCE, session.next()).await.expect(change).unwrap();
        assert_eq!(told["type"], "tool/changed/push", "{change}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_come_and_go_under_load() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 100;
    let (host, toys) = start().await;
    let host = Arc::new(host);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut agents = Vec::new();
    for _ in 0..3 {
        let (mut session, is_over) = (host.session(), Arc::clone(&is_over));
        agents.push(tokio::spawn(async move {
            let mut called = 0;
            while !is_over.load(Ordering::SeqCst) {
                for tool in listed(&mut session).await {
                    let value = call(&mut session, &tool).await;
                    assert!(value == tool || value == "unknown_tool", "{tool}: {value}");
                    called += usize::from(value == tool);
                }
            }
            session.finish().await;
            called
        }));
    }
    // One that follows its own tool: what it offers can be called at once, what it withdrew cannot.
    let (mut own, own_toys) = (host.session(), toys.clone());
    let follower = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let toy = Toy::new("followed", RUNS[round % RUNS.len()]);
            let registration = toy.offer(&own_toys);
            assert_eq!(call(&mut own, "followed").await, "followed");
            assert!(listed(&mut own).await.contains(&"followed".to_owned()));
            drop(registration);
            assert_eq!(call(&mut own, "followed").await, "unknown_tool", "{round}");
            assert!(!listed(&mut own).await.contains(&"followed".to_owned()));
        }
        own.finish().await;
    });
    let threads = (0..THREADS).map(|number| {
        let toys = toys.clone();
        std::thread::spawn(move || {
            let toy = Toy::new(format!("toy{number}"), RUNS[number % RUNS.len()]);
            for round in 0..ROUNDS {
                let registration = toy.offer(&toys);
                std::thread::sleep(Duration::from_millis(2));
                if round % 7 == 0 {
                    toy.has_more.fetch_xor(true, Ordering::SeqCst);
                    toys.contribution_changed();
                }
                drop(registration);
            }
            toy
        })
    });
    let threads: Vec<_> = threads.collect();
    let mut gone = Vec::new();
    for thread in threads {
        gone.push(tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap());
    }
    tokio::time::timeout(PATIENCE * 2, follower).await.unwrap().unwrap();
    is_over.store(true, Ordering::SeqCst);
    let mut called = 0;
    for agent in agents {
        called += tokio::time::timeout(PATIENCE, agent).await.unwrap().unwrap();
    }
    assert!(called > 0, "tools were called");
    settled(&host).await;
    let mut session = host.session();
    let counts: Vec<u64> = gone.iter().map(|toy| toy.calls.load(Ordering::SeqCst)).collect();
    for toy in &gone {
        assert_eq!(call(&mut session, &toy.tool).await, "unknown_tool");
    }
    assert_eq!(listed(&mut session).await, [] as [&str; 0]);
    let now: Vec<u64> = gone.iter().map(|toy| toy.calls.load(Ordering::SeqCst)).collect();
    assert_eq!(now, counts, "what is gone for good is called no more");
    for toy in &gone {
        released(toy).await;
    }
    let tools = of(&host.executor().status(), "tools");
    assert_eq!((tools.panics, tools.stuck), (0, 0), "{tools:?}");
    session.finish().await;
    end(Arc::into_inner(host).unwrap()).await;
}
