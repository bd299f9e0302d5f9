//! A record between the end of its request and the file.
//!
//! Who ends a request packs its record, which is short work; who writes makes lines of many, one after the
//! other. With a line made by each request, the code on the way of a message was larger than the
//! processor's cache for code (32 KiB), so that most of it was fetched anew for every message.

use super::line::MAX_TEXT;
use super::{AuditRecord, Outcome};
use crate::Time;

/// Bytes that are kept of a text: some more than a line has of it, so that who makes the line sees that
/// there was more.
const KEPT: usize = MAX_TEXT + 4;

/// Times and sizes, in the order of [`Unpacked`].
const NUMBERS: usize = 7;

/// Session, request, correlation; then those of [`Place`].
const TEXTS: usize = 3 + PLACE_TEXTS;

/// Type, plugin, agent, error code.
const PLACE_TEXTS: usize = 4;

/// Bytes of the lengths of a place's texts and of the outcome.
pub(super) const PLACE_HEAD: usize = 2 * (PLACE_TEXTS + 1);

/// Bytes before the texts: numbers, lengths, the outcome.
const HEAD: usize = 8 * NUMBERS + 2 * (TEXTS + 1);

/// The length of a text that is not there.
const ABSENT: u16 = u16::MAX;

/// No packed record is longer.
pub(in crate::audit) const MAX_PACKED: usize = HEAD + TEXTS * KEPT;

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
    let texts: [Option<&[u8]>; TEXTS] = [
        Some(session_id),
        Some(record.req_id),
        record.correlation_id,
        Some(record.kind),
        record.plugin,
        record.agent_id,
        record.error_code,
    ]
    .map(|text| text.map(kept));
    let mut head = [0; HEAD];
    let (words, pairs) = head.split_at_mut(8 * NUMBERS);
    for (word, number) in words.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    let length =
        |text: Option<&[u8]>| text.map_or(ABSENT, |it| u16::try_from(it.len()).unwrap_or(0));
    let lengths = texts.into_iter().map(length).chain([u16::from(record.outcome as u8)]);
    for (pair, length) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(lengths) {
        *pair = length.to_le_bytes();
    }
    out.reserve(MAX_PACKED);
    out.extend_from_slice(&head);
    for text in texts.into_iter().flatten() {
        out.extend_from_slice(text);
    }
}

/// What is kept of a text.
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
    pub(super) place: Place<'a>,
}

/// What most records have in common with the one before, as it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) head: [u8; PLACE_HEAD],
    pub(super) texts: &'a [u8],
}

/// What a [`Place`] says.
pub(super) struct Said<'a> {
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
        let (own, rest) = rest.split_first_chunk::<{ 2 * (TEXTS - PLACE_TEXTS) }>()?;
        let (place, mut rest) = rest.split_first_chunk::<PLACE_HEAD>()?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut own = lengths(own);
        let all =
            lengths(place).take(PLACE_TEXTS).filter(|it| *it != ABSENT).map(usize::from).sum();
        let record = Self {
            wall_us: numbers.next()?,
            mono_us: numbers.next()?,
            duration_us: numbers.next()?,
            queue_us: numbers.next()?,
            run_us: numbers.next()?,
            input_bytes: numbers.next()?,
            output_bytes: numbers.next()?,
            session_id: text(&mut rest, own.next()?)?,
            req_id: text(&mut rest, own.next()?)?,
            correlation_id: text(&mut rest, own.next()?),
            place: Place { head: *place, texts: rest.split_off(..all)? },
        };
        *packed = rest;
        Some(record)
    }
}

impl<'a> Place<'a> {
    pub(super) fn said(&self) -> Said<'a> {
        let mut texts = self.texts;
        let mut lengths = lengths(&self.head);
        let mut next = || lengths.next().and_then(|length| text(&mut texts, length));
        let (kind, plugin, agent_id, error_code) = (next(), next(), next(), next());
        let outcome = lengths.next();
        Said {
            kind: kind.unwrap_or_default(),
            plugin,
            agent_id,
            error_code,
            outcome: Outcome::ALL
                .into_iter()
                .find(|it| outcome == Some(u16::from(*it as u8)))
                .unwrap_or_default(),
        }
    }
}

fn lengths(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// Takes a text off, if it is there.
fn text<'a>(rest: &mut &'a [u8], length: u16) -> Option<&'a [u8]> {
    if length == ABSENT { None } else { rest.split_off(..usize::from(length)) }
}
