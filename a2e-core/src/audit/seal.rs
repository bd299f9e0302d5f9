//! Seals: a line that fixes the lines before it by a hash, each seal chained to the one before.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::record::push_crc;
use crate::sync::{Mutex, MutexGuard};

/// A block is sealed when it has this many bytes, or when its first record is [`SEAL_AFTER`] old.
///
/// [`SEAL_AFTER`]: super::worker::SEAL_AFTER
const SEAL_BYTES: u64 = 64 * 1024;

/// Bytes that the writer hashes at a time (15 to 25 us). The ends of each part are hashed by
/// narrow instructions, so nearly a whole block at once costs a quarter less than four parts. To wake a
/// thread for it would cost as much on a virtual machine.
const HASH_AT: usize = 60 * 1024;

/// Bytes that may wait while another thread hashes. Beyond it the writer waits for that thread.
const MAX_PENDING: usize = 1024 * 1024;

/// A BLAKE3 hash; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The `prev` of the first seal of a chain.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text)
            .map_err(|_| "a seal's hash is 64 lower-case hex digits".to_owned())?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// The content of a seal line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The first `seq` of its block.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Over `prev` as 64 hex digits, a newline, and every byte of the lines of the block.
    pub blake3: Digest,
    /// The hash of the seal before; [`Digest::NONE`] where a chain begins.
    pub prev: Digest,
}

/// The first bytes of a seal line.
pub(super) const PREFIX: &[u8] = b"{\"seal\":{\"first\":";

impl Seal {
    /// Appends the line, newline included.
    pub(super) fn push_to(&self, out: &mut Vec<u8>) {
        let line = out.len();
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(digits.format(self.first).as_bytes());
        out.extend_from_slice(b",\"last\":");
        out.extend_from_slice(digits.format(self.last).as_bytes());
        out.extend_from_slice(b",\"blake3\":\"");
        out.extend_from_slice(self.blake3.to_string().as_bytes());
        out.extend_from_slice(b"\",\"prev\":\"");
        out.extend_from_slice(self.prev.to_string().as_bytes());
        out.extend_from_slice(b"\"}");
        push_crc(out, line);
    }

    /// Reads the part of a seal line that its checksum covers.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let seal = Self {
            first: number(after(&mut rest, PREFIX)?)?,
            last: number(after(&mut rest, b",\"last\":")?)?,
            blake3: digest(after(&mut rest, b",\"blake3\":\"")?)?,
            prev: digest(after(&mut rest, b"\",\"prev\":\"")?)?,
        };
        (rest.get(64..) == Some(b"\"}".as_slice())).then_some(seal)
    }
}

/// The bytes behind the first occurrence of this text.
fn after<'a>(rest: &mut &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let start = memchr::memmem::find(rest, text)?.checked_add(text.len())?;
    *rest = rest.get(start..)?;
    Some(rest)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

fn digest(text: &[u8]) -> Option<Digest> {
    std::str::from_utf8(text.get(..64)?).ok()?.parse().ok()
}

/// The lines since the last seal, as their hash so far.
#[derive(Clone, Debug)]
pub(super) struct Block {
    prev: Digest,
    hasher: blake3::Hasher,
    /// The first and last `seq`; none while there is no line.
    span: Option<(u64, u64)>,
    bytes: u64,
}

impl Block {
    /// An empty block behind the seal of this hash.
    pub(super) fn after(prev: Digest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(prev.to_string().as_bytes());
        hasher.update(b"\n");
        Self { prev, hasher, span: None, bytes: 0 }
    }

    /// Adds whole lines that stand for `first..=last`.
    pub(super) fn add(&mut self, lines: &[u8], first: u64, last: u64) {
        self.add_bytes(lines);
        self.span = Some((self.span.map_or(first, |(first, _)| first), last));
    }

    /// Adds a line that stands for no record.
    pub(super) fn add_bytes(&mut self, lines: &[u8]) {
        self.hasher.update(lines);
        self.bytes += lines.len() as u64;
    }

    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.span
    }

    /// The hash that the next seal must have as `prev`.
    pub(super) fn prev(&self) -> Digest {
        self.prev
    }

    /// The seal that it would get now; none while there is no record in it.
    pub(super) fn seal(&self) -> Option<Seal> {
        let (first, last) = self.span?;
        let blake3 = Digest(*self.hasher.finalize().as_bytes());
        Some(Seal { first, last, blake3, prev: self.prev })
    }
}

/// The lines that were written and are not sealed. Hashing them is work for the audit's own thread.
///
/// Locks are taken in this order: the file's, `block`, `pending`.
#[derive(Debug)]
pub(super) struct Sealer {
    block: Mutex<Block>,
    /// Guards lines on their way into the block; held while they are copied or swapped out.
    pending: Mutex<Pending>,
    /// Bytes since the last seal.
    unsealed: AtomicU64,
    /// Whether the thread sleeps without a timer, and has to be woken for the first record.
    is_asleep: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    span: Option<(u64, u64)>,
    /// Memory for the lines that come while these are hashed.
    spare: Vec<u8>,
}

impl Sealer {
    /// Goes on with a block, whose lines may be from an earlier life of the log.
    pub(super) fn new(mut block: Block) -> Self {
        if block.span.is_none() {
            // Bad lines alone are sealed with the first record after them.
            block.bytes = 0;
        }
        let unsealed = AtomicU64::new(block.bytes);
        let is_asleep = AtomicBool::new(true);
        Self { block: Mutex::new(block), pending: Mutex::default(), unsealed, is_asleep }
    }

    /// Notes lines that are in the file now; true when the thread has to be woken to seal them in time.
    pub(super) fn note(&self, lines: &[u8], first: u64, last: u64) -> bool {
        let mut pending = self.pending.lock();
        pending.lines.extend_from_slice(lines);
        pending.span = Some((pending.span.map_or(first, |(first, _)| first), last));
        let waiting = pending.lines.len();
        drop(pending);
        self.unsealed.fetch_add(lines.len() as u64, Ordering::AcqRel);
        // A block is given out with all its lines hashed.
        if waiting > MAX_PENDING {
            drop(self.block());
        } else if waiting >= HASH_AT {
            drop(self.free_block());
        }
        self.is_asleep.load(Ordering::Acquire) && self.is_asleep.swap(false, Ordering::AcqRel)
    }

    /// The thread is about to sleep without a timer; it looks at [`Sealer::unsealed`] once more after this.
    pub(super) fn sleeps(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
    }

    /// Whether the next write has to seal the block first.
    pub(super) fn is_full(&self) -> bool {
        self.unsealed() >= SEAL_BYTES
    }

    /// Bytes since the last seal.
    pub(super) fn unsealed(&self) -> u64 {
        self.unsealed.load(Ordering::Acquire)
    }

    /// The block with all lines that were noted.
    pub(super) fn block(&self) -> MutexGuard<'_, Block> {
        self.absorb(self.block.lock())
    }

    /// The same, unless it is being hashed just now.
    pub(super) fn free_block(&self) -> Option<MutexGuard<'_, Block>> {
        let block = self.block.try_lock()?;
        Some(self.absorb(block))
    }

    fn absorb<'a>(&'a self, mut block: MutexGuard<'a, Block>) -> MutexGuard<'a, Block> {
        let mut pending = self.pending.lock();
        let spare = std::mem::take(&mut pending.spare);
        let mut lines = std::mem::replace(&mut pending.lines, spare);
        let span = pending.span.take();
        drop(pending);
        if let Some((first, last)) = span {
            block.add(&lines, first, last);
        }
        lines.clear();
        self.pending.lock().spare = lines;
        block
    }

    /// Begins the next block behind a seal that is in the file.
    pub(super) fn sealed(&self, block: &mut Block, seal: &Seal) {
        self.unsealed.fetch_sub(block.bytes, Ordering::AcqRel);
        *block = Block::after(seal.blake3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r54_a_seal_reads_back_and_can_be_recomputed_from_its_lines() {
        let mut block = Block::after(Digest::NONE);
        assert_eq!(block.seal(), None, "nothing is sealed where nothing is");
        block.add(b"one\n", 1, 1);
        block.add(b"two\nthree\n", 2, 3);
        let seal = block.seal().unwrap();
        let whole = format!("{}\none\ntwo\nthree\n", Digest::NONE);
        let expected = blake3::hash(whole.as_bytes()).to_hex();
        assert_eq!((seal.first, seal.last, seal.prev), (1, 3, Digest::NONE));
        assert_eq!(seal.blake3.to_string(), expected.as_str());
        let mut line = Vec::new();
        seal.push_to(&mut line);
        let text = String::from_utf8(line.clone()).unwrap();
        let head = format!(
            "{{\"seal\":{{\"first\":1,\"last\":3,\"blake3\":\"{expected}\",\"prev\":\"{}\"}},\"crc\":\"",
            Digest::NONE
        );
        assert!(text.starts_with(&head), "{text}");
        assert_eq!(Seal::parse(&line[..line.len() - 19]), Some(seal));
    }

    #[test]
    fn lines_noted_from_outside_are_one_block_and_wake_the_thread() {
        let sealer = Sealer::new(Block::after(Digest::NONE));
        assert!(sealer.note(b"a\n", 5, 5), "the first");
        assert!(!sealer.note(b"b\n", 6, 7));
        assert!(!sealer.note(&vec![b'x'; 60_000], 8, 9), "the writer hashes it");
        assert!(!sealer.is_full());
        assert!(!sealer.note(&vec![b'x'; 10_000], 10, 10));
        assert!(sealer.is_full());
        let mut block = sealer.block();
        assert_eq!(block.span(), Some((5, 10)));
        let seal = block.seal().unwrap();
        sealer.sealed(&mut block, &seal);
        assert_eq!((block.prev(), block.span(), sealer.unsealed()), (seal.blake3, None, 0));
    }
}
