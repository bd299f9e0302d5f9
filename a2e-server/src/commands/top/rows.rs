//! The tables: which there are, and their rows from one or two looks at a host.

use a2e_core::protocol::host::{HostStatus, TypeStatus};

use super::cell::{Cell, float};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Calls,
    Sessions,
    Plugins,
    Types,
    Children,
    Counters,
}

impl View {
    pub(super) const ALL: [Self; 6] =
        [Self::Calls, Self::Sessions, Self::Plugins, Self::Types, Self::Children, Self::Counters];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Sessions => "sessions",
            Self::Plugins => "plugins",
            Self::Types => "types",
            Self::Children => "children",
            Self::Counters => "counters",
        }
    }

    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => &["AGE", "TYPE", "PLUGIN", "REQUEST", "AGENT", "SESSION"],
            Self::Sessions => {
                &["CALLS", "OLDEST", "UNSENT", "AGENT", "PRINCIPAL", "PEER", "SESSION"]
            }
            Self::Plugins => &[
                "PLUGIN", "HEALTH", "CALLS/s", "CALLS", "RUN", "QUEUE", "STUCK", "LATE", "PANICS",
                "BUILT", "BREAKER", "REASON",
            ],
            Self::Types => &[
                "ENDED/s", "ENDED", "FAILED", "WAIT50", "WAIT99", "RUN50", "RUN99", "IN/s",
                "OUT/s", "TYPE",
            ],
            Self::Children => &["PID", "PROGRAM", "SINCE", "RESTARTS", "STATE", "HELD", "STDERR"],
            Self::Counters => &["COUNT/s", "COUNT", "COUNTER"],
        }
    }

    /// The column that a table is sorted by at first, and whether the largest stands first.
    pub(super) fn first_order(self) -> (usize, bool) {
        match self {
            Self::Plugins => (0, false),
            Self::Children => (2, false),
            _ => (0, true),
        }
    }
}

/// What a row is about; two looks at the same thing give the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Call { session_id: String, req_id: String },
    Plugin(String),
    Other(String),
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) subject: Subject,
    /// Whether it is not as it should be.
    pub(super) is_bad: bool,
    pub(super) cells: Vec<Cell>,
}

/// A look at a host, and the one before it where there was one.
pub(super) struct Looks<'s> {
    pub(super) now: &'s HostStatus,
    pub(super) before: Option<&'s HostStatus>,
}

impl<'s> Looks<'s> {
    pub(super) fn rows(&self, view: View) -> Vec<Row> {
        match view {
            View::Calls => self.calls(),
            View::Sessions => self.sessions(),
            View::Plugins => self.plugins(),
            View::Types => self.types(),
            View::Children => self.children(),
            View::Counters => self.counters(),
        }
    }

    /// How fast a number rose between the looks. A look at a host that has started again gives none.
    fn rate(&self, number: impl Fn(&'s HostStatus) -> Option<u64>) -> Cell {
        let rate = self.before.and_then(|before| {
            let seconds = self.now.uptime_seconds - before.uptime_seconds;
            let is_same = before.host_id == self.now.host_id && seconds > 0.0;
            // What is new in the second look has risen from nothing.
            let (now, then) = (number(self.now)?, number(before).unwrap_or(0));
            is_same.then(|| float(now.saturating_sub(then)) / seconds)
        });
        Cell::Rate(rate)
    }

    fn calls(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for session in &self.now.busiest {
            rows.extend(session.in_flight.iter().map(|call| Row {
                subject: Subject::Call {
                    session_id: session.session_id.clone(),
                    req_id: call.req_id.clone(),
                },
                is_bad: false,
                cells: vec![
                    Cell::Seconds(call.age_seconds),
                    Cell::text(&call.message_type),
                    Cell::text(&call.plugin),
                    Cell::text(&call.req_id),
                    Cell::text(&session.agent_id),
                    Cell::text(&session.session_id),
                ],
            }));
        }
        rows
    }

    fn sessions(&self) -> Vec<Row> {
        let rows = self.now.busiest.iter().map(|session| {
            let ages = session.in_flight.iter().map(|call| call.age_seconds);
            Row {
                subject: Subject::Other(session.session_id.clone()),
                is_bad: false,
                cells: vec![
                    Cell::count(session.in_flight.len()),
                    Cell::Seconds(ages.fold(0.0, f64::max)),
                    Cell::bytes(session.unsent_bytes),
                    Cell::text(&session.agent_id),
                    Cell::text(&session.principal),
                    Cell::text(&session.peer),
                    Cell::text(&session.session_id),
                ],
            }
        });
        rows.collect()
    }

    fn plugins(&self) -> Vec<Row> {
        let rows = self.now.plugins.iter().map(|plugin| {
            let calls = |status: &'s HostStatus| {
                let found = status.plugins.iter().find(|it| it.name == plugin.name);
                found.map(|it| it.calls)
            };
            let why = plugin.reason.as_deref().or(plugin.state_problem.as_deref());
            Row {
                subject: Subject::Plugin(plugin.name.clone()),
                is_bad: !plugin.health.is_well() || plugin.stuck > 0,
                cells: vec![
                    Cell::text(&plugin.name),
                    Cell::text(plugin.health.as_str()),
                    self.rate(calls),
                    Cell::Count(plugin.calls),
                    Cell::count(plugin.running),
                    Cell::count(plugin.queued),
                    Cell::count(plugin.stuck),
                    Cell::Count(plugin.timeouts),
                    Cell::Count(plugin.panics),
                    Cell::Count(plugin.rebuilds),
                    Cell::text(&plugin.breaker),
                    Cell::text(why.unwrap_or_default()),
                ],
            }
        });
        rows.collect()
    }

    fn types(&self) -> Vec<Row> {
        let rows = self.now.types.iter().map(|it| {
            let of = |number: fn(&TypeStatus) -> u64| {
                self.rate(move |status| {
                    let found =
                        status.types.iter().find(|other| other.message_type == it.message_type);
                    found.map(number)
                })
            };
            let bytes = |cell| match cell {
                Cell::Rate(Some(rate)) => Cell::Bytes(whole(rate)),
                other => other,
            };
            let failed = ended(it) - it.outcomes.get("ok").copied().unwrap_or(0);
            Row {
                subject: Subject::Other(it.message_type.clone()),
                is_bad: false,
                cells: vec![
                    of(ended),
                    Cell::Count(ended(it)),
                    Cell::Count(failed),
                    Cell::Micros(it.queue.p50_us),
                    Cell::Micros(it.queue.p99_us),
                    Cell::Micros(it.run.p50_us),
                    Cell::Micros(it.run.p99_us),
                    bytes(of(|it| it.input_bytes)),
                    bytes(of(|it| it.output_bytes)),
                    Cell::text(&it.message_type),
                ],
            }
        });
        rows.collect()
    }

    fn children(&self) -> Vec<Row> {
        let rows = self.now.processes.iter().map(|child| Row {
            subject: Subject::Other(child.pid.to_string()),
            is_bad: false,
            cells: vec![
                Cell::Count(child.pid.into()),
                Cell::text(&child.program),
                // Unix seconds: the clock of the host may be another than ours.
                Cell::Count(whole(child.since)),
                Cell::Count(child.restarts.into()),
                Cell::text(&child.state),
                Cell::text(&child.isolation),
                Cell::text(child.stderr.last().map_or("", String::as_str)),
            ],
        });
        rows.collect()
    }

    fn counters(&self) -> Vec<Row> {
        let rows = self.now.counters.iter().map(|(name, count)| Row {
            subject: Subject::Other(name.clone()),
            is_bad: false,
            cells: vec![
                self.rate(|status| status.counters.get(name).copied()),
                Cell::Count(*count),
                Cell::text(name),
            ],
        });
        rows.collect()
    }
}

fn ended(it: &TypeStatus) -> u64 {
    it.outcomes.values().fold(0, |sum, count| sum.saturating_add(*count))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats stay in range"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
