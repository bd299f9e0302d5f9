//! The store in a file by itself: against the same model as the one in RAM, and what only a file has.

use std::path::Path;

use a2e_core::codec::RawJson;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::memory::store::Store;
use crate::memory::store::model_tests::{Keeper, check_against_model, check_bounds, op};
use crate::memory::store::rank::Search;
use crate::memory::store::shelves::Owner;
use crate::memory::store::tests::{at, limits, of_agent, session, sized};
use crate::memory::store::text::Words;

pub(super) const EVERYTHING: Cut = Cut { entries: usize::MAX, bytes: usize::MAX };

pub(super) fn wanted(query: &str) -> Wanted {
    let words = Words::of(query);
    Wanted { by_key: false, by_tier: false, tags: [].into(), words, min_score: 0.0 }
}

pub(super) fn open(path: &Path, settings: serde_json::Value) -> SqliteStore {
    SqliteStore::open_file(path, limits(settings), at(0)).unwrap()
}

fn found(store: &SqliteStore, of: usize, query: &str, now: Time) -> Vec<MemoryEntry> {
    let place = (&session(of), "m");
    let wanted = wanted(query);
    store.search(place, None, None, &wanted, EVERYTHING, now.mono, &|| false).unwrap().0
}

pub(super) fn keys(store: &SqliteStore, of: usize, query: &str, now: Time) -> Vec<String> {
    let found = found(store, of, query, now);
    let key = |entry: &MemoryEntry| {
        entry.key.raw().decode::<serde_json::Value>().unwrap()["k"].to_string()
    };
    found.iter().map(key).collect()
}

pub(super) fn put(store: &SqliteStore, of: usize, entry: Entry, now: Time) -> Result<(), String> {
    let put = store.put_all(&session(of), "m", vec![Ok(entry)], now.mono, &|| false).unwrap();
    put.into_iter().next().unwrap().map(|_| ())
}

struct InFile {
    store: SqliteStore,
    _folder: tempfile::TempDir,
}

impl Keeper for InFile {
    fn make(limits: MemoryConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open_file(&folder.path().join("m.db"), limits, at(0)).unwrap();
        Self { store, _folder: folder }
    }

    fn open(&mut self, of: usize, agent: &str, _: Time) -> Result<()> {
        self.store.open(&session(of), "m", of_agent(agent))
    }

    fn close(&mut self, of: usize) {
        self.store.close(&session(of)).unwrap();
    }

    fn put(&mut self, of: usize, entry: Entry, now: Time) -> Result<()> {
        // Texts are for the wire; the tests look at the code.
        put(&self.store, of, entry, now).map_err(|text| {
            let code = text.split(": ").nth(1).unwrap_or_default().to_owned();
            Error::new(ErrorCode::Other(code.into()), text)
        })
    }

    fn forget(
        &mut self,
        of: usize,
        tier: Option<MemoryTier>,
        doomed: &Doomed,
        now: Time,
    ) -> Result<usize> {
        self.store.forget((&session(of), "m"), tier, doomed, now.mono, &|| false)
    }

    fn keys(&mut self, of: usize, now: Time) -> Vec<String> {
        keys(&self.store, of, "", now)
    }

    fn clear(&mut self) {
        self.store.clear().unwrap();
    }

    fn bytes(&self) -> usize {
        self.store.bytes()
    }
}

proptest! {
    // Fewer than in RAM: each request is a transaction that waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_file_does_what_a_naive_model_does(ops in prop::collection::vec(op(), 0..60)) {
        check_against_model::<InFile>(&ops)?;
    }

    #[test]
    fn r20_bytes_stay_below_the_bound_and_are_all_given_back(
        ops in prop::collection::vec(op(), 0..60),
        max_bytes in 500..6000_usize,
    ) {
        check_bounds::<InFile>(&ops, max_bytes)?;
    }

    /// A query finds exactly what it finds in RAM, in the same order and with the same scores, whatever
    /// stands in it.
    #[test]
    fn r65_a_query_is_words_and_never_a_language(
        contents in prop::collection::vec("(?s)[a-cA-C\"*()^:{}+\\-~%_' \u{0}\u{e9}\u{130}\u{df}]{0,12}", 1..12),
        queries in prop::collection::vec("(?s)[a-cA-C\"*()^:{}+\\-~%_' \u{0}\u{e9}\u{130}\u{df}]{0,6}|AND|NEAR\\(a b\\)|text:a|a OR b|.{1,8}", 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("m.db"), json!({}));
        let mut ram = Store::new(limits(json!({})));
        file.open(&session(0), "m", of_agent("a")).unwrap();
        ram.open(&session(0), "m", of_agent("a"), Duration::ZERO).unwrap();
        let entry = |number: usize| {
            let key = JsonObject::of(&json!({ "k": number })).unwrap();
            let tier = MemoryTier::ALL[number % 3];
            let content = RawJson::of(&contents[number]).unwrap();
            Entry::new(MemoryEntry::new(key, content, tier), at(0)).unwrap()
        };
        for number in 0..contents.len() {
            put(&file, 0, entry(number), at(0)).unwrap();
            ram.put(&session(0), "m", entry(number), Duration::ZERO).unwrap();
        }
        for query in contents.iter().chain(&queries) {
            let entries = ram.collect(&session(0), "m", None, None, Duration::ZERO).unwrap();
            let search = Search { entries, wanted: wanted(query), cut: EVERYTHING };
            let (expected, _) = search.run(|| true);
            let found = found(&file, 0, query, at(0));
            let told = |entries: Vec<MemoryEntry>| -> Vec<(String, f64)> {
                entries.into_iter().map(|it| (it.key.raw().get().to_owned(), it.score)).collect()
            };
            prop_assert_eq!(told(found), told(expected), "{:?}", query);
        }
    }
}

#[test]
fn of_one_score_the_more_relevant_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("m.db"), json!({}));
    store.open(&session(0), "m", of_agent("a")).unwrap();
    let text = |key: &str, content: &str, tier| {
        let key = JsonObject::of(&json!({ "k": key })).unwrap();
        let content = RawJson::of(content).unwrap();
        Entry::new(MemoryEntry::new(key, content, tier), at(0)).unwrap()
    };
    let long = format!("rain {}", "and other matters ".repeat(60));
    for (key, content, tier) in [
        ("once", "rain in the hills", MemoryTier::Working),
        ("long", &*long, MemoryTier::Episodic),
        ("often", "rain, rain, rain", MemoryTier::Semantic),
        ("rare", "rain and hail", MemoryTier::Semantic),
        ("none", "sun", MemoryTier::Semantic),
    ] {
        put(&store, 0, text(key, content, tier), at(0)).unwrap();
    }
    for (query, expected) in [
        ("RAIN", vec!["often", "rare", "once", "long"]),
        ("hail rain", vec!["rare", "often", "once", "long"]),
        ("rain matter", vec!["long", "often", "rare", "once"]),
        ("", vec!["once", "long", "often", "rare", "none"]),
        ("snow", vec![]),
        ("in", vec!["once", "often", "rare", "long"]),
    ] {
        let found: Vec<String> = keys(&store, 0, query, at(0));
        let mut found: Vec<&str> = found.iter().map(|key| key.trim_matches('"')).collect();
        if query == "in" {
            // Too short for the index: found all the same, in an order that is not promised.
            found.sort_unstable();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(found, expected, "{query}");
        } else {
            assert_eq!(found, expected, "{query}");
        }
    }
}

#[test]
fn r65_what_others_stored_does_not_show_in_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("m.db"), json!({ "episodic_limit": 500 }));
    for (number, agent) in ["a", "b"].into_iter().enumerate() {
        store.open(&session(number), "m", of_agent(agent)).unwrap();
    }
    let text = |key: usize, content: &str| {
        let key = JsonObject::of(&json!({ "k": key })).unwrap();
        let content = RawJson::of(content).unwrap();
        Entry::new(MemoryEntry::new(key, content, MemoryTier::Episodic), at(0)).unwrap()
    };
    put(&store, 0, text(1, "alpha alpha beta"), at(0)).unwrap();
    put(&store, 0, text(2, "alpha beta beta"), at(0)).unwrap();
    let before = keys(&store, 0, "alpha beta", at(0));
    for (word, first) in [("alpha", 0), ("beta", 200)] {
        for number in 0..200 {
            put(&store, 1, text(first + number, word), at(0)).unwrap();
        }
        assert_eq!(keys(&store, 0, "alpha beta", at(0)), before, "after 200 times {word}");
    }
}

#[test]
fn a_restart_keeps_what_outlives_sessions_and_what_is_left_of_each_ttl() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/m.db");
    let start = |now| SqliteStore::open_file(&path, limits(json!({})), now).unwrap();
    let store = start(at(500));
    store.open(&session(0), "m", of_agent("a")).unwrap();
    let own = Partition { owner: Owner::Session(session(0)), ..of_agent("") };
    store.open(&session(0), "own", own).unwrap();
    for (key, tier, ttl) in [
        ("w", MemoryTier::Working, 0),
        ("e", MemoryTier::Episodic, 100),
        ("f", MemoryTier::Episodic, 20),
        ("s", MemoryTier::Semantic, u64::MAX),
    ] {
        put(&store, 0, sized(key, tier, 2, ttl, at(500)), at(500)).unwrap();
    }
    let mine = sized("mine", MemoryTier::Episodic, 2, 0, at(500));
    let place = store.put_all(&session(0), "own", vec![Ok(mine)], at(500).mono, &|| false);
    assert!(place.unwrap()[0].is_ok());
    assert_eq!(keys(&store, 0, "", at(510)), [r#""w""#, r#""e""#, r#""f""#, r#""s""#]);
    drop(store);
    // Another start, whose monotonic scale begins anew, 30 s later by the wall clock.
    let now = |seconds| Time { mono: Duration::from_secs(seconds), wall: at(540).wall };
    let store = start(now(0));
    store.open(&session(0), "m", of_agent("a")).unwrap();
    assert_eq!(keys(&store, 0, "", now(0)), [r#""e""#, r#""s""#]);
    assert_eq!(keys(&store, 0, "", now(59)).len(), 2);
    assert_eq!(keys(&store, 0, "", now(60)), [r#""s""#]);
    let entry = &found(&store, 0, "", now(0))[0];
    assert_eq!((entry.created_at, entry.ttl), (Some(1_000_500.0), 100));
    assert_eq!(found(&store, 0, "", now(0))[1].ttl, u64::MAX);
    drop(store);
    // A wall clock that went back gives no entry more than its whole ttl.
    let early = start(Time::default());
    early.open(&session(0), "m", of_agent("a")).unwrap();
    assert_eq!(keys(&early, 0, "", at(99)).len(), 2);
    assert_eq!(keys(&early, 0, "", at(100)), [r#""s""#]);
}

#[test]
fn r20_partitions_are_dropped_by_their_last_use_and_open_ones_never() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        open(&folder.path().join("m.db"), json!({ "max_bytes": 3000, "max_partitions": 2 }));
    let tier = MemoryTier::Episodic;
    for (number, agent) in ["a", "b", "c"].into_iter().enumerate() {
        store.open(&session(number), "m", of_agent(agent)).unwrap();
        put(&store, number, sized(agent, tier, 500, 0, at(0)), at(0)).unwrap();
    }
    store.close(&session(1)).unwrap();
    store.close(&session(0)).unwrap();
    let error = put(&store, 2, sized("x", tier, 2800, 0, at(0)), at(0)).unwrap_err();
    assert!(error.contains("memory_full: the memory of this host has 3000 bytes"), "{error}");
    put(&store, 2, sized("x", tier, 700, 0, at(0)), at(0)).unwrap();
    store.open(&session(3), "m", of_agent("a")).unwrap();
    assert_eq!(keys(&store, 3, "", at(0)), [r#""a""#], "closed later than b");
    store.open(&session(4), "m", of_agent("b")).unwrap();
    assert!(keys(&store, 4, "", at(0)).is_empty());
    let error = put(&store, 2, sized("y", tier, 1000, 0, at(0)), at(0)).unwrap_err();
    assert!(error.contains("memory_full"), "open partitions are never dropped: {error}");
}

#[test]
fn a_new_file_takes_over_a_snapshot_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let lasting = || {
        let entry = |key: &str, tier| sized(key, tier, 2, 0, at(0));
        let episodic = vec![(of_agent("a"), vec![entry("e", MemoryTier::Episodic)])];
        (vec![entry("s", MemoryTier::Semantic)], episodic)
    };
    for (round, expected) in [(0, true), (1, false)] {
        let store = open(&path, json!({}));
        assert_eq!(store.take_over(lasting()).unwrap(), expected);
        store.open(&session(0), "m", of_agent("a")).unwrap();
        assert_eq!(keys(&store, 0, "", at(0)).len(), 2 - round, "what was forgotten stays so");
        let doomed =
            Doomed { ids: vec![sized("e", MemoryTier::Episodic, 2, 0, at(0)).id], tags: [].into() };
        store.forget((&session(0), "m"), None, &doomed, Duration::ZERO, &|| false).unwrap();
    }
}
