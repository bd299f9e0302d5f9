//! The payload of an echo call: the same for every server.

use std::fmt::Write as _;

/// A payload; the first three are named by the size of the whole line of an A2E request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Small,
    Medium,
    Text,
    Rows,
}

/// Bytes of an A2E request without its text.
const AROUND_TEXT: usize =
    r#"{"type":"tool/call/req","id":"00000000","tool_name":"echo","arguments":{"text":""}}"#.len()
        + 1;

/// Rows of about 58 bytes that make up 64 KiB.
const ROWS: usize = 1100;

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "200 B",
            Self::Medium => "4 KiB",
            Self::Text => "64 KiB text",
            Self::Rows => "64 KiB rows",
        }
    }

    /// What must come back as it was sent: a text without escapes, or an array of rows as JSON. Its
    /// keys are in order, so that servers that sort keys give it back byte by byte.
    pub fn payload(self) -> String {
        let text = |line: usize| "x".repeat(line - AROUND_TEXT);
        match self {
            Self::Small => text(200),
            Self::Medium => text(4096),
            Self::Text => text(65_536),
            Self::Rows => {
                let mut rows = String::from("[");
                for number in 0..ROWS {
                    let comma = if number == 0 { "" } else { "," };
                    // Writing to a string cannot fail.
                    let _written = write!(
                        rows,
                        r#"{comma}{{"id":{number},"name":"row {number}","score":0.5,"tags":["a","b"]}}"#
                    );
                }
                rows + "]"
            }
        }
    }

    /// The arguments of the call, as JSON.
    pub fn arguments(self) -> String {
        match self {
            Self::Rows => format!(r#"{{"rows":{}}}"#, self.payload()),
            _ => format!(r#"{{"text":"{}"}}"#, self.payload()),
        }
    }
}
