//! Audit files: whatever stands in them is read without a panic, and no changed line is taken for sealed.
//!
//! An input is read as a file, once as it is and once with right checksums. Then it is a script of
//! changes to a good file, which must show unless they left every sealed line as it was.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use a2e_core::audit::{Scan, Verification, scan, verify, verify_line};
use tempfile::TempDir;

use crate::scratch;

/// A file that a log wrote: several seals, and records behind the last one.
pub const GOOD: &[u8] = include_bytes!("../data/audit.jsonl");

/// Reads the input as an audit file and as changes to a good one.
pub fn run(data: &[u8]) {
    read(data);
    read(&with_checksums(data));
    let changed = change(GOOD, data);
    trust(&changed);
    trust(&with_checksums(&changed));
}

/// What both readers say of these bytes.
fn read(bytes: &[u8]) -> (Scan, Verification) {
    static FILE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = scratch::folder();
        let file = folder.path().join("audit.jsonl");
        (folder, file)
    });
    fs::write(&FILE.1, bytes).expect("the scratch folder can be written");
    let scan = scan(&FILE.1).expect("the file can be read");
    let found = verify(&FILE.1).expect("the file can be read");
    assert_eq!((scan.records, scan.lost, scan.seals), (found.records, found.lost, found.seals));
    assert_eq!(scan.first_seq, found.first_seq);
    assert!(found.last_seq >= scan.last_seq, "the highest, and the last");
    assert_eq!(found.findings.len() as u64, found.wrong.min(Scan::MAX_FOUND as u64));
    assert!(scan.is_clean() || found.wrong > 0, "what a scan sees, the check sees");
    for finding in &found.findings {
        assert!(!finding.what.to_string().is_empty());
    }
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter(|it| it.ends_with(b"\n"));
    let good = whole.filter(|line| verify_line(&line[..line.len() - 1]).is_ok()).count();
    assert!(scan.records + scan.seals <= good as u64 && found.trusted.is_some() <= (good > 1));
    (scan, found)
}

/// Where nothing is found wrong, the lines from the first sealed one to the last seal are as a log
/// wrote them, one after the other.
fn trust(bytes: &[u8]) {
    let (_, found) = read(bytes);
    if found.wrong > 0 || found.seals == 0 {
        return;
    }
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let last = found.last_seal.expect("there are seals").line;
    lines.truncate(usize::try_from(last).expect("few"));
    if let Some((_, before)) = found.before {
        let is_before = |line: &&&[u8]| {
            let record = verify_line(line.strip_suffix(b"\n").unwrap_or(line));
            record.is_ok_and(|it| it.seal.is_none() && it.last <= before)
        };
        lines.drain(..lines.iter().take_while(is_before).count());
    }
    let good: Vec<&[u8]> = GOOD.split_inclusive(|byte| *byte == b'\n').collect();
    let is_run = good.windows(lines.len().max(1)).any(|run| run == lines);
    assert!(is_run, "trusted: {}", String::from_utf8_lossy(bytes));
}

/// Applies the script: each step is a kind, a place of two bytes, a length, and what the kind needs.
fn change(good: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let mut steps = script;
    while let Some((&[kind, high, low, length], rest)) = steps.split_first_chunk::<4>() {
        steps = rest;
        if bytes.len() > 4 * good.len() {
            // Steps that double lines must not do so for ever.
            break;
        }
        let place = usize::from(u16::from_be_bytes([high, low]));
        let length = usize::from(length);
        if kind % 8 < 4 {
            bytes_step(&mut bytes, kind, place, length, &mut steps);
        } else {
            lines_step(&mut bytes, kind, place, length);
        }
    }
    bytes
}

fn bytes_step(bytes: &mut Vec<u8>, kind: u8, place: usize, length: usize, steps: &mut &[u8]) {
    let place = place.min(bytes.len());
    let length = length.min(bytes.len() - place);
    let new = steps.len().min(length);
    match kind % 8 {
        0 => drop(bytes.drain(place..place + length)),
        1 => drop(bytes.splice(place..place + new, steps[..new].iter().copied())),
        2 => drop(bytes.splice(place..place, steps[..new].iter().copied())),
        _ => bytes.truncate(place),
    }
    if matches!(kind % 8, 1 | 2) {
        *steps = &steps[new..];
    }
}

fn lines_step(bytes: &mut Vec<u8>, kind: u8, place: usize, length: usize) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let (from, to) = (place % lines.len().max(1), length % lines.len().max(1));
    if lines.is_empty() {
        return;
    }
    match kind % 8 {
        4 => drop(lines.remove(from)),
        5 => lines.insert(to, lines[from]),
        6 => lines.swap(from, to),
        _ => drop(lines.drain(from.min(to)..from.max(to))),
    }
    *bytes = lines.concat();
}

/// Gives each line that ends as ours do the checksum that fits it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let end = line.len() - usize::from(line.ends_with(b"\n"));
        let body = end.checked_sub(18).filter(|at| line[*at..].starts_with(b",\"crc\":\""));
        match body {
            Some(body) => {
                out.extend_from_slice(&line[..body]);
                let crc = crc32c::crc32c(&line[..body]);
                out.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}").as_bytes());
                out.extend_from_slice(&line[end..]);
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}
