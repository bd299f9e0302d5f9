//! A record between the end of its request and the file.
//!
//! The end of a request packs its record, which is short work; the writer makes the lines of many records in
//! one go. With a line made by each request, the code on the way of a message was larger than the
//! processor's cache for code (32 KiB), so that most of it was fetched anew for every message.

use super::line::MAX_TEXT;
use super::{AuditRecord, Outcome};
use crate::Time;

/// Bytes that are kept of a text: a little more than a line has of it, so that the writer sees that the
/// text was longer.
const KEPT: usize = MAX_TEXT + 4;

/// Times and sizes, in the order of [`Unpacked`].
const NUMBERS: usize = 7;

/// Bytes of the numbers and of the length of all that follows them.
const HEAD: usize = 8 * NUMBERS + 2;

/// Session, request, correlation; type, plugin, agent, error code.
const TEXTS: usize = 7;

/// The length that marks an absent text.
const ABSENT: u16 = u16::MAX;

/// No packed record is longer: each text has its length before it, and the outcome is a byte.
pub(in crate::audit) const MAX_PACKED: usize = HEAD + TEXTS * (2 + KEPT) + 1;

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
    out.reserve(MAX_PACKED);
    let start = out.len();
    out.extend_from_slice(&head);
    push(out, Some(session_id));
    push(out, Some(record.req_id));
    push(out, record.correlation_id);
    out.push(record.outcome as u8);
    push(out, Some(record.kind));
    push(out, record.plugin);
    push(out, record.agent_id);
    push(out, record.error_code);
    let length = u16::try_from(out.len() - start - HEAD).unwrap_or(0);
    if let Some(place) = out.get_mut(start..).and_then(|it| it.get_mut(8 * NUMBERS..HEAD)) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

#[inline]
fn push(out: &mut Vec<u8>, text: Option<&str>) {
    match text.map(kept) {
        None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        Some(text) => {
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
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
    pub(super) wall_us: u64,
    pub(super) mono_us: u64,
    pub(super) duration_us: u64,
    pub(super) queue_us: u64,
    pub(super) run_us: u64,
    pub(super) input_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) session_id: &'a [u8],
    pub(super) req_id: &'a [u8],
    pub(super) correlation_id: Option<&'a [u8]>,
    pub(super) common: PackedCommon<'a>,
}

/// The packed fields that most records share with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedCommon<'a>(pub(super) &'a [u8]);

/// The fields of a [`PackedCommon`].
pub(super) struct CommonFields<'a> {
    pub(super) kind: &'a [u8],
    pub(super) plugin: Option<&'a [u8]>,
    pub(super) agent_id: Option<&'a [u8]>,
    pub(super) error_code: Option<&'a [u8]>,
    pub(super) outcome: Outcome,
}

impl<'a> Unpacked<'a> {
    /// Takes the first record off; `None` at the end.
    pub(in crate::audit) fn take(packed: &mut &'a [u8]) -> Option<Self> {
        let (numbers, rest) = packed.split_first_chunk::<{ 8 * NUMBERS }>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (mut texts, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let record = Self {
            wall_us: numbers.next()?,
            mono_us: numbers.next()?,
            duration_us: numbers.next()?,
            queue_us: numbers.next()?,
            run_us: numbers.next()?,
            input_bytes: numbers.next()?,
            output_bytes: numbers.next()?,
            session_id: text(&mut texts)?,
            req_id: text(&mut texts)?,
            correlation_id: text(&mut texts),
            common: PackedCommon(texts),
        };
        *packed = rest;
        Some(record)
    }
}

impl<'a> PackedCommon<'a> {
    pub(super) fn fields(&self) -> CommonFields<'a> {
        let (outcome, mut texts) = self.0.split_first().unwrap_or((&0, &[]));
        let is_it = |it: &Outcome| *it as u8 == *outcome;
        CommonFields {
            kind: text(&mut texts).unwrap_or_default(),
            plugin: text(&mut texts),
            agent_id: text(&mut texts),
            error_code: text(&mut texts),
            outcome: Outcome::ALL.into_iter().find(is_it).unwrap_or_default(),
        }
    }
}

/// Takes a text off, if it is there.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(*rest.split_off(..2)?.first_chunk()?);
    if length == ABSENT { None } else { rest.split_off(..usize::from(length)) }
}
