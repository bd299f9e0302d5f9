//! An archive: a set of states in one text file, for transport, inspection, comparison and restore.
//!
//! Each line is a JSON object. The first identifies the file, the last gives the number of states:
//!
//! ```text
//! {"a2e_snapshots":1,"saved":1763000000}
//! {"key":"memory:state","version":1,"codec":"bincode","crc32c":"9a0b1c2d","hex":"0301…"}
//! {"key":"planner:state","version":4,"codec":"json","crc32c":"55aa0011","json":{"goals":[]}}
//! {"states":2}
//! ```
//!
//! `crc32c` is that of the wrapping a store gives the state: it covers key, version, codec and bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key::{MAX_KEY, to_hex};
use super::{
    Codec, Generation, LoadedState, SavedGeneration, SnapshotStore, State, StateKey, envelope,
};
use crate::protocol::PluginName;
use crate::sync::Mutex;
use crate::{Error, Result};

/// The only format so far.
const FORMAT: u32 = 1;

/// No good line is longer, in bytes: two hex digits for each byte of the largest state.
const MAX_LINE: usize = 2 * State::MAX_BYTES + 3 * MAX_KEY + 1024;

/// How many states an archive may have: a bound on the table of keys.
const MAX_STATES: usize = 1_000_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    a2e_snapshots: u32,
    /// Seconds since the Unix epoch.
    saved: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveLine {
    key: String,
    version: u32,
    codec: String,
    crc32c: String,
    /// The state as it is, when it is JSON on one line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    json: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hex: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    states: usize,
}

/// Writes an archive. It is at its path when [`ArchiveWriter::finish`] has returned, not before.
#[derive(Debug)]
pub struct ArchiveWriter {
    path: PathBuf,
    writing: PathBuf,
    file: BufWriter<File>,
    states: usize,
    is_finished: bool,
}

impl ArchiveWriter {
    /// Begins an archive that is for its owner only; `saved` is the time now since the Unix epoch.
    ///
    /// # Errors
    /// When the file cannot be made, or another writer is at it.
    pub fn create(path: impl Into<PathBuf>, saved: Duration) -> Result<Self> {
        let path = path.into();
        let mut writing = path.clone().into_os_string();
        writing.push(".tmp");
        let writing = PathBuf::from(writing);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&writing).map_err(|error| failed("written", &writing, &error))?;
        let file = BufWriter::new(file);
        let mut archive = Self { path, writing, file, states: 0, is_finished: false };
        archive.line(&First { a2e_snapshots: FORMAT, saved: saved.as_secs() })?;
        Ok(archive)
    }

    /// Adds a state.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, key: &StateKey, state: &State) -> Result<()> {
        let text = key.to_string();
        let json = one_line(state);
        let hex = json.is_none().then(|| to_hex(state.bytes()));
        let (version, codec) = (state.version(), state.codec().as_str().to_owned());
        let crc32c = checksum(&text, state);
        self.line(&ArchiveLine { key: text, version, codec, crc32c, json, hex })?;
        self.states += 1;
        Ok(())
    }

    /// Puts the archive in its place, on the disk; returns how many states it has.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<usize> {
        let states = self.states;
        self.line(&Last { states })?;
        let mut end = || -> io::Result<()> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.writing, &self.path)?;
            let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        end().map_err(|error| failed("written", &self.path, &error))?;
        self.is_finished = true;
        Ok(states)
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<()> {
        let mut text =
            serde_json::to_vec(line).map_err(|error| Error::internal(error.to_string()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| failed("written", &self.writing, &error))
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // A half-written file is of no use; a failure to remove it changes nothing.
            let _left = fs::remove_file(&self.writing);
        }
    }
}

/// An archive that was checked as a whole, as a store that cannot be changed.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    saved: Duration,
    /// Where the line of a state is: its first byte, and how many it has.
    lines: BTreeMap<StateKey, (u64, usize)>,
    /// The file; held while a line is read.
    file: Mutex<File>,
}

impl Archive {
    /// Opens an archive and checks every state in it.
    ///
    /// # Errors
    /// When it cannot be read, is not an archive or not a whole one; the message names the line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|error| failed("read", &path, &error))?;
        let mut reader = BufReader::new(file);
        let refused = |number: usize, why: &str| {
            Error::runtime(format!("archive {}, line {number}: {why}", path.display()))
        };
        let first = next(&mut reader).map_err(|why| refused(1, &why))?;
        let first: First = serde_json::from_slice(&first)
            .map_err(|_| refused(1, "this is not an archive of snapshots"))?;
        if first.a2e_snapshots != FORMAT {
            let format = first.a2e_snapshots;
            return Err(refused(1, &format!("has format {format}, this program reads {FORMAT}")));
        }
        let mut lines = BTreeMap::new();
        for number in 2.. {
            let start = reader.stream_position().map_err(|error| failed("read", &path, &error))?;
            let line = next(&mut reader).map_err(|why| refused(number, &why))?;
            if let Ok(Last { states }) = serde_json::from_slice(&line) {
                if states != lines.len() {
                    let found = lines.len();
                    return Err(refused(number, &format!("{found} states of {states} are there")));
                }
                break;
            }
            let (key, _) = parse(&line).map_err(|why| refused(number, &why))?;
            if lines.len() == MAX_STATES {
                return Err(refused(number, &format!("more than {MAX_STATES} states")));
            }
            if lines.contains_key(&key) {
                return Err(refused(number, &format!("a second state of {key}")));
            }
            lines.insert(key, (start, line.len()));
        }
        let file = Mutex::new(reader.into_inner());
        Ok(Self { path, saved: Duration::from_secs(first.saved), lines, file })
    }

    /// Whether a file begins like an archive.
    pub fn is_at(path: &Path) -> bool {
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
        read.is_ok() && start.starts_with(b"{\"a2e_snapshots\"")
    }

    fn state(&self, key: &StateKey) -> Result<Option<State>> {
        let Some((start, length)) = self.lines.get(key) else { return Ok(None) };
        let mut line = vec![0; *length];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(*start))
            .and_then(|_| file.read_exact(&mut line))
            .map_err(|error| failed("read", &self.path, &error))?;
        match parse(&line) {
            Ok((there, state)) if there == *key => Ok(Some(state)),
            _ => Err(Error::runtime(format!("archive {} has changed", self.path.display()))),
        }
    }

    fn fixed(&self) -> Error {
        let path = self.path.display();
        Error::runtime(format!("archive {path} is not changed; make a new one"))
    }
}

impl SnapshotStore for Archive {
    fn save(&self, _: &StateKey, _: &State) -> Result<()> {
        Err(self.fixed())
    }

    fn load(&self, key: &StateKey) -> Result<Option<LoadedState>> {
        Ok(self.state(key)?.map(LoadedState::current))
    }

    fn delete(&self, _: &StateKey) -> Result<()> {
        Err(self.fixed())
    }

    fn keys(&self, plugin: Option<&PluginName>) -> Result<Vec<StateKey>> {
        let wanted = |key: &&StateKey| plugin.is_none_or(|plugin| key.plugin == *plugin);
        Ok(self.lines.keys().filter(wanted).cloned().collect())
    }

    fn generations(&self, key: &StateKey) -> Result<Vec<SavedGeneration>> {
        let kept = |state| SavedGeneration {
            generation: Generation::Current,
            saved: Some(self.saved),
            state: Ok(state),
        };
        Ok(self.state(key)?.map(kept).into_iter().collect())
    }
}

/// The next line without its newline. A line without a newline was cut off.
fn next(reader: &mut BufReader<File>) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let read = reader.take(MAX_LINE as u64).read_until(b'\n', &mut line);
    read.map_err(|error| error.to_string())?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() + 1 == MAX_LINE => Err(format!("more than {MAX_LINE} bytes")),
        _ => Err("the archive ends here, before its last line".to_owned()),
    }
}

fn parse(line: &[u8]) -> Result<(StateKey, State), String> {
    let line: ArchiveLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let key = StateKey::parse(&line.key).map_err(|error| error.message().to_owned())?;
    let codec = Codec::from_name(&line.codec)
        .ok_or_else(|| format!("{key} has the unknown codec `{}`", line.codec))?;
    let bytes = match (line.json, line.hex) {
        (Some(json), None) => json.get().as_bytes().to_vec(),
        (None, Some(hex)) => from_hex(&hex).ok_or_else(|| format!("{key} is not in hex digits"))?,
        _ => return Err(format!("{key} has not exactly one of `json` and `hex`")),
    };
    let state = State::new(line.version, codec, bytes)
        .map_err(|error| format!("{key}: {}", error.message()))?;
    if checksum(&line.key, &state) != line.crc32c {
        return Err(format!("{key} does not match its checksum"));
    }
    Ok((key, state))
}

/// The JSON of a state when a line can hold it so that every byte comes back.
fn one_line(state: &State) -> Option<Box<RawValue>> {
    if state.codec() != Codec::Json || state.bytes().iter().any(u8::is_ascii_control) {
        return None;
    }
    let text = std::str::from_utf8(state.bytes()).ok()?;
    let raw = RawValue::from_string(text.to_owned()).ok()?;
    // Null would read back as no `json` at all.
    (raw.get() == text && text != "null").then_some(raw)
}

fn checksum(key: &str, state: &State) -> String {
    to_hex(&envelope::crc(key, state).to_be_bytes())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pair = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    rest.is_empty().then(|| pairs.iter().map(pair).collect())?
}

fn failed(done: &str, path: &Path, error: &io::Error) -> Error {
    Error::runtime(format!("archive {} cannot be {done}: {error}", path.display()))
}
