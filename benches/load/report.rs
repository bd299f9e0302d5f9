//! What was measured, as Markdown and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::parts::{Idle, Pings, Sessions};

/// All of a run.
#[derive(Default)]
pub struct Report {
    pub machine: String,
    pub is_short: bool,
    pub sessions: Vec<(String, Sessions)>,
    pub idle: Vec<(String, Idle)>,
    /// By way.
    pub pings: Vec<(String, Pings)>,
    /// What was not measured, and why.
    pub missing: Vec<(String, String)>,
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut text = format!("# Load\n\n{}.", self.machine);
        text += " Driver and server have a processor of their own each; one run, servers one after the other.\n";
        if self.is_short {
            text += "\nA short run: it shows that the program works, and no figures.\n";
        }
        text +=
            "\n## Sessions over HTTP with server-sent events, a call of 200 B a second each\n\n";
        text +=
            "| server | sessions | calls | p50 ms | p99 ms | late | RSS KiB a session | CPU % |\n";
        text += "|---|---|---|---|---|---|---|---|\n";
        for (name, it) in &self.sessions {
            row(
                &mut text,
                &format_args!(
                    "{name} | {} | {} | {:.2} | {:.2} | {} | {:.1} | {:.0}",
                    it.count, it.calls, it.p50_ms, it.p99_ms, it.late, it.rss_kib_each, it.cpu
                ),
            );
        }
        text += "\n## Idle connections, a session each\n\n";
        text += "| server | connections | opened in s | RSS KiB each | CPU % |\n|---|---|---|---|---|\n";
        for (name, it) in &self.idle {
            row(
                &mut text,
                &format_args!(
                    "{name} | {} | {:.1} | {:.1} | {:.1}",
                    it.count, it.open_s, it.rss_kib_each, it.cpu
                ),
            );
        }
        text += "\n## One ping at a time, the ways by turns\n\n";
        text += "| way | pings | p50 us | p99 us |\n|---|---|---|---|\n";
        for (name, it) in &self.pings {
            let Pings { count, p50_us, p99_us } = it;
            row(&mut text, &format_args!("{name} | {count} | {p50_us:.0} | {p99_us:.0}"));
        }
        if let Some(more) = self.http_more_us() {
            let verdict = if more < 1000.0 { "within" } else { "not within" };
            let line = format!(
                "\na2e over HTTP with SSE: {more:.0} us more than over TCP, {verdict} 1 ms.\n"
            );
            text += &line;
        }
        text += "\n## Not measured\n\n";
        for (name, why) in &self.missing {
            let line = format!("- {name}: {why}\n");
            text += &line;
        }
        text
    }

    /// How much longer the median ping of a2e takes over HTTP than over TCP.
    fn http_more_us(&self) -> Option<f64> {
        let of = |name: &str| self.pings.iter().find(|it| it.0 == name).map(|it| it.1.p50_us);
        Some(of(super::A2E_HTTP)? - of(super::A2E_TCP)?)
    }

    fn json(&self) -> Value {
        let sessions = self.sessions.iter().map(|(name, it)| {
            json!({ "server": name, "sessions": it.count, "calls": it.calls, "late": it.late, "p50_ms": it.p50_ms,
                "p99_ms": it.p99_ms, "rss_kib_each": it.rss_kib_each, "cpu_percent": it.cpu })
        });
        let idle = self.idle.iter().map(|(name, it)| {
            json!({ "server": name, "connections": it.count, "open_s": it.open_s, "rss_kib_each": it.rss_kib_each,
                "cpu_percent": it.cpu })
        });
        let pings = self
            .pings
            .iter()
            .map(|(way, it)| json!({ "way": way, "pings": it.count, "p50_us": it.p50_us, "p99_us": it.p99_us }));
        let missing = self.missing.iter().map(|(name, why)| json!({ "what": name, "why": why }));
        json!({
            "machine": self.machine, "is_short": self.is_short, "http_more_us": self.http_more_us(),
            "sessions": sessions.collect::<Vec<_>>(), "idle": idle.collect::<Vec<_>>(),
            "pings": pings.collect::<Vec<_>>(), "missing": missing.collect::<Vec<_>>(),
        })
    }

    /// Writes `load.md` and `load.json`.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let json = format!("{:#}\n", self.json());
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join("load.md"), self.markdown()))
            .and_then(|()| std::fs::write(folder.join("load.json"), json))
            .map_err(|error| format!("{}: {error}", folder.display()))
    }
}

fn row(text: &mut String, cells: &std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _written = writeln!(text, "| {cells} |");
}
