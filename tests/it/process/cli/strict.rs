//! Nothing wrong in a configuration goes in silence: unknown keys, folders, classes, no plugin at all.

use serde_json::{Value, json};

use crate::process::support::program::{Host, PATIENCE, Place, a2e, outcome};

const DEMO: &str = "{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}";
const MEMORY: &str = "{name: m, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata:";

/// Configurations with one unknown key each, with what is said of it.
fn with_unknown_keys() -> Vec<(String, &'static str)> {
    vec![
        (
            format!("auth_tokn: x\nplugins: [{DEMO}]\n"),
            "a2e.yaml:1:1: unknown key \"auth_tokn\" (did you mean \"auth_token\"?)",
        ),
        (
            format!("plugins: [{DEMO}]\nglobal_limits:\n  max_sesions: 3\n"),
            "a2e.yaml:3:3: unknown key \"max_sesions\" in global_limits (did you mean \"max_sessions\"?)",
        ),
        (
            format!("plugins:\n  - {DEMO}\n  - {MEMORY} {{episodic_limi: 3}}}}\n"),
            "plugin \"m\": unknown key \"episodic_limi\" (did you mean \"episodic_limit\"?)",
        ),
        (
            "plugins:\n  - name: t\n    type: tools\n    cls: a2e.caps.tools.plugin.ToolPlugin\n    \
             metadata:\n      http_get:\n        timeout: 3\n"
                .to_owned(),
            "a2e.yaml:7:9: plugin \"t\": unknown key \"timeout\" in http_get (did you mean \"timeout_s\"?)",
        ),
    ]
}

#[test]
fn an_unknown_key_is_an_error_everywhere_unless_one_is_lenient() {
    for (yaml, said) in with_unknown_keys() {
        let place = Place::new();
        let config = place.config_as_is(&yaml);
        for (args, lenient) in [
            (&["check", &config][..], 0),
            (&["check", "--strict", &config], 1),
            (&["serve", "--stdio", &config], 0),
            (&["call", "ping", &config], 0),
            (&["plugins", &config], 0),
            (&["explain", "ping", &config], 0),
        ] {
            let (code, stdout, stderr) = outcome(&mut a2e(args));
            assert_eq!(code, Some(1), "{args:?}: {stdout}{stderr}");
            assert!((stdout + &stderr).contains(said), "{args:?}: {stderr}");
            let args = [args, &["--lenient"]].concat();
            let (code, stdout, stderr) = outcome(&mut a2e(&args));
            assert_eq!(code, Some(lenient), "{args:?}: {stdout}{stderr}");
            if args[0] == "check" {
                assert!(stdout.starts_with("warning: ") && stdout.contains(said), "{stdout}");
            }
        }
    }
}

#[test]
fn keys_of_the_references_samples_are_a_warning() {
    let place = Place::new();
    let config = place.config_as_is(&format!(
        "server: {{auth_token: x}}\nx-anchors: &more {{DISABLE_NETWORK: true}}\nplugins:\n  \
         - {{name: p, type: procs, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: *more}}\n  - {DEMO}\n"
    ));
    let (code, stdout, _) = outcome(&mut a2e(&["check", &config]));
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("\"DISABLE_NETWORK\" has no effect"), "{stdout}");
    assert!(stdout.contains("errors: 0, warnings: 2"), "{stdout}");
    assert_eq!(outcome(&mut a2e(&["check", "--strict", &config])).0, Some(1));
    let (code, stdout, stderr) = outcome(&mut a2e(&["call", "ping", &config]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn a_reload_with_an_unknown_key_changes_nothing() {
    let place = Place::new();
    let config = place.config_as_is(&format!("plugins: [{DEMO}]\n"));
    let socket = place.socket();
    let generation = || {
        let (code, stdout, stderr) = outcome(&mut a2e(&["status", "--json", "--to", &socket]));
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()["generation"].take()
    };
    let host = Host::at_socket(&place, &["-c", &config]);
    for (yaml, said) in with_unknown_keys() {
        place.config_as_is(&yaml);
        let (code, stdout, stderr) = outcome(&mut a2e(&["reload", "--to", &socket]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.contains("nothing has changed") && stderr.contains(said), "{stderr}");
        assert_eq!(generation(), json!(1), "{yaml}");
    }
    host.stop();
    // A lenient host stays lenient.
    let config = place.config_as_is(&format!("plugins: [{DEMO}]\n"));
    let host = Host::at_socket(&place, &[&config, "--lenient"]);
    for (count, (yaml, _)) in with_unknown_keys().into_iter().enumerate() {
        place.config_as_is(&yaml);
        let (code, stdout, stderr) = outcome(&mut a2e(&["reload", "--to", &socket]));
        assert_eq!(code, Some(0), "{count}: {stdout}{stderr}");
    }
    host.stop();
}

#[test]
fn check_tells_what_serve_would_not_load() {
    let place = Place::new();
    for (entry, said, at) in [
        (
            "name: t, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin, metadata: {roots: [/no/such]}",
            "/no/such",
            ":3:",
        ),
        ("name: u, type: test, cls: test.Unbuilt", "never built", ":3:"),
        ("name: u, type: test, cls: test.Unknown", "test.Unknown", ":3:"),
        (
            "name: m, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin, metadata: {backend: sqlite}",
            "needs `path`",
            ":3:",
        ),
        (
            "name: p, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {kill_grace_s: -1}",
            "kill_grace_s",
            ":3:",
        ),
    ] {
        let config = place.config_as_is(&format!("plugins:\n  - {DEMO}\n  - {{{entry}}}\n"));
        let (code, stdout, _) = outcome(&mut a2e(&["check", &config]));
        assert_eq!(code, Some(1), "{entry}: {stdout}");
        assert!(stdout.contains(said) && stdout.contains(at), "{entry}: {stdout}");
        let (_, _, stderr) = outcome(&mut a2e(&["serve", "--stdio", "-c", &config]));
        assert!(stderr.contains(said), "{entry}: {stderr}");
    }
}

#[test]
fn check_leaves_nothing_behind() {
    let place = Place::new();
    let config = place.config_as_is(&format!(
        "plugins:\n  - {MEMORY} {{backend: sqlite, path: \"{{}}/new/memory.db\"}}}}\n\
         snapshot_store: {{type: file, config: {{root: \"{{}}/state\"}}}}\n\
         audit: {{enabled: true, path: \"{{}}/audit.jsonl\"}}\nlisten: [\"unix://{{}}/a2e.sock\"]\n"
    ));
    let (code, stdout, stderr) = outcome(&mut a2e(&["check", &config]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the file itself: {left:?}");
}

#[test]
fn a_host_that_could_do_nothing_does_not_start() {
    let place = Place::new();
    for (yaml, said) in [
        ("plugins: []\n", "the configuration names none"),
        ("host_id: x\n", "the configuration names none"),
        ("plugins: [{name: u, type: test, cls: test.Unbuilt}]\n", "`u`: never built"),
        (
            "plugins: [{name: u, type: test, cls: test.Hang, metadata: {enabled: false}}]\n",
            "`u`: `enabled: false`",
        ),
        ("plugins: [{name: u, type: test, cls: no.Such}]\n", "no plugin class `no.Such`"),
    ] {
        let config = place.config_as_is(yaml);
        let (code, stdout, stderr) = outcome(&mut a2e(&["serve", "--stdio", "-c", &config]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{yaml}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("a2e: no plugin serves") && last.contains(said), "{last}");
        let (code, stdout, _) = outcome(&mut a2e(&["check", &config]));
        assert_eq!(code, Some(1), "{yaml}: {stdout}");
        let (mut host, mut wire) = Host::stdio(&["-c", &config, "--lenient"]);
        wire.handshake("patient");
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0), "{yaml}");
    }
}

#[test]
fn missing_folders_of_sockets_and_logs_are_named_and_not_made() {
    let place = Place::new();
    for (yaml, folder) in [
        ("listen: [\"unix://{}/run/a2e.sock\"]\n", "run"),
        ("audit: {enabled: true, path: \"{}/logs/deep/audit.jsonl\"}\n", "logs/deep"),
    ] {
        let config = place.config(yaml);
        let named = place.text(folder);
        for args in [&["serve", "-c", &config][..], &["check", &config]] {
            let (code, stdout, stderr) = outcome(&mut a2e(args));
            assert_eq!(code, Some(1), "{args:?}: {stdout}{stderr}");
            let said = stdout + &stderr;
            assert!(said.contains(&named) && said.contains("missing"), "{args:?}: {said}");
        }
        assert!(!place.path(folder).exists());
    }
    let (_, _, stderr) = outcome(&mut a2e(&["serve", "--listen", "unix:///no/such/a2e.sock"]));
    assert!(stderr.contains("/no/such is missing"), "{stderr}");
}
