//! Each store against a naive model of it, and its bounds under any sequence of requests.

use a2e_core::{Result, Time};
use proptest::prelude::*;
use serde_json::json;

use super::Store;
use super::key::canonical;
use super::tests::{TIERS, at, keys, limits, of_agent, put, session, sized};
use super::tier::{Doomed, Entry};
use crate::json::JsonObject;
use crate::memory::config::MemoryConfig;
use crate::memory::protocol::MemoryTier;

/// A store as these tests see it, of sessions by their number; each has the memory `m`.
pub(in crate::memory) trait Keeper {
    fn make(limits: MemoryConfig) -> Self;
    fn open(&mut self, of: usize, agent: &str, now: Time) -> Result<()>;
    fn close(&mut self, of: usize);
    fn put(&mut self, of: usize, entry: Entry, now: Time) -> Result<()>;
    fn forget(
        &mut self,
        of: usize,
        tier: Option<MemoryTier>,
        doomed: &Doomed,
        now: Time,
    ) -> Result<usize>;
    fn keys(&mut self, of: usize, now: Time) -> Vec<String>;
    fn clear(&mut self);
    fn bytes(&self) -> usize;
}

impl Keeper for Store {
    fn make(limits: MemoryConfig) -> Self {
        Store::new(limits)
    }

    fn open(&mut self, of: usize, agent: &str, now: Time) -> Result<()> {
        Store::open(self, &session(of), "m", of_agent(agent), now.mono)
    }

    fn close(&mut self, of: usize) {
        Store::close(self, &session(of));
    }

    fn put(&mut self, of: usize, entry: Entry, now: Time) -> Result<()> {
        put(self, of, entry, now)
    }

    fn forget(
        &mut self,
        of: usize,
        tier: Option<MemoryTier>,
        doomed: &Doomed,
        now: Time,
    ) -> Result<usize> {
        Store::forget(self, &session(of), "m", tier, doomed, now.mono)
    }

    fn keys(&mut self, of: usize, now: Time) -> Vec<String> {
        keys(self, of, None, now)
    }

    fn clear(&mut self) {
        Store::clear(self);
    }

    fn bytes(&self) -> usize {
        Store::bytes(self)
    }
}

#[derive(Clone, Debug)]
pub(in crate::memory) enum Op {
    Put { of: usize, key: u8, tag: u8, tier: usize, ttl: u64, bytes: usize },
    Forget { of: usize, key: Option<u8>, tag: Option<u8>, tier: Option<usize> },
    Reopen(usize),
    Wait(u64),
}

pub(in crate::memory) fn op() -> impl Strategy<Value = Op> {
    let (of, key, tag, tier) = (0..3_usize, 0..6_u8, 0..3_u8, 0..3_usize);
    let put = (of.clone(), key.clone(), tag.clone(), tier.clone(), 0..4_u64, 2..900_usize);
    let forget = (of.clone(), option(key), option(tag), option(tier));
    prop_oneof![
        8 => put.prop_map(|(of, key, tag, tier, ttl, bytes)| Op::Put { of, key, tag, tier, ttl, bytes }),
        3 => forget.prop_map(|(of, key, tag, tier)| Op::Forget { of, key, tag, tier }),
        1 => of.prop_map(Op::Reopen),
        2 => (1..3_u64).prop_map(Op::Wait),
    ]
}

fn option<S: Strategy>(of: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop_oneof![of.prop_map(Some), Just(None)]
}

/// Sessions 0 and 1 are of one agent, 2 of another.
const AGENTS: [&str; 3] = ["a", "a", "b"];
const LIMIT: usize = 3;

/// All entries in one list, oldest first.
#[derive(Default)]
struct Model(Vec<Row>);

#[derive(Clone, PartialEq)]
struct Row {
    /// The tier, and whose it is.
    home: (usize, String),
    key: u8,
    tag: u8,
    end: Option<u64>,
}

fn home(of: usize, tier: usize) -> (usize, String) {
    let owner = match TIERS[tier] {
        MemoryTier::Working => of.to_string(),
        MemoryTier::Episodic => AGENTS[of].to_owned(),
        MemoryTier::Semantic => String::new(),
    };
    (tier, owner)
}

impl Model {
    fn put(&mut self, row: Row) {
        if let Some(same) = self.0.iter_mut().find(|it| it.home == row.home && it.key == row.key) {
            *same = row;
            return;
        }
        let mut at_home = (0..self.0.len()).filter(|place| self.0[*place].home == row.home);
        if let Some(oldest) = at_home.next()
            && at_home.count() + 1 == LIMIT
        {
            self.0.remove(oldest);
        }
        self.0.push(row);
    }

    fn keys(&self, of: usize) -> Vec<String> {
        let at_home = |tier| self.0.iter().filter(move |it| it.home == home(of, tier));
        (0..3).flat_map(|tier| at_home(tier).map(|it| it.key.to_string())).collect()
    }
}

fn apply<K: Keeper>(store: &mut K, op: &Op, now: u64) -> Result<usize> {
    match *op {
        Op::Put { of, key, tag, tier, ttl, bytes } => {
            let mut entry = sized(key, TIERS[tier], bytes, ttl, at(now));
            entry.wire.tags.push(tag.to_string());
            store.put(of, entry, at(now)).map(|()| 0)
        }
        Op::Forget { of, key, tag, tier } => {
            let id = |key| canonical(&JsonObject::of(&json!({ "k": key })).unwrap()).unwrap();
            let doomed = Doomed {
                ids: key.map(id).into_iter().collect(),
                tags: tag.map(|tag| tag.to_string()).into_iter().collect(),
            };
            store.forget(of, tier.map(|tier| TIERS[tier]), &doomed, at(now))
        }
        Op::Reopen(of) => {
            store.close(of);
            store.open(of, AGENTS[of], at(now)).map(|()| 0)
        }
        Op::Wait(_) => Ok(0),
    }
}

pub(in crate::memory) fn check_against_model<K: Keeper>(ops: &[Op]) -> Result<(), TestCaseError> {
    let limits =
        json!({ "working_limit": LIMIT, "episodic_limit": LIMIT, "semantic_limit": LIMIT });
    let mut store = K::make(super::tests::limits(limits));
    let (mut model, mut now) = (Model::default(), 0);
    (0..3).for_each(|number| store.open(number, AGENTS[number], at(0)).unwrap());
    for op in ops {
        model.0.retain(|row| row.end.is_none_or(|end| end > now));
        let mut deleted = 0;
        match *op {
            Op::Put { of, key, tag, tier, ttl, .. } => {
                let end = (ttl > 0).then_some(now + ttl);
                model.put(Row { home: home(of, tier), key, tag, end });
            }
            Op::Forget { of, key, tag, tier } => {
                let before = model.0.len();
                model.0.retain(|row| {
                    let is_in = (0..3)
                        .any(|it| tier.is_none_or(|tier| tier == it) && row.home == home(of, it));
                    !(is_in && (Some(row.key) == key || Some(row.tag) == tag))
                });
                deleted = before - model.0.len();
            }
            Op::Reopen(of) => model.0.retain(|row| row.home != home(of, 0)),
            Op::Wait(seconds) => now += seconds,
        }
        prop_assert_eq!(apply(&mut store, op, now).unwrap(), deleted);
        model.0.retain(|row| row.end.is_none_or(|end| end > now));
        for of in 0..3 {
            prop_assert_eq!(store.keys(of, at(now)), model.keys(of), "after {:?}", op);
        }
    }
    Ok(())
}

pub(in crate::memory) fn check_bounds<K: Keeper>(
    ops: &[Op],
    max_bytes: usize,
) -> Result<(), TestCaseError> {
    let settings = json!({ "max_bytes": max_bytes, "max_partitions": 1, "working_limit": 4 });
    let mut store = K::make(limits(settings));
    let mut now = 0;
    (0..3).for_each(|number| store.open(number, AGENTS[number], at(0)).unwrap());
    for op in ops {
        if let Op::Wait(seconds) = op {
            now += seconds;
        }
        if let Err(error) = apply(&mut store, op, now) {
            prop_assert_eq!(error.code().as_str(), "memory_full");
        }
        prop_assert!(store.bytes() <= max_bytes, "{} after {:?}", store.bytes(), op);
    }
    (0..3).for_each(|number| store.close(number));
    store.clear();
    prop_assert_eq!(store.bytes(), 0);
    Ok(())
}

proptest! {
    #[test]
    fn the_store_does_what_a_naive_model_does(ops in prop::collection::vec(op(), 0..60)) {
        check_against_model::<Store>(&ops)?;
    }

    #[test]
    fn r20_bytes_stay_below_the_bound_and_are_all_given_back(
        ops in prop::collection::vec(op(), 0..60),
        max_bytes in 500..6000_usize,
    ) {
        check_bounds::<Store>(&ops, max_bytes)?;
    }
}
