//! States of other versions: older ones go step by step, newer ones and garbage are refused.

use a2e_core::Error;
use a2e_core::snapshot::{Codec, State, Versions};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Version 2 was JSON, for its free fields.
#[derive(Serialize, Deserialize)]
struct V2 {
    calls: u32,
    notes: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct V4 {
    calls: u64,
    notes: Vec<String>,
}

/// 1: a number. 2: JSON. 3: bincode again. 4: a wider number.
fn versions() -> Versions<V4> {
    Versions::first::<u32>(1)
        .then(|calls| Ok(V2 { calls, notes: serde_json::Map::new() }))
        .then(|old| Ok((old.calls, old.notes.keys().cloned().collect::<Vec<_>>())))
        .then(|(calls, notes)| {
            if calls == 13 {
                return Err(Error::runtime("13 calls cannot be"));
            }
            Ok(V4 { calls: u64::from(calls), notes })
        })
}

#[test]
fn an_older_state_goes_through_each_step_whatever_its_codec() {
    let noted = |notes: &[&str]| notes.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(versions().newest(), 4);
    for (state, notes) in [
        (State::bincode(1, &3_u32).unwrap(), noted(&[])),
        (State::json(1, &3_u32).unwrap(), noted(&[])),
        (State::json(2, &json!({"calls": 3, "notes": {"a": [1]}})).unwrap(), noted(&["a"])),
        (State::bincode(3, &(3_u32, noted(&["b", "c"]))).unwrap(), noted(&["b", "c"])),
        (State::json(3, &(3_u32, noted(&["b"]))).unwrap(), noted(&["b"])),
        (State::bincode(4, &V4 { calls: 3, notes: noted(&["d"]) }).unwrap(), noted(&["d"])),
    ] {
        assert_eq!(versions().read(&state).unwrap(), V4 { calls: 3, notes }, "{state:?}");
    }
}

#[test]
fn what_cannot_be_read_says_both_versions_or_the_step() {
    let raw = |version, codec, bytes: &[u8]| State::new(version, codec, bytes.to_vec()).unwrap();
    for (state, expected) in [
        (
            raw(5, Codec::Bincode, b"\x03\x00"),
            "state has version 5; this program reads versions 1 to 4: it was saved by a newer one",
        ),
        (
            raw(u32::MAX, Codec::Json, b"{}"),
            "state has version 4294967295; this program reads versions 1 to 4",
        ),
        (
            raw(0, Codec::Json, b"3"),
            "state has version 0; this program reads versions 1 to 4: it is too old",
        ),
        (raw(4, Codec::Bincode, b"\xff\xff\xff"), "state of version 4 cannot be read from bincode"),
        (raw(4, Codec::Json, b"garbage"), "state of version 4 cannot be read from json"),
        (
            raw(2, Codec::Bincode, b"\x03\x01\x01a\x00"),
            "state of version 2 cannot be read from bincode",
        ),
        (raw(1, Codec::Bincode, b""), "state of version 1 cannot be read from bincode"),
        (
            raw(1, Codec::Bincode, b"\x0d"),
            "state of version 3 cannot become version 4: 13 calls cannot be",
        ),
    ] {
        let error = versions().read(&state).unwrap_err();
        assert!(error.message().starts_with(expected), "{error} for {expected}");
    }
    let only = Versions::first::<u8>(6).read(&raw(7, Codec::Json, b"1")).unwrap_err();
    assert!(only.message().contains("reads version 6: it was saved"), "{only}");
}
