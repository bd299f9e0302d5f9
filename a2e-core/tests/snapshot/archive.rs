//! Archives: what is written comes back, what is damaged or cut is refused with its line.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use a2e_core::protocol::SessionId;
use a2e_core::snapshot::{Archive, ArchiveWriter, Codec, SnapshotStore, State, StateKey};
use serde_json::json;

use crate::{key, state};

const SAVED: Duration = Duration::from_secs(1_700_000_000);

fn states() -> Vec<(StateKey, State)> {
    let named = |name: &str| StateKey::new("planner", name, Some(SessionId::from("0a/F1")));
    let raw = |codec, bytes: &[u8]| State::new(7, codec, bytes.to_vec()).unwrap();
    vec![
        (key(), state(5)),
        (
            named("value"),
            State::json(4, &json!({"goals": [1, 2.5, null], "é": "\u{1F600}"})).unwrap(),
        ),
        (named("spaced"), raw(Codec::Json, br#" {"a" : 1 } "#)),
        (named("lines"), raw(Codec::Json, b"{\n  \"a\": 1\n}\n")),
        (named("null"), raw(Codec::Json, b"null")),
        (named("not json"), raw(Codec::Json, b"{\xff")),
        (named("empty"), raw(Codec::Bincode, b"")),
    ]
}

fn archive() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("states.jsonl");
    let mut writer = ArchiveWriter::create(&path, SAVED).unwrap();
    for (key, state) in states() {
        writer.add(&key, &state).unwrap();
    }
    assert!(!path.exists(), "not before it is whole");
    assert_eq!(writer.finish().unwrap(), states().len());
    (folder, path)
}

#[test]
fn an_archive_gives_back_every_byte() {
    let (folder, path) = archive();
    assert!(Archive::is_at(&path));
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.keys(None).unwrap().len(), states().len());
    for (key, state) in states() {
        assert_eq!(archive.load(&key).unwrap().unwrap().state, state, "{key}");
        assert_eq!(archive.generations(&key).unwrap()[0].saved, Some(SAVED));
    }
    assert_eq!(archive.load(&StateKey::new("no", "such", None)).unwrap(), None);
    assert!(archive.save(&key(), &state(1)).is_err() && archive.delete(&key()).is_err());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""json":{"goals":[1,2.5,null]"#), "JSON stays readable: {text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half written stays");
}

#[test]
fn a_writer_that_is_given_up_leaves_nothing() {
    let (folder, path) = archive();
    let before = fs::read(&path).unwrap();
    let mut writer = ArchiveWriter::create(&path, SAVED).unwrap();
    writer.add(&key(), &state(9)).unwrap();
    assert!(ArchiveWriter::create(&path, SAVED).is_err(), "one writer at a time");
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn r50_a_damaged_archive_is_refused_with_its_line() {
    let (_folder, path) = archive();
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(3) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = Archive::open(&path).unwrap_err();
        assert!(error.message().contains("states.jsonl, line "), "{error}");
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let swapped = |from: &str, to: &str| text.replacen(from, to, 1);
    for (damaged, expected) in [
        (
            swapped("\"a2e_snapshots\":1", "\"a2e_snapshots\":2"),
            "line 1: has format 2, this program reads 1",
        ),
        ("{}\n".to_owned(), "line 1: this is not an archive"),
        (
            swapped("\"goals\":[1,", "\"goals\":[2,"),
            "line 3: planner:value:0a%2F%461 does not match its checksum",
        ),
        (swapped("counter:state", "counter:State"), "line 2: `counter:State` is not plugin:key"),
        (
            swapped("counter:state", "counter:other"),
            "line 2: counter:other does not match its checksum",
        ),
        (
            swapped("\"codec\":\"bincode\"", "\"codec\":\"cbor\""),
            "line 2: counter:state has the unknown codec `cbor`",
        ),
        (swapped("\"version\":4", "\"version\":5"), "line 3: planner:value"),
        (swapped("\"version\":4", "\"version\":-1"), "line 3: invalid value"),
        (swapped("\"hex\":\"", "\"hex\":\"0"), "is not in hex digits"),
        (swapped("\"hex\":\"", "\"hex\":\"zz"), "is not in hex digits"),
        (swapped("\"states\":7", "\"states\":8"), "line 9: 7 states of 8 are there"),
        ([lines[0], lines[1], lines[1], ""].join("\n"), "line 3: a second state of counter:state"),
        ([lines[0], "not json", ""].join("\n"), "line 2: expected"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = Archive::open(&path).unwrap_err();
        assert!(error.message().contains(expected), "{error} for {expected}");
    }
}
