//! The store by itself: bounds, what leaves first, ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::codec::RawJson;
use a2e_core::protocol::SessionId;
use a2e_core::{Result, Time};
use serde_json::json;

use super::Store;
use super::shelves::{Owner, Partition};
use super::tier::Entry;
use super::{rank, saved, text};
use crate::json::JsonObject;
use crate::memory::config::MemoryConfig;
use crate::memory::protocol::{MemoryEntry, MemoryTier};

pub(in crate::memory) const TIERS: [MemoryTier; 3] = MemoryTier::ALL;

pub(in crate::memory) fn limits(settings: serde_json::Value) -> MemoryConfig {
    serde_json::from_value(settings).unwrap()
}

pub(in crate::memory) fn session(number: usize) -> SessionId {
    SessionId::from(format!("session {number}"))
}

pub(in crate::memory) fn of_agent(agent: &str) -> Partition {
    let owner = Owner::Agent(agent.to_owned());
    Partition { owner, namespace: "default".to_owned(), scope: BTreeMap::new() }
}

pub(in crate::memory) fn at(seconds: u64) -> Time {
    Time { mono: Duration::from_secs(seconds), wall: Duration::from_secs(1_000_000 + seconds) }
}

fn entry(key: impl Into<serde_json::Value>, tier: MemoryTier, now: Time) -> Entry {
    sized(key, tier, 2, 0, now)
}

/// An entry whose content has `bytes` bytes.
pub(in crate::memory) fn sized(
    key: impl Into<serde_json::Value>,
    tier: MemoryTier,
    bytes: usize,
    ttl: u64,
    now: Time,
) -> Entry {
    let key = JsonObject::of(&json!({ "k": key.into() })).unwrap();
    let content = RawJson::of(&"x".repeat(bytes - 2)).unwrap();
    Entry::new(MemoryEntry { ttl, ..MemoryEntry::new(key, content, tier) }, now).unwrap()
}

pub(in crate::memory) fn keys(
    store: &mut Store,
    of: usize,
    tier: Option<MemoryTier>,
    now: Time,
) -> Vec<String> {
    let found = store.collect(&session(of), "m", tier, None, now.mono).unwrap();
    found
        .iter()
        .map(|entry| entry.wire.key.raw().decode::<serde_json::Value>().unwrap()["k"].to_string())
        .collect()
}

pub(in crate::memory) fn open(store: &mut Store, number: usize, agent: &str) {
    store.open(&session(number), "m", of_agent(agent), Duration::ZERO).unwrap();
}

pub(in crate::memory) fn put(
    store: &mut Store,
    number: usize,
    entry: Entry,
    now: Time,
) -> Result<()> {
    store.put(&session(number), "m", entry, now.mono).map(|_| ())
}

#[test]
fn r20_a_full_tier_drops_its_oldest_and_a_replaced_entry_keeps_its_place() {
    for tier in TIERS {
        let limits = json!({ "working_limit": 3, "episodic_limit": 3, "semantic_limit": 3 });
        let mut store = Store::new(self::limits(limits));
        open(&mut store, 0, "a");
        for key in [1, 2, 3, 2, 4, 5] {
            put(&mut store, 0, entry(key, tier, at(0)), at(0)).unwrap();
        }
        assert_eq!(keys(&mut store, 0, Some(tier), at(0)), ["3", "4", "5"], "{tier:?}");
        put(&mut store, 0, entry(3, tier, at(0)), at(0)).unwrap();
        assert_eq!(keys(&mut store, 0, None, at(0)), ["3", "4", "5"], "{tier:?}");
    }
}

#[test]
fn ended_entries_are_never_found_and_leave_before_living_ones() {
    let mut store = Store::new(limits(json!({ "episodic_limit": 2 })));
    open(&mut store, 0, "a");
    let tier = MemoryTier::Episodic;
    put(&mut store, 0, entry(1, tier, at(0)), at(0)).unwrap();
    put(&mut store, 0, sized(2, tier, 2, 10, at(0)), at(0)).unwrap();
    assert_eq!(keys(&mut store, 0, None, at(9)), ["1", "2"]);
    put(&mut store, 0, entry(3, tier, at(10)), at(10)).unwrap();
    assert_eq!(keys(&mut store, 0, None, at(10)), ["1", "3"]);
    put(&mut store, 0, sized(4, tier, 2, u64::MAX, at(10)), at(10)).unwrap();
    assert_eq!(
        keys(&mut store, 0, None, at(4_000_000_000)),
        ["3", "4"],
        "the longest ttl is for ever"
    );
}

#[test]
fn r20_entries_that_find_no_room_are_refused_and_change_nothing() {
    let tier = MemoryTier::Episodic;
    let mut store = Store::new(limits(json!({ "max_entry_bytes": 1000, "max_bytes": 2500 })));
    open(&mut store, 0, "a");
    put(&mut store, 0, sized(1, tier, 600, 0, at(0)), at(0)).unwrap();
    put(&mut store, 0, sized(2, MemoryTier::Working, 600, 0, at(0)), at(0)).unwrap();
    for (bytes, expected) in
        [(1000, "an entry may have 1000 (max_entry_bytes)"), (700, "has 2500 bytes (max_bytes)")]
    {
        let error = put(&mut store, 0, sized(3, tier, bytes, 0, at(0)), at(0)).unwrap_err();
        assert_eq!(error.code().as_str(), "memory_full");
        assert!(error.message().contains(expected), "{error}");
    }
    assert_eq!(keys(&mut store, 0, None, at(0)), ["2", "1"]);
    put(&mut store, 0, sized(1, tier, 700, 0, at(0)), at(0)).unwrap();
    assert!(store.bytes() <= 2500, "what a replaced entry frees counts: {}", store.bytes());
}

#[test]
fn r20_room_is_made_from_partitions_that_were_closed_for_the_longest() {
    let tier = MemoryTier::Episodic;
    let mut store = Store::new(limits(json!({ "max_bytes": 3000 })));
    for (number, agent) in ["a", "b", "c"].into_iter().enumerate() {
        open(&mut store, number, agent);
        put(&mut store, number, sized(agent, tier, 500, 0, at(0)), at(0)).unwrap();
    }
    store.close(&session(1));
    store.close(&session(0));
    let too_much = sized("x", tier, 2800, 0, at(0));
    assert!(put(&mut store, 2, too_much, at(0)).is_err(), "more than idle partitions could free");
    put(&mut store, 2, sized("x", tier, 700, 0, at(0)), at(0)).unwrap();
    open(&mut store, 3, "a");
    assert_eq!(keys(&mut store, 3, None, at(0)), [r#""a""#], "closed later than b");
    open(&mut store, 4, "b");
    assert!(keys(&mut store, 4, None, at(0)).is_empty());
    let error = put(&mut store, 2, sized("y", tier, 1000, 0, at(0)), at(0)).unwrap_err();
    assert_eq!(error.code().as_str(), "memory_full", "open partitions are never dropped");
}

#[test]
fn r20_partitions_and_memories_are_counted() {
    let mut store = Store::new(limits(json!({ "max_partitions": 2, "max_memories": 2 })));
    for agent in ["a", "b", "c"] {
        open(&mut store, 0, agent);
        put(&mut store, 0, entry(agent, MemoryTier::Episodic, at(0)), at(0)).unwrap();
        store.close(&session(0));
    }
    for (agent, expected) in [("a", 0), ("b", 1), ("c", 1)] {
        open(&mut store, 0, agent);
        assert_eq!(keys(&mut store, 0, None, at(0)).len(), expected, "{agent}");
        store.close(&session(0));
    }
    open(&mut store, 0, "a");
    store.open(&session(0), "n", of_agent("a"), Duration::ZERO).unwrap();
    let error = store.open(&session(0), "o", of_agent("a"), Duration::ZERO).unwrap_err();
    assert_eq!(error.code().as_str(), "memory_full");
    assert!(error.message().contains("2 memories (max_memories)"), "{error}");
}

#[test]
fn a_session_without_an_agent_has_entries_of_its_own_that_end_with_it() {
    let mut store = Store::new(MemoryConfig::default());
    let own = |number| Partition { owner: Owner::Session(session(number)), ..of_agent("") };
    for number in 0..2 {
        store.open(&session(number), "m", own(number), Duration::ZERO).unwrap();
    }
    put(&mut store, 0, entry(1, MemoryTier::Episodic, at(0)), at(0)).unwrap();
    assert!(keys(&mut store, 1, None, at(0)).is_empty());
    assert!(store.lasting(Duration::ZERO).1.is_empty(), "it is not saved");
    (0..2).for_each(|number| store.close(&session(number)));
    assert_eq!(store.bytes(), 0);
}

#[test]
fn a_restored_store_goes_on_with_what_is_left_of_each_ttl() {
    let mut store = Store::new(MemoryConfig::default());
    open(&mut store, 0, "a");
    for (key, tier, ttl) in [
        ("w", MemoryTier::Working, 0),
        ("e", MemoryTier::Episodic, 100),
        ("f", MemoryTier::Episodic, 20),
        ("s", MemoryTier::Semantic, 0),
    ] {
        put(&mut store, 0, sized(key, tier, 2, ttl, at(500)), at(500)).unwrap();
    }
    let state = saved::save(&store.lasting(at(510).mono), at(510)).unwrap();
    // Another host, whose monotonic scale begins anew, 30 s later by the wall clock.
    let start = Time { mono: Duration::ZERO, wall: at(540).wall };
    let restored = |limits: MemoryConfig, start| {
        let mut store = Store::new(limits);
        store.refill(saved::restore(&state, start).unwrap());
        open(&mut store, 0, "a");
        store
    };
    let mut other = restored(MemoryConfig::default(), start);
    assert_eq!(keys(&mut other, 0, None, start), [r#""e""#, r#""s""#]);
    assert_eq!(keys(&mut other, 0, None, Time { mono: Duration::from_secs(59), ..start }).len(), 2);
    assert_eq!(
        keys(&mut other, 0, None, Time { mono: Duration::from_mins(1), ..start }),
        [r#""s""#]
    );
    let found = other.collect(&session(0), "m", None, None, start.mono).unwrap();
    assert_eq!(found[0].wire.created_at, Some(1_000_500.0));
    // A wall clock that went back gives no entry more than its whole ttl.
    let mut early = restored(MemoryConfig::default(), Time::default());
    assert_eq!(keys(&mut early, 0, None, at(99)).len(), 2);
    assert_eq!(keys(&mut early, 0, None, at(100)), [r#""s""#]);
    // Narrower bounds keep the newest.
    let mut narrow = restored(limits(json!({ "episodic_limit": 1 })), at(510));
    assert_eq!(keys(&mut narrow, 0, None, at(510)), [r#""f""#, r#""s""#]);
    let mut tiny = restored(limits(json!({ "max_bytes": 400 })), at(510));
    assert_eq!(keys(&mut tiny, 0, None, at(510)), [r#""s""#]);
}

#[test]
fn a_state_that_is_not_ours_is_refused() {
    let store = a2e_core::snapshot::State::bincode(7, &1_u8).unwrap();
    assert!(saved::restore(&store, at(0)).unwrap_err().message().contains("version 7"));
    let store = a2e_core::snapshot::State::bincode(1, &1_u8).unwrap();
    assert!(saved::restore(&store, at(0)).is_err());
}

#[test]
fn a_reply_is_cut_by_count_and_by_bytes() {
    let entries = || (0..5).map(|key| Arc::new(entry(key, MemoryTier::Semantic, at(0)))).collect();
    let each = entry(0, MemoryTier::Semantic, at(0)).bytes;
    for (cut_entries, cut_bytes, expected) in
        [(10, 1 << 20, 5), (2, 1 << 20, 2), (0, 1 << 20, 0), (10, 3 * each, 3), (10, 1, 1)]
    {
        let search = rank::Search {
            entries: entries(),
            wanted: rank::Wanted {
                by_key: false,
                by_tier: true,
                tags: [].into(),
                words: text::Words::of(""),
                min_score: 0.0,
            },
            cut: rank::Cut { entries: cut_entries, bytes: cut_bytes },
        };
        let (found, total) = search.run(|| true);
        assert_eq!((found.len(), total), (expected, 5), "{cut_entries}, {cut_bytes}");
    }
}
