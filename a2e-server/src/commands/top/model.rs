//! What is on the screen, as data: the table in view, its order, the row that is marked, what is asked.

use a2e_core::protocol::host::HostStatus;

use super::cell::Cell;
use super::host::{Command, News};
use super::rows::{Looks, Row, Subject, View};

/// By which column a table is sorted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

/// All that is drawn.
#[derive(Debug)]
pub(super) struct Model {
    now: HostStatus,
    before: Option<HostStatus>,
    /// Why the host does not answer now.
    away: Option<String>,
    view: View,
    /// Of each table, as [`View::ALL`] lists them.
    orders: [Order; View::ALL.len()],
    rows: Vec<Row>,
    marked: usize,
    /// What is done at `y`.
    asked: Option<Command>,
    note: String,
}

impl Model {
    pub(super) fn new(status: HostStatus) -> Self {
        let orders = View::ALL.map(|view| {
            let (column, is_descending) = view.first_order();
            Order { column, is_descending }
        });
        let mut model = Self {
            now: status,
            before: None,
            away: None,
            view: View::Calls,
            orders,
            rows: Vec::new(),
            marked: 0,
            asked: None,
            note: String::new(),
        };
        model.renew();
        model
    }

    pub(super) fn status(&self) -> &HostStatus {
        &self.now
    }

    pub(super) fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    pub(super) fn note(&self) -> &str {
        &self.note
    }

    /// The command that waits for a `y`.
    pub(super) fn asked(&self) -> Option<&Command> {
        self.asked.as_ref()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn marked(&self) -> usize {
        self.marked
    }

    pub(super) fn order(&self) -> Order {
        self.order_of(self.view)
    }

    fn place(view: View) -> usize {
        View::ALL.iter().position(|it| *it == view).unwrap_or(0)
    }

    fn order_of(&self, view: View) -> Order {
        let order = self.orders.get(Self::place(view));
        order.copied().unwrap_or(Order { column: 0, is_descending: true })
    }

    /// The rows of any table, sorted.
    pub(super) fn sorted(&self, view: View) -> Vec<Row> {
        let mut rows = Looks { now: &self.now, before: self.before.as_ref() }.rows(view);
        let Order { column, is_descending } = self.order_of(view);
        rows.sort_by(|one, two| match (one.cells.get(column), two.cells.get(column)) {
            (Some(one), Some(two)) if is_descending => two.order(one),
            (Some(one), Some(two)) => Cell::order(one, two),
            _ => std::cmp::Ordering::Equal,
        });
        rows
    }

    /// Makes the rows anew; the mark stays on the same call or plugin where it is still there.
    fn renew(&mut self) {
        let marked = self.rows.get(self.marked).map(|row| row.subject.clone());
        self.rows = self.sorted(self.view);
        let found =
            marked.and_then(|subject| self.rows.iter().position(|it| it.subject == subject));
        self.marked = found.unwrap_or(self.marked).min(self.rows.len().saturating_sub(1));
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Status(status) => {
                self.before = Some(std::mem::replace(&mut self.now, *status));
                self.away = None;
                self.renew();
            }
            News::Away(reason) => self.away = Some(reason),
            News::Done(note) => self.note = note,
        }
    }

    /// Says something on the last line until the next key.
    pub(super) fn say(&mut self, note: &str) {
        note.clone_into(&mut self.note);
    }

    pub(super) fn show(&mut self, place: usize) {
        let Some(view) = View::ALL.get(place) else { return };
        self.view = *view;
        self.rows.clear();
        self.marked = 0;
        self.renew();
    }

    /// Goes on by this number of tables, round and round.
    pub(super) fn turn(&mut self, by: isize) {
        let count = View::ALL.len().cast_signed();
        let place = Self::place(self.view).cast_signed();
        self.show((place + by).rem_euclid(count).cast_unsigned());
    }

    /// Moves the mark; stops at both ends.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.marked = self.marked.saturating_add_signed(by).min(last);
    }

    /// Sorts by the column this number further on, round and round.
    pub(super) fn sort(&mut self, by: isize) {
        let count = self.view.columns().len().cast_signed();
        self.change_order(|order| {
            order.column = (order.column.cast_signed() + by).rem_euclid(count).cast_unsigned();
        });
    }

    pub(super) fn reverse(&mut self) {
        self.change_order(|order| order.is_descending = !order.is_descending);
    }

    fn change_order(&mut self, change: impl FnOnce(&mut Order)) {
        if let Some(order) = self.orders.get_mut(Self::place(self.view)) {
            change(order);
        }
        self.renew();
    }

    /// Asks whether the marked call is to be cancelled.
    pub(super) fn ask_cancel(&mut self) {
        match self.rows.get(self.marked).map(|row| row.subject.clone()) {
            Some(Subject::Call { session_id, req_id }) => {
                self.asked = Some(Command::Cancel { session_id, req_id });
            }
            _ => self.say("mark a call first: table 1"),
        }
    }

    /// Asks whether the marked plugin is to be built anew.
    pub(super) fn ask_rebuild(&mut self) {
        match self.rows.get(self.marked).map(|row| row.subject.clone()) {
            Some(Subject::Plugin(name)) => self.asked = Some(Command::Rebuild(name)),
            _ => self.say("mark a plugin first: table 3"),
        }
    }

    /// Ends the question and gives what was asked.
    pub(super) fn answer(&mut self) -> Option<Command> {
        self.asked.take()
    }
}
