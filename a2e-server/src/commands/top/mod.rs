//! `a2e top`: a running host on a terminal, and keys to steer it.
//!
//! [`host`] asks the host and tells news, [`model`] holds what is shown, [`keys`] change it, [`draw`]
//! puts it on the [`screen`].

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod cell;
mod draw;
mod host;
mod keys;
mod model;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use a2e_client::Client;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::channel;

use super::remote::{self, HostArgs, Remote};
use crate::args::seconds;
use crate::stdout::print;
use crate::{Failure, telemetry};
use keys::Deed;
use model::Model;
use screen::Screen;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "Keys: 1-6, tab: table · up, down: mark a row · s, S: sort by the next column · r: reverse\n      \
    c: cancel the marked call · b: build the marked plugin anew · q: quit\n\
    Without a terminal it prints one look and ends.\n\nExamples:\n  a2e top\n  \
    a2e top --once --to unix:///run/user/1000/a2e/a2e.sock"
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Seconds between two looks; at least 0.1
    #[arg(long, value_name = "SECS", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) interval: f64,
    /// Print one look as text and end
    #[arg(long)]
    pub(crate) once: bool,
}

pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    telemetry::start(Some("off"))?;
    let remote = args.host.needed()?;
    let interval = Duration::from_secs_f64(args.interval).max(SHORTEST);
    let is_live = !args.once && io::stdout().is_terminal() && io::stdin().is_terminal();
    remote::run(async {
        // A host that does not answer at all is a failure and no empty screen.
        let client = remote.connect().await?;
        let model = Model::new(host::look(&client).await?);
        if is_live {
            return live(remote, client, model, interval).await;
        }
        client.close().await;
        print(&draw::text(&model))
    })
}

async fn live(
    remote: Remote,
    client: Client,
    mut model: Model,
    interval: Duration,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::internal(format_args!("terminal: {error}"));
    let mut ends = Ends::listen().map_err(failed)?;
    let mut screen = Screen::open().map_err(failed)?;
    let mut events = screen::events();
    // More than one command at a time comes from no keyboard.
    let (commands, inbox) = channel(4);
    let (sender, mut news) = channel(4);
    tokio::spawn(host::follow(remote, client, interval, inbox, sender));
    loop {
        screen.draw(&model).map_err(failed)?;
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return Ok(()) };
                match keys::take(&mut model, &event.map_err(failed)?) {
                    Deed::Draw => {}
                    Deed::Quit => return Ok(()),
                    Deed::Send(command) => match commands.try_send(command) {
                        Ok(()) => model.say("sent"),
                        Err(_) => model.say("not sent: the host has not answered what was sent before"),
                    },
                }
            }
            Some(told) = news.recv() => model.take(told),
            () = ends.wait() => return Ok(()),
        }
    }
}

/// The signals that end it: the terminal is given back first.
struct Ends {
    term: Signal,
    int: Signal,
    hang_up: Signal,
}

impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
