//! What plugins know of the configuration follows a reload (B9).

use a2e_core::config::PluginConfig;
use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::support::{end, tuned, with};

fn procs(name: &str, priority: i64, is_exclusive: bool) -> PluginConfig {
    let plugin = PluginConfig::new(name, "proc", "a2e.caps.proc.plugin.ProcPlugin");
    tuned(plugin, |it| (it.priority, it.exclusive) = (Some(priority), Some(is_exclusive)))
}

async fn unknown(session: &mut TestSession) -> Value {
    session.call("proc/status/req", json!({ "proc_id": "nobody" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_an_exclusive_plugin_knows_that_it_is_one_after_a_reload() {
    for (before, after) in [(false, true), (true, false)] {
        let both = |is_exclusive| with([procs("head", 9, is_exclusive), procs("next", 1, false)]);
        let host = TestHost::start(both(before)).await;
        let mut session = host.session();
        for is_exclusive in [before, after] {
            let report = host.executor().reload(both(is_exclusive)).await.unwrap();
            assert!(report.ok, "{report:?}");
            let reply = unknown(&mut session).await;
            assert_eq!(reply["type"], "proc/status/resp", "{is_exclusive}: {reply}");
            assert_eq!(reply["status"], "not_found", "{is_exclusive}: {reply}");
        }
        // A plugin that has become one of several leaves it to the next; it knows its processes.
        session.finish().await;
        end(host).await;
    }
}
