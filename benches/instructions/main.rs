//! How many instructions does a message take: in the codec, on its route, in dispatch? Counted by
//! valgrind's callgrind, so that a busy machine blurs nothing, and held against `expected.json`.
//!
//! `cargo run --release -p benches --bin instruction_counts` compares; with `--write` the counts
//! become the expected ones. Only a release build is compared: others are not what is shipped.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module gives to the others")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that shows a table")]

mod cases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// How far a count may be from the expected one. Allocation, timers and hashing with random keys
/// move a count by about one percent from run to run.
const TOLERANCE: f64 = 0.05;

/// What a count cannot be compared without.
const VALGRIND: &str = "valgrind";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["__run", case, count] => cases::run(case, count.parse().unwrap_or(0)),
        [] => compare(false),
        ["--write"] => compare(true),
        _ => Err("usage: instruction_counts [--write]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("instruction_counts: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(is_written: bool) -> Result<(), String> {
    let probe = Command::new(VALGRIND).arg("--version").stdout(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("valgrind is not installed: instructions are not counted");
        return Ok(());
    }
    if cfg!(debug_assertions) {
        println!("a debug build: instructions are not counted");
        return Ok(());
    }
    let mut counts = BTreeMap::new();
    for case in &cases::ALL {
        counts.insert(case.name.to_owned(), per_message(case)?);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/expected.json");
    if is_written {
        let text = serde_json::to_string_pretty(&counts).map_err(|error| error.to_string())?;
        std::fs::write(&file, text + "\n")
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    judge(&counts, &expected(&file)?)
}

/// A case is run twice; what the longer run takes more is the messages' alone.
fn per_message(case: &cases::Case) -> Result<u64, String> {
    let (few, many) = (case.count, case.count * 3);
    let more = counted(case.name, many)?.saturating_sub(counted(case.name, few)?);
    Ok(more / (many - few))
}

/// Instructions of a run of this program under callgrind.
fn counted(case: &str, count: u64) -> Result<u64, String> {
    let itself = std::env::current_exe().map_err(|error| format!("our own path: {error}"))?;
    let output = Command::new(VALGRIND)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(itself)
        .args(["__run", case, &count.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{case} under valgrind: {}\n{said}", output.status));
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, number)| number.trim().parse().ok())
        .ok_or_else(|| format!("valgrind gave no count for {case}:\n{said}"))
}

fn expected(file: &PathBuf) -> Result<BTreeMap<String, u64>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Shows all counts; an error if one is too far off, or none is expected for it.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn judge(counts: &BTreeMap<String, u64>, expected: &BTreeMap<String, u64>) -> Result<(), String> {
    let mut off = Vec::new();
    println!("| what | instructions per message | expected | off by |");
    println!("|---|---|---|---|");
    for (name, count) in counts {
        let Some(wanted) = expected.get(name) else {
            println!("| {name} | {count} | - | |");
            off.push(name.as_str());
            continue;
        };
        let part = *count as f64 / *wanted as f64 - 1.0;
        println!("| {name} | {count} | {wanted} | {:+.1} % |", part * 100.0);
        if part.abs() > TOLERANCE {
            off.push(name);
        }
    }
    if off.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {:.0} % off: {}. If that is meant, run with --write and commit expected.json",
        TOLERANCE * 100.0,
        off.join(", ")
    ))
}
