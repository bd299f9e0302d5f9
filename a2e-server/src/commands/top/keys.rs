//! What the keys do.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::host::Command;
use super::model::Model;

/// Rows that a page key moves.
const PAGE: isize = 10;

/// What the loop is to do after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Draw,
    Send(Command),
    Quit,
}

pub(super) fn take(model: &mut Model, event: &Event) -> Deed {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(model, *key),
        // A resize is drawn anew; nothing else was asked for.
        _ => Deed::Draw,
    }
}

fn press(model: &mut Model, key: KeyEvent) -> Deed {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        let is_end = matches!(key.code, KeyCode::Char('c' | 'd'));
        return if is_end { Deed::Quit } else { Deed::Draw };
    }
    model.say("");
    if model.asked().is_some() {
        return confirm(model, key.code);
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Deed::Quit,
        KeyCode::Char(digit @ '1'..='9') => model.show(digit as usize - '1' as usize),
        KeyCode::Tab | KeyCode::Right => model.turn(1),
        KeyCode::BackTab | KeyCode::Left => model.turn(-1),
        KeyCode::Down | KeyCode::Char('j') => model.step(1),
        KeyCode::Up | KeyCode::Char('k') => model.step(-1),
        KeyCode::PageDown => model.step(PAGE),
        KeyCode::PageUp => model.step(-PAGE),
        KeyCode::Home => model.step(isize::MIN),
        KeyCode::End => model.step(isize::MAX),
        KeyCode::Char('s') => model.sort(1),
        KeyCode::Char('S') => model.sort(-1),
        KeyCode::Char('r') => model.reverse(),
        KeyCode::Char('c') => model.ask_cancel(),
        KeyCode::Char('b') => model.ask_rebuild(),
        _ => {}
    }
    Deed::Draw
}

/// Only `y` does it; a key that was meant for something else must not.
fn confirm(model: &mut Model, code: KeyCode) -> Deed {
    match (code, model.answer()) {
        (KeyCode::Char('y' | 'Y'), Some(command)) => Deed::Send(command),
        _ => Deed::Draw,
    }
}
