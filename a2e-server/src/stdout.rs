//! What commands other than `serve` print.

use std::io::{self, Write};

use serde::Serialize;

use crate::Failure;

/// Prints a text. A reader that went away (`a2e plugins | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    try_print(text).map(|_is_read| ())
}

/// As [`print`], for what goes on for ever; false when the reader went away.
pub(crate) fn try_print(text: &str) -> Result<bool, Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::internal(format_args!("stdout: {error}"))),
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(Failure::internal)?;
    text.push('\n');
    print(&text)
}
