//! The kernel's test plugins: each does one thing well or badly, as its settings or its request say.

pub(crate) mod caller;
pub(crate) mod echo;
pub(crate) mod emitter;
pub(crate) mod faulty;
pub(crate) mod gatekeeper;
pub(crate) mod keeper;
pub(crate) mod script;
pub(crate) mod tally;

/// Panics when it is dropped, until it is disarmed.
pub(crate) struct Bomb(pub(crate) bool);

impl Bomb {
    /// Whether it was armed.
    pub(crate) fn disarm(&mut self) -> bool {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "{}", SECRET);
    }
}

/// The text of every panic here; no client may ever see it.
pub(crate) const SECRET: &str = "s3cret text of a panic";
