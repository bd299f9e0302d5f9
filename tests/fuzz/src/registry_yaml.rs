//! The registry file: every text is read or refused with problems that point into it.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use a2e_core::config::{ConfigErrors, HostConfig, LoadedConfig, Problem, settings_problems};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::scratch;

/// The value of `${SECRET}`; no problem and no debug output of a token shows it.
const SECRET: &str = "canary-5f0c1d9e7b3a4c2d8e6f";

/// Reads the input as a registry.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return not_text(data);
    };
    let loaded = HostConfig::from_str("fuzz.yaml", text, &environment);
    let again = HostConfig::from_str("fuzz.yaml", text, &environment);
    assert_eq!(shown(&loaded), shown(&again), "reading twice gives the same");
    match loaded {
        Ok(loaded) => good(&loaded, text),
        Err(errors) => {
            assert!(errors.problems().iter().any(Problem::is_error));
            for problem in errors.problems() {
                check(problem, text);
            }
        }
    }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.to_owned()),
        "EMPTY" => Some(String::new()),
        "NUMBER" => Some("7".to_owned()),
        "FLAG" => Some("true".to_owned()),
        "YAML" => Some("{a: [1, 2]}\n- x".to_owned()),
        _ => None,
    }
}

fn good(loaded: &LoadedConfig, text: &str) {
    for problem in &loaded.warnings {
        assert!(!problem.is_error());
        check(problem, text);
    }
    let config = &loaded.config;
    let tokens = format!("{:?}{:?}", config.auth_token, config.operator_token);
    assert!(!tokens.contains(SECRET), "a token is not shown");
    for plugin in &config.plugins {
        assert!(!plugin.name.as_str().is_empty() && !plugin.cls.is_empty());
        let (settings, problems) = settings_problems::<Map<String, Value>>(plugin);
        assert!(settings.is_some() || problems.iter().any(Problem::is_error));
        for problem in &problems {
            check(problem, text);
        }
    }
}

/// A problem is one line that points into the text.
fn check(problem: &Problem, text: &str) {
    let shown = problem.to_string();
    assert!(shown.starts_with("fuzz.yaml"), "{shown}");
    // A break of YAML 1.1 may end a line too.
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let lines = text.chars().filter(|c| breaks.contains(c)).count() + 2;
    assert!(problem.line as usize <= lines, "{shown} of {lines} lines");
    assert!(problem.column as usize <= text.chars().count() + 2, "{shown}");
}

fn shown(outcome: &Result<LoadedConfig, ConfigErrors>) -> String {
    match outcome {
        Ok(loaded) => {
            let mut config = loaded.config.clone();
            // Random where none is given.
            config.host_id.clear();
            format!("{config:?} {:?}", loaded.warnings)
        }
        Err(errors) => errors.to_string(),
    }
}

/// Bytes that are no text come by file only.
fn not_text(data: &[u8]) {
    static FILE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = scratch::folder();
        let file = folder.path().join("fuzz.yaml");
        (folder, file)
    });
    fs::write(&FILE.1, data).expect("the scratch folder can be written");
    let errors = HostConfig::from_yaml(&FILE.1).expect_err("not UTF-8");
    assert!(errors.to_string().contains("UTF-8"), "{errors}");
}
