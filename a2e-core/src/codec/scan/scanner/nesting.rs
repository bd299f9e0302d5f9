//! The containers that are open at a place in a line.

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Container {
    Array,
    Object,
}

/// The containers around the place that is read, for as many levels as a `u8` counts.
#[derive(Default)]
pub(super) struct OpenContainers {
    /// A bit for each, 1 for an object; the lowest is the innermost.
    inner: u128,
    /// Those that do not fit into `inner`.
    outer: u128,
}

impl OpenContainers {
    #[inline]
    pub(super) fn push(&mut self, container: Container) {
        self.outer = (self.outer << 1) | (self.inner >> 127);
        self.inner = (self.inner << 1) | u128::from(container == Container::Object);
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.inner = (self.inner >> 1) | (self.outer << 127);
        self.outer >>= 1;
    }

    #[inline]
    pub(super) fn innermost(&self) -> Container {
        if self.inner & 1 == 1 { Container::Object } else { Container::Array }
    }
}
