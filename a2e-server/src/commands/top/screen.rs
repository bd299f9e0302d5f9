//! The terminal: taken at the start, given back at every end; its keys.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::draw;
use super::model::Model;

/// How long the reader of keys outlives the screen.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// The terminal in raw mode on its other page. Dropping it gives the terminal back; a panic does so, too.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| give_back())?;
        Ok(Self { terminal })
    }

    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| draw::draw(frame, model)).map(|_drawn| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone needs nothing back.
    let _gone = ratatui::try_restore();
}

/// Keys and resizes, read on a thread of their own: reading blocks. At most 64 wait.
pub(super) fn events() -> Receiver<io::Result<Event>> {
    let (sender, events) = channel(64);
    std::thread::spawn(move || read(&sender));
    events
}

fn read(events: &Sender<io::Result<Event>>) {
    while !events.is_closed() {
        let event = match event::poll(KEY_WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let is_last = event.is_err();
        if events.blocking_send(event).is_err() || is_last {
            return;
        }
    }
}
