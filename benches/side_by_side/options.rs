//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures A2E beside its peers on this machine.
#[derive(Debug, Parser)]
#[command(name = "side_by_side")]
pub struct Options {
    /// A part of the matrix that is through within two minutes
    #[arg(long)]
    pub quick: bool,
    /// Only servers whose names hold one of these texts; raw echoes always run, for the ratios
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub only: Vec<String>,
    /// Only these parts: matrix, figures, growth
    #[arg(long, value_delimiter = ',', value_name = "PART,..")]
    pub parts: Vec<String>,
    /// Only cells whose names hold one of these texts, as `200 B` or `unix`
    #[arg(long, value_delimiter = ';', value_name = "CELL;..")]
    pub cells: Vec<String>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..1000))]
    pub rounds: u32,
    /// Milliseconds of one measurement [default: 300; 100 with --quick]
    #[arg(long, value_name = "MS")]
    pub slice: Option<u64>,
    /// Processors of each server; the driver's own one is not among them
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub server_cores: usize,
    /// Leaves the peers out: raw echoes and a2e alone
    #[arg(long)]
    pub no_peers: bool,
    /// Measures the programs that are there, instead of building them first
    #[arg(long)]
    pub no_build: bool,
    /// A checkout of the A2E Python SDK
    #[arg(long, value_name = "DIR")]
    pub a2e_python: Option<PathBuf>,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the plot goes as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

impl Options {
    /// How long one measurement lasts.
    pub fn slice(&self) -> Duration {
        let default = if self.quick { 100 } else { 300 };
        Duration::from_millis(self.slice.unwrap_or(default))
    }

    pub fn has_part(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| part == name)
    }

    pub fn has_server(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    pub fn has_cell(&self, name: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|part| name.contains(part.as_str()))
    }
}
