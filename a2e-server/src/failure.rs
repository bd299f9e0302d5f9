//! How a command ends when it does not succeed.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// A message for people and an exit code for programs.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Refused, or problems were found: code 1.
    pub fn refused(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Code 1, and everything was said already.
    pub fn silent() -> Self {
        Self::refused("")
    }

    /// Wrong usage: code 2.
    pub fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Something that should not happen: code 70.
    pub fn internal(message: impl Display) -> Self {
        Self { code: 70, message: message.to_string() }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Says it on stderr and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            let text = format!("a2e: {}\n", self.message);
            // One write, so that it is whole among other lines; nothing to do when stderr is gone.
            let _gone = std::io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(self.code)
    }
}
