//! Holds the tree to ARCHITECTURE.md and CONTRIBUTING.md, as far as a search of text can.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 6] = ["a2e-core", "a2e-client", "a2e-caps", "a2e-server", "tests", "benches"];

/// Most lines of a file.
const SOURCE_LINES: usize = 500;
const TEST_LINES: usize = 700;

/// Most files of a folder.
const FOLDER_FILES: usize = 12;

/// Folders with more files, and how many. They may shrink.
const LARGE_FOLDERS: [(&str, usize, &str); 1] =
    [("a2e-client/tests/client", 13, "a file for each promise of the client")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a folder, relative to the root, and its text.
fn rust_files(folder: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.insert(name, text);
            }
        }
    }
    assert!(!files.is_empty(), "no files in {folder}");
    files
}

fn all_rust_files() -> BTreeMap<String, String> {
    CRATES.iter().flat_map(|name| rust_files(name)).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("tests.rs")
        || path.contains("/examples/")
}

/// The code that ships, line by line: no tests, no comments, no documentation.
fn code(folder: &str) -> Vec<(String, usize, String)> {
    let mut lines = Vec::new();
    for (path, text) in rust_files(folder).into_iter().filter(|(path, _)| !is_test(path)) {
        let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, line) in shipped.lines().enumerate() {
            let line = line.split("// ").next().unwrap_or_default().trim();
            if !line.is_empty() && !line.starts_with("//") {
                lines.push((path.clone(), number + 1, line.to_owned()));
            }
        }
    }
    lines
}

/// Lines of shipped code that hold one of these texts.
fn holding(folder: &str, texts: &[&str]) -> Vec<String> {
    let lines = code(folder).into_iter();
    let found = lines.filter(|(.., line)| texts.iter().any(|text| line.contains(text)));
    found.map(|(path, number, line)| format!("{path}:{number}: {line}")).collect()
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn each_file_says_first_what_lives_in_it() {
    let silent = all_rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(silent.map(|(path, _)| path).collect(), "the first line is `//! ` and a sentence");
}

#[test]
fn no_file_is_too_long() {
    let mut found = Vec::new();
    for (path, text) in all_rust_files() {
        let limit = if is_test(&path) { TEST_LINES } else { SOURCE_LINES };
        let lines = text.lines().count();
        if lines > limit {
            found.push(format!("{path}: {lines} lines, {limit} at most"));
        }
    }
    none(found, "split them");
}

#[test]
fn no_folder_has_too_many_files() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for path in all_rust_files().into_keys() {
        let folder = path.rsplit_once('/').unwrap().0.to_owned();
        *folders.entry(folder).or_default() += 1;
    }
    let limit = |folder: &str| {
        let large = LARGE_FOLDERS.iter().find(|(name, ..)| *name == folder);
        large.map_or(FOLDER_FILES, |(_, count, _)| *count)
    };
    let found = folders.iter().filter(|(folder, count)| **count > limit(folder));
    none(found.map(|(folder, count)| format!("{folder}: {count} files")).collect(), "too many");
    for (folder, ..) in LARGE_FOLDERS {
        assert!(folders[folder] > FOLDER_FILES, "{folder} needs no exception any more");
    }
}

#[test]
fn the_map_names_what_is_there() {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let places: Vec<&str> = rows.collect();
    for place in &places {
        let path = place.replace("<name>/", "");
        assert!(root().join(&path).exists(), "the map names `{place}`, which is not there");
    }
    for entry in fs::read_dir(root().join("a2e-core/src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let place = format!("a2e-core/src/{}/", path.file_name().unwrap().to_str().unwrap());
            assert!(places.contains(&&*place), "the map does not name `{place}`");
        }
    }
    for crate_name in CRATES {
        let is_named = places.iter().any(|place| place.starts_with(&format!("{crate_name}/")));
        assert!(is_named, "the map does not name `{crate_name}`");
    }
}

/// The rooms of the kernel, lowest first. A room uses those before it, and none behind it. Rooms in
/// one line do not know each other.
const ROOMS: [&[&str]; 14] = [
    &["error", "clock", "protocol", "codec", "counters", "sync", "show", "redact"],
    &["transport"],
    &["config"],
    &["snapshot", "audit", "children", "sqlite", "schema", "contribution"],
    &["layers", "meters"],
    &["out"],
    &["request"],
    &["plugin"],
    &["route"],
    &["run"],
    &["lifecycle"],
    &["sessions"],
    &["executor"],
    &["testing"],
];

/// Rooms that use each other although they stand in one line.
const NEIGHBOURS: [(&str, &str); 7] = [
    // An error is a message, and a message may be refused with an error.
    ("protocol", "error"),
    ("error", "protocol"),
    ("protocol", "codec"),
    ("codec", "protocol"),
    ("codec", "error"),
    ("codec", "clock"),
    ("snapshot", "sqlite"),
];

#[test]
fn no_room_of_the_kernel_imports_upward() {
    let floor = |room: &str| ROOMS.iter().position(|line| line.contains(&room));
    let mut found = Vec::new();
    for (path, number, line) in code("a2e-core/src") {
        let inside = path.strip_prefix("a2e-core/src/").unwrap();
        let room = inside.split(['/', '.']).next().unwrap();
        if room == "lib" {
            continue;
        }
        let own = floor(room).unwrap_or_else(|| panic!("{path}: a room that stands in no line"));
        for used in line.replace("$crate::", "").split("crate::").skip(1) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let Some(other) = floor(used) else { continue };
            let is_known = NEIGHBOURS.contains(&(room, used)) || used == room;
            if other > own || (other == own && !is_known) {
                found.push(format!("{path}:{number}: {room} uses {used}: {line}"));
            }
        }
    }
    none(found, "a room uses the rooms below it");
}

/// Most fields of an object. Messages and settings are data, and as wide as the wire and the file.
const FIELDS: usize = 12;

#[test]
fn no_object_is_too_wide() {
    let mut found = Vec::new();
    let mut name = None;
    let mut fields = 0;
    // The record and the status of the audit are data as well.
    let data = ["a2e-core/src/protocol/", "a2e-core/src/config/"];
    let is_data = |path: &str| data.iter().any(|it| path.starts_with(it));
    let reports = ["pub struct AuditStatus", "pub struct AuditRecord"];
    for (path, number, line) in code("a2e-core/src").into_iter().filter(|it| !is_data(&it.0)) {
        if line.contains("struct ")
            && line.ends_with('{')
            && !reports.iter().any(|it| line.starts_with(it))
        {
            (name, fields) = (Some(format!("{path}:{number}: {line}")), 0);
        } else if line == "}" {
            if let Some(name) = name.take().filter(|_| fields > FIELDS) {
                found.push(format!("{name} {fields} fields"));
            }
        } else if name.is_some() && line.contains(": ") && line.ends_with(',') {
            fields += 1;
        }
    }
    none(found, "cut it");
}

/// Most lines of a layer; tests, comments and imports left out.
const LAYER_LINES: usize = 120;

#[test]
fn the_map_and_the_layers_are_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 200, "ARCHITECTURE.md has {lines} lines, 200 at most");
    let mut layers: BTreeMap<String, usize> = BTreeMap::new();
    let is_import = |line: &str| {
        ["use ", "mod ", "pub use ", "pub(crate) use "].iter().any(|it| line.starts_with(it))
    };
    for (path, _, line) in code("a2e-core/src/layers") {
        *layers.entry(path).or_default() += usize::from(!is_import(&line));
    }
    // The gate is two things, permits and the queue for them, under one lock.
    layers.remove("a2e-core/src/layers/gate.rs").unwrap();
    let long = layers.iter().filter(|(_, lines)| **lines > LAYER_LINES);
    none(long.map(|(path, lines)| format!("{path}: {lines}")).collect(), "a layer is one idea");
}

#[test]
fn every_path_in_the_architecture_exists() {
    let text = read("ARCHITECTURE.md");
    let words = text.split(['`', ' ', '\n', '(', ')']).filter(|word| word.contains('/'));
    let paths = words.filter(|word| CRATES.iter().any(|it| word.starts_with(&format!("{it}/"))));
    let missing = paths
        .map(|it| it.trim_end_matches(['.', ',', ':', ';']))
        .filter(|path| !path.contains(['<', '*']) && !root().join(path).exists());
    none(missing.map(str::to_owned).collect(), "ARCHITECTURE.md names what is not there");
}

#[test]
fn the_kernel_and_the_client_name_no_capability() {
    let words = ["a2e_caps", "\"tool/", "\"memory/", "\"proc/", "\"skill/", "\"chain/", "\"env/"];
    for folder in ["a2e-core/src", "a2e-client/src"] {
        none(holding(folder, &words), "invariant 2: the kernel knows no capability");
    }
}

#[test]
fn a_capability_knows_only_the_contract_of_another() {
    let folders = fs::read_dir(root().join("a2e-caps/src")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let names: Vec<String> =
        folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let mut found = Vec::new();
    for name in &names {
        for (path, number, line) in code(&format!("a2e-caps/src/{name}")) {
            for other in names.iter().filter(|other| *other != name) {
                let strayed = ["crate::", "super::super::", "a2e_caps::"].iter().any(|way| {
                    let foreign = format!("{way}{other}");
                    line.match_indices(&foreign)
                        .any(|(place, _)| !line[place + foreign.len()..].starts_with("::contract"))
                });
                if strayed {
                    found.push(format!("{path}:{number}: {line}"));
                }
            }
        }
    }
    none(found, "invariant 3: nothing of another capability but its contract");
}

#[test]
fn r15_nothing_prints_beside_the_protocol() {
    let macros = ["print!(", "println!(", "dbg!("];
    for folder in ["a2e-core/src", "a2e-client/src", "a2e-caps/src", "a2e-server/src"] {
        none(holding(folder, &macros), "stdout is the wire's, stderr the log's");
    }
    let stdout = holding("a2e-core/src", &["io::stdout()"]);
    assert!(
        stdout.iter().all(|it| it.starts_with("a2e-core/src/transport/stdio.rs")),
        "{stdout:?}"
    );
    let elsewhere = ["a2e-client/src", "a2e-caps/src"].map(|it| holding(it, &["io::stdout()"]));
    none(elsewhere.concat(), "stdout is the wire's");
}

#[test]
fn one_place_writes_one_reads_the_time_one_installs_logging() {
    for (texts, places, rule) in [
        (
            &[".try_write("][..],
            &[
                "a2e-core/src/out/write.rs",
                // The one line of a session that is refused.
                "a2e-core/src/sessions/serve.rs",
                "a2e-core/src/transport/",
                "a2e-core/src/testing.rs",
                // The socket between host and guard.
                "a2e-core/src/children/forked.rs",
                // A client that shows each line as it is.
                "a2e-server/src/commands/connect/link.rs",
            ][..],
            "only the outbox writes to a transport",
        ),
        (
            &["Instant::now(", "SystemTime::now("],
            &[
                "a2e-core/src/clock.rs",
                // Deadlines of tokio's own timers.
                "a2e-core/src/children/monitor.rs",
                "a2e-caps/src/proc/input.rs",
                "a2e-caps/src/proc/pump.rs",
            ],
            "only the clock reads the time",
        ),
        (
            &["tracing_subscriber"],
            &["a2e-server/src/telemetry.rs", "a2e-server/src/spans.rs"],
            "logging is the program's",
        ),
    ] {
        let mut found = holding("a2e-core/src", texts);
        found.extend(holding("a2e-caps/src", texts));
        found.extend(holding("a2e-server/src", texts));
        found.retain(|line| !places.iter().any(|place| line.starts_with(place)));
        none(found, rule);
    }
}

#[test]
fn no_queue_is_unbounded() {
    let endless = ["unbounded", "mpsc::channel()"];
    for folder in ["a2e-core/src", "a2e-client/src", "a2e-caps/src", "a2e-server/src"] {
        none(holding(folder, &endless), "invariant 10: every queue has a bound");
    }
}

#[test]
fn what_the_documents_point_at_is_there() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = read(document);
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            assert!(file.is_empty() || root().join(file).exists(), "{document}: {link}");
        }
    }
    let readme = read("README.md");
    let paths = readme.split(['`', ' ', '\n']).filter(|word| word.starts_with("a2e-"));
    let paths: Vec<&str> = paths.filter(|word| word.contains('/')).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "README.md: {path}");
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = read("README.md");
    let program = env!("CARGO_BIN_EXE_a2e-under-test");
    let help = std::process::Command::new(program).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let mut seen = 0;
    for command in readme.split('`').filter(|word| word.starts_with("a2e ")) {
        let name = command.split(' ').nth(1).unwrap();
        assert!(help.contains(&format!("\n  {name} ")), "README.md: {command}");
        seen += 1;
    }
    assert!(seen >= 4, "the README shows the commands");
    assert!(read("a2e-server/Cargo.toml").contains("name = \"a2e\""));
}

#[test]
fn the_changelog_takes_what_is_not_released() {
    let text = read("CHANGELOG.md");
    assert!(text.contains("\n## [Unreleased]\n"), "a change needs a place for its line");
}
