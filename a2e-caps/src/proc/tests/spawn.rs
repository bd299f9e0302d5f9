//! What may be started, and what a process is given.

use a2e_core::config::{HostConfig, settings_problems};

use super::super::ProcConfig;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_tells_its_lines_and_its_exit_after_the_reply() {
    let host = host().await;
    let mut session = host.session();
    let request = session.send("proc/spawn/req", sh("echo $$; echo two; printf three")).await;
    let reply = session.next().await.unwrap();
    assert_eq!((&reply["type"], &reply["ok"]), (&json!("proc/spawn/resp"), &json!(true)));
    let id = reply["proc_id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()), "{id}");
    for (seq, data) in [
        (0, json!({ "text": format!("{}\n", reply["pid"]) })),
        (1, json!({ "text": "two\n" })),
        (2, json!({ "text": "three" })),
        (3, json!({ "code": 0 })),
    ] {
        let event = event(&mut session, id).await;
        assert_eq!(event["req_id"], request);
        assert_eq!((&event["seq"], &event["data"]), (&json!(seq), &data));
        assert_eq!((&event["stream_type"], &event["kind"]), (&json!("stdout"), &json!("status")));
    }
    assert_eq!(status(&mut session, id).await, "completed");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_what_is_not_in_the_list_is_refused_with_the_key_that_allows_it() {
    let host = host().await;
    let mut session = host.session();
    assert_eq!(refusal(&mut session, json!({})).await, "Empty command");
    assert_eq!(refusal(&mut session, json!({ "cmd": [] })).await, "Empty command");
    assert_eq!(refusal(&mut session, json!({ "cmd": ["", "x"] })).await, "Empty command");
    for program in ["rm", "/bin/sh", "./sh", "SH", "sh ", " sh", "sh -c", "../sh"] {
        let why = refusal(&mut session, json!({ "cmd": [program, "-c", "true"] })).await;
        assert!(why.starts_with("Command not allowed"), "{why}");
        for hint in [program, "`metadata.allowed_commands`", "`ALLOWED_COMMANDS`", "`runner`"] {
            assert!(why.contains(hint), "{why}");
        }
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_launched_is_refused_with_the_systems_text() {
    let host = host().await;
    let mut session = host.session();
    for (request, expected) in [
        (json!({ "cmd": ["no-such-program"] }), "No such file"),
        (json!({ "cmd": ["no-such-program"], "env": { "PATH": "/tmp" } }), "No such file"),
        (json!({ "cmd": ["ls"], "cwd": "/no/such/folder" }), "cannot enter `/no/such/folder`"),
        (json!({ "cmd": ["ls"], "cwd": "/etc/passwd" }), "Not a directory"),
        (json!({ "cmd": ["ls", "a\u{0}b"] }), "NUL"),
        (json!({ "cmd": ["ls"], "env": { "A=B": "1" } }), "environment variable"),
        (json!({ "cmd": ["ls", "x".repeat(200_000)] }), "too long"),
    ] {
        let why = refusal(&mut session, request).await;
        assert!(why.contains(expected), "{expected}: {why}");
    }
    // The places of those that did not start are free again.
    let all = session.call("proc/status/req", json!({})).await;
    assert_eq!(all["procs"], json!([]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_schema_violations() {
    let host = host().await;
    let mut session = host.session();
    for (kind, body) in [
        ("spawn", json!({ "cmd": "ls" })),
        ("spawn", json!({ "cmd": [1] })),
        ("spawn", json!({ "cmd": null })),
        ("spawn", json!({ "cmd": ["ls"], "stdin_mode": "tty" })),
        ("spawn", json!({ "cmd": ["ls"], "env": { "A": 1 } })),
        ("spawn", json!({ "cmd": ["ls"], "env": [] })),
        ("spawn", json!({ "cmd": ["ls"], "timeout": "5" })),
        ("spawn", json!({ "cmd": ["ls"], "timeout": 1.5 })),
        ("write", json!({ "data": 1 })),
        ("write", json!({ "eof": "true" })),
        ("kill", json!({ "signal": "SIGHUP" })),
        ("kill", json!({ "signal": 9 })),
        ("status", json!({ "proc_id": 1 })),
    ] {
        let code = session.call_error(&format!("proc/{kind}/req"), body.clone()).await;
        assert_eq!(code, "schema_violation", "{kind} {body}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_process_gets_its_folder_and_no_more_of_the_environment_than_is_named() {
    let plugin = plugin().with_setting("env_pass", ["CARGO_MANIFEST_DIR", "A2E_UNSET"]);
    let host = host_with(plugin).await;
    let mut session = host.session();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let request = json!({
        "cmd": ["sh", "-c", "pwd; env | sort"],
        "cwd": path,
        "env": { "HOME": "/elsewhere", "GREETING": "grüß dich" },
    });
    let id = spawn(&mut session, request).await;
    let told = told(&mut session, &id).await;
    let mut lines = told.stdout.iter().map(|line| line.trim_end());
    assert_eq!(lines.next(), path.to_str());
    let names: Vec<&str> = lines.clone().map(|line| line.split('=').next().unwrap()).collect();
    // The host of this test has many more, CARGO_PKG_NAME among them.
    let known = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "TZ",
        "USER",
        "GREETING",
        "CARGO_MANIFEST_DIR",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some(), "run it with cargo");
    let lines: Vec<&str> = lines.collect();
    for expected in ["HOME=/elsewhere", "GREETING=grüß dich"] {
        assert!(lines.contains(&expected), "{lines:?}");
    }
    assert!(names.contains(&"CARGO_MANIFEST_DIR") && names.contains(&"PATH"), "{names:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_path_in_the_message_does_not_choose_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("ls");
    // A shell writes it: a descriptor of this process would be in the hands of what another test is
    // forking meanwhile, and no file that is open for writing can be run.
    let script = "printf '#!/bin/sh\\necho fake\\n' > \"$0\" && chmod 755 \"$0\"";
    let written = std::process::Command::new("sh").args(["-c", script]).arg(&fake).status();
    assert!(written.unwrap().success());
    let host = host().await;
    let mut session = host.session();
    let env = json!({ "PATH": folder.path() });
    let id = spawn(&mut session, json!({ "cmd": ["ls", folder.path()], "env": env })).await;
    assert_eq!(told(&mut session, &id).await.stdout, ["ls\n"]);
    // The process itself has the PATH that it was given.
    let id = spawn(&mut session, json!({ "cmd": ["sh", "-c", "ls"], "env": env })).await;
    assert_eq!(told(&mut session, &id).await.stdout, ["fake\n"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_references_settings_are_understood_and_its_default_list_holds() {
    let reference = PluginConfig::new("p", "procs", CLS)
        .with_setting("ALLOWED_COMMANDS", ["sh"])
        .with_setting("DEFAULT_TIMEOUT", 1)
        .with_setting("MAX_OUTPUT_BYTES", 4096)
        .with_setting("MAX_PROCS", 2);
    let (config, problems) = settings_problems::<ProcConfig>(&reference);
    assert!(problems.is_empty(), "{problems:?}");
    let config = config.unwrap();
    assert_eq!(config.allowed_commands, ["sh"]);
    assert_eq!((config.timeout, config.max_procs), (1, 2));
    assert_eq!(config.max_output_bytes.get(), 4096);

    let unused = reference.with_setting("DISABLE_NETWORK", true);
    let (config, problems) = settings_problems::<ProcConfig>(&unused);
    assert!(config.is_some() && problems.len() == 1, "{problems:?}");

    let (config, _) = settings_problems::<ProcConfig>(&PluginConfig::new("p", "proc", CLS));
    let config = config.unwrap();
    assert_eq!(config.allowed_commands, ["python3", "bash", "ls"]);
    assert_eq!((config.timeout, config.max_procs), (0, 64));
    assert_eq!(config.max_output_bytes.get(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_fails_the_plugin_only() {
    for (key, value) in [
        ("kill_grace_s", json!(-1)),
        ("kill_grace_s", json!(1e9)),
        ("max_output_bytes", json!(0)),
        ("max_procs", json!(-1)),
        ("allowed_commands", json!("ls")),
        ("isolation", json!("strong")),
        ("isolation", json!("group")),
    ] {
        let config = HostConfig::new().plugin(plugin().with_setting(key, value));
        let host = start(config).await;
        let status = host.executor().status();
        assert!(format!("{status:?}").contains(key), "{key}: {status:?}");
        assert_eq!(host.session().call_error("proc/spawn/req", sh("true")).await, "unknown_type");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_plugins_each_serves_its_own_list_and_processes() {
    let first = PluginConfig::new("first", "proc", CLS).with_setting("allowed_commands", ["cat"]);
    let second = PluginConfig::new("second", "proc", CLS).with_setting("allowed_commands", ["sh"]);
    let host = start(HostConfig::new().plugin(first).plugin(second)).await;
    let mut session = host.session();
    let cat = spawn(&mut session, json!({ "cmd": ["cat"] })).await;
    let sleeper = spawn(&mut session, sh("read line")).await;
    assert_eq!(status(&mut session, &cat).await, "running");
    assert_eq!(status(&mut session, &sleeper).await, "running");
    assert_eq!(status(&mut session, "unknown").await, "not_found");
    assert!(refusal(&mut session, json!({ "cmd": ["rm"] })).await.contains("`second`"));
    for id in [&cat, &sleeper] {
        assert_eq!(kill(&mut session, id, "SIGTERM").await["state"], "killed");
    }
    host.stop().await;
}
