//! The loop of `connect`: takes lines, sends messages, shows what comes.

use std::collections::BTreeSet;
use std::future::pending;
use std::io::Write;
use std::pin::Pin;
use std::time::Duration;

use a2e_core::protocol::Role;
use a2e_core::schema::MessageClass;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Sleep, sleep};

use super::Input;
use super::link::{Link, Message};
use super::prompt::Printer;
use super::script::{Line, Outgoing, parse};
use crate::Failure;
use crate::commands::refusal::refusal;
use crate::stdout::print;

/// How long a person waits for what is still in flight after Ctrl-D.
const GOODBYE: Duration = Duration::from_secs(1);

/// What `help` says.
const HELP: &str = "TYPE JSON    sends a message, as in `tool/list/req` or `ping {}`\n\
    {\"type\":…}   sends a whole message, with an id of your own if it has one\n\
    wait SECS    waits, and shows what comes\n\
    Ctrl-C       cancels what is in flight; Ctrl-D or `quit` ends";

/// Where things are shown.
pub(super) enum Show {
    /// On stdout, a line each.
    Lines,
    /// Above the prompt.
    Prompt(Printer),
}

impl Show {
    fn message(&mut self, message: &Message) -> Result<(), Failure> {
        match self {
            Self::Lines => print(&format!("{}\n", message.text)),
            Self::Prompt(printer) => {
                let is_answer = Role::of(message.kind()) == Role::Final;
                let pretty = serde_json::to_string_pretty(&message.value);
                let pretty = pretty.ok().filter(|_| is_answer);
                printer.print(pretty.as_deref().unwrap_or(&message.text));
                Ok(())
            }
        }
    }

    /// Something about the session itself.
    fn note(&mut self, text: &str) {
        match self {
            Self::Lines => {
                // A closed stderr means that nobody wants it.
                let _unwanted = std::io::stderr().write_all(format!("a2e: {text}\n").as_bytes());
            }
            Self::Prompt(printer) => printer.print(text),
        }
    }

    /// The last that is shown. The editor shows things in its own time, and the program ends before.
    fn last(&mut self, text: &str) {
        let had_prompt = matches!(self, Self::Prompt(_));
        // Gives the terminal back.
        *self = Self::Lines;
        let break_line = if had_prompt { "\n" } else { "" };
        let _unwanted = std::io::stderr().write_all(break_line.as_bytes());
        self.note(text);
    }
}

/// A session that is held.
pub(super) struct Session<'a> {
    link: &'a mut Link,
    show: Show,
    /// How long a script waits for each answer; a person does not wait.
    limit: Option<Duration>,
    /// The ids that are not answered.
    awaited: BTreeSet<String>,
    /// Runs out when an answer is late, or the session after its input.
    deadline: Timer,
    /// Runs out when a script has waited as it was told to.
    pause: Timer,
    failed: usize,
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, show: Show, limit: Option<Duration>) -> Self {
        Self { link, show, limit, awaited: BTreeSet::new(), deadline: None, pause: None, failed: 0 }
    }

    /// Runs until the input and then the session ends; how many messages failed.
    pub(super) async fn run(mut self, mut inputs: Receiver<Input>) -> Result<usize, Failure> {
        let mut has_input = true;
        loop {
            let may_take = has_input && self.pause.is_none() && !self.has_to_wait();
            tokio::select! {
                biased;
                message = self.link.next() => {
                    let Some(message) = message? else { return Ok(self.left(has_input)) };
                    self.take(&message)?;
                }
                () = end_of(&mut self.deadline) => {
                    self.deadline = None;
                    self.give_up();
                    if !has_input {
                        return Ok(self.failed);
                    }
                }
                () = end_of(&mut self.pause) => self.pause = None,
                input = inputs.recv(), if may_take => {
                    has_input = match input {
                        Some(input) => self.obey(input).await?,
                        None => false,
                    };
                    if !has_input {
                        self.link.finish();
                        self.deadline = after(self.limit.unwrap_or(GOODBYE));
                    }
                }
            }
        }
    }

    /// The host has ended the session; how many messages failed.
    fn left(&mut self, has_input: bool) -> usize {
        if has_input || !self.awaited.is_empty() {
            self.show.last("the host has ended the session");
        }
        self.failed + self.awaited.len()
    }

    fn has_to_wait(&self) -> bool {
        self.limit.is_some() && !self.awaited.is_empty()
    }

    /// What is late is not waited for any more.
    fn give_up(&mut self) {
        for id in std::mem::take(&mut self.awaited) {
            self.failed += 1;
            self.show.note(&format!("no answer to `{id}` in time"));
        }
    }

    /// Does what a line says; false when it is the last.
    async fn obey(&mut self, input: Input) -> Result<bool, Failure> {
        let Input::Line(number, line) = input else {
            return self.cancel().await.map(|()| true);
        };
        match parse(&line, number) {
            Ok(Line::Nothing) => {}
            Ok(Line::Help) => self.show.note(HELP),
            Ok(Line::Quit) => return Ok(false),
            Ok(Line::Wait(seconds)) => {
                self.pause = after(Duration::from_secs_f64(seconds));
            }
            Ok(Line::Message(message)) => self.send(message).await?,
            Err(why) => {
                self.failed += 1;
                let place =
                    if self.limit.is_some() { format!("line {number}: ") } else { String::new() };
                self.show.note(&format!("{place}{why}"));
            }
        }
        Ok(true)
    }

    async fn send(&mut self, message: Outgoing) -> Result<(), Failure> {
        self.link.send(&message.text).await?;
        if !is_one_way(&message.kind) {
            self.awaited.insert(message.id);
            self.deadline = self.limit.and_then(after);
        }
        Ok(())
    }

    /// Ctrl-C: what is in flight is cancelled.
    async fn cancel(&mut self) -> Result<(), Failure> {
        if self.awaited.is_empty() {
            self.show.note("nothing is in flight; Ctrl-D ends");
        }
        for id in &self.awaited {
            let cancel = serde_json::json!({ "type": "cancel", "req_id": id });
            self.link.send(&cancel.to_string()).await?;
        }
        Ok(())
    }

    /// Shows a message, and notes the answer that it is.
    fn take(&mut self, message: &Message) -> Result<(), Failure> {
        self.show.message(message)?;
        let is_answer =
            Role::of(message.kind()) == Role::Final && self.awaited.remove(message.req_id());
        if self.awaited.is_empty() && is_answer {
            self.deadline = None;
        }
        let why = if message.kind() == "error" {
            Some(format!("error {}: {}", message.text_of("code"), message.text_of("message")))
        } else if is_answer {
            refusal(&message.value)
        } else {
            None
        };
        if let Some(why) = why {
            self.failed += 1;
            // A person sees the message itself.
            if self.limit.is_some() {
                self.show.note(&why);
            }
        }
        Ok(())
    }
}

/// A time that is waited for, if any.
type Timer = Option<Pin<Box<Sleep>>>;

fn after(time: Duration) -> Timer {
    Some(Box::pin(sleep(time)))
}

async fn end_of(timer: &mut Timer) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => pending().await,
    }
}

/// Whether a type is never answered, as far as this program knows it.
fn is_one_way(kind: &str) -> bool {
    let linked = MessageClass::linked();
    linked.iter().any(|it| it.wire_type == kind && it.reply_type.is_none_or(str::is_empty))
}
