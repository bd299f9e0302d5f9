//! Numbers that depend on the input alone, for choices that an input need not spell out.

/// `SplitMix64`, seeded with a hash of the input.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of one input.
    pub(crate) fn of(data: &[u8]) -> Self {
        // FNV-1a: short, and good enough for a seed.
        Self(data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).unwrap_or_default()
    }

    /// The input in pieces of up to `longest` bytes.
    pub(crate) fn pieces<'a>(&mut self, mut data: &'a [u8], longest: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(1 + self.below(longest)));
            pieces.push(piece);
            data = rest;
        }
        pieces
    }
}
