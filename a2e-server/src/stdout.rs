//! What commands other than `serve` print.

use std::io::{self, Write};

use nix::sys::termios::{FlushArg, tcflush};
use serde::Serialize;

use crate::Failure;

/// Prints a text. A reader that went away (`a2e plugins | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    try_print(text).map(|_is_read| ())
}

/// As [`print`], for what goes on for ever; false when the reader went away.
pub(crate) fn try_print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout();
    // A question has no end of its line, and is to be seen.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::internal(format_args!("stdout: {error}"))),
    }
}

/// As [`print`], for texts of others: what moves the cursor or hides text on a terminal is shown as its number.
pub(crate) fn print_foreign(text: &str) -> Result<(), Failure> {
    print(&visible(text))
}

fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for it in text.chars() {
        let is_hidden = it.is_control() && !matches!(it, '\n' | '\t')
            || matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(it, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        if is_hidden { shown.extend(it.escape_unicode()) } else { shown.push(it) }
    }
    shown
}

/// Drops what was typed at a terminal and not read yet: it is no answer to what is asked next.
pub(crate) fn forget_what_was_typed() {
    // An error: there is no terminal.
    tcflush(io::stdin(), FlushArg::TCIFLUSH).ok();
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(Failure::internal)?;
    text.push('\n');
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn what_hides_text_is_shown() {
        for (text, shown) in [
            ("a\tb\nc é", "a\tb\nc é"),
            ("a\u{1b}[2Kb", "a\\u{1b}[2Kb"),
            ("a\rb\u{9b}1A", "a\\u{d}b\\u{9b}1A"),
            ("a\u{202e}b\u{200b}\u{e0041}", "a\\u{202e}b\\u{200b}\\u{e0041}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
