//! What was measured, as Markdown and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::contenders::{BARE, Contender, Way};
use super::spread::Spread;

/// All of a run.
#[derive(Default)]
pub struct Report {
    pub machine: String,
    pub is_short: bool,
    pub rows: Vec<Row>,
    /// What was not measured, and why.
    pub missing: Vec<(String, String)>,
}

/// A contender, over all rounds.
pub struct Row {
    contender: &'static str,
    way: Way,
    /// p50 and p99 of a call in microseconds, and calls a second with 32 in flight.
    pub turns: Vec<[f64; 3]>,
    pub rss_mib: f64,
}

impl Row {
    pub fn of(contender: &Contender) -> Self {
        let (contender, way) = (contender.name, contender.way);
        Self { contender, way, turns: Vec::new(), rss_mib: f64::NAN }
    }

    pub fn name(&self) -> String {
        format!("{}, over {}", self.contender, self.way.as_str())
    }

    fn spreads(&self) -> [Spread; 3] {
        [0, 1, 2].map(|which| Spread::of(self.turns.iter().filter_map(|it| it.get(which).copied())))
    }

    /// How many times the same of another in the same round.
    fn ratios(&self, other: Option<&Self>) -> [Spread; 3] {
        let other: &[[f64; 3]] = other.map_or(&[], |other| &other.turns);
        [0, 1, 2].map(|which| {
            let both = self.turns.iter().zip(other);
            Spread::of(both.filter_map(|(it, other)| Some(it.get(which)? / other.get(which)?)))
        })
    }
}

impl Report {
    fn bare(&self, way: Way) -> Option<&Row> {
        self.rows.iter().find(|row| row.way == way && row.contender == BARE)
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("# Gateways for MCP\n\n{}.", self.machine);
        text += " The client has one processor, all servers have another. A call of 200 B; every gateway is in front of \
                 the same server, rmcp over stdio. Medians (min..max) of the rounds, all by turns; ratios are to rmcp \
                 without a gateway, over the same way, in the same round.\n";
        if self.is_short {
            text += "\nA short run: it shows that the program works, and no figures.\n";
        }
        for way in [Way::Stdio, Way::Http] {
            let line = format!("\n## Over {}\n\n", way.as_str());
            text += &line;
            text += "| server | p50 us | p99 us | p50, of rmcp | p99, of rmcp | calls/s, 32 in flight | of rmcp | RSS MiB |\n";
            text += "|---|---|---|---|---|---|---|---|\n";
            for row in self.rows.iter().filter(|row| row.way == way) {
                let ([p50, p99, rate], of) = (row.spreads(), row.ratios(self.bare(way)));
                let [of_p50, of_p99, of_rate] = of.map(|it| cell(it, 2));
                // A string takes everything.
                let _written = writeln!(
                    text,
                    "| {} | {} | {} | {of_p50} | {of_p99} | {} | {of_rate} | {:.1} |",
                    row.contender,
                    cell(p50, 0),
                    cell(p99, 0),
                    cell(rate, 0),
                    row.rss_mib
                );
            }
        }
        text += "\n## Not measured\n\n";
        for (name, why) in &self.missing {
            let line = format!("- {name}: {why}\n");
            text += &line;
        }
        text
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let ([p50, p99, rate], of) = (row.spreads(), row.ratios(self.bare(row.way)));
            let [of_p50, of_p99, of_rate] = of.map(Spread::json);
            json!({
                "server": row.contender, "way": row.way.as_str(), "rounds": row.turns.len(),
                "p50_us": p50.json(), "p99_us": p99.json(), "calls_s": rate.json(), "rss_mib": row.rss_mib,
                "of_rmcp": { "p50": of_p50, "p99": of_p99, "calls_s": of_rate },
            })
        });
        let missing = self.missing.iter().map(|(name, why)| json!({ "what": name, "why": why }));
        json!({
            "machine": self.machine, "is_short": self.is_short, "rows": rows.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
        })
    }

    /// Writes `gateway.md` and `gateway.json`.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let json = format!("{:#}\n", self.json());
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join("gateway.md"), self.markdown()))
            .and_then(|()| std::fs::write(folder.join("gateway.json"), json))
            .map_err(|error| format!("{}: {error}", folder.display()))
    }
}

/// A median with its least and greatest; nothing where nothing was measured.
fn cell(it: Spread, digits: usize) -> String {
    if it.median.is_nan() {
        return String::new();
    }
    format!("{:.digits$} ({:.digits$}..{:.digits$})", it.median, it.min, it.max)
}
