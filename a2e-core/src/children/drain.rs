//! Reading a stream to its end while keeping only its tail.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads until end of file or a read error, and returns the last `cap` bytes.
///
/// For the standard error of a child: a full pipe without a reader blocks the child.
/// Memory: `cap` and a buffer of 8 KiB, however much comes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(a2e_core::children::drain(&b"one two three"[..], 5).await, b"three");
/// # });
/// ```
pub async fn drain(mut reader: impl AsyncRead + Unpin, cap: usize) -> Vec<u8> {
    let mut tail: VecDeque<u8> = VecDeque::new();
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let new = buffer.get(..count).unwrap_or_default();
        let new = new.get(new.len().saturating_sub(cap)..).unwrap_or_default();
        let surplus = (tail.len() + new.len()).saturating_sub(cap);
        tail.drain(..surplus);
        tail.extend(new);
    }
    tail.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r20_only_the_tail_is_kept_whatever_the_sizes() {
        for (length, cap) in [(0, 4), (3, 4), (4, 4), (100_000, 4), (100_000, 9000), (5, 0)] {
            let text: Vec<u8> = (0_u8..=255).cycle().take(length).collect();
            let tail = drain(text.as_slice(), cap).await;
            assert_eq!(tail, text[length.saturating_sub(cap)..], "{length} {cap}");
        }
    }
}
