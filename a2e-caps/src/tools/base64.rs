//! Bytes in a JSON text: as they are where they are UTF-8, else as base64.

use super::result::fitting;
use crate::base64::encode;

/// The bytes as text if they are one, else as base64, cut to the budget; and how many were used.
/// A character that is cut off at the end of a part belongs to the next.
pub(super) fn encoded(
    bytes: Vec<u8>,
    budget: usize,
    is_part: bool,
) -> (String, &'static str, usize) {
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text),
        Err(error) if is_part && error.error_len().is_none() && error.valid_up_to() > 0 => {
            bytes.get(..error.valid_up_to()).and_then(|start| std::str::from_utf8(start).ok())
        }
        Err(_) => None,
    };
    if let Some(text) = text {
        let text = fitting(text, budget);
        return (text.to_owned(), "utf-8", text.len());
    }
    let fits = (budget / 4 * 3).max(3).min(bytes.len());
    (encode(bytes.get(..fits).unwrap_or_default()), "base64", fits)
}
