//! Skills that are programs in a sandbox.

use a2e_core::children::{Supervisor, SupervisorConfig};

use super::programs::program;
use super::*;

/// Why this kernel cannot hold programs in.
fn refusal_here() -> Option<String> {
    let config = SupervisorConfig { guard: Some(guard()), ..SupervisorConfig::default() };
    Supervisor::new(config).unwrap().sandbox_refusal().map(str::to_owned)
}

fn status(host: &TestHost) -> String {
    format!("{:?}", host.executor().status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_touches_what_its_sandbox_allows() {
    let (root, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    file(data.path(), "shut", "not for skills");
    file(data.path(), "given/text", "for skills");
    file(data.path(), "made/before", "");
    let data = data.path().display();
    for (name, script) in [
        ("own", "cat SKILL.md".to_owned()),
        ("given", format!("cat {data}/given/text")),
        ("made", format!("echo 1 > {data}/made/after && ls {data}/made")),
        ("shut", format!("cat {data}/shut")),
        ("child", format!("sh -c 'cat {data}/shut'")),
        ("other", "cat ../own/SKILL.md".to_owned()),
        ("self", "echo '#!/bin/sh' > run.sh".to_owned()),
    ] {
        program(root.path(), name, &script);
    }
    let sandbox = json!({ "read": [format!("{data}/given")], "write": [format!("{data}/made")] });
    let settings = json!({ "allow_programs": true, "sandbox": sandbox });
    let host = host(&[root.path()], settings).await;
    let mut session = host.session();
    if let Some(why) = refusal_here() {
        // What is required and cannot be had runs nothing.
        assert_eq!(call(&mut session, "own", json!({})).await["code"], "unavailable", "{why}");
        assert!(status(&host).contains("programs are not run without a sandbox"), "{why}");
        return host.stop().await;
    }
    assert!(status(&host).contains("programs run in a sandbox"), "{}", status(&host));
    for (name, said) in [
        ("own", Some("description: d")),
        ("given", Some("for skills")),
        ("made", Some("after\nbefore")),
        ("shut", None),
        ("child", None),
        ("other", None),
        ("self", None),
    ] {
        let reply = call(&mut session, name, json!({})).await;
        let text = reply["data"]["data"]["text"].as_str().unwrap_or_default();
        assert_eq!(reply["data"]["success"], said.is_some(), "{name}: {reply}");
        assert!(text.contains(said.unwrap_or_default()), "{name}: {reply}");
        if said.is_none() {
            let why = reply["error"]["message"].as_str().unwrap();
            assert!(text.is_empty() && why.contains("ermission denied"), "{name}: {reply}");
        }
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_no_sandbox_no_program_unless_it_is_only_wished() {
    let root = tempfile::tempdir().unwrap();
    program(root.path(), "runs", "echo ran");
    skill(root.path(), "text", "name: text\ndescription: d", "A text.");
    for (sandbox, code, note) in [
        (
            json!({}),
            json!("unavailable"),
            "programs are not run without a sandbox: there is no guard",
        ),
        (json!({ "required": false }), Value::Null, "programs run without a whole sandbox"),
    ] {
        // A host without a guard program cannot hold anything in.
        let settings = json!({ "allow_programs": true, "sandbox": sandbox });
        let config = HostConfig::new().plugin(plugin(&[root.path()], settings));
        let host = TestHost::build(Executor::builder(config)).await.unwrap();
        assert!(status(&host).contains(note), "{}", status(&host));
        let mut session = host.session();
        let reply = call(&mut session, "runs", json!({})).await;
        assert_eq!(reply["code"], code, "{reply}");
        let text = call(&mut session, "text", json!({})).await;
        assert_eq!(text["data"]["success"], true, "{text}");
        host.stop().await;
    }
    for sandbox in [json!({ "red": ["/x"] }), json!({ "read": "/x" })] {
        let settings = json!({ "sandbox": sandbox });
        let config = HostConfig::new().plugin(plugin(&[root.path()], settings));
        assert!(Executor::builder(config).start().await.is_err(), "{sandbox}");
    }
    let gone =
        json!({ "allow_programs": true, "sandbox": { "write": [root.path().join("gone")] } });
    let host = host(&[root.path()], gone).await;
    if refusal_here().is_none() {
        let reply = call(&mut host.session(), "runs", json!({})).await;
        assert_eq!(reply["code"], "runtime_error", "{reply}");
        assert!(reply["message"].as_str().unwrap().contains("gone"), "{reply}");
    }
    host.stop().await;
}
