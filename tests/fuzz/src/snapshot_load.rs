//! Saved states: bytes that fail their check are never returned, and nothing whole is lost to them.
//!
//! The second opinion is a reader of the file format that was written for this target. An input is
//! tried as it is, as what stands behind a right checksum, and as changes to a good file.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use a2e_core::snapshot::{Archive, Codec, FileStore, Generation, SnapshotStore, State, StateKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scratch;

/// A folder with one key, whose generations are written at will.
struct Bench {
    store: FileStore,
    key: StateKey,
    current: PathBuf,
    previous: PathBuf,
    archive: PathBuf,
    /// The bytes of a good file.
    good: Vec<u8>,
    state: State,
    _folder: TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let folder = scratch::folder();
    let store = FileStore::open(folder.path().join("states")).expect("a folder that is ours");
    let key = StateKey::new("memory", "state", None);
    let sample = Sample { name: "good".to_owned(), counts: vec![1, 300, 70_000], pair: None };
    let state = State::bincode(3, &sample).expect("a plain struct");
    store.save(&key, &state).expect("it can be saved");
    let current = store.root().join("memory.state.snap");
    let good = fs::read(&current).expect("it was saved there");
    Bench {
        previous: store.root().join("memory.state.snap.prev"),
        archive: folder.path().join("archive"),
        store,
        key,
        current,
        good,
        state,
        _folder: folder,
    }
});

/// Loads the input as a file of the store and as an archive.
pub fn run(data: &[u8]) {
    let bench = &*BENCH;
    bench.load(data);
    let mut checked = b"A2ESNAP\n".to_vec();
    checked.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    checked.extend_from_slice(data);
    bench.load(&checked);
    let mut changed = bench.good.clone();
    changed.iter_mut().zip(data).for_each(|(byte, change)| *byte ^= change);
    bench.load(&changed);
    bench.archive(data);
    bench.archive(&with_checksums(data));
}

impl Bench {
    /// The bytes as the current generation, in front of a good previous one.
    fn load(&self, bytes: &[u8]) {
        fs::write(&self.current, bytes).expect("the folder can be written");
        fs::write(&self.previous, &self.good).expect("the folder can be written");
        let expected = read(bytes).filter(|(key, _)| *key == self.key.to_string());
        let loaded = self.store.load(&self.key);
        let loaded = loaded.expect("one generation is whole").expect("and there");
        if let Some((_, state)) = &expected {
            assert_eq!(loaded.generation, Generation::Current);
            assert_eq!((&loaded.state, loaded.problem), (state, None));
        } else {
            assert_eq!(loaded.generation, Generation::Previous);
            assert_eq!(loaded.state, self.state);
            assert!(loaded.problem.is_some_and(|problem| !problem.is_empty()));
        }
        decode(&loaded.state);

        assert_eq!(self.store.keys(None).expect("a folder"), std::slice::from_ref(&self.key));
        let kept = self.store.generations(&self.key).expect("a folder");
        let is_whole: Vec<bool> = kept.iter().map(|it| it.state.is_ok()).collect();
        assert_eq!(is_whole, [expected.is_some(), true]);

        fs::remove_file(&self.previous).expect("it was written");
        match (self.store.load(&self.key), expected) {
            (Ok(Some(loaded)), Some((_, state))) => assert_eq!(loaded.state, state),
            (Err(error), None) => assert!(!error.message().is_empty()),
            (loaded, expected) => panic!("{loaded:?}, and by the format {expected:?}"),
        }
    }

    /// The bytes as an archive: all of it is whole, or it is refused.
    fn archive(&self, bytes: &[u8]) {
        fs::write(&self.archive, bytes).expect("the folder can be written");
        let Ok(archive) = Archive::open(&self.archive) else { return };
        assert!(Archive::is_at(&self.archive) || bytes.first() != Some(&b'{'));
        let keys = archive.keys(None).expect("it was read");
        for key in &keys {
            let loaded = archive.load(key).expect("it was checked").expect("it is listed");
            let text = key.to_string();
            let line = lines(bytes).find(|line| line["key"] == text.as_str());
            let line = line.expect("a state comes from a line");
            let crc = crc(&text, &loaded.state);
            assert_eq!(line["crc32c"], format!("{crc:08x}"), "{line}");
            decode(&loaded.state);
        }
        let states = lines(bytes).find_map(|line| line["states"].as_u64());
        assert_eq!(states, Some(keys.len() as u64));
    }
}

/// Plugins decode what they are given; a length that lies must not set memory aside.
fn decode(state: &State) {
    if let Ok(sample) = state.decode::<Sample>() {
        let again = match state.codec() {
            Codec::Bincode => State::bincode(state.version(), &sample),
            Codec::Json => State::json(state.version(), &sample),
        };
        let again = again.expect("what was decoded").decode::<Sample>().expect("the same");
        assert_eq!(again, sample);
    }
    drop(state.decode::<Vec<(u64, String)>>());
    drop(state.decode::<std::collections::HashMap<String, Vec<u8>>>());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    counts: Vec<u64>,
    pair: Option<(bool, i32)>,
}

/// The file by its format: the key's text, and the state.
fn read(file: &[u8]) -> Option<(String, State)> {
    let rest = file.strip_prefix(b"A2ESNAP\n")?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    let (head, parts) = body.split_first_chunk::<20>()?;
    let number = |from: usize| u32::from_le_bytes(head[from..from + 4].try_into().expect("four"));
    let length = u64::from_le_bytes(head[12..].try_into().expect("eight"));
    let key_length = number(8) as usize;
    let is_good = u32::from_le_bytes(*crc) == crc32c::crc32c(body)
        && head[..2] == [1, 0]
        && parts.len() >= key_length
        && (parts.len() - key_length) as u64 == length;
    let (key, bytes) = is_good.then(|| parts.split_at(key_length))?;
    let codec = match head[2] {
        1 => Codec::Bincode,
        2 => Codec::Json,
        _ => return None,
    };
    let key = std::str::from_utf8(key).ok()?.to_owned();
    Some((key, State::new(number(4), codec, bytes.to_vec()).ok()?))
}

/// The checksum of an archive's line.
fn crc(key: &str, state: &State) -> u32 {
    let codec = match state.codec() {
        Codec::Bincode => 1,
        Codec::Json => 2,
    };
    let mut head = vec![1, 0, codec, 0];
    head.extend_from_slice(&state.version().to_le_bytes());
    head.extend_from_slice(&u32::try_from(key.len()).expect("short").to_le_bytes());
    head.extend_from_slice(&(state.bytes().len() as u64).to_le_bytes());
    head.extend_from_slice(key.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), state.bytes())
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Value> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

/// The archive with the right checksum in each line that could have one.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match fixed(line) {
            Some(line) => out.extend_from_slice(&line),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn fixed(line: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    let key = value["key"].as_str()?.to_owned();
    let codec = if value["codec"] == "json" { Codec::Json } else { Codec::Bincode };
    let bytes = match value["hex"].as_str() {
        Some(hex) => unhex(hex)?,
        None => value.get("json")?.to_string().into_bytes(),
    };
    let version = u32::try_from(value["version"].as_u64()?).ok()?;
    let crc = crc(&key, &State::new(version, codec, bytes).ok()?);
    *value.get_mut("crc32c")? = json!(format!("{crc:08x}"));
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    Some(line)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
