//! `a2e audit verify`: checks files against their checksums, numbers and seals.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::fmt::Write;
use std::path::PathBuf;

use a2e_core::audit::{Digest, Finding, SealAt, Verification, Wrong, verify};
use clap::Args;
use serde::Serialize;

use super::{audit_file, unread};
use crate::Failure;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    a2e audit verify audit.jsonl               with audit.jsonl.1, .2 … that were rotated away\n  \
    a2e audit verify audit.jsonl --seal 5f0c…  and that this seal, noted before, is still there\n\n\
    Each record has a checksum and a number. Every 64 KiB or 100 ms a seal fixes the records since the\n\
    last one by a BLAKE3 hash, chained to the seals before. What follows the last seal is held by\n\
    checksum and number only: a process that can write the file can cut or change it. A seal that was\n\
    noted elsewhere shows a chain that was cut at its end or written anew: see --seal.")]
pub(super) struct VerifyArgs {
    /// Audit files; what was rotated away from each (FILE.1, FILE.2 …) is checked before it. A
    /// configuration (FILE.yaml) stands for its `audit.path`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration whose `audit.path` is meant; A2E_CONFIG where neither is given
    #[arg(short, long, value_name = "FILE", conflicts_with = "files")]
    config: Option<PathBuf>,
    /// Also require that a seal with this hash is there (one that `verify` named before)
    #[arg(long, value_name = "HASH")]
    seal: Option<Digest>,
    /// Print one JSON object per FILE
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let mut is_well = true;
    let mut has_seal = args.seal.is_none();
    let config = args.config.as_deref();
    let files: Vec<PathBuf> = if args.files.is_empty() {
        vec![audit_file(None, config)?]
    } else {
        let named = args.files.iter().map(|file| audit_file(Some(file), config));
        named.collect::<Result<_, _>>()?
    };
    for path in &files {
        if !path.is_file() {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(unread(path, &error));
        }
        let found = verify(path).map_err(|error| unread(path, &error))?;
        is_well &= found.wrong == 0;
        if let Some(seal) = &args.seal {
            has_seal |= holds(&found, seal).map_err(|error| unread(path, &error))?;
        }
        if args.json {
            print_json(&Report::of(&found))?;
        } else {
            print(&text(&found))?;
        }
    }
    if !has_seal && let Some(seal) = args.seal {
        return Err(Failure::refused(format_args!(
            "no seal {seal} is there: the chain was cut, written anew, or rotated away"
        )));
    }
    if is_well { Ok(()) } else { Err(Failure::silent()) }
}

/// Whether a seal of this hash stands in these files. A seal that is there may also be named by the first
/// one after it, when its file was rotated away.
fn holds(found: &Verification, seal: &Digest) -> std::io::Result<bool> {
    let text = format!("\"{seal}\"");
    for file in &found.files {
        // Hashes stand nowhere but in seals: quotes inside texts are escaped.
        let lines = std::io::BufReader::new(std::fs::File::open(file)?);
        for line in std::io::BufRead::split(lines, b'\n') {
            let line = line?;
            if line.starts_with(b"{\"seal\":") && String::from_utf8_lossy(&line).contains(&text) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn text(found: &Verification) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _infallible = describe(&mut out, found);
    out
}

fn describe(out: &mut String, found: &Verification) -> std::fmt::Result {
    for Finding { path, line, seq, what } in &found.findings {
        writeln!(out, "{}:{line}: seq {seq}: {what}", path.display())?;
    }
    let told = found.findings.len() as u64;
    if found.wrong > told {
        writeln!(out, "… and {} more", found.wrong - told)?;
    }
    let files: Vec<_> = found.files.iter().map(|file| file.display().to_string()).collect();
    let span = match (found.first_seq, found.last_seq) {
        (Some(first), Some(last)) => format!("seq {first} to {last}"),
        _ => "empty".to_owned(),
    };
    writeln!(
        out,
        "{}: {} records, {span}, {} dropped by the host, {} seals",
        files.join(", "),
        found.records,
        found.lost,
        found.seals
    )?;
    match &found.trusted {
        Some(at) => writeln!(out, "trusted from: {}", seal(at))?,
        None => writeln!(out, "trusted from: nowhere; no seal fits its records")?,
    }
    if let Some(at) = &found.last_seal {
        writeln!(out, "last seal:    {}\n              {}", seal(at), at.seal.blake3)?;
    }
    if let Some((first, last)) = found.before {
        writeln!(out, "before seals: seq {first} to {last}, held by checksum and number only")?;
    }
    if let Some((first, last)) = found.unsealed {
        writeln!(out, "not sealed:   seq {first} to {last}, held by checksum and number only")?;
    }
    match found.wrong {
        0 => writeln!(out, "no problems"),
        count => writeln!(out, "problems: {count}"),
    }
}

fn seal(at: &SealAt) -> String {
    let (first, last) = (at.seal.first, at.seal.last);
    format!("seq {first}, by the seal of {first} to {last} at {}:{}", at.path.display(), at.line)
}

/// The same for programs.
#[derive(Serialize)]
struct Report {
    files: Vec<String>,
    records: u64,
    dropped: u64,
    seals: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    trusted_from: Option<Place>,
    last_seal: Option<Place>,
    before_seals: Option<(u64, u64)>,
    not_sealed: Option<(u64, u64)>,
    problems: u64,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Place {
    file: String,
    line: u64,
    first: u64,
    last: u64,
    blake3: String,
}

#[derive(Serialize)]
struct Found {
    file: String,
    line: u64,
    seq: u64,
    kind: &'static str,
    message: String,
}

impl Report {
    fn of(found: &Verification) -> Self {
        let place = |at: &SealAt| Place {
            file: at.path.display().to_string(),
            line: at.line,
            first: at.seal.first,
            last: at.seal.last,
            blake3: at.seal.blake3.to_string(),
        };
        let finding = |it: &Finding| Found {
            file: it.path.display().to_string(),
            line: it.line,
            seq: it.seq,
            kind: kind(&it.what),
            message: it.what.to_string(),
        };
        Self {
            files: found.files.iter().map(|file| file.display().to_string()).collect(),
            records: found.records,
            dropped: found.lost,
            seals: found.seals,
            first_seq: found.first_seq,
            last_seq: found.last_seq,
            trusted_from: found.trusted.as_ref().map(place),
            last_seal: found.last_seal.as_ref().map(place),
            before_seals: found.before,
            not_sealed: found.unsealed,
            problems: found.wrong,
            findings: found.findings.iter().map(finding).collect(),
        }
    }
}

fn kind(what: &Wrong) -> &'static str {
    match what {
        Wrong::Line(_) => "bad_line",
        Wrong::Missing { .. } => "missing",
        Wrong::OutOfOrder { .. } => "out_of_order",
        Wrong::NotAsSealed { .. } => "not_as_sealed",
        Wrong::OtherBlock { .. } => "other_block",
        Wrong::BrokenChain { .. } => "broken_chain",
        Wrong::NoSeal(_) => "no_seal",
        _ => "other",
    }
}
