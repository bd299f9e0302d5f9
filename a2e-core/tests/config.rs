//! Registry files that load, and registry files that do not, with every problem they must name.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use a2e_core::config::{HostConfig, Problem};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}

fn env(key: &str) -> Option<String> {
    let value = match key {
        "A2E_TOKEN" => "4f1c0a6be2d94d0c8c6f3ab1d0e1f2a3",
        "PORT" => "9000",
        "RETRIES" => "3",
        "ZIP" => "00501",
        "EMPTY" => "",
        "PHRASE" => "a: [b, c]",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The problems of a file, one a line, as `check` prints them.
fn render(path: &Path) -> (bool, String) {
    let name = path.file_name().unwrap().to_string_lossy();
    let outcome = match std::fs::read_to_string(path) {
        Ok(text) => HostConfig::from_str(&name, &text, &env),
        Err(_) => HostConfig::from_yaml(path), // not UTF-8: only the file itself can be given
    };
    let problems: Vec<Problem> = match &outcome {
        Ok(loaded) => loaded.warnings.clone(),
        Err(errors) => errors.problems().to_vec(),
    };
    let mut text = String::new();
    for mut problem in problems {
        problem.file = name.to_string();
        let kind = if problem.is_error() { "" } else { "warning: " };
        writeln!(text, "{kind}{problem}\n    at {:?}", problem.path).unwrap();
    }
    (outcome.is_ok(), text)
}

/// What differs from the text beside the file; UPDATE=1 rewrites that text.
fn compare(path: &Path, found: &str) -> Option<String> {
    let expected = path.with_extension("txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&expected, found).unwrap();
    }
    let text = std::fs::read_to_string(&expected).unwrap_or_default();
    (text != found).then(|| format!("== {}: expected\n{text}== found\n{found}", path.display()))
}

fn check(folder: &str, should_load: bool) {
    let mut failures = Vec::new();
    for path in files(folder) {
        let (is_ok, found) = render(&path);
        if is_ok != should_load {
            failures.push(format!("== {} loads: {is_ok}\n{found}", path.display()));
        }
        failures.extend(compare(&path, &found));
    }
    assert!(failures.is_empty(), "UPDATE=1 rewrites these\n{}", failures.join("\n"));
}

#[test]
fn good_files_load() {
    check("good", true);
}

#[test]
fn bad_files_name_every_problem() {
    check("bad", false);
}
