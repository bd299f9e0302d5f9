//! `a2e snapshot`: list, save, restore, diff, on real stores and beside real hosts.

use std::fs;

use a2e_core::snapshot::{
    Codec, FileStore, Generation, SnapshotStore, SqliteStore, State, StateKey, StorePlace,
};
use serde_json::{Value, json};

use super::super::support::program::{Host, PATIENCE, Place, a2e, outcome};
use super::{CONFIG, open, store};

/// Runs `a2e snapshot` with these arguments; `{}` in them stands for the folder.
fn snapshot(place: &Place, args: &[&str]) -> (i32, String, String) {
    let folder = place.text("");
    let args: Vec<String> =
        args.iter().map(|arg| arg.replace("{}", folder.trim_end_matches('/'))).collect();
    let mut all = vec!["snapshot"];
    all.extend(args.iter().map(String::as_str));
    let (code, stdout, stderr) = outcome(&mut a2e(&all));
    (code.unwrap(), stdout, stderr)
}

fn json_of(outcome: &(i32, String, String)) -> Value {
    serde_json::from_str(&outcome.1).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

fn key(plugin: &str, session: Option<&str>) -> StateKey {
    StateKey::new(plugin, "state", session.map(Into::into))
}

/// Two generations of two states, one of them JSON, in each kind of store.
fn fill(store: &dyn SnapshotStore) {
    let planner = |goals: Value| State::json(2, &json!({ "goals": goals, "by": "ada" })).unwrap();
    store.save(&key("planner", Some("0af1")), &planner(json!([1, 2]))).unwrap();
    store.save(&key("planner", Some("0af1")), &planner(json!([1, 3, 4]))).unwrap();
    store.save(&key("counter", None), &State::bincode(1, &7_u64).unwrap()).unwrap();
}

fn stores(place: &Place) -> Vec<(&'static str, Box<dyn SnapshotStore>)> {
    let all: Vec<(_, Box<dyn SnapshotStore>)> = vec![
        ("{}/files", Box::new(FileStore::open_beside(place.path("files")).unwrap())),
        ("{}/states.db", Box::new(SqliteStore::open_beside(place.path("states.db")).unwrap())),
    ];
    for (_, store) in &all {
        fill(store.as_ref());
    }
    all
}

#[test]
fn list_tells_each_generation_and_what_is_wrong() {
    let place = Place::new();
    for (path, store) in stores(&place) {
        let listed = snapshot(&place, &["list", path, "--json"]);
        assert_eq!((listed.0, listed.2.as_str()), (0, ""), "{listed:?}");
        let listing = json_of(&listed);
        let states = listing["states"].as_array().unwrap();
        let rows: Vec<Value> = states
            .iter()
            .map(|it| json!([it["key"], it["generation"], it["version"], it["codec"], it["bytes"]]))
            .collect();
        assert_eq!(
            rows,
            [
                json!(["counter:state", "current", 1, "bincode", 1]),
                json!(["planner:state:0af1", "current", 2, "json", 28]),
                json!(["planner:state:0af1", "previous", 2, "json", 26]),
            ]
        );
        assert_eq!(
            (&states[1]["plugin"], &states[1]["session"]),
            (&json!("planner"), &json!("0af1"))
        );
        assert!(states.iter().all(|it| it["age_s"].as_u64().unwrap() < 600), "{states:?}");
        let (code, text, _) = snapshot(&place, &["list", "--store", path, "--plugin", "counter"]);
        assert_eq!(code, 0);
        assert!(text.contains("counter:state  current") && !text.contains("planner"), "{text}");
        drop(store);
    }
    fs::write(place.path("files/counter.state.snap"), b"damage").unwrap();
    let (code, text, _) = snapshot(&place, &["list", "--store", "{}/files"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("damaged: ") && text.contains("counter.state.snap is too short"),
        "{text}"
    );
    assert!(text.contains("planner:state:0af1"), "the others are listed: {text}");
}

#[test]
fn an_archive_carries_states_from_store_to_store() {
    let place = Place::new();
    drop(stores(&place));
    let saved = snapshot(&place, &["save", "{}/a.jsonl", "--store", "{}/files", "--json"]);
    assert_eq!(saved.0, 0, "{saved:?}");
    assert_eq!(json_of(&saved)["archive"]["states"].as_array().unwrap().len(), 2);
    let again = snapshot(&place, &["save", "{}/a.jsonl", "--store", "{}/files"]);
    assert_eq!(again.0, 1);
    assert!(again.2.contains("a.jsonl exists; --force replaces it"), "{}", again.2);
    let forced = snapshot(&place, &["save", "{}/a.jsonl", "--store", "{}/states.db", "--force"]);
    assert_eq!(forced.0, 0, "{forced:?}");
    assert_eq!(snapshot(&place, &["diff", "{}/a.jsonl", "{}/files"]).0, 0, "both hold the same");

    // Into a store that a configuration names, which is not there yet.
    let yaml = "snapshot_store: {type: sqlite, config: {db_path: \"{}/new/s.db\"}}\n";
    let config = place.config(yaml);
    let into = ["restore", "{}/a.jsonl", "-c", &config];
    let dry = snapshot(&place, &[&into[..], &["--dry-run", "--json"]].concat());
    assert_eq!(dry.0, 0, "{dry:?}");
    assert_eq!(json_of(&dry)["restored"][0]["what"], "new");
    assert!(!place.path("new").exists(), "a dry run makes nothing");
    let list = snapshot(&place, &["list", "-c", &config]);
    assert!(list.0 == 1 && list.2.contains("no host has saved anything there yet"), "{list:?}");
    let (code, text, stderr) = snapshot(&place, &into);
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains("planner:state:0af1: version 2, json, 28 bytes; new"), "{text}");
    assert_eq!(snapshot(&place, &["diff", "{}/a.jsonl", "{}/new/s.db"]).0, 0);

    // What it overwrites is said, becomes the previous generation, and can be put back.
    let store = SqliteStore::open_beside(place.path("new/s.db")).unwrap();
    store.save(&key("counter", None), &State::json(9, &json!("other")).unwrap()).unwrap();
    let (_, text, _) = snapshot(&place, &into);
    assert!(
        text.contains("counter:state: version 1, bincode, 1 bytes; overwrites version 9, json"),
        "{text}"
    );
    assert!(text.contains("planner:state:0af1: is the same already"), "{text}");
    let kept = store.generations(&key("counter", None)).unwrap();
    assert_eq!(kept[1].generation, Generation::Previous);
    assert_eq!(kept[1].state.as_ref().unwrap().version(), 9);
    let back = snapshot(
        &place,
        &["restore", "{}/new/s.db@previous", "--store", "{}/new/s.db", "--plugin", "counter"],
    );
    assert_eq!(back.0, 0, "{back:?}");
    assert_eq!(store.load(&key("counter", None)).unwrap().unwrap().state.version(), 9);
}

#[test]
fn diff_goes_key_by_key_and_field_by_field() {
    let place = Place::new();
    drop(stores(&place));
    let files = FileStore::open_beside(place.path("files")).unwrap();
    let generations = snapshot(&place, &["diff", "{}/files", "--json"]);
    assert_eq!(generations.0, 1);
    let difference = json_of(&generations);
    assert_eq!(difference["added"][0]["key"], "counter:state", "it has no previous one");
    assert_eq!(
        difference["changed"][0]["fields"],
        json!([
            { "path": "/goals/1", "old": 2, "new": 3 },
            { "path": "/goals/2", "new": 4 },
        ])
    );
    files.delete(&key("counter", None)).unwrap();
    files.save(&key("new", None), &State::new(1, Codec::Json, b"{".to_vec()).unwrap()).unwrap();
    let planner = State::json(3, &json!({ "goals": [], "by": "ada" })).unwrap();
    files.save(&key("planner", Some("0af1")), &planner).unwrap();
    let (code, text, _) = snapshot(&place, &["diff", "{}/states.db", "{}/files"]);
    assert_eq!(code, 1);
    for line in [
        "- counter:state: version 1, bincode, 1 bytes",
        "+ new:state: version 1, json, 1 bytes",
        "! planner:state:0af1: version 2, json, 28 bytes -> version 3, json, 23 bytes",
        "  - /goals/0: 1",
        "1 added, 1 removed, 1 changed, 0 the same",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
    }
    files.save(&key("new", None), &State::new(1, Codec::Json, b"[".to_vec()).unwrap()).unwrap();
    let (_, text, _) = snapshot(&place, &["diff", "{}/files@previous", "{}/files@current"]);
    assert!(
        text.contains("! new:state: version 1, json, 1 bytes\n    differs from byte 0 on"),
        "{text}"
    );
    fs::write(place.path("files/new.state.snap"), b"damage").unwrap();
    let (code, text, _) = snapshot(&place, &["diff", "{}/files@current", "{}/files@current"]);
    assert_eq!(code, 1);
    assert!(text.contains("? new:state: ") && text.contains("is too short"), "{text}");
}

#[test]
fn restore_keeps_off_a_store_that_a_host_works_with() {
    for kind in [super::SQLITE, "{type: file, config: {root: \"{}/state\"}}"] {
        let place = Place::new();
        let yaml = CONFIG.replace("{type: file, config: {root: \"{}/state\"}}", kind);
        let config = place.config(&yaml);
        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        let memory_id = open(&mut wire);
        store(&mut wire, &memory_id, "a", "in the archive");
        wire.finish();
        assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
        let saved = snapshot(&place, &["save", "{}/a.jsonl", "-c", &config]);
        assert_eq!(saved.0, 0, "{saved:?}");

        let (mut host, mut wire) = Host::stdio(&["-c", &config]);
        wire.handshake("keeper");
        let restore = ["restore", "{}/a.jsonl", "-c", &config];
        let refused = snapshot(&place, &restore);
        assert_eq!((refused.0, refused.1.as_str()), (1, ""));
        assert!(refused.2.contains("a host works with this store"), "{}", refused.2);
        let listing = json_of(&snapshot(&place, &["list", "-c", &config, "--json"]));
        assert_eq!(listing["is_live"], true);
        let forced = snapshot(&place, &[&restore[..], &["--force"]].concat());
        assert_eq!(forced.0, 0, "{forced:?}");
        // A host that was killed is gone, too.
        host.kill9();
        assert_eq!(snapshot(&place, &restore).0, 0);
        let listing = json_of(&snapshot(&place, &["list", "-c", &config, "--json"]));
        assert_eq!(listing["is_live"], false);
    }
}

#[test]
fn a_running_host_saves_when_it_is_asked() {
    let place = Place::new();
    let yaml = CONFIG.replace("snapshot_interval_s: 1\n", "snapshot_interval_s: 3600\n");
    let config = place.config(&yaml);
    let host = Host::at_socket(&place, &["-c", &config]);
    let socket = place.socket();
    let mut wire = super::super::support::wire::Wire::connect(&socket);
    let memory_id = open(&mut wire);
    store(&mut wire, &memory_id, "a", "saved when asked");
    let args = ["save", "{}/a.jsonl", "--to", &socket, "-c", &config, "--json"];
    let saved = snapshot(&place, &args);
    assert_eq!(saved.0, 0, "{saved:?}");
    let outcome = json_of(&saved);
    assert!(outcome["host"]["saved"].as_u64().unwrap() >= 1, "{outcome}");
    assert_eq!(outcome["host"]["failed"], json!([]));
    assert_eq!(outcome["archive"]["states"][0]["key"], "memory:state");
    let (code, text, _) = snapshot(&place, &["save", "--to", &socket]);
    assert_eq!((code, text.contains("the host has saved ")), (0, true), "{text}");
    // A store that cannot be written is told by plugin.
    // Moved as a whole: the end of the session above may be saving at this moment.
    fs::rename(place.path("state"), place.path("elsewhere")).unwrap();
    let failed = snapshot(&place, &["save", "--to", &socket]);
    assert_eq!(failed.0, 1, "{failed:?}");
    assert!(failed.1.contains("not saved: plugin `memory`: "), "{failed:?}");
    drop(wire);
    drop(host);
}

#[test]
fn what_is_no_store_or_no_archive_is_named() {
    let place = Place::new();
    drop(stores(&place));
    fs::write(place.path("text"), "text").unwrap();
    fs::write(place.path("cut.jsonl"), "{\"a2e_snapshots\":1,\"saved\":1}\n").unwrap();
    let none = place.config("plugins: []\n");
    let memory = place.path("memory.yaml");
    fs::write(&memory, "snapshot_store: {type: memory}\n").unwrap();
    let memory = memory.to_str().unwrap();
    for (args, expected) in [
        (&["list", "{}/nothing"][..], "nothing: No such file"),
        (
            &["list", "{}/text"],
            "text is no snapshot store: neither a folder nor an SQLite file, and no archive",
        ),
        (&["list", "--store", "{}/text"], "is no snapshot store"),
        (&["list", "-c", &none], "a2e.yaml: there is no `snapshot_store` in it"),
        (&["list", "-c", memory], "memory.yaml: snapshot_store `memory` ends with its host"),
        (&["list", "-c", "{}/missing.yaml"], "missing.yaml"),
        (
            &["restore", "{}/cut.jsonl", "--store", "{}/files"],
            "cut.jsonl, line 2: the archive ends here",
        ),
        (&["diff", "{}/files", "{}/cut.jsonl"], "cut.jsonl, line 2: the archive ends here"),
        (
            &["save", "{}/no/folder.jsonl", "--store", "{}/files"],
            "folder.jsonl.tmp cannot be written: No such file",
        ),
        (&["save", "--to", "unix://{}/no.sock"], "no.sock"),
        (&["save", "--to", "tcp://127.0.0.1:1"], "127.0.0.1:1"),
    ] {
        let (code, stdout, stderr) = snapshot(&place, args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
    let found = StorePlace::find(&place.path("files")).unwrap();
    assert_eq!(found.open().unwrap().keys(None).unwrap().len(), 2, "nothing was changed");
}
