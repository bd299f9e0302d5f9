//! How processes are held: what was asked for, or no start.

use a2e_core::children::{Supervisor, SupervisorConfig};

use super::*;

/// Why this machine allows no PID namespaces.
fn refusal_here() -> Option<String> {
    let config = SupervisorConfig { guard: Some(guard()), ..SupervisorConfig::default() };
    Supervisor::new(config).unwrap().pidns_refusal().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_pidns_gives_each_process_a_namespace_or_fails_the_plugin() {
    let host = host_with(plugin().with_setting("isolation", "pidns")).await;
    let mut session = host.session();
    if let Some(why) = refusal_here() {
        let status = format!("{:?}", host.executor().status());
        assert!(status.contains("isolation: not to be had here"), "{why}: {status}");
        assert_eq!(session.call_error("proc/spawn/req", sh("true")).await, "unknown_type");
        return host.stop().await;
    }
    for _ in 0..2 {
        let told = run(&mut session, "echo parent $PPID; echo err >&2; exit 3").await;
        assert_eq!((told.stdout, told.stderr), (vec!["parent 1\n".into()], vec!["err\n".into()]));
        assert_eq!(told.code, Some(3));
    }
    // A kill takes what has left its session, too.
    let token = token();
    let id = spawn(&mut session, sh(&format!("setsid sleep {token} & sleep {token}"))).await;
    until("both sleep", || sleepers(&token) == 2).await;
    let reply = kill(&mut session, &id, "SIGKILL").await;
    assert_eq!(reply["ok"], true, "{reply}");
    until("none does", || sleepers(&token) == 0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_a_level_that_the_host_has_not_fails_the_plugin() {
    // No guard program: what was asked for cannot be had; what was not asked for is no matter.
    for (level, why) in [
        (Some("pidns"), "there is no guard program"),
        (Some("guard"), "this host was started without a guard program"),
        (None, ""),
    ] {
        let plugin = level.map_or_else(plugin, |level| plugin().with_setting("isolation", level));
        let builder = Executor::builder(HostConfig::new().plugin(plugin)).lenient();
        let host = TestHost::build(builder).await.unwrap();
        let mut session = host.session();
        if level.is_some() {
            let status = format!("{:?}", host.executor().status());
            assert!(status.contains(&format!("isolation: not to be had here: {why}")), "{status}");
            assert_eq!(session.call_error("proc/spawn/req", sh("true")).await, "unknown_type");
        } else {
            assert_eq!(run(&mut session, "exit 4").await.code, Some(4));
        }
        host.stop().await;
    }
    let host = host_with(plugin().with_setting("isolation", "guard")).await;
    assert_eq!(run(&mut host.session(), "exit 5").await.code, Some(5));
    host.stop().await;
}
