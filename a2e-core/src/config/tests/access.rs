//! Access: to a host, to its file, and to secrets, which are never shown.

use std::os::unix::fs::PermissionsExt;

use crate::config::tests::{good, load};
use crate::config::{HostConfig, ListenAddr, Secret, Tls};

#[test]
fn a_secret_shows_in_no_problem_and_no_debug_text() {
    let token = "correct-horse";
    let texts = [
        format!("auth_token: {token}\nlisten: [\"tcp://0.0.0.0:1\"]"),
        format!("auth_token: [{token}]"),
        format!("auth_token: \"{token}\\n\""),
        format!("server: {{auth_token: {token}, port: x}}"),
    ];
    for text in texts {
        let shown = format!("{:?}", load(&text));
        assert!(!shown.contains(token), "{shown}");
    }
    let config = good(&format!(
        "auth_token: {token}\nsnapshot_store: {{type: custom, config: {{password: {token}}}}}\n\
         plugins: [{{name: a, type: t, cls: c, metadata: {{api_key: {token}}}}}]"
    ));
    let shown = format!("{config:?}");
    assert!(!shown.contains(token), "{shown}");
    assert!(config.auth_token.unwrap().matches(token));
}

#[test]
fn a_short_token_is_a_warning_at_home() {
    let is_short = |token: &str| Secret::new(token).is_short();
    assert!(is_short("dev") && is_short("0123456789abcdef0123456789abcde"));
    assert!(!is_short("0123456789abcdef0123456789abcdef"));
    assert!(!is_short("Zm9vYmFyYmF6cXV4eHl6eQ") && !is_short("four words that nobody guesses"));
}

#[test]
fn addresses_read_back_and_know_who_reaches_them() {
    for (text, is_local) in [
        ("tcp://127.0.0.1:8765", true),
        ("tcp://127.8.9.1:0", true),
        ("http://localhost:80", true),
        ("tcp://[::1]:1", true),
        ("tcp://[::ffff:127.0.0.1]:1", true),
        ("unix:///run/a2e/a2e.sock", true),
        ("stdio", true),
        ("tcp://[::]:1", false),
        ("tcp://0.0.0.0:1", false),
        ("http://localhost.evil.example:1", false),
        ("tcp://10.0.0.1:65535", false),
    ] {
        let address: ListenAddr = text.parse().unwrap();
        assert_eq!((address.to_string().as_str(), address.is_local()), (text, is_local));
    }
    for text in [
        "",
        "tcp://",
        "tcp://:1",
        "tcp://a",
        "tcp://a:+1",
        "tcp://a:65536",
        "tcp://::1:1",
        "tcp://[a]:1",
        "tcp://a b:1",
        "unix://",
        "unix:///",
        "unix://a",
        "ftp://a:1",
        "stdio://",
        "http://a:1/x",
        "tcp://u@h:1",
    ] {
        assert!(text.parse::<ListenAddr>().is_err(), "{text}");
    }
}

#[test]
fn only_a_guarded_host_may_leave_the_machine() {
    let open: ListenAddr = "tcp://0.0.0.0:1".parse().unwrap();
    let mut config = HostConfig::new();
    config.listen = vec![open.clone()];
    let hint = config.problems()[0].hint.clone().unwrap();
    assert!(hint.contains("auth_token: ${A2E_TOKEN}") && hint.contains("tls: external"), "{hint}");
    config.auth_token = Some(Secret::new("0123456789abcdef0123456789abcdef"));
    assert!(config.check_address(&open).is_some());
    config.server.tls = Tls::External;
    assert!(config.check_address(&open).is_none());
    config.auth_token = None;
    assert!(
        config.check_address(&open).is_some(),
        "a proxy that encrypts does not ask for a token"
    );
}

#[test]
fn listen_beats_transport_and_server() {
    let of = |text: &str| -> Vec<String> {
        good(text).addresses().iter().map(ToString::to_string).collect()
    };
    assert_eq!(of("server: {port: 1}"), ["tcp://127.0.0.1:1"]);
    assert_eq!(of("server: {port: 1}\ntransport: {type: http}"), ["http://127.0.0.1:1"]);
    assert_eq!(of("server: {host: 0.0.0.0}\ntransport: {type: subprocess}"), ["stdio"]);
    assert!(of("server: {host: 0.0.0.0}\ntransport: {type: direct}").is_empty());
    assert_eq!(of("listen: [stdio]\ntransport: {type: http}\nserver: {host: 0.0.0.0}"), ["stdio"]);
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a2e.yaml");
    std::fs::write(&path, "host_id: a\n").unwrap();
    let with = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        HostConfig::from_yaml(&path)
    };
    assert_eq!(with(0o640).unwrap().warnings, []);
    assert_eq!(with(0o660).unwrap().warnings.len(), 1);
    assert!(with(0o606).is_err());
    assert!(HostConfig::from_yaml(folder.path()).is_err());
    assert!(HostConfig::from_yaml(folder.path().join("none.yaml")).is_err());
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(with(0o600).unwrap_err().to_string().contains("larger"));
    assert!(load(&"#".repeat(1 << 20)).is_ok());
}
