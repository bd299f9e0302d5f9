//! `server.principals`: what is read, and what is refused with its place.

use std::os::unix::fs::PermissionsExt;

use crate::config::tests::{good, load};
use crate::config::{ListenAddr, Tls};
use crate::transport::Rights;

const LONG: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn principals_are_read_with_tenant_rights_and_lists() {
    let config = good(&format!(
        "tenants: {{acme: {{}}}}\nserver:\n  principals:\n  - {{name: ci, token: {LONG}, tenant: acme, \
         capabilities: [tool, memory/*], rights: [approve, env-control]}}\n  - {{name: ada, token: {LONG}2}}\n"
    ));
    let ci = config.principal_of(LONG).unwrap();
    assert_eq!((ci.principal.as_str(), ci.name.as_str()), ("ci", "ci"));
    assert_eq!(ci.tenant.as_deref(), Some("acme"));
    assert_eq!(ci.rights, Rights { operator: false, env_control: true, approve: true });
    let allowed = ci.allowed.as_ref().unwrap();
    assert_eq!(allowed.types.as_ref().unwrap(), &["tool", "memory/*"]);
    let ada = config.principal_of(&format!("{LONG}2")).unwrap();
    assert_eq!((ada.rights, &ada.allowed, &ada.tenant), (Rights::default(), &None, &None));
    assert!(config.principal_of("").is_none() && config.principal_of(&LONG[1..]).is_none());
    assert!(config.needs_token() && !good("").needs_token());
    let shown = format!("{config:?}");
    assert!(!shown.contains(LONG), "{shown}");
    let none =
        good(&format!("server: {{principals: [{{name: a, token: {LONG}, capabilities: []}}]}}"));
    let allowed = none.principal_of(LONG).unwrap().allowed.clone().unwrap();
    assert_eq!(allowed.types, Some(Vec::new()), "an empty list allows nothing");
}

#[test]
fn r62_tokens_come_from_the_file_a_file_or_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let with = |text: &[u8], mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&format!("server: {{principals: [{{name: a, token_file: '{}'}}]}}", path.display()))
    };
    let loaded = with(format!("{LONG}\n").as_bytes(), 0o600).unwrap();
    assert!(loaded.config.principal_of(LONG).is_some() && loaded.warnings.is_empty());
    assert_eq!(with(LONG.as_bytes(), 0o644).unwrap().warnings.len(), 1);
    for (text, mode, expected) in [
        (LONG.as_bytes(), 0o602, "everybody may write"),
        (b" \n", 0o600, "gives no token"),
        (b"\xff", 0o600, "cannot read"),
        (&[b'x'; 5000], 0o600, "more than 4096 bytes"),
    ] {
        let errors = with(text, mode).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
    }
    std::fs::remove_file(&path).unwrap();
    let missing =
        load(&format!("server: {{principals: [{{name: a, token_file: '{}'}}]}}", path.display()));
    assert!(missing.unwrap_err().to_string().contains("cannot read it"));
    let config = good("server: {principals: [{name: a, token_env: DIGITS}]}");
    assert!(config.principal_of("12345678901234567890123456789012345678901234").is_some());
    let config = good("server: {principals: [{name: a, token: '${DIGITS}'}]}");
    assert!(config.principal_of("12345678901234567890123456789012345678901234").is_some());
}

#[test]
fn what_is_wrong_with_a_principal_is_told_with_its_place() {
    let two = format!("{{name: a, token: {LONG}}}");
    for (list, more, expected) in [
        ("5".to_owned(), "", "server.principals: expected a list"),
        ("[5]".to_owned(), "", "server.principals[0]: expected a map with name and token"),
        (format!("[{{token: {LONG}}}]"), "", "server.principals[0]: missing key \"name\""),
        ("[{name: a}]".to_owned(), "", "server.principals[0]: missing key \"token\""),
        (format!("[{{name: '', token: {LONG}}}]"), "", "name: must not be empty"),
        (format!("[{{name: 'token:x', token: {LONG}}}]"), "", "name: must have no colon"),
        (
            format!("[{two}, {{name: a, token: {LONG}3}}]"),
            "",
            "\"a\" is taken by the principal at line",
        ),
        (
            format!("[{two}, {{name: b, token: {LONG}}}]"),
            "",
            "is also that of the principal at line",
        ),
        (format!("[{two}]"), &format!("auth_token: {LONG}"), "is also that of `auth_token`"),
        (
            format!("[{two}]"),
            &format!("operator_token: {LONG}"),
            "is also that of `operator_token`",
        ),
        (
            format!("[{{name: a, token: {LONG}, token_env: DIGITS}}]"),
            "",
            "token_env: stands beside token",
        ),
        ("[{name: a, token_env: NONE_SUCH}]".to_owned(), "", "the variable NONE_SUCH is not set"),
        ("[{name: a, token: ''}]".to_owned(), "", "gives no token"),
        (
            format!("[{{name: a, token: {LONG}, tenant: acne}}]"),
            "tenants: {acme: {}}",
            "did you mean \"acme\"?",
        ),
        (
            format!("[{{name: a, token: {LONG}, tenant: x}}]"),
            "",
            "neither tenants nor a plugin names \"x\"",
        ),
        (
            format!("[{{name: a, token: {LONG}, rights: [approves]}}]"),
            "",
            "did you mean \"approve\"?",
        ),
        (
            format!("[{{name: a, token: {LONG}, rights: [5]}}]"),
            "",
            "one of operator, env-control, approve",
        ),
        (format!("[{{name: a, token: {LONG}, rights: approve}}]"), "", "rights: expected a list"),
        (
            format!("[{{name: a, token: {LONG}, capabilities: [5]}}]"),
            "",
            "capabilities: expected a text",
        ),
        (
            format!("[{{name: a, token: {LONG}, capabilites: [x]}}]"),
            "",
            "did you mean \"capabilities\"?",
        ),
    ] {
        let text = format!("{more}\nserver:\n  principals: {list}\n");
        let errors = load(&text).expect_err(&text).to_string();
        assert!(errors.contains(expected), "{text}: {errors}");
        assert!(!errors.contains(LONG), "{errors}");
        assert!(errors.contains("t.yaml:3:"), "{errors}");
    }
}

#[test]
fn a_tenant_may_be_one_that_only_a_plugin_names() {
    let plugin = "plugins: [{name: p, type: t, cls: c, metadata: {tenants: [acme]}}]";
    good(&format!("server: {{principals: [{{name: a, token: {LONG}, tenant: acme}}]}}\n{plugin}"));
}

#[test]
fn r60_principals_are_a_token_for_other_machines_when_each_is_long() {
    let open: ListenAddr = "tcp://0.0.0.0:1".parse().unwrap();
    for (token, is_refused) in [(LONG, false), ("short", true)] {
        let mut config = good(&format!("server: {{principals: [{{name: a, token: {token}}}]}}"));
        config.server.tls = Tls::External;
        let problem = config.check_address(&open);
        assert_eq!(problem.is_some(), is_refused, "{problem:?}");
    }
}
