//! A configuration belongs to its session.

use std::sync::Arc;

use a2e_core::Result;
use a2e_core::plugin::{Handlers, Host, Plugin};
use a2e_core::transport::Identity;
use serde_json::Map;

use super::*;
use crate::toolkits::contract::{Toolkit, ToolkitAbout};
use crate::tools::contract::{Tool, ToolCall, ToolProvider, ToolSet};

#[tokio::test(flavor = "multi_thread")]
async fn no_other_session_sees_or_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "mine").unwrap();
    let (host, mut first) = start(&[("filesystem", within(folder.path()))]).await;
    let mut second = host.session();
    configure(&mut first, "filesystem", json!({ "root": "." })).await;
    assert_eq!(tools(&mut first).await.len(), 2);
    assert!(tools(&mut second).await.is_empty());
    assert_eq!(kit(&mut second, "filesystem").await["configured"], false);
    let denied = call(&mut second, "filesystem__read_file", json!({ "path": "a.txt" })).await;
    assert_eq!(
        (&denied["code"], &denied["detail"]["toolkit_name"]),
        (&json!("tool_denied"), &json!("filesystem"))
    );

    configure(&mut second, "filesystem", json!({ "root": "." })).await;
    assert_eq!(tools(&mut second).await.len(), 2);
    assert_eq!(first.finish().await.len(), 0);
    let read = call(&mut second, "filesystem__read_file", json!({ "path": "a.txt" })).await;
    assert_eq!(read["data"]["success"], true, "{read}");
    second.finish().await;
    // Nobody has it any more.
    let mut third = host.session();
    let gone = async {
        loop {
            let reply = call(&mut third, "filesystem__read_file", json!({ "path": "a.txt" })).await;
            if reply["code"] == "unknown_tool" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_resumed_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new()
        .plugin(PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin"))
        .plugin(toolkits(&[("filesystem", within(folder.path()))]));
    config.session_ttl = std::time::Duration::from_mins(1);
    let host = TestHost::start(config).await;
    let shake =
        |resume: Value| json!({ "agent_id": "a", "agent_caps": ["tools"], "resume": resume });
    let mut session = host.session();
    let hello =
        session.call("handshake/req", shake(json!({ "session_id": "", "last_seq": 0 }))).await;
    configure(&mut session, "filesystem", json!({ "root": "." })).await;
    drop(session);
    let mut session = host.session();
    let resume = json!({ "session_id": hello["session_id"], "last_seq": 1 });
    let again = session.call("handshake/req", shake(resume)).await;
    assert_eq!(again["resumed"], true, "{again}");
    assert_eq!(again["ok"], true, "{again}");
    // Past the ids of the first connection, whose answers are sent again.
    for _ in 0..5 {
        session.call("ping", json!({})).await;
    }
    assert_eq!(tools(&mut session).await.len(), 2, "{again}");
    host.stop().await;
}

/// Echoes.
struct Parrot;

impl Toolkit for Parrot {
    fn about(&self) -> ToolkitAbout {
        let tools = ToolSet::new([speak()]).tools();
        ToolkitAbout::new("parrot", "Echoes.", json!({ "type": "object" }), tools)
    }

    fn configure(&self, _: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        Ok(Arc::new(ToolSet::new([speak()])))
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Words {
    text: String,
}

fn speak() -> Tool {
    Tool::inline("speak", "Says it again.", |it: Words, _: &ToolCall| Ok(it.text))
}

struct Bringer;

impl Plugin for Bringer {
    fn handlers(_: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        host.contribute::<dyn Toolkit>("parrot", Arc::new(Parrot))?.keep();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_brings_is_for_its_tenants() {
    let mut bringer = PluginConfig::new("bringer", "bringer", "");
    bringer.metadata.tenants = Some(vec!["a".to_owned()]);
    let offers = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
    let config = HostConfig::new().plugin(offers).plugin(toolkits(&[]));
    let builder = Executor::builder(config).plugin_as(bringer, Bringer);
    let host = TestHost::build(builder).await.unwrap();
    let member = |tenant: Option<&str>| {
        let identity = Identity { tenant: tenant.map(str::to_owned), ..Identity::of("someone") };
        TestSession::over(host.executor().connect_as(identity))
    };
    let mut own = member(Some("a"));
    configure(&mut own, "parrot", json!({})).await;
    let spoken = call(&mut own, "parrot__speak", json!({ "text": "x" })).await;
    assert_eq!(spoken["data"]["data"]["value"], "x", "{spoken}");
    for tenant in [Some("b"), None] {
        let mut other = member(tenant);
        assert_eq!(kit(&mut other, "parrot").await, Value::Null, "{tenant:?}");
        let why = refused(&mut other, "parrot", json!({})).await;
        assert!(why.starts_with("no toolkit is named `parrot`"), "{tenant:?}: {why}");
        assert!(tools(&mut other).await.is_empty(), "{tenant:?}");
        let call = call(&mut other, "parrot__speak", json!({ "text": "x" })).await;
        assert_eq!(call["code"], "unknown_tool", "{tenant:?}: {call}");
    }
    host.stop().await;
}
