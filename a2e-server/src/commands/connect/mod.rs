//! `a2e connect`: holds a session with a host, for a person at a terminal or for a script.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod link;
mod prompt;
mod script;
mod session;
mod types;

use std::io::IsTerminal;
use std::time::Duration;

use a2e_core::{Clock, SystemClock};
use clap::Args;

use super::remote;
use super::target::TargetArgs;
use crate::{Failure, telemetry};
use session::{Session, Show};

/// How long a host that was started for the session may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(
    after_help = "At a terminal: type `TYPE JSON` or a whole message, Tab completes types and fields, \
    replies, events and pushes show as they come, Ctrl-C cancels what is in flight, Ctrl-D ends.\n\
    Otherwise stdin is a script, one message a line, each sent when the one before it is answered; what \
    comes goes to stdout, a line each. `wait SECS` waits, `#` begins a comment. Exit code 1 when a \
    message was answered with an error or refused.\n\nExamples:\n  a2e connect\n  \
    a2e connect --to unix:///run/user/1000/a2e.sock < script.txt\n  \
    echo 'tool/call/req {\"tool_name\":\"list_dir\",\"arguments\":{\"path\":\".\"}}' | a2e connect a2e.yaml"
)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// What a person or a script wants next.
#[derive(Debug)]
enum Input {
    /// A line, and its number.
    Line(usize, String),
    /// Ctrl-C.
    Interrupt,
}

pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    telemetry::start(Some("error"))?;
    let result = remote::run(hold(args));
    telemetry::finish();
    result
}

async fn hold(args: &ConnectArgs) -> Result<(), Failure> {
    let is_prompt = std::io::stdin().is_terminal();
    let limit = args.target.limit();
    let clock = SystemClock::new();
    let start = clock.now();
    let mut link = link::open(&args.target).await?;
    let rest = limit.saturating_sub(clock.now().since(start));
    let greeting = link.greet(&args.target.token, rest).await?;
    let prompt = if is_prompt {
        prompt::start(types::known(&mut link, limit).await?, &greeting)?
    } else {
        None
    };
    let failed = if let Some((inputs, printer)) = prompt {
        Session::new(&mut link, Show::Prompt(printer), None).run(inputs).await
    } else {
        // A person does not wait for answers, a script does.
        let limit = (!is_prompt).then_some(limit);
        Session::new(&mut link, Show::Lines, limit).run(script::read_stdin()?).await
    };
    link.end(PATIENCE).await;
    match failed? {
        count if count > 0 && !is_prompt => {
            Err(Failure::reported(format_args!("messages that failed: {count}")))
        }
        _ => Ok(()),
    }
}
