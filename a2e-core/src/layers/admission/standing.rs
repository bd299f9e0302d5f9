//! Where a breaker stands, as status tells it.

/// Where a breaker stands, for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Calls go to the plugin.
    #[default]
    Closed,
    /// They do not.
    Open,
    /// One call tries whether it is well again.
    Probing,
}

impl BreakerState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}
