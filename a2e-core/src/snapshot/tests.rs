//! Tests of keys, states and envelopes: what is told apart, what is refused, what is noticed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::protocol::SessionId;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    counts: BTreeMap<String, u64>,
    ratio: Option<f64>,
}

fn sample() -> Sample {
    let counts = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 70_000)]);
    Sample { name: "caf\u{e9}".to_owned(), counts, ratio: Some(0.1) }
}

#[test]
fn a_state_reads_back_with_both_codecs() {
    for state in [State::bincode(3, &sample()).unwrap(), State::json(3, &sample()).unwrap()] {
        assert_eq!(state.version(), 3);
        assert_eq!(state.decode::<Sample>().unwrap(), sample());
    }
    let value = json!({"any": [1, null, {"shape": 1.5}]});
    assert_eq!(State::json(1, &value).unwrap().decode::<Value>().unwrap(), value);
}

#[derive(Debug, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    maybe: Option<u8>,
    count: u8,
}

#[test]
#[cfg(debug_assertions)]
fn bincode_refuses_on_save_what_it_could_not_restore() {
    let error = State::bincode(1, &json!({"a": 1})).unwrap_err();
    assert!(error.message().contains("could be saved but not restored"), "{error}");
    assert!(State::bincode(1, &Skips { maybe: None, count: 0 }).is_err(), "reads as another value");
    assert!(State::bincode(1, &Skips { maybe: None, count: 9 }).is_err());
    assert!(State::json(1, &f64::NAN).is_err(), "JSON writes it as null");
}

#[test]
fn a_state_is_exactly_one_value() {
    let mut bytes = State::bincode(1, &sample()).unwrap().bytes().to_vec();
    bytes.push(0);
    let longer = State::new(1, Codec::Bincode, bytes.clone()).unwrap();
    let error = longer.decode::<Sample>().unwrap_err();
    assert!(error.message().contains("1 bytes are left over"), "{error}");
    assert!(State::new(1, Codec::Json, bytes).unwrap().decode::<Sample>().is_err(), "other codec");
    assert!(State::new(1, Codec::Json, b"1 2".to_vec()).unwrap().decode::<u8>().is_err());
}

#[test]
fn what_is_within_the_size_can_be_read_back() {
    // The limit of bincode counts decoded sizes: small numbers take 8 or 16 for one byte.
    assert!(State::bincode(1, &vec![1_u128; 65_000]).unwrap().decode::<Vec<u128>>().is_ok());
    assert!(State::bincode(1, &vec![1_u64; 5 << 20]).unwrap().decode::<Vec<u64>>().is_ok());
    let most = "x".repeat(State::MAX_BYTES - 5);
    let state = State::new(1, Codec::Bincode, {
        let mut bytes = vec![252];
        bytes.extend_from_slice(&u32::try_from(most.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(most.as_bytes());
        bytes
    });
    assert_eq!(state.unwrap().decode::<String>().unwrap().len(), most.len());
}

#[test]
fn a_state_that_is_too_large_is_refused_on_save() {
    let error = State::json(1, &"x".repeat(State::MAX_BYTES)).unwrap_err();
    assert!(error.message().contains("at most"), "{error}");
}

#[test]
fn a_length_that_lies_sets_no_memory_aside() {
    let mut bytes = vec![253];
    bytes.extend_from_slice(&(1_u64 << 40).to_le_bytes());
    let state = State::new(1, Codec::Bincode, bytes).unwrap();
    let error = state.decode::<String>().unwrap_err();
    assert!(error.message().contains("LimitExceeded"), "{error}");
}

#[test]
fn r69_debug_shows_no_bytes_of_a_state() {
    let shown = format!("{:?}", State::json(1, &"secret".to_owned()).unwrap());
    assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
}

#[test]
fn r50_every_flipped_bit_is_noticed() {
    let state = State::bincode(3, &sample()).unwrap();
    let key = StateKey::new("memory", "state", Some(SessionId::from("0af1")));
    let mut file = envelope::head(&key.to_string(), &state);
    file.extend_from_slice(state.bytes());
    assert_eq!(envelope::open(&file).unwrap(), (key, state));
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(envelope::open(&flipped).is_err(), "bit {bit}");
    }
    for length in 0..file.len() {
        assert!(envelope::open(&file[..length]).is_err(), "{length} bytes");
    }
    file.push(0);
    assert!(envelope::open(&file).is_err(), "longer");
}

fn key_strategy() -> impl Strategy<Value = StateKey> {
    let part = "(?s)[a-z.:%/~A-Z0-9 \\\\\u{0}\u{e9}]{1,4}|.{1,120}";
    (part, part, proptest::option::of(part))
        .prop_map(|(plugin, key, session)| StateKey::new(plugin, key, session.map(SessionId::from)))
}

fn is_safe(name: &str) -> bool {
    let mut bytes = name.bytes();
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && bytes.all(|byte| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'F') || b"_-%.~".contains(&byte)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn r51_a_key_reads_back_from_its_text_and_its_name(key in key_strategy()) {
        prop_assert_eq!(&StateKey::parse(&key.to_string()).unwrap(), &key);
        let name = key.file_name();
        prop_assert!(is_safe(&name), "{}", name);
        match StateKey::from_file_name(&name) {
            Some(read) => prop_assert_eq!(read, key),
            None => prop_assert!(name.len() == 200 && name.contains('~')),
        }
    }

    #[test]
    fn r51_two_keys_never_share_a_name(one in key_strategy(), other in key_strategy()) {
        let fold = |key: &StateKey| key.file_name().to_ascii_lowercase();
        prop_assert_eq!(one == other, fold(&one) == fold(&other));
        prop_assert_eq!(one == other, one.to_string() == other.to_string());
    }

    #[test]
    fn r51_any_text_that_is_read_as_a_key_is_its_only_text(text in "[a-z%:.0-9A-F]{0,12}") {
        if let Ok(key) = StateKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}

#[test]
fn r51_names_by_example() {
    let name = |plugin: &str, key: &str, session: Option<&str>| {
        StateKey::new(plugin, key, session.map(SessionId::from)).file_name()
    };
    assert_eq!(name("memory", "state", None), "memory.state");
    assert_eq!(name("memory", "state", Some("0af1")), "memory.state.0af1");
    assert_eq!(name("memory", "state.0af1", None), "memory.state%2E0af1");
    assert_eq!(name("..", "../../etc/passwd\0", None), "%2E%2E.%2E%2E%2F%2E%2E%2Fetc%2Fpasswd%00");
    assert_ne!(name("A", "k", None), name("a", "k", None));
    let (long, longer) = (name("p", &"k".repeat(300), None), name("p", &"k".repeat(301), None));
    assert_eq!((long.len(), longer.len()), (200, 200));
    assert_ne!(long, longer);
    let key = StateKey::new("a:b", "c", Some(SessionId::from("d")));
    assert_eq!(key.to_string(), "a%3Ab:c:d");
}
