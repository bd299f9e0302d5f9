//! Seals and `verify`: whatever is done to the files is noticed, and where.

use std::fs;
use std::path::Path;

use a2e_core::audit::{
    AuditConfig, AuditLog, Digest, LineProblem, Verification, Wrong, rotated_files, scan, verify,
};

use crate::{at, beside, folder, open, write};

/// A file of some blocks of 25 records, the last records without a seal.
fn sealed(path: &Path, records: u64) -> Vec<String> {
    let log = open(path);
    for block in 0..records / 25 {
        for record in 0..25 {
            log.append(&at(block * 25 + record));
        }
        assert!(log.commit_now(), "seals it");
    }
    drop(log);
    lines(path)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

fn is_seal(line: &str) -> bool {
    line.starts_with("{\"seal\":")
}

fn clean(path: &Path) -> Verification {
    let found = verify(path).unwrap();
    assert_eq!(found.findings, [], "{}", path.display());
    found
}

#[test]
fn r54_every_record_is_sealed_within_a_moment_and_chained_over_restarts() {
    let (_folder, path) = folder();
    for life in 0..3 {
        let log = open(&path);
        let before = log.status().seals;
        write(&log, 10);
        for _ in 0..3000 {
            if log.status().seals > before {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(log.status().seals > before, "no timer sealed it in life {life}");
    }
    let found = clean(&path);
    assert_eq!((found.records, found.unsealed), (30, None));
    assert!(found.seals >= 3);
    let trusted = found.trusted.unwrap();
    assert_eq!((trusted.seal.first, trusted.seal.prev), (1, Digest::NONE));
    assert_eq!(found.last_seal.unwrap().seal.last, 30);
}

#[test]
fn r54_what_a_killed_host_left_unsealed_is_sealed_by_the_next() {
    let (_folder, path) = folder();
    let whole = sealed(&path, 75);
    // As kill -9 leaves it: the last seal is not there, and a line is torn.
    let mut left = whole[..whole.len() - 1].to_vec();
    left.push("{\"ts\":17640".to_owned());
    fs::write(&path, left.join("\n")).unwrap();
    let found = verify(&path).unwrap();
    assert_eq!(found.unsealed, Some((51, 75)));
    assert_eq!(found.findings[0].what, Wrong::Line(LineProblem::Torn));
    write(&open(&path), 1);
    let found = clean(&path);
    assert_eq!((found.records, found.unsealed), (76, None));
}

#[test]
fn r54_a_chain_goes_on_behind_a_file_without_seals() {
    let (_folder, path) = folder();
    let mut plain = sealed(&path, 50);
    plain.retain(|line| !is_seal(line));
    put(&path, &plain);
    let found = clean(&path);
    assert_eq!((found.seals, found.unsealed), (0, Some((1, 50))));
    write(&open(&path), 1);
    assert_eq!(clean(&path).unsealed, None);
}

#[test]
fn r54_a_flipped_bit_anywhere_is_found_at_its_line() {
    let (_folder, path) = folder();
    sealed(&path, if cfg!(debug_assertions) { 150 } else { 1_000 });
    let whole = fs::read(&path).unwrap();
    let step = if cfg!(debug_assertions) { 97 } else { 29 };
    for place in (0..whole.len()).step_by(step) {
        let bit = place % 8;
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << bit;
        fs::write(&path, &flipped).unwrap();
        let found = verify(&path).unwrap();
        let line = 1 + memchr::memchr_iter(b'\n', &whole[..place]).count() as u64;
        let first = found.findings.first().unwrap_or_else(|| panic!("bit {bit} of byte {place}"));
        assert_eq!(first.line, line, "bit {bit} of byte {place}: {first:?}");
    }
}

#[test]
fn r54_a_removed_line_anywhere_but_at_the_end_is_found() {
    let (_folder, path) = folder();
    let whole = sealed(&path, if cfg!(debug_assertions) { 150 } else { 1_000 });
    for place in 0..whole.len() - 1 {
        let mut rest = whole.clone();
        let gone = rest.remove(place);
        put(&path, &rest);
        let found = verify(&path).unwrap();
        let first = found.findings.first().unwrap_or_else(|| panic!("line {place}: {gone}"));
        if is_seal(&gone) {
            // Noticed at the next seal, which names another one before it.
            assert!(is_seal(&rest[usize::try_from(first.line).unwrap() - 1]), "{first:?}");
        } else if place > 0 && !is_seal(&whole[place + 1]) {
            assert_eq!(first.line, place as u64 + 1, "{first:?}");
        }
    }
}

/// A change to the lines of a file.
type Change<'a> = &'a dyn Fn(&mut Vec<String>);

#[test]
fn r54_lines_that_are_moved_doubled_or_replaced_are_found() {
    let (_folder, path) = folder();
    let whole = sealed(&path, 100);
    let changes: [(&str, Change<'_>); 10] = [
        ("swapped", &|it| it.swap(30, 31)),
        ("swapped over a seal", &|it| it.swap(24, 26)),
        ("doubled", &|it| it.insert(40, it[40].clone())),
        ("doubled at the end", &|it| it.push(it[98].clone())),
        ("a whole block", &|it| drop(it.drain(26..52))),
        ("the first block", &|it| drop(it.drain(1..26))),
        ("a seal", &|it| drop(it.remove(51))),
        ("the first seal", &|it| drop(it.remove(25))),
        ("a seal doubled", &|it| it.insert(52, it[51].clone())),
        ("two blocks swapped", &|it| it[26..78].rotate_left(26)),
    ];
    for (what, change) in changes {
        let mut lines = whole.clone();
        change(&mut lines);
        put(&path, &lines);
        let found = verify(&path).unwrap();
        assert!(found.wrong > 0, "{what}");
    }
}

#[test]
fn r54_a_line_that_is_changed_with_its_checksum_is_found_by_the_seal() {
    let (_folder, path) = folder();
    let mut changed = sealed(&path, 100);
    let (body, _) = changed[30].split_at(changed[30].len() - 18);
    let body = body.replace("demo/echo", "demo/evil");
    changed[30] = format!("{body},\"crc\":\"{:08x}\"}}", crc32c::crc32c(body.as_bytes()));
    put(&path, &changed);
    assert!(scan(&path).unwrap().is_clean(), "checksum and seq are right");
    let found = verify(&path).unwrap();
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].what, Wrong::NotAsSealed { first: 26, last: 50 });
    assert_eq!(found.findings[0].line, 52);
}

#[test]
fn r54_a_file_cut_short_is_trusted_to_its_last_seal() {
    let (_folder, path) = folder();
    let whole = sealed(&path, 100);
    put(&path, &whole[..80]);
    let found = clean(&path);
    let last = found.last_seal.unwrap();
    assert_eq!((last.line, last.seal.last), (78, 75));
    assert_eq!(found.unsealed, Some((76, 77)), "and what follows is told");
}

#[test]
fn r54_each_rotated_file_ends_with_its_seal_and_can_be_trusted_alone() {
    let (_folder, path) = folder();
    let config = || AuditConfig { max_bytes: 5_000, backup_count: 4, ..AuditConfig::new(&path) };
    for _ in 0..3 {
        let log = AuditLog::open(config()).unwrap();
        for _ in 0..20 {
            write(&log, 3);
        }
    }
    let files = rotated_files(&path);
    assert_eq!(files.len(), 5);
    assert_eq!((&files[0], &files[4]), (&beside(&path, "4"), &path));
    for file in &files {
        assert!(is_seal(lines(file).last().unwrap()), "{}", file.display());
        assert!(fs::metadata(file).unwrap().len() <= 5_000);
        let alone = a2e_core::audit::verify_files(vec![file.clone()]).unwrap();
        assert_eq!((&*alone.findings, alone.unsealed), (&[][..], None));
    }
    let found = clean(&path);
    let trusted = found.trusted.unwrap();
    assert_eq!(trusted.path, files[0], "older ones are gone, and that harms no block");
    assert_eq!(Some(trusted.seal.first), found.first_seq);
    assert_eq!(found.last_seq, Some(180));
    // One in the middle is removed, and the first line of the oldest.
    fs::rename(&files[2], path.with_file_name("elsewhere")).unwrap();
    assert!(verify(&path).unwrap().files.len() < 5, "it is not taken for an older file");
    fs::rename(path.with_file_name("elsewhere"), &files[2]).unwrap();
    put(&files[0], &lines(&files[0])[1..]);
    assert_eq!(
        verify(&path).unwrap().findings[0].line,
        lines(&files[0]).iter().position(|it| is_seal(it)).unwrap() as u64 + 1
    );
}

#[test]
fn r54_a_file_beside_is_not_taken_for_a_rotated_one() {
    let (_folder, path) = folder();
    write(&open(&path), 5);
    fs::rename(&path, beside(&path, "1")).unwrap();
    write(&open(&path), 5);
    let (_other, beside_it) = folder();
    write(&open(&beside_it), 5);
    fs::copy(&beside_it, beside(&path, "3")).unwrap();
    assert_eq!(rotated_files(&path), [beside(&path, "1"), path.clone()]);
    clean(&path);
}

#[test]
fn a_file_that_is_moved_while_in_use_ends_with_its_seal() {
    let (_folder, path) = folder();
    let log = open(&path);
    write(&log, 5);
    fs::rename(&path, beside(&path, "moved")).unwrap();
    write(&log, 5);
    for _ in 0..300 {
        if path.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    write(&log, 5);
    drop(log);
    let files = [beside(&path, "moved"), path].map(|file| clean(&file));
    assert_eq!(files.iter().map(|it| it.records).sum::<u64>(), 15);
    assert!(files.iter().all(|it| it.records >= 5 && it.unsealed.is_none()));
    assert_eq!(files[1].first_seq, files[0].last_seq.map(|last| last + 1));
}
