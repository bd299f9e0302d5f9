//! Stands for the wire types.

#[derive(Clone, Copy, Debug)]
pub(crate) enum ErrorCode {
    Overloaded,
    Unavailable,
}
