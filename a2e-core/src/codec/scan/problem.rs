//! What can be wrong with a line.

/// Why a line is not a JSON object as we read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ScanError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, counted in bytes from the start of the line.
    pub offset: usize,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// The line does not begin with an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// The line ends too early.
    #[error("unexpected end of line")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected character")]
    Unexpected,
    /// An unescaped control character in a string.
    #[error("control character in a string")]
    Control,
    /// A bad escape, or half of a surrogate pair.
    #[error("bad escape in a string")]
    Escape,
    /// A malformed number, or one beyond the range of a double.
    #[error("bad number")]
    Number,
    /// Nested deeper than this many levels.
    #[error("nested deeper than {0}")]
    Depth(u8),
    /// Text follows the object.
    #[error("text after the object")]
    Trailing,
}
