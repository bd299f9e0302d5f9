//! Requests that are formatted beforehand and differ only in the eight digits of their ids.

use std::ops::Range;
use std::time::Instant;

use super::now;

/// Digits of an id.
const DIGITS: usize = 8;

/// After this many requests, ids repeat.
const IDS: u64 = 100_000_000;

/// One request, and where its id stands.
#[derive(Clone, Debug)]
pub struct Template {
    pub bytes: Vec<u8>,
    pub id_at: usize,
}

/// A round of requests in one piece of memory; each gets a new id when it is taken.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    length: usize,
    id_at: usize,
    slots: usize,
    next: u64,
    taken_at: Vec<Instant>,
}

impl Ring {
    /// Room for `in_flight` requests: those that are taken later leave them alone.
    pub fn new(template: &Template, in_flight: usize) -> Self {
        let slots = (in_flight * 2).max(16);
        let length = template.bytes.len();
        let bytes = template.bytes.repeat(slots);
        let taken_at = vec![now(); slots];
        Self { bytes, length, id_at: template.id_at, slots, next: 0, taken_at }
    }

    /// Bytes of a request.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The next requests back to back: where they stand, and how many. Fewer than asked for at the
    /// end of the round.
    pub fn take(&mut self, count: usize, time: Instant) -> (Range<usize>, usize) {
        let slot = slot_of(self.next, self.slots);
        let count = count.min(self.slots - slot);
        let start = slot * self.length;
        let end = start + count * self.length;
        let requests = self.bytes.get_mut(start..end).unwrap_or_default();
        for request in requests.chunks_exact_mut(self.length) {
            let mut rest = self.next % IDS;
            self.next += 1;
            let digits = request.get_mut(self.id_at..self.id_at + DIGITS).unwrap_or_default();
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        }
        self.taken_at.iter_mut().skip(slot).take(count).for_each(|it| *it = time);
        (start..end, count)
    }

    /// The bytes at a place.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Whether a request of this id was ever taken.
    pub fn was_taken(&self, id: u64) -> bool {
        self.number_of(id).is_some()
    }

    /// When the request of this id was taken; none if it was never, or others took its place since,
    /// as they do if one of many links is served late.
    pub fn taken_at(&self, id: u64) -> Option<Instant> {
        let number = self.number_of(id)?;
        let is_there = self.next - number <= self.slots as u64;
        is_there.then(|| self.taken_at.get(slot_of(number, self.slots)).copied()).flatten()
    }

    fn number_of(&self, id: u64) -> Option<u64> {
        let newest = self.next.checked_sub(1)?;
        newest.checked_sub((newest % IDS + IDS - id) % IDS)
    }
}

fn slot_of(number: u64, slots: usize) -> usize {
    usize::try_from(number % slots as u64).unwrap_or_default()
}

/// The id in a reply: the eight digits behind a mark, quotes and blanks between them left out.
pub fn id_in(reply: &[u8], mark: &[u8]) -> Option<u64> {
    memchr::memmem::find_iter(reply, mark).find_map(|at| {
        let rest = reply.get(at + mark.len()..)?;
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'"' | b':')).count();
        let digits = rest.get(blanks..blanks + DIGITS)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_new_ids_and_remembers_when() {
        let template = Template { bytes: b"<00000000>".to_vec(), id_at: 1 };
        let mut ring = Ring::new(&template, 4);
        let start = now();
        let mut seen = Vec::new();
        for _ in 0..20 {
            let (range, count) = ring.take(3, start);
            assert!(count <= 3);
            for request in ring.bytes(range).chunks_exact(10) {
                seen.push(id_in(request, b"<").unwrap());
            }
        }
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
        let newest = *seen.last().unwrap();
        assert_eq!(ring.taken_at(newest), Some(start));
        assert_eq!(ring.taken_at(newest + 1), None, "never taken");
        assert_eq!(ring.taken_at(newest - 16), None, "long gone");
        assert!(ring.was_taken(newest - 16) && !ring.was_taken(newest + 1));
    }

    #[test]
    fn finds_the_id_of_a_reply() {
        for (reply, mark, id) in [
            (r#"{"req_id":"00000012","data":1}"#, "\"req_id\"", Some(12)),
            (r#"{"req_id": "00000013"}"#, "\"req_id\"", Some(13)),
            (r#"{"result":{"id":7},"id":"00000014"}"#, "\"id\"", Some(14)),
            (r#"{"id":null}"#, "\"id\"", None),
            ("$4\r\n0000", "\r\n", None),
        ] {
            assert_eq!(id_in(reply.as_bytes(), mark.as_bytes()), id, "{reply}");
        }
    }
}
