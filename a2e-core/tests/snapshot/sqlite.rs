//! The SQLite store on a real disk: damage, crashes, full disks, files of others, shared files.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use a2e_core::snapshot::{Generation, SnapshotStore, SqliteStore, StateKey, StorePlace};
use rusqlite::Connection;

use crate::{child_command, key, state, value};

/// A store with two generations: 2, and before it 1.
fn two() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("deep/states.db")).unwrap();
    store.save(&key(), &state(1)).unwrap();
    store.save(&key(), &state(2)).unwrap();
    (folder, store)
}

/// Another program at the same file.
fn beside(store: &SqliteStore) -> Connection {
    Connection::open(store.path()).unwrap()
}

fn blob(store: &SqliteStore, table: &str) -> Vec<u8> {
    let query = format!("SELECT state FROM {table}");
    beside(store).query_row(&query, [], |row| row.get(0)).unwrap()
}

fn put(store: &SqliteStore, table: &str, blob: &[u8]) {
    beside(store).execute(&format!("UPDATE {table} SET state = ?1"), [blob]).unwrap();
}

#[test]
fn r50_a_damaged_generation_falls_back_and_says_so() {
    let (_folder, store) = two();
    let whole = blob(&store, "snapshots");
    let lengths = (0..whole.len()).step_by(7).map(|length| whole[..length].to_vec());
    let flips = (0..whole.len() * 8).step_by(11).map(|bit| {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    for damage in lengths.chain(flips) {
        put(&store, "snapshots", &damage);
        let loaded = store.load(&key()).unwrap().unwrap();
        assert_eq!((value(&loaded.state), loaded.generation), (1, Generation::Previous));
        let problem = loaded.problem.unwrap();
        assert!(problem.contains("states.db: counter:state in table snapshots"), "{problem}");
    }
    // A damaged current one does not push out a whole previous one.
    store.save(&key(), &state(3)).unwrap();
    put(&store, "snapshots", b"damage");
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 1);
    beside(&store).execute("UPDATE snapshots SET state = 'text'", []).unwrap();
    let problem = store.load(&key()).unwrap().unwrap().problem.unwrap();
    assert!(problem.contains("in table snapshots is of type Text"), "{problem}");
    beside(&store).execute("DELETE FROM snapshots", []).unwrap();
    let loaded = store.load(&key()).unwrap().unwrap();
    assert!(loaded.problem.unwrap().contains("is missing in table snapshots"));
    assert_eq!(store.keys(None).unwrap(), [key()]);
}

#[test]
fn r50_two_damaged_generations_are_an_error_that_names_both() {
    let (_folder, store) = two();
    put(&store, "snapshots", b"");
    put(&store, "previous_snapshots", b"A2ESNAP\n----------------------------");
    let error = store.load(&key()).unwrap_err();
    assert!(error.message().contains("in table snapshots is too short; "), "{error}");
    assert!(
        error.message().contains("in table previous_snapshots does not match its checksum"),
        "{error}"
    );
    let kept = store.generations(&key()).unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|it| it.state.is_err() && it.saved.is_some()));
    store.save(&key(), &state(3)).unwrap();
    assert_eq!(value(&store.load(&key()).unwrap().unwrap().state), 3);
}

#[test]
fn r50_a_state_under_the_key_of_another_is_noticed() {
    let (_folder, store) = two();
    beside(&store).execute("UPDATE snapshots SET key = 'other:state'", []).unwrap();
    let error = store.load(&StateKey::new("other", "state", None)).unwrap_err();
    assert!(error.message().contains("holds the state of counter:state"), "{error}");
}

#[test]
fn r61_the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, store) = two();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = store.path().parent().unwrap();
    assert_eq!(mode(folder), 0o700);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write =
        |name: &str, sql: &str| Connection::open(path(name)).unwrap().execute_batch(sql).unwrap();
    write("foreign.db", "CREATE TABLE snapshots (key TEXT PRIMARY KEY, state TEXT)");
    write("versioned.db", "PRAGMA user_version = 1; CREATE TABLE t (a)");
    drop(SqliteStore::open(path("newer.db")).unwrap());
    write("newer.db", "PRAGMA user_version = 7");
    fs::write(path("text.db"), "not a database, but long enough to have a header ".repeat(9))
        .unwrap();
    fs::create_dir(path("folder.db")).unwrap();
    for (name, expected) in [
        ("foreign.db", "is not a snapshot store: it is a database of another program"),
        ("versioned.db", "is not a snapshot store"),
        ("newer.db", "has tables of version 7, this program knows 1"),
        ("text.db", "cannot be opened: it is not an SQLite database"),
        ("folder.db", "cannot be opened"),
        ("text.db/under/a/file.db", "cannot be created"),
    ] {
        let before = fs::read(path(name)).ok();
        let error = SqliteStore::open(path(name)).unwrap_err();
        assert!(error.message().contains(expected), "{name}: {error}");
        assert!(error.message().contains(name), "{name}: {error}");
        assert_eq!(fs::read(path(name)).ok(), before, "{name}");
    }
}

#[test]
fn r50_a_damaged_file_is_an_error_and_never_a_panic() {
    let (_folder, store) = two();
    for number in 0..200 {
        store.save(&StateKey::new("p", format!("k{number}"), None), &state(number)).unwrap();
    }
    let path = store.path().to_owned();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for place in (100..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        for byte in &mut damaged[place..(place + 700).min(whole.len())] {
            *byte ^= 0x5a;
        }
        fs::write(&path, damaged).unwrap();
        let Ok(store) = SqliteStore::open(&path) else {
            noticed += 1;
            continue;
        };
        let keys = store.keys(None).unwrap_or_default();
        for key in keys {
            match store.load(&key) {
                // What comes back is what was saved.
                Ok(Some(loaded)) if key.plugin.as_str() == "p" => {
                    assert_eq!(format!("k{}", value(&loaded.state)), key.key);
                }
                Ok(_) => {}
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 0, "the damage did not matter");
}

#[test]
fn r51_stores_that_share_a_file_never_mix() {
    let (_folder, store) = two();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let store = SqliteStore::open(store.path()).unwrap();
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

#[test]
fn r51_hosts_that_start_together_make_one_store() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = folder.path().join(format!("{round}.db"));
        let threads: Vec<_> = (0..4_u64)
            .map(|number| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let store = SqliteStore::open(path).unwrap();
                    store
                        .save(&StateKey::new("p", number.to_string(), None), &state(number))
                        .unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(SqliteStore::open(path).unwrap().keys(None).unwrap().len(), 4);
    }
}

/// A process that another test has just forked holds the file of the host that ended until it runs its
/// own program.
fn alone_at_last(place: &StorePlace) -> a2e_core::snapshot::Alone {
    for _ in 0..4_000 {
        if let Some(alone) = place.alone().unwrap() {
            return alone;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{place:?}: a host is there");
}

#[test]
fn a_restore_is_alone_and_a_tool_is_not_taken_for_a_host() {
    let (folder, store) = two();
    let filed = a2e_core::snapshot::FileStore::open(folder.path().join("filed")).unwrap();
    let places = [StorePlace::find(store.path()).unwrap(), StorePlace::find(filed.root()).unwrap()];
    assert_eq!(places[0], StorePlace::Database(store.path().to_owned()));
    for place in &places {
        assert!(place.alone().unwrap().is_none(), "{place:?}: a host is there");
    }
    drop((store, filed));
    for place in &places {
        let tool = place.open().unwrap();
        let alone = alone_at_last(place);
        assert!(place.alone().unwrap().is_none(), "{place:?}: one at a time");
        tool.save(&key(), &state(9)).unwrap();
        // A host that starts waits for the end.
        let path = place.path().to_owned();
        let host = match place {
            StorePlace::Folder(_) => std::thread::spawn(move || {
                a2e_core::snapshot::FileStore::open(path).unwrap().load(&key()).unwrap()
            }),
            StorePlace::Database(_) => {
                std::thread::spawn(move || SqliteStore::open(path).unwrap().load(&key()).unwrap())
            }
        };
        std::thread::sleep(Duration::from_millis(30));
        assert!(!host.is_finished());
        tool.save(&key(), &state(10)).unwrap();
        drop(alone);
        assert_eq!(value(&host.join().unwrap().unwrap().state), 10);
    }
    for missing in ["nothing", "nothing/at/all"] {
        let error = StorePlace::find(&folder.path().join(missing)).unwrap_err();
        assert!(error.message().contains("No such file"), "{error}");
    }
    fs::write(folder.path().join("text"), "text").unwrap();
    let error = StorePlace::find(&folder.path().join("text")).unwrap_err();
    assert!(error.message().contains("neither a folder nor an SQLite file"), "{error}");
}

#[test]
fn r50_a_full_disk_is_an_error_and_leaves_what_was_there() {
    let (_folder, store) = two();
    let shell = r#"trap '' XFSZ; ulimit -f 300; exec "$1" --exact child --nocapture"#;
    let output = child_command(store.path(), shell)
        .env("A2E_SNAPSHOT_SQLITE", "1")
        .env("A2E_LIMITED", "the disk is full|disk I/O error")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let loaded = store.load(&key()).unwrap().unwrap();
    assert_eq!((value(&loaded.state), loaded.problem), (2, None));
    store.save(&key(), &state(3)).unwrap();
}

/// Saves by `at_once` real processes at a time, each under a key of its own and killed in the middle:
/// what was acknowledged is there.
fn killed(path: &Path, rounds: u64, at_once: usize) {
    let shell = r#"exec "$1" --exact child --nocapture"#;
    let mut acknowledged = vec![0; at_once];
    for round in 0..rounds {
        let start = |number: usize| {
            let mut command = child_command(path, shell);
            command.env("A2E_SNAPSHOT_SQLITE", "1").env("A2E_SNAPSHOT_KEY", format!("k{number}"));
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut children: Vec<_> = (0..at_once).map(start).collect();
        let mut outputs: Vec<_> =
            children.iter_mut().map(|it| BufReader::new(it.stdout.take().unwrap())).collect();
        let mut texts = vec![String::new(); at_once];
        // Every other round comes so far that something is acknowledged, however slow the machine is.
        for (output, text) in outputs.iter_mut().zip(&mut texts).filter(|_| round % 2 == 0) {
            while !text.contains("saved=") {
                assert_ne!(output.read_line(text).unwrap(), 0, "the child has ended: {text}");
            }
        }
        std::thread::sleep(Duration::from_millis(round * 7 % 40));
        for child in &mut children {
            child.kill().unwrap();
        }
        for (number, mut child) in children.into_iter().enumerate() {
            child.wait().unwrap();
            let text = &mut texts[number];
            outputs[number].read_to_string(text).unwrap();
            let last = text.lines().filter_map(|line| line.strip_prefix("saved=")).next_back();
            let last = last.map_or(acknowledged[number], |last| last.parse().unwrap());
            let store = SqliteStore::open(path).unwrap();
            let Some(loaded) =
                store.load(&StateKey::new("counter", format!("k{number}"), None)).unwrap()
            else {
                assert_eq!(last, 0);
                continue;
            };
            assert_eq!(loaded.problem, None);
            let found = value(&loaded.state);
            assert!((last..=last + 1).contains(&found), "{found} {last}");
            acknowledged[number] = found;
        }
    }
    assert!(acknowledged.iter().all(|it| *it > 0), "{acknowledged:?}");
    let check: String = Connection::open(path)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

fn database(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("states.db")
}

#[test]
fn r50_kill_9_loses_no_acknowledged_save() {
    let folder = tempfile::tempdir().unwrap();
    killed(&database(&folder), 20, 1);
}

#[test]
fn r51_hosts_that_share_a_file_and_are_killed_leave_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    killed(&database(&folder), 8, 3);
}
