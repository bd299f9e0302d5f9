//! The settings of a plugin against its config type.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{HostConfig, PluginConfig, Severity, did_you_mean, settings_problems};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default)]
struct Files {
    roots: Vec<String>,
    allow_write: bool,
    max_bytes: NonZeroUsize,
    #[serde(alias = "ALLOWED_COMMANDS")]
    allowed_commands: Option<Vec<String>>,
    backend: Backend,
    http_get: Get,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            allow_write: false,
            max_bytes: NonZeroUsize::MIN,
            allowed_commands: None,
            backend: Backend::Memory,
            http_get: Get::default(),
        }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Memory,
    Sqlite { path: String },
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Get {
    timeout_s: f64,
    api_key: u32,
}

fn plugin(settings: &str) -> PluginConfig {
    let text = format!(
        "plugins:\n- name: files\n  type: tools\n  cls: a.B\n  metadata:\n    enabled: true\n    \
         name: x\n    {}\n",
        settings.replace('\n', "\n    ")
    );
    HostConfig::from_str("a2e.yaml", &text, &|_| None).unwrap().config.plugins.remove(0)
}

#[track_caller]
fn check<T: serde::de::DeserializeOwned>(settings: &str, expected: &[&str]) -> Option<T> {
    let (value, problems) = settings_problems::<T>(&plugin(settings));
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
    value
}

#[test]
fn good_settings_decode() {
    let text = "roots: [/a]\nALLOWED_COMMANDS: [ls]\nbackend: {sqlite: {path: x}}\nhttp_get: {timeout_s: 3}";
    let files: Files = check(text, &[]).unwrap();
    assert_eq!(files.roots, ["/a"]);
    assert_eq!(files.allowed_commands.unwrap(), ["ls"]);
    assert_eq!(files.backend, Backend::Sqlite { path: "x".to_owned() });
    assert!((files.http_get.timeout_s - 3.0).abs() < f64::EPSILON);
}

#[test]
fn unknown_keys_are_told_at_every_depth_and_do_no_harm() {
    let text = "root: [/a]\nhttp_get: {timeout: 3}\nDISABLE_NETWORK: true";
    for (plugin, expected) in [
        (plugin(text), [Severity::Error, Severity::Error, Severity::Warning]),
        (plugin(text).lenient(true), [Severity::Warning; 3]),
    ] {
        let (_, problems) = settings_problems::<Files>(&plugin);
        let found: Vec<Severity> = problems.iter().map(|problem| problem.severity).collect();
        assert_eq!(found, expected);
    }
    let value = check::<Files>(
        "root: [/a]\nprioritty: 3\nhttp_get: {timeout: 3}\nDISABLE_NETWORK: true",
        &[
            "a2e.yaml:8:5: plugin \"files\": unknown key \"root\" (did you mean \"roots\"?)",
            "a2e.yaml:9:5: plugin \"files\": unknown key \"prioritty\" (did you mean \"priority\"?)",
            "a2e.yaml:10:16: plugin \"files\": unknown key \"timeout\" in http_get (did you mean \"timeout_s\"?)",
            "a2e.yaml:11:5: plugin \"files\": \"DISABLE_NETWORK\" has no effect: it stands in samples, and nothing reads it",
        ],
    );
    assert_eq!(value.unwrap(), Files::default());
}

#[test]
fn several_wrong_values_are_named_at_once() {
    let value = check::<Files>(
        "roots: [/a, 5]\nallow_write: maybe\nmax_bytes: 0\nbackend: sqlit\nhttp_get: {api_key: hunter2}",
        &[
            "a2e.yaml:8:17: plugin \"files\": roots[1]: invalid type: integer \"5\", expected a string",
            "a2e.yaml:9:5: plugin \"files\": allow_write: invalid type: string \"maybe\", expected a boolean",
            "a2e.yaml:10:5: plugin \"files\": max_bytes: invalid value: integer \"0\", expected a nonzero usize",
            "a2e.yaml:11:5: plugin \"files\": backend: unknown variant \"sqlit\", expected \"memory\" or \"sqlite\" (did you mean \"sqlite\"?)",
            "a2e.yaml:12:16: plugin \"files\": http_get.api_key: the value does not fit",
        ],
    );
    assert_eq!(value, None);
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only the shape matters")]
struct Strict {
    path: String,
    size: u8,
}

#[test]
fn a_missing_key_is_named_once() {
    check::<Strict>("size: 1", &["a2e.yaml:2:3: plugin \"files\": missing key \"path\""]);
    let both =
        ["a2e.yaml:8:5: plugin \"files\": size: invalid value: integer \"300\", expected u8"];
    check::<Strict>("size: 300\npath: x", &both);
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only the shape matters")]
struct Open {
    size: Option<u8>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Unit;

#[test]
fn types_that_take_any_key_know_all_of_them() {
    check::<Open>("sise: 1", &[]).unwrap();
    check::<BTreeMap<String, Value>>("anything: {at: [all]}", &[]).unwrap();
    check::<Value>("anything: 1", &[]).unwrap();
    check::<Unit>("anything: 1", &[]).unwrap();
    check::<()>("anything: 1", &[]).unwrap();
}

#[test]
fn null_leaves_the_default() {
    assert_eq!(check::<Files>("roots:\nmax_bytes: ~\nhttp_get: null", &[]), Some(Files::default()));
}

#[test]
fn settings_from_code_have_no_place() {
    let plugin = PluginConfig::new("p", "t", "c").with_setting("roots", 5);
    let (value, problems) = settings_problems::<Files>(&plugin);
    assert!(value.is_none());
    assert_eq!(
        problems[0].to_string(),
        "plugin \"p\": roots: invalid type: integer \"5\", expected a sequence"
    );
    assert_eq!(problems[0].path, "metadata.roots");
}

#[test]
fn problems_of_the_host_with_a_plugin_have_their_place() {
    let plugin = plugin("roots: [/a]");
    let hint = did_you_mean("a.B", ["a.b", "zzz"]);
    let problem = plugin.cls_problem(Severity::Error, "no class \"a.B\" is linked in", hint);
    assert_eq!(
        problem.to_string(),
        "a2e.yaml:4:8: plugin \"files\": no class \"a.B\" is linked in (did you mean \"a.b\"?)"
    );
    assert_eq!(problem.path, "plugins[0].cls");
    let problem = plugin.setting_problem(Severity::Warning, "roots[0].x", "is no folder", None);
    assert_eq!((problem.line, problem.column), (8, 13));
}
