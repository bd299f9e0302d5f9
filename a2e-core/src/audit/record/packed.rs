//! A record between the end of its request and the file.
//!
//! The end of a request packs its record, which is short work; the writer makes the lines of many records in
//! one go. With a line made by each request, the code on the way of a message was larger than the
//! processor's cache for code (32 KiB), so that most of it was fetched anew for every message.

use super::detail::Detail;
#[cfg(test)]
use super::detail::{MAX_PAYLOAD_FORM, MAX_SUBJECT};
use super::line::MAX_TEXT;
use super::{AuditRecord, RecordOutcome};
use crate::Time;

/// Bytes that are kept of a text: a little more than a line has of it, so that the writer sees that the
/// text was longer.
const KEPT: usize = MAX_TEXT + 4;

/// Times and sizes, in the order in which [`pack`] puts them.
const NUMBERS: usize = 7;

/// Bytes of the numbers and of the length of all that follows them.
const HEAD: usize = 8 * NUMBERS + 2;

/// Session, request, correlation; type, plugin, agent, principal, error code, trace.
const TEXTS: usize = 9;

/// The length that marks an absent text.
const ABSENT: u16 = u16::MAX;

/// No packed record is longer: each text has its length before it, and the outcome is a byte.
#[cfg(test)]
pub(in crate::audit) const MAX_PACKED: usize = BARE + MAX_SUBJECT + MAX_PAYLOAD_FORM;

/// The same without subject and payload.
const BARE: usize = HEAD + (TEXTS + 2) * 2 + TEXTS * KEPT + 1;

/// Appends a record.
pub(in crate::audit) fn pack(out: &mut Vec<u8>, record: &AuditRecord<'_>, session_id: &str) {
    let between = |from: Time, to: Time| Time { mono: to.since(from), wall: to.wall }.mono_us();
    let numbers: [u64; NUMBERS] = [
        record.ended.wall_us(),
        record.ended.mono_us(),
        between(record.accepted, record.ended),
        between(record.accepted, record.started),
        between(record.started, record.ended),
        record.input_bytes as u64,
        record.output_bytes as u64,
    ];
    let mut head = [0; HEAD];
    for (word, number) in head.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    out.reserve(BARE);
    let start = out.len();
    out.extend_from_slice(&head);
    push(out, Some(session_id));
    push(out, Some(record.req_id));
    push(out, record.correlation_id);
    for part in record.detail.map_or([""; 2], Detail::parts) {
        push_whole(out, part.as_bytes());
    }
    out.push(record.outcome as u8);
    push(out, Some(record.kind));
    push(out, record.plugin);
    push(out, record.agent_id);
    push(out, record.principal);
    push(out, record.error_code);
    push(out, record.trace_id);
    let length = u16::try_from(out.len() - start - HEAD).unwrap_or(0);
    if let Some(place) = out.get_mut(start..).and_then(|it| it.get_mut(8 * NUMBERS..HEAD)) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

#[inline]
fn push(out: &mut Vec<u8>, text: Option<&str>) {
    match text.map(kept) {
        None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        Some(text) => push_whole(out, text),
    }
}

#[inline]
fn push_whole(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(text);
}

/// The part of a text that is kept.
#[inline]
fn kept(text: &str) -> &[u8] {
    if text.len() <= KEPT {
        return text.as_bytes();
    }
    text.get(..text.floor_char_boundary(KEPT)).unwrap_or_default().as_bytes()
}

/// A packed record, as it is read back.
#[derive(Debug)]
pub(in crate::audit) struct Unpacked<'a> {
    pub(super) numbers: [u64; NUMBERS],
    pub(super) session_id: &'a [u8],
    pub(super) req_id: &'a [u8],
    pub(super) correlation_id: Option<&'a [u8]>,
    /// Subject and payload, in the form of the file.
    pub(super) detail: [&'a [u8]; 2],
    pub(super) outcome: RecordOutcome,
    pub(super) kind: &'a [u8],
    pub(super) plugin: Option<&'a [u8]>,
    pub(super) agent_id: Option<&'a [u8]>,
    pub(super) principal: Option<&'a [u8]>,
    pub(super) error_code: Option<&'a [u8]>,
    pub(super) trace_id: Option<&'a [u8]>,
}

impl<'a> Unpacked<'a> {
    /// Takes the first record off; `None` at the end.
    pub(in crate::audit) fn take(packed: &mut &'a [u8]) -> Option<Self> {
        let (numbers, rest) = packed.split_first_chunk::<{ 8 * NUMBERS }>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (mut texts, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let mut read = [0; NUMBERS];
        for (number, word) in read.iter_mut().zip(numbers.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*word);
        }
        let record = Self {
            numbers: read,
            session_id: text(&mut texts)?,
            req_id: text(&mut texts)?,
            correlation_id: text(&mut texts),
            detail: [text(&mut texts)?, text(&mut texts)?],
            outcome: outcome(&mut texts)?,
            kind: text(&mut texts)?,
            plugin: text(&mut texts),
            agent_id: text(&mut texts),
            principal: text(&mut texts),
            error_code: text(&mut texts),
            trace_id: text(&mut texts),
        };
        *packed = rest;
        Some(record)
    }
}

fn outcome(rest: &mut &[u8]) -> Option<RecordOutcome> {
    let number = *rest.split_off_first()?;
    RecordOutcome::ALL.into_iter().find(|it| *it as u8 == number)
}

/// Takes a text off, if it is there.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(*rest.split_off(..2)?.first_chunk()?);
    if length == ABSENT { None } else { rest.split_off(..usize::from(length)) }
}
