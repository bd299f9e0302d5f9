//! The screen from the model, and one look as plain text.

use std::fmt::Write;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row as TableRow, Table, TableState};

use super::cell::Cell;
use super::host::Command;
use super::model::Model;
use super::rows::{Row, View};

/// The widest that a column becomes which is not the last.
const WIDEST: usize = 34;

const KEYS: &str = "q quit  1-6 table  s sort  r reverse  c cancel  b rebuild";

const BAD: Style = Style::new().fg(Color::Red);
const BACKWARDS: Style = Style::new().add_modifier(Modifier::REVERSED);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    // A low screen has one line of the head, so that a row is left.
    let head = if frame.area().height < 10 { 1 } else { 3 };
    let parts = [
        Constraint::Length(head),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [head, tabs, body, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(model)), head);
    frame.render_widget(tab_line(model), tabs);
    draw_table(frame, body, model);
    frame.render_widget(foot_line(model), foot);
}

/// What is wrong stands first: a low screen shows one line only.
fn head_lines(model: &Model) -> Vec<Line<'static>> {
    let it = model.status();
    let away = model.away().map(|why| format!("no answer: {why}"));
    let trouble = it.trouble.iter().map(|why| format!("trouble: {why}"));
    let audit = it.audit_failing.iter().map(|why| format!("audit: {why}"));
    let wrong = away.into_iter().chain(trouble).chain(audit);
    let lines = wrong.map(|text| Line::styled(Cell::text(&text).show(), BAD));
    lines.chain(summary(model).into_iter().map(Line::raw)).collect()
}

fn summary(model: &Model) -> [String; 2] {
    let it = model.status();
    let parked = if it.parked_sessions > 0 {
        format!(" (+{} parked)", it.parked_sessions)
    } else {
        String::new()
    };
    let (name, up) = (Cell::text(&it.host_id).show(), Cell::Seconds(it.uptime_seconds).show());
    let unsent = Cell::bytes(it.unsent_bytes).show();
    [
        format!(
            "{name}  up {up}  sessions {}{parked}  in flight {}  waiting {}",
            it.sessions, it.in_flight, it.waiting
        ),
        format!(
            "a2e {}  generation {}  unsent {unsent}  children {}  audit {} {}  lost {}",
            it.program, it.generation, it.children, it.audit, it.audit_written, it.audit_lost
        ),
    ]
}

fn tab_line(model: &Model) -> Line<'static> {
    let tabs = View::ALL.iter().zip(1..).flat_map(|(view, number)| {
        let style = if *view == model.view() { BACKWARDS } else { Style::new() };
        [Span::styled(format!("{number} {}", view.title()), style), Span::raw("  ")]
    });
    tabs.collect()
}

fn foot_line(model: &Model) -> Line<'static> {
    match (model.asked(), model.note()) {
        (Some(command), _) => Line::styled(question(command), BOLD),
        (None, "") => Line::raw(KEYS),
        (None, note) => Line::raw(Cell::text(note).show()),
    }
}

/// The answer's keys stand first: a long name must not push them off the screen.
fn question(command: &Command) -> String {
    let what = match command {
        Command::Cancel { req_id, session_id } => {
            format!("cancel {req_id} of session {session_id}?")
        }
        Command::Rebuild(name) => format!("build {name} anew?"),
    };
    format!("(y/n) {}", Cell::text(&what).show())
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let (view, rows) = (model.view(), model.rows());
    if rows.is_empty() {
        frame.render_widget(Line::raw(format!("no {}", view.title())), area);
        return;
    }
    let order = model.order();
    let names = view.columns().iter().enumerate().map(|(column, name)| {
        let mark = if order.is_descending { '▼' } else { '▲' };
        if column == order.column { format!("{name}{mark}") } else { (*name).to_owned() }
    });
    let names: Vec<String> = names.collect();
    let widths = widths(&names, rows);
    let last = widths.len().saturating_sub(1);
    let constraints = widths.iter().enumerate().map(|(column, width)| {
        if column == last { Constraint::Min(1) } else { Constraint::Length(clip(*width)) }
    });
    // The rows that fit, around the mark: a host has thousands of calls.
    let room = usize::from(area.height.saturating_sub(1)).max(1);
    let first = (model.marked() + 1).saturating_sub(room);
    let shown = rows.iter().skip(first).take(room).map(table_row);
    let table = Table::new(shown, constraints)
        .header(TableRow::new(names).style(BOLD))
        .row_highlight_style(BACKWARDS);
    let mut state = TableState::new().with_selected(model.marked() - first);
    frame.render_stateful_widget(table, area, &mut state);
}

fn table_row(row: &Row) -> TableRow<'static> {
    let cells = row.cells.iter().map(|cell| {
        let side = if cell.is_text() { Alignment::Left } else { Alignment::Right };
        Line::raw(cell.show()).alignment(side)
    });
    let style = if row.is_bad { BAD } else { Style::new() };
    TableRow::new(cells).style(style)
}

/// How wide each column is: as its widest value, within [`WIDEST`].
fn widths(names: &[String], rows: &[Row]) -> Vec<usize> {
    let columns = names.iter().enumerate().map(|(column, name)| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        let widest = cells.map(|cell| Span::raw(cell.show()).width()).max().unwrap_or(0);
        widest.max(Span::raw(name).width()).min(WIDEST)
    });
    columns.collect()
}

fn clip(width: usize) -> u16 {
    u16::try_from(width).unwrap_or(u16::MAX)
}

/// One look as text: each table that has rows.
pub(super) fn text(model: &Model) -> String {
    let mut text = String::new();
    for line in head_lines(model) {
        push(&mut text, &line.to_string());
    }
    for view in View::ALL {
        let rows = model.sorted(view);
        if rows.is_empty() {
            continue;
        }
        let names: Vec<String> = view.columns().iter().map(|it| (*it).to_owned()).collect();
        let widths = widths(&names, &rows);
        push(&mut text, "");
        push(&mut text, view.title());
        let heads = names.into_iter().map(Cell::Text).collect::<Vec<_>>();
        for cells in std::iter::once(&heads).chain(rows.iter().map(|row| &row.cells)) {
            push(&mut text, &text_row(cells, &widths));
        }
    }
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn text_row(cells: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a string cannot fail.
        let _written = if cell.is_text() {
            write!(line, "{:<width$}  ", cell.show())
        } else {
            write!(line, "{:>width$}  ", cell.show())
        };
    }
    line
}
