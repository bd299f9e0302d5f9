//! Snapshots on a real disk: damage, crashes, full disks, shared folders.

#![cfg(feature = "host")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test may panic; clippy's own exception does not reach the functions beside the tests"
)]

mod archive;
mod migration;
#[path = "../skipped/mod.rs"]
mod skipped;
#[cfg(feature = "sqlite")]
mod sqlite;
mod steps;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use a2e_core::protocol::{ErrorCode, PluginName, SessionId};
use a2e_core::snapshot::{FileStore, Generation, MemoryStore, SnapshotStore, State, StateKey};

fn state(value: u64) -> State {
    State::bincode(1, &(value, "padding".repeat(5))).unwrap()
}

fn value(state: &State) -> u64 {
    state.decode::<(u64, String)>().unwrap().0
}

fn key() -> StateKey {
    StateKey::new("counter", "state", None)
}

/// A store with two generations: 2, and before it 1.
fn two() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("deep/root")).unwrap();
    store.save(&key(), &state(1)).unwrap();
    store.save(&key(), &state(2)).unwrap();
    (folder, store)
}

fn current(store: &FileStore) -> PathBuf {
    store.root().join("counter.state.snap")
}

fn previous(store: &FileStore) -> PathBuf {
    store.root().join("counter.state.snap.prev")
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// One store of each kind.
fn stores(folder: &tempfile::TempDir) -> Vec<Box<dyn SnapshotStore>> {
    vec![
        Box::new(FileStore::open(folder.path().join("files")).unwrap()),
        Box::new(MemoryStore::new()),
        #[cfg(feature = "sqlite")]
        Box::new(a2e_core::snapshot::SqliteStore::open(folder.path().join("states.db")).unwrap()),
    ]
}

#[test]
fn every_store_saves_loads_lists_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(&folder) {
        let session = StateKey::new("counter", "state", Some(SessionId::from("0af1")));
        let long = StateKey::new("other", "K\u{fc}".repeat(100), None);
        assert_eq!(store.load(&key()).unwrap(), None);
        for (number, key) in [&key(), &session, &long].into_iter().enumerate() {
            store.save(key, &state(number as u64)).unwrap();
        }
        let loaded = store.load(&session).unwrap().unwrap();
        assert_eq!((value(&loaded.state), loaded.generation), (1, Generation::Current));
        assert_eq!(loaded.problem, None);
        assert_eq!(value(&store.load(&long).unwrap().unwrap().state), 2);
        assert_eq!(store.keys(None).unwrap(), [key(), session.clone(), long.clone()]);
        assert_eq!(store.keys(Some(&PluginName::from("other"))).unwrap(), [long]);
        store.delete(&session).unwrap();
        store.delete(&session).unwrap();
        assert_eq!(store.load(&session).unwrap(), None);
        assert_eq!(store.keys(Some(&PluginName::from("counter"))).unwrap(), [key()]);
        let empty = StateKey::new("", "state", None);
        assert!(store.save(&empty, &state(1)).is_err() && store.load(&empty).is_err());
        let absurd = StateKey::new("counter", "k".repeat(100_000), None);
        assert!(store.save(&absurd, &state(1)).is_err());
    }
}

#[test]
fn every_store_lists_each_key_once_in_order() {
    let folder = tempfile::tempdir().unwrap();
    // As they are to come out: by plugin, key, session; that of no session first.
    let key = |(plugin, key, session): &(&str, &str, Option<&str>)| {
        StateKey::new(*plugin, *key, session.map(SessionId::from))
    };
    let sorted = [
        ("B", "k", None),
        ("a", "k", None),
        ("a", "k", Some("S 1")),
        ("a", "k", Some("s.2")),
        ("a", "k.x", None),
        ("a.k", "x", None),
    ];
    for store in stores(&folder) {
        assert!(store.keys(None).unwrap().is_empty());
        // Twice, so that there are two generations of each.
        for number in 0..2 {
            for parts in sorted.iter().rev() {
                store.save(&key(parts), &state(number)).unwrap();
            }
        }
        assert_eq!(store.keys(None).unwrap(), sorted.each_ref().map(key));
        assert_eq!(
            store.keys(Some(&PluginName::from("a"))).unwrap(),
            sorted[1..5].iter().map(key).collect::<Vec<_>>()
        );
        assert!(store.keys(Some(&PluginName::from("k"))).unwrap().is_empty());
        for parts in &sorted {
            store.delete(&key(parts)).unwrap();
        }
        assert!(store.keys(None).unwrap().is_empty());
    }
}

#[test]
fn a_damaged_state_is_listed_and_can_be_deleted() {
    let (_folder, store) = two();
    fs::write(current(&store), b"damage").unwrap();
    assert_eq!(store.keys(None).unwrap(), [key()]);
    fs::write(previous(&store), b"damage").unwrap();
    assert_eq!(store.keys(None).unwrap(), [key()]);
    fs::write(store.root().join("notes.txt"), b"not ours").unwrap();
    fs::write(store.root().join("not a key.snap"), b"not ours").unwrap();
    assert_eq!(store.keys(None).unwrap(), [key()]);
    store.delete(&key()).unwrap();
    assert!(store.keys(None).unwrap().is_empty());
    fs::remove_file(store.root().join(".lock")).unwrap();
    fs::remove_dir_all(store.root()).unwrap();
    let error = store.keys(None).unwrap_err();
    assert!(error.message().contains("cannot be listed"), "{error}");
}

#[test]
fn r20_memory_is_bounded() {
    let store = MemoryStore::with_max_bytes(120);
    store.save(&key(), &state(1)).unwrap();
    store.save(&key(), &state(2)).unwrap();
    store.save(&StateKey::new("b", "c", None), &state(3)).unwrap();
    let error = store.save(&StateKey::new("d", "e", None), &state(4)).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::OutOfMemory);
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 2);
}

#[test]
fn r50_a_damaged_generation_falls_back_and_says_so() {
    let (_folder, store) = two();
    let whole = fs::read(current(&store)).unwrap();
    let damages = (0..whole.len()).map(|length| whole[..length].to_vec()).chain(
        (0..whole.len() * 8).step_by(5).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }),
    );
    for damage in damages {
        fs::write(current(&store), damage).unwrap();
        let loaded = store.load(&key()).unwrap().unwrap();
        assert_eq!((value(&loaded.state), loaded.generation), (1, Generation::Previous));
        assert!(loaded.problem.unwrap().contains("counter.state.snap"));
    }
    fs::remove_file(current(&store)).unwrap();
    let loaded = store.load(&key()).unwrap().unwrap();
    assert_eq!(value(&loaded.state), 1);
    assert!(loaded.problem.unwrap().contains("missing"));
    assert_eq!(store.keys(None).unwrap(), [key()]);
}

#[test]
fn r50_two_damaged_generations_are_an_error_that_names_both() {
    let (_folder, store) = two();
    fs::write(current(&store), b"").unwrap();
    fs::write(previous(&store), b"A2ESNAP\n----------------------------").unwrap();
    let error = store.load(&key()).unwrap_err();
    assert!(error.message().contains("counter.state.snap is too short; "), "{error}");
    assert!(error.message().contains(".snap.prev does not match its checksum"), "{error}");
    fs::remove_file(previous(&store)).unwrap();
    assert!(store.load(&key()).is_err(), "not taken for a missing one");
    store.save(&key(), &state(3)).unwrap();
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 3);
}

#[test]
fn r50_a_damaged_current_one_does_not_push_out_a_whole_previous_one() {
    let (_folder, store) = two();
    fs::write(current(&store), b"damage").unwrap();
    store.save(&key(), &state(3)).unwrap();
    fs::write(current(&store), b"damage").unwrap();
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 1);
}

#[test]
fn r50_a_foreign_file_is_noticed() {
    let (_folder, store) = two();
    let other = StateKey::new("other", "state", None);
    store.save(&other, &state(9)).unwrap();
    fs::copy(store.root().join("other.state.snap"), current(&store)).unwrap();
    let loaded = store.load(&key()).unwrap().unwrap();
    assert_eq!(value(&loaded.state), 1);
    assert!(loaded.problem.unwrap().contains("holds the state of other:state"));
}

#[test]
fn r50_an_interrupted_save_is_cleaned_up_and_costs_nothing() {
    let (_folder, store) = two();
    // As left by a crash after the second name was made, before the new file took its place.
    fs::write(store.root().join("counter.state.snap.tmp"), b"half").unwrap();
    fs::remove_file(previous(&store)).unwrap();
    fs::hard_link(current(&store), previous(&store)).unwrap();
    fs::hard_link(current(&store), store.root().join("counter.state.snap.prev.tmp")).unwrap();
    let store = FileStore::open(store.root()).unwrap();
    assert_eq!(names(store.root()), [".lock", "counter.state.snap", "counter.state.snap.prev"]);
    store.save(&key(), &state(3)).unwrap();
    assert_eq!(names(store.root()), [".lock", "counter.state.snap", "counter.state.snap.prev"]);
    fs::remove_file(current(&store)).unwrap();
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 2);
}

#[test]
fn r51_no_key_leaves_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let store = FileStore::open(&root).unwrap();
    let parts = ["..", "../x", "/etc/x", ".", "\0", "a/b", "A", "a", ".lock", "", "\u{1F600}"];
    let mut saved = 0;
    for plugin in parts {
        for key in parts {
            let key = StateKey::new(plugin, key, Some(SessionId::from("../..")));
            saved += usize::from(store.save(&key, &state(1)).is_ok());
        }
    }
    assert_eq!(saved, 100, "all but the empty ones");
    assert_eq!(names(folder.path()), ["root"]);
    assert_eq!(names(&root).len(), 101);
    assert_eq!(store.keys(None).unwrap().len(), 100);
}

#[test]
fn files_are_for_their_owner_only() {
    let (_folder, store) = two();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.root()), 0o700);
    for name in names(store.root()) {
        assert_eq!(mode(&store.root().join(&name)), 0o600, "{name}");
    }
}

#[test]
fn r51_stores_that_share_a_folder_never_mix() {
    let (_folder, store) = two();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let store = FileStore::open(store.root()).unwrap();
            std::thread::spawn(move || {
                for round in 0..25 {
                    store.save(&key(), &state(number * 1_000 + round)).unwrap();
                    let loaded = store.load(&key()).unwrap().unwrap();
                    assert_eq!(loaded.problem, None);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state) % 1_000, 24);
}

/// No test by itself: what the tests below run in another process.
#[test]
fn child() {
    let Ok(root) = std::env::var("A2E_SNAPSHOT_CHILD") else { return };
    let store: Box<dyn SnapshotStore> = match std::env::var_os("A2E_SNAPSHOT_SQLITE") {
        #[cfg(feature = "sqlite")]
        Some(_) => Box::new(a2e_core::snapshot::SqliteStore::open(root).unwrap()),
        _ => Box::new(FileStore::open(root).unwrap()),
    };
    if let Ok(expected) = std::env::var("A2E_LIMITED") {
        let large = State::json(1, &"x".repeat(1_000_000)).unwrap();
        let error = store.save(&key(), &large).unwrap_err();
        assert!(expected.split('|').any(|it| error.message().contains(it)), "{error}");
        return;
    }
    let name = std::env::var("A2E_SNAPSHOT_KEY").unwrap_or("state".to_owned());
    let key = StateKey::new("counter", name, None);
    let last = store.load(&key).unwrap().map_or(0, |loaded| value(&loaded.state));
    for next in last + 1.. {
        store.save(&key, &state(next)).unwrap();
        println!("\nsaved={next}");
    }
}

fn child_command(root: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", shell, "sh"]).arg(std::env::current_exe().unwrap());
    command.env("A2E_SNAPSHOT_CHILD", root);
    command
}

#[test]
fn r50_a_full_disk_is_an_error_and_leaves_what_was_there() {
    let (_folder, store) = two();
    let before = names(store.root());
    let shell = r#"trap '' XFSZ; ulimit -f 300; exec "$1" --exact child --nocapture"#;
    let output =
        child_command(store.root(), shell).env("A2E_LIMITED", "File too large").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(store.root()), before, "nothing half written stays");
    let loaded = store.load(&key()).unwrap().unwrap();
    assert_eq!((value(&loaded.state), loaded.problem), (2, None));
}

#[test]
fn r50_kill_9_loses_no_acknowledged_save() {
    let folder = tempfile::tempdir().unwrap();
    let shell = r#"exec "$1" --exact child --nocapture"#;
    let mut acknowledged = 0;
    for round in 0..20_u64 {
        let mut child = child_command(folder.path(), shell).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 40));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().filter_map(|line| line.strip_prefix("saved=")).next_back();
        acknowledged = last.map_or(acknowledged, |last| last.parse().unwrap());
        let store = FileStore::open(folder.path()).unwrap();
        if let Some(loaded) = store.load(&key()).unwrap() {
            assert_eq!(loaded.problem, None);
            let found = value(&loaded.state);
            assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} {acknowledged}");
            acknowledged = found;
        }
    }
    assert!(acknowledged > 0, "the child was never fast enough");
}
