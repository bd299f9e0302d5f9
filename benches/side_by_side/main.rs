//! A2E beside what a user would pick instead: one tight driver, each server a process of its own,
//! interleaved rounds on processors of their own.
//!
//! `cargo run --release -p benches --features peers --bin side_by_side -- --help`

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module gives to the others")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows a table")]

mod cores;
mod drive;
mod figures;
mod growth;
mod measure;
mod options;
mod report;
mod servers;
mod shapes;
mod talk;

use std::cell::Cell;
use std::process::ExitCode;

use clap::Parser as _;

use cores::Cores;
use options::Options;
use report::Report;
use servers::{Programs, Starter};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, role, rest @ ..] = args.as_slice()
        && word == "serve"
    {
        let address = rest.first().map_or("", String::as_str);
        return match servers::raw::play(role, address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{role}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("side_by_side: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let programs = Programs::find(options)?;
    let cores = Cores::pick(options.server_cores)?;
    cores.bind_driver()?;
    let files = cores::raise_open_files();
    let starter =
        Starter { programs: &programs, cores: &cores, scratch: scratch.path(), next: Cell::new(0) };
    let mut report = Report::new(options, &cores);
    report.skipped = measure::skipped(&programs, options);
    if options.has_part("matrix") {
        for cell in measure::cells(options) {
            if let Some(measured) = measure::measure(&cell, &starter, options, &mut report.skipped)
            {
                report::show_cell(&measured);
                report.cells.push(measured);
            }
        }
    }
    if options.has_part("figures") {
        report.figures = figures::measure(&starter, options, files, &mut report.skipped);
        report::show_figures(&report.figures);
    }
    if options.has_part("growth") {
        report.growth = growth::measure(&starter, options, files, &mut report.skipped);
        report::show_growth(&report.growth);
    }
    report::show_skipped(&report);
    report.write(options)
}
