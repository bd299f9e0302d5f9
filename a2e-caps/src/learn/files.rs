//! The folder of a learn plugin: a state that is replaced whole, and logs that are written first.
//!
//! A record is on the disk, in its log, before it is answered. The state says how far of each log it has, so what
//! was noted after the last state is noted again when the folder is opened. A line that a crash cut short was
//! not answered, and is taken off.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ledger::{Change, Ledger};

/// How long another instance, as that before a reload, may take to let go of the folder.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

const STATE: &str = "harness_state.json";

/// The logs, in the order of [`Logged`].
const LOGS: [&str; 3] = ["feedbacks", "experiences", "refinements"];

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Feedbacks,
    Experiences,
    Refinements,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    policy_name: String,
    most_bytes: u64,
    logs: [Open; 3],
    /// Records since the state was written.
    since: usize,
    _lock: File,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

/// How far of each log a state has.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Logged {
    feedbacks: u64,
    experiences: u64,
    refinements: u64,
}

fn failed(what: &Path) -> impl Fn(std::io::Error) -> Error {
    let what = what.display().to_string();
    move |error| Error::runtime(format!("{what}: {error}"))
}

impl Files {
    /// Opens a folder that is [`locked`], and reads what was learned.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the state is none.
    pub(super) fn open(
        root: &Path,
        lock: File,
        policy_name: &str,
        most_bytes: u64,
        now: f64,
    ) -> Result<(Self, Ledger)> {
        let state_file = root.join(STATE);
        let (mut ledger, logged) = match fs::read(&state_file) {
            Ok(bytes) => {
                let state: Map<String, Value> =
                    serde_json::from_slice(&bytes).map_err(|error| {
                        Error::runtime(format!("{}: {error}", state_file.display()))
                    })?;
                let logged = state.get("logged").cloned().unwrap_or_default();
                (Ledger::from_json(state)?, serde_json::from_value(logged).unwrap_or_default())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (Ledger::new(now), Logged::default())
            }
            Err(error) => return Err(failed(&state_file)(error)),
        };
        let [feedbacks, experiences, refinements] =
            LOGS.map(|name| root.join(format!("{name}.jsonl")));
        let logs = [
            read(&feedbacks, logged.feedbacks, |it, is_new| {
                if is_new {
                    ledger.note_feedback(&it);
                }
            })?,
            read(&experiences, logged.experiences, |it, is_new| {
                if is_new {
                    ledger.note_experience(&it);
                }
            })?,
            read(&refinements, logged.refinements, |it: Change, is_new| {
                ledger.note_change(it, !is_new);
            })?,
        ];
        let (root, policy_name) = (root.to_owned(), policy_name.to_owned());
        Ok((Self { root, policy_name, most_bytes, logs, since: 0, _lock: lock }, ledger))
    }

    /// Appends records, all or none of them, and has them on the disk. `ledger` gives what was appended before.
    /// It is asked only when a log is full.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn append<T: Serialize>(
        &mut self,
        log: Log,
        records: &[T],
        ledger: impl FnOnce() -> Result<Ledger>,
        now: f64,
    ) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|error| Error::internal(format!("record not written: {error}")))?;
            lines.push(b'\n');
        }
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let bytes = self.logs.get(log as usize).map_or(0, |open| open.bytes);
        if bytes > 0 && bytes + length > self.most_bytes {
            self.put_aside(log, &ledger()?, now)?;
        }
        let path = self.path(log);
        let Some(open) = self.logs.get_mut(log as usize) else { return Ok(()) };
        let written = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // What was written of it would be noted at the next start.
            open.file.set_len(open.bytes).map_err(failed(&path))?;
            return Err(failed(&path)(error));
        }
        open.bytes += length;
        self.since += records.len();
        Ok(())
    }

    /// Records since the state was written.
    pub(super) fn since(&self) -> usize {
        self.since
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// Those of the file; the state before stays.
    pub(super) fn save(&mut self, ledger: &Ledger, now: f64) -> Result<()> {
        let [feedbacks, experiences, refinements] =
            [0, 1, 2].map(|it| self.logs.get(it).map_or(0, |open| open.bytes));
        let mut state = ledger.to_json(&self.policy_name, now);
        state.insert("logged".to_owned(), json!(Logged { feedbacks, experiences, refinements }));
        let bytes = serde_json::to_vec_pretty(&state)
            .map_err(|error| Error::internal(format!("state not written: {error}")))?;
        let (path, beside) = (self.root.join(STATE), self.root.join(format!("{STATE}.new")));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(failed(&path))?;
        self.since = 0;
        Ok(())
    }

    fn path(&self, log: Log) -> PathBuf {
        let name = LOGS.get(log as usize).copied().unwrap_or_default();
        self.root.join(format!("{name}.jsonl"))
    }

    /// A log that is full makes room; the state has all of it.
    fn put_aside(&mut self, log: Log, ledger: &Ledger, now: f64) -> Result<()> {
        self.save(ledger, now)?;
        let path = self.path(log);
        fs::rename(&path, path.with_extension("1.jsonl")).map_err(failed(&path))?;
        let file = writable(&path)?;
        if let Some(open) = self.logs.get_mut(log as usize) {
            *open = Open { file, bytes: 0 };
        }
        self.save(ledger, now)
    }
}

/// Makes a folder this instance's own, when another lets go of it in this time.
///
/// # Errors
/// When another host has it, or it cannot be made.
pub(super) fn locked(root: &Path, patience: Duration) -> Result<File> {
    fs::create_dir_all(root).map_err(failed(root))?;
    let path = &root.join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(failed(path))?;
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(20);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waited < patience => {
                std::thread::sleep(step);
                waited += step;
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("{}: another host learns in this folder", path.display());
                return Err(Error::runtime(text));
            }
            Err(TryLockError::Error(error)) => return Err(failed(path)(error)),
        }
    }
}

fn writable(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(failed(path))
}

/// Reads a log, tells which lines are behind `known`, and takes off what is no whole line.
fn read<T: DeserializeOwned>(
    path: &Path,
    known: u64,
    mut note: impl FnMut(T, bool),
) -> Result<Open> {
    let file = writable(path)?;
    let length = file.metadata().map_err(failed(path))?.len();
    // One that was put aside, when the state did not hear of it any more.
    let known = if known > length { 0 } else { known };
    let mut lines = BufReader::new(File::open(path).map_err(failed(path))?);
    let (mut bytes, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let count = lines.read_until(b'\n', &mut line).map_err(failed(path))?;
        if count == 0 || line.last() != Some(&b'\n') {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(record) => note(record, bytes >= known),
            Err(error) => {
                tracing::warn!(file = %path.display(), at = bytes, %error, "a line is skipped");
            }
        }
        bytes += u64::try_from(count).unwrap_or_default();
    }
    if bytes < length {
        tracing::warn!(file = %path.display(), at = bytes, "a line that was cut short is taken off");
        file.set_len(bytes).map_err(failed(path))?;
    }
    Ok(Open { file, bytes })
}
