//! Audit: one line of JSON per handled, refused or failed request, to answer "what happened?" later.
//!
//! The dispatcher appends a record when a request ends and commits before the reply is flushed, so
//! a client never holds a success that the audit does not know (`write` and `sync`). What goes
//! wrong here is counted, shown in [`AuditStatus`], and named in the file by a gap record as soon
//! as it can be written again. It changes no reply, unless [`OnError::Refuse`] is in force: then a
//! request is refused before it does anything while the log fails, and the answer of one whose
//! record could not be kept is withheld; both are told `audit_unavailable`.
//!
//! A line, broken here for reading (texts are ASCII, everything else as `\u` and four hex digits;
//! a text longer than 256 bytes is cut and ends in `\u2026`):
//!
//! ```json
//! {"ts":1764000000.123456,"session_id":"…","req_id":"…","correlation_id":"…","success":true,
//!  "duration_ms":3,"error_code":null,"input_bytes":120,"output_bytes":80,"seq":7,"mono_us":5120,
//!  "plugin":"tools","type":"tool/call/req","agent_id":null,"outcome":"ok","queue_us":4,
//!  "run_us":3010,"trace_id":"…","subject":{"tool_name":"read_file","arguments.path":"notes.md"},
//!  "crc":"0a1b2c3d"}
//! ```
//!
//! `trace_id` is there where the sender named a trace (`traceparent`). `subject` says what the request was about: the fields that its type declares
//! ([`Request::SUBJECT`](crate::protocol::Request::SUBJECT)) and what its handler noted, by name; a list
//! is shown as the words of a command. It is left out where there is nothing to say, and with
//! `audit.detail: none`. With `audit.detail: payload` there is `payload` as well: the fields of the message
//! beyond its envelope, as JSON in a text, of which 1 KiB is kept (of a line above 64 KiB its
//! length). Values that are named as secrets (`token`, `password`, `Authorization: …`, the user in a URL)
//! are `***` in both.
//!
//! `crc` is the CRC-32C (Castagnoli), as eight lower-case hex digits, of the bytes of the line from
//! its first up to, but not including, `,"crc":"`; it is always the last field. `seq` starts at 1,
//! grows by one in file order, and goes on across rotated files and restarts.
//! [`verify_line`] and [`scan()`] check both.
//!
//! Every 64 KiB or 100 ms, before a rotation and at the end, a thread of the log fixes what was
//! written since the last time by a seal:
//!
//! ```json
//! {"seal":{"first":1,"last":180,"blake3":"64 hex digits","prev":"64 hex digits"},"crc":"…"}
//! ```
//!
//! `blake3` is the BLAKE3 hash of the digits of `prev`, a newline, and all lines from the seal before to
//! this one, newlines included; `prev` is the `blake3` of the seal before, or zeros where there is none. So
//! the chain runs on over rotations and restarts, and any tool can follow it:
//! `{ echo "$prev"; sed -n 2,181p audit.jsonl; } | b3sum`. [`verify()`] does. What follows the last seal,
//! at most 100 ms of records, is held by `crc` and `seq` only. There is no key in it: a
//! process that can write the file can write a new chain, which shows only beside a seal of the old one that was
//! noted elsewhere.
//!
//! ```
//! use a2e_core::audit::{AuditConfig, AuditLog, AuditRecord, RecordOutcome};
//! use a2e_core::{Clock, SystemClock};
//!
//! # let folder = tempfile::tempdir()?;
//! let log = AuditLog::open(AuditConfig::new(folder.path().join("audit.jsonl")))?;
//! let now = SystemClock::new().now();
//! log.append(&AuditRecord {
//!     kind: "tool/call/req",
//!     req_id: "1",
//!     outcome: RecordOutcome::Ok,
//!     ..AuditRecord::at(now)
//! });
//! assert!(log.commit(), "in the file before the reply");
//! assert_eq!(log.status().written, 1);
//! # Ok::<(), a2e_core::Error>(())
//! ```

mod file;
mod finding;
mod log;
mod open;
mod queue;
mod record;
mod scan;
mod seal;
mod sync;
mod verify;
mod worker;
mod writer;

use std::path::PathBuf;

use crate::Error;
use crate::protocol::ErrorCode;

pub use crate::config::{AuditMode, AuditOnError as OnError};
pub use finding::{Finding, SealAt, Wrong};
pub use log::AuditLog;
pub(crate) use log::Commit;
pub use record::{AuditRecord, Detail, RecordOutcome};
pub use scan::{BadLine, Hole, LineProblem, Scan, Verified, scan, scan_rotated, verify_line};
pub use seal::{Digest, Seal};
pub use verify::{Verification, rotated_files, verify, verify_files};

/// The source of the field `session_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SessionIdSource {
    /// The session of the record; where it has none, a UUID made when the log was opened.
    #[default]
    Uuid,
    /// This `host_id`, in every record.
    HostId(String),
}

/// What [`AuditLog::open`] needs to know.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// When a record is safe.
    pub mode: AuditMode,
    /// The treatment of a request whose record cannot be kept; none: refuse in mode `sync`, else continue.
    pub on_error: Option<OnError>,
    /// The file; missing parent folders are created.
    pub path: PathBuf,
    /// The size in bytes that no file passes (unless one line alone does); 0 = never rotate.
    pub max_bytes: u64,
    /// How many rotated files are kept, as `path.1` (newest) to `path.N`; 0 = never rotate.
    pub backup_count: u32,
    /// The source of the field `session_id`.
    pub session_id_source: SessionIdSource,
}

impl AuditConfig {
    /// Mode `write` to this file, 10 MiB, five rotated files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            mode: AuditMode::Write,
            on_error: None,
            path: path.into(),
            max_bytes: 10 * 1024 * 1024,
            backup_count: 5,
            session_id_source: SessionIdSource::Uuid,
        }
    }

    /// The treatment of a request whose record cannot be kept, as given or as the mode has it.
    pub fn on_error(&self) -> OnError {
        match (self.on_error, self.mode) {
            (Some(on_error), _) => on_error,
            (None, AuditMode::Sync) => OnError::Refuse,
            (None, _) => OnError::Continue,
        }
    }
}

/// The state of the audit, for health and `host/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditStatus {
    /// The mode in force.
    pub mode: AuditMode,
    /// The treatment of a request whose record cannot be kept.
    pub on_error: OnError,
    /// The file that is written; none when the mode is off.
    pub path: Option<PathBuf>,
    /// Whether another live host holds the configured path, so that this one writes beside it.
    pub is_beside: bool,
    /// Records handed to the kernel since this log was opened.
    pub written: u64,
    /// Records in memory that wait for the next commit.
    pub pending: u64,
    /// Records dropped because the file could not be written and the buffer was full.
    pub lost: u64,
    /// Records in the file whose `fdatasync` failed, in mode `sync`: a power cut may take them.
    pub unsynced: u64,
    /// Seals written since this log was opened.
    pub seals: u64,
    /// The last failure, while it lasts; health is degraded.
    pub failing: Option<String>,
    /// Files put aside since this log was opened.
    pub rotations: u64,
    /// Rotations that did not work; the file grows past its limit meanwhile.
    pub failed_rotations: u64,
    /// Problems of the existing files, found when the log was opened.
    pub found: Vec<String>,
}

/// The error for a request whose record cannot be kept.
pub(crate) fn unavailable(has_run: bool) -> Error {
    let text = if has_run {
        "the request was worked on, but its audit record could not be kept, so its answer is withheld"
    } else {
        "the audit log cannot be written, so nothing was done"
    };
    Error::new(ErrorCode::AuditUnavailable, text).with_detail("has_run", has_run)
}

impl AuditStatus {
    /// Of a log that records nothing.
    fn off() -> Self {
        Self {
            mode: AuditMode::Off,
            on_error: OnError::Continue,
            path: None,
            is_beside: false,
            written: 0,
            pending: 0,
            lost: 0,
            unsynced: 0,
            seals: 0,
            failing: None,
            rotations: 0,
            failed_rotations: 0,
            found: Vec::new(),
        }
    }
}
