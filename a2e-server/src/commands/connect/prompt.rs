//! The prompt of `connect`: a line editor with completion; what comes is shown above it.

use a2e_core::protocol::HandshakeResponse;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Input;
use super::types::Types;
use crate::Failure;

/// What stands before the line.
const PROMPT: &str = "a2e> ";

/// Shows lines above the prompt; when it is dropped, the terminal is as it was.
pub(super) struct Printer {
    above: Box<dyn ExternalPrinter + Send>,
    before: Option<Termios>,
}

impl Printer {
    pub(super) fn print(&mut self, text: &str) {
        // A terminal that is gone ends the input as well.
        let _gone = self.above.print(format!("{text}\n"));
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        // The editor may still wait for a key, with the terminal in its hands.
        if let Some(before) = &self.before {
            let _gone = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

/// Starts the editor on a thread of its own; `None` at a terminal that can show no editor.
pub(super) fn start(
    types: Types,
    greeting: &HandshakeResponse,
) -> Result<Option<(Receiver<Input>, Printer)>, Failure> {
    let before = tcgetattr(std::io::stdin()).ok();
    let settings =
        Config::builder().auto_add_history(true).completion_type(CompletionType::List).build();
    // What is typed may hold secrets, so the history goes with the session.
    let editor = Editor::<Help, MemHistory>::with_history(settings, MemHistory::new());
    let Ok(mut editor) = editor else { return Ok(None) };
    let Ok(above) = editor.create_external_printer() else { return Ok(None) };
    editor.set_helper(Some(Help(types)));
    let mut printer = Printer { above: Box::new(above), before };
    let names: Vec<&str> = greeting.accepted_caps.iter().map(|it| it.capability.as_str()).collect();
    printer.print(&format!(
        "session {} with {}; `help` tells what can be typed",
        greeting.session_id,
        names.join(", ")
    ));
    let (lines, inputs) = channel(1);
    std::thread::Builder::new()
        .name("a2e-prompt".into())
        .spawn(move || read(&mut editor, &lines))
        .map_err(|error| Failure::internal(format_args!("no thread for the prompt: {error}")))?;
    Ok(Some((inputs, printer)))
}

fn read(editor: &mut Editor<Help, MemHistory>, lines: &Sender<Input>) {
    for number in 1.. {
        let input = match editor.readline(PROMPT) {
            Ok(line) => Input::Line(number, line),
            Err(ReadlineError::Interrupted) => Input::Interrupt,
            Err(_) => return,
        };
        if lines.blocking_send(input).is_err() {
            return;
        }
    }
}

/// Completes what is typed.
struct Help(Types);

impl Completer for Help {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        place: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.0.complete(line.get(..place).unwrap_or(line)))
    }
}

impl Hinter for Help {
    type Hint = String;
}

impl Highlighter for Help {}
impl Validator for Help {}
impl Helper for Help {}
