//! The values of a file after loading, and files that are refused.

mod access;
mod approve;
mod principals;

use std::time::Duration;

use proptest::prelude::*;

use crate::config::*;

pub(super) fn load(text: &str) -> Result<LoadedConfig, ConfigErrors> {
    HostConfig::from_str("t.yaml", text, &|key| match key {
        "ZIP" => Some("00501".to_owned()),
        "RETRIES" => Some("3".to_owned()),
        "EMPTY" => Some(String::new()),
        "PHRASE" => Some("a: [b, c]\n- d".to_owned()),
        "DIGITS" => Some("12345678901234567890123456789012345678901234".to_owned()),
        _ => None,
    })
}

pub(super) fn good(text: &str) -> HostConfig {
    match load(text) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}

fn first(text: &str) -> String {
    match load(text) {
        Ok(loaded) => loaded.warnings.first().map(ToString::to_string).unwrap_or_default(),
        Err(errors) => errors.problems()[0].to_string(),
    }
}

#[test]
fn an_empty_file_gives_the_documented_defaults() {
    let config = good("");
    assert_eq!(config.host_id.len(), 8);
    assert!(config.host_id.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_ne!(config.host_id, HostConfig::new().host_id);
    assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 8765));
    assert_eq!(config.audit, AuditConfig::default());
    assert_eq!((config.audit.max_bytes, config.audit.backup_count), (10_485_760, 5));
    assert_eq!(config.snapshot_mode, SnapshotMode::Hybrid);
    assert_eq!(config.snapshot_interval, Duration::from_secs(30));
    assert_eq!(config.session_ttl, Duration::from_hours(1));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.addresses(), [ListenAddr::Stdio]);
}

#[test]
fn a_byte_order_mark_before_the_first_line_is_passed_over() {
    assert_eq!(good("\u{feff}host_id: marked\nplugins: []\n").host_id, "marked");
    assert_eq!(good("\u{feff}").addresses(), [ListenAddr::Stdio]);
}

#[test]
fn metadata_is_split_into_host_keys_and_settings() {
    let config = good(
        "plugins:\n- name: p\n  type: procs\n  cls: a.B\n  metadata:\n    deadline_s: 1.5\n    \
         permits: 4\n    scope: session\n    ALLOWED_COMMANDS: [ls, cat]\n    deep: {a: {b: 1}}\n",
    );
    let plugin = config.get_plugin("p").unwrap();
    assert_eq!((plugin.type_name.as_str(), plugin.capability.as_str()), ("procs", "proc"));
    assert_eq!(plugin.metadata.deadline, Some(Duration::from_millis(1500)));
    assert_eq!(plugin.metadata.permits, Some(4));
    assert_eq!(plugin.metadata.scope, Some(PluginScope::Session));
    assert_eq!((plugin.metadata.priority, plugin.metadata.exclusive), (None, None));
    let keys: Vec<&str> = plugin.settings().keys().map(String::as_str).collect();
    assert_eq!(keys, ["ALLOWED_COMMANDS", "deep"]);
    let place = |path: &str| plugin.position_of(path).map(|at| (at.line, at.column));
    assert_eq!(place("ALLOWED_COMMANDS"), Some((9, 5)));
    assert_eq!(place("ALLOWED_COMMANDS[1]"), Some((9, 28)));
    assert_eq!(place("deep.a.b"), Some((10, 16)));
    assert_eq!(place("permits"), None);
}

#[test]
fn variables_keep_their_type_and_never_change_the_structure() {
    let text = "plugins:\n- name: p\n  type: t\n  cls: c\n  metadata:\n    plain: ${RETRIES}\n    \
                quoted: \"${RETRIES}\"\n    zip: ${ZIP}\n    part: v${RETRIES}\n    \
                default: ${NONE:-true}\n    empty: ${EMPTY:-x}\n    blank: ${EMPTY}\n    \
                dollars: $$5 $x $${RETRIES}\n    phrase: ${PHRASE}\n    long: ${DIGITS}\n";
    let config = good(text);
    let expected = serde_json::json!({
        "plain": 3, "quoted": "3", "zip": "00501", "part": "v3", "default": true, "empty": "x",
        "blank": "", "dollars": "$5 $x ${RETRIES}", "phrase": "a: [b, c]\n- d",
        "long": "12345678901234567890123456789012345678901234",
    });
    assert_eq!(serde_json::Value::Object(config.plugins[0].settings().clone()), expected);
    assert_eq!(good("auth_token: ${DIGITS}").auth_token.unwrap().expose().len(), 44);
    assert_eq!(good("host_id: ${RETRIES}").host_id, "3");
    assert_eq!(good("server: {port: \"${RETRIES}\"}").server.port, 3);
    assert!(load("server: {port: \"${RETRIES}\"}").unwrap().warnings.is_empty());
}

#[test]
fn audit_follows_the_legacy_path_only_where_there_is_no_other() {
    let audit = good("audit_log_path: a\naudit: {enabled: true}").audit;
    assert_eq!((audit.mode, audit.path), (AuditMode::Write, Some("a".into())));
    let audit = good("audit_log_path: a\naudit: {enabled: true, path: b, mode: off}").audit;
    assert_eq!((audit.mode, audit.path), (AuditMode::Off, Some("b".into())));
    assert_eq!(good("audit: {mode: sync}").audit.mode, AuditMode::Off);
}

#[test]
fn audit_reactions_are_left_to_the_mode_unless_given() {
    assert_eq!(good("audit: {enabled: true, mode: sync}").audit.on_error, None);
    for (text, expected) in [("refuse", AuditOnError::Refuse), ("continue", AuditOnError::Continue)]
    {
        let yaml = format!("audit: {{enabled: true, on_error: {text}}}");
        assert_eq!(good(&yaml).audit.on_error, Some(expected));
    }
}

#[test]
fn the_audit_says_what_was_done_unless_told_otherwise() {
    assert_eq!(good("audit: {enabled: true}").audit.detail, AuditDetail::Subject);
    for (text, expected) in [
        ("none", AuditDetail::None),
        ("subject", AuditDetail::Subject),
        ("payload", AuditDetail::Payload),
    ] {
        let yaml = format!("audit: {{enabled: true, detail: {text}}}");
        assert_eq!(good(&yaml).audit.detail, expected);
    }
    let problem = load("audit: {enabled: true, detail: payloads}").unwrap_err().to_string();
    assert!(problem.contains("audit.detail") && problem.contains("\"payload\"?"), "{problem}");
}

#[test]
fn duplicate_names_are_found_in_code_too() {
    let plugin = PluginConfig::new("a", "tools", "c");
    let config = HostConfig::new().plugin(plugin.clone()).plugin(plugin);
    assert_eq!(
        config.problems()[0].to_string(),
        "plugin \"a\": the name is taken by an earlier plugin"
    );
}

#[test]
fn problems_are_json_too() {
    let errors = load("host_id: 5\nx: 1").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["severity"], "error");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&1.into(), &10.into()));
    assert_eq!(
        (json[1]["severity"].as_str(), json[1]["path"].as_str()),
        (Some("error"), Some("x"))
    );
}

#[test]
fn scalars_are_read_as_the_reference_reads_them_or_kept_as_text() {
    for (text, expected) in [
        ("yes", "true"),
        ("Off", "false"),
        ("y", "\"y\""),
        ("N", "\"N\""),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("1e3", "1000.0"),
        ("+5", "5"),
        ("~", "null"),
        ("2020-01-01", "\"2020-01-01\""),
        ("12:30:00", "\"12:30:00\""),
        ("!!str 5", "\"5\""),
        ("!tag {a: 1}", "{\"a\":1}"),
        // Numbers that would lose something stay text.
        ("00501", "\"00501\""),
        ("18446744073709551616", "\"18446744073709551616\""),
        ("-9223372036854775809", "\"-9223372036854775809\""),
    ] {
        let text = format!("plugins: [{{name: a, type: t, cls: c, metadata: {{n: {text}}}}}]");
        assert_eq!(good(&text).plugins[0].settings()["n"].to_string(), expected, "{text}");
    }
    assert_eq!(good("auth_token: 01234567890123456789012345678901234567890").host_id.len(), 8);
}

#[test]
fn merged_keys_give_way_to_own_ones() {
    let config = good(
        "plugins:\n- {name: a, type: t, cls: c, metadata: &m {permits: 1, x: 1}}\n\
         - {name: b, type: t, cls: c, metadata: {<<: *m, permits: 2}}",
    );
    let plugin = config.get_plugin("b").unwrap();
    assert_eq!((plugin.metadata.permits, &plugin.settings()["x"]), (Some(2), &1.into()));
    assert_eq!(plugin.position_of("x"), Some(Position { line: 2, column: 56 }));
}

#[test]
fn aliases_of_large_things_are_limited() {
    let long = "x".repeat(100_000);
    let uses = "*a,".repeat(60);
    assert!(first(&format!("plugins: [{{metadata: [&a {long}, {uses}]}}]")).contains("each use"));
    let key = "k".repeat(900);
    let nest = format!("{{{key}: ").repeat(18) + "1" + &"}".repeat(18);
    let text = format!(
        "plugins: [{{name: a, type: t, cls: c, metadata: {{a: &a {nest}, b: [{}]}}}}]",
        "*a,".repeat(50)
    );
    let plugin = good(&text).plugins.remove(0);
    assert!(plugin.position_of("b[49]").is_some());
}

#[test]
fn the_deepest_file_fits_a_small_stack() {
    let deep = |levels: usize| {
        format!("{{x-a: {}1{}}}", "{a: ".repeat(levels - 1), "}".repeat(levels - 1))
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let run = thread.spawn(move || (load(&deep(24)).is_ok(), load(&deep(25)).is_ok()));
    assert_eq!(run.unwrap().join().unwrap(), (true, false));
}

#[test]
fn columns_count_characters() {
    assert!(first("host_id: 'höst'\nserver: {host: ä, port: x}").starts_with("t.yaml:2:16:"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        drop(load(&text));
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(
        place in 0_usize..900,
        length in 0_usize..40,
        insert in "[-:{}\\[\\]#&*!|>'\"%@`$a0~ \n\t]{0,8}",
    ) {
        let mut chars: Vec<char> =
            include_str!("../../../../tests/data/configs/good/ours.yaml").chars().collect();
        let start = place.min(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, insert.chars());
        let text: String = chars.into_iter().collect();
        if let Err(errors) = load(&text) {
            prop_assert!(errors.problems().iter().all(|p| p.line > 0), "{}", errors);
        }
    }
}
