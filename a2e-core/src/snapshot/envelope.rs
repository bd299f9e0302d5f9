//! The checked wrapping of a state on disk.
//!
//! Numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `A2ESNAP\n` |
//! | 4 | CRC-32C of everything behind it |
//! | 2 | format version, 1 |
//! | 1 | codec: 1 bincode, 2 JSON |
//! | 1 | zero |
//! | 4 | the plugin's version of its state |
//! | 4 | length of the key |
//! | 8 | length of the state |
//! | … | the key as text (`plugin:key[:session]`), so that a file under another's name is noticed |
//! | … | the state |

use super::key::MAX_KEY;
use super::{Codec, State, StateKey};

const MAGIC: &[u8; 8] = b"A2ESNAP\n";
const FORMAT: u16 = 1;

/// Bytes before the key.
const HEADER: usize = 32;

/// No good file is larger.
pub(super) const MAX_FILE: u64 = (HEADER + MAX_KEY + State::MAX_BYTES) as u64;

/// The bytes of the file, all but the state itself, which follows.
pub(super) fn head(key: &str, state: &State) -> Vec<u8> {
    let mut rest = checked_head(key, state);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&rest), state.bytes());
    let mut head = Vec::with_capacity(HEADER + key.len());
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&crc.to_le_bytes());
    head.append(&mut rest);
    head
}

/// The checksum in the wrapping of a state.
pub(super) fn crc(key: &str, state: &State) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&checked_head(key, state)), state.bytes())
}

/// What stands between checksum and state.
fn checked_head(key: &str, state: &State) -> Vec<u8> {
    let mut rest = Vec::with_capacity(HEADER + key.len());
    rest.extend_from_slice(&FORMAT.to_le_bytes());
    rest.extend_from_slice(&[state.codec().id(), 0]);
    rest.extend_from_slice(&state.version().to_le_bytes());
    // Both lengths were checked when the parts were made.
    rest.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    rest.extend_from_slice(&(state.bytes().len() as u64).to_le_bytes());
    rest.extend_from_slice(key.as_bytes());
    rest
}

/// Checks a whole file; says which key it was saved under and what it holds, or what is wrong.
pub(super) fn open(file: &[u8]) -> Result<(StateKey, State), String> {
    let mut rest = file;
    let (magic, crc): ([u8; 8], [u8; 4]) = (take(&mut rest)?, take(&mut rest)?);
    if magic != *MAGIC {
        return Err("is not a snapshot".to_owned());
    }
    if crc32c::crc32c(rest) != u32::from_le_bytes(crc) {
        return Err("does not match its checksum".to_owned());
    }
    let format = u16::from_le_bytes(take(&mut rest)?);
    if format != FORMAT {
        return Err(format!("has format {format}, this host reads {FORMAT}"));
    }
    let [codec, _] = take(&mut rest)?;
    let codec = Codec::from_id(codec).ok_or_else(|| format!("has an unknown codec, {codec}"))?;
    let version = u32::from_le_bytes(take(&mut rest)?);
    let key_length = u32::from_le_bytes(take(&mut rest)?);
    let length = u64::from_le_bytes(take(&mut rest)?);
    let (key, bytes) = usize::try_from(key_length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .filter(|(_, bytes)| bytes.len() as u64 == length)
        .ok_or("has other lengths than it says")?;
    let key = std::str::from_utf8(key).ok().and_then(|key| StateKey::parse(key).ok());
    let key = key.ok_or("has no key")?;
    let state =
        State::new(version, codec, bytes.to_vec()).map_err(|error| error.message().to_owned())?;
    Ok((key, state))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (first, behind) = rest.split_first_chunk::<N>().ok_or("is too short")?;
    *rest = behind;
    Ok(*first)
}
