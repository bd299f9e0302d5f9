//! `a2e audit tail|verify|stats` on the files of a real host.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use a2e_core::Time;
use a2e_core::audit::{AuditConfig, AuditLog, AuditRecord, Outcome};
use serde_json::{Value, json};

use crate::process::support::program::{Host, Place, a2e, outcome};

const CONFIG: &str = "
audit: {enabled: true, path: \"{}/audit.jsonl\"}
plugins: [{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}]
";

/// A place where a host has served some requests.
fn served() -> (Place, String) {
    let place = Place::new();
    let config = place.config(CONFIG);
    let (host, mut wire) = Host::stdio(&["-c", &config]);
    wire.handshake("Ada");
    for n in 0..30 {
        wire.tool("echo", json!({ "n": n }));
    }
    wire.tool("fail", json!({ "message": "as asked" }));
    wire.call("no/such/req", json!({}));
    host.stop();
    let file = place.text("audit.jsonl");
    (place, file)
}

/// A log of this many records in files of 20 kB; the oldest ones may be gone.
fn rotated(records: u64) -> (Place, PathBuf) {
    let place = Place::new();
    let path = place.path("audit.jsonl");
    let config = AuditConfig { max_bytes: 20_000, backup_count: 3, ..AuditConfig::new(&path) };
    let log = AuditLog::open(config).unwrap();
    for n in 0..records {
        let now = Time::default();
        let outcome = Outcome::ALL[usize::try_from(n % 7).unwrap()];
        log.append(&AuditRecord { kind: "x/req", outcome, ..AuditRecord::at(now) });
        log.commit();
    }
    drop(log);
    (place, path)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn help_has_examples_and_fits() {
    for command in ["tail", "verify", "stats"] {
        let (code, stdout, stderr) = outcome(&mut a2e(&["audit", command, "--help"]));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
        assert!(stdout.contains(&format!("a2e audit {command} audit.jsonl")), "{stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 100), "{command}: {stdout}");
    }
    for args in [&["audit"][..], &["audit", "verify"], &["audit", "verify", "x", "--seal", "zz"]] {
        let (code, stdout, _) = outcome(&mut a2e(args));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
    }
    for command in ["tail", "verify", "stats"] {
        let (code, _, stderr) = outcome(&mut a2e(&["audit", command, "/no/such/file"]));
        assert_eq!(code, Some(1));
        assert!(stderr.contains("/no/such/file"), "{stderr}");
    }
}

#[test]
fn r54_verify_says_that_all_is_well_and_what_it_rests_on() {
    let (_place, file) = served();
    let (code, stdout, stderr) = outcome(&mut a2e(&["audit", "verify", &file]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("32 records, seq 1 to 32"), "{stdout}");
    assert!(stdout.contains("trusted from: seq 1, by the seal of 1 to "), "{stdout}");
    assert!(stdout.ends_with("no problems\n"), "{stdout}");
    let (code, stdout, _) = outcome(&mut a2e(&["audit", "verify", &file, "--json"]));
    assert_eq!(code, Some(0));
    let report = json_of(&stdout);
    assert_eq!((&report["problems"], &report["not_sealed"]), (&json!(0), &Value::Null));
    // A seal that was noted is still there; another is not.
    let seal = report["last_seal"]["blake3"].as_str().unwrap();
    let (code, ..) = outcome(&mut a2e(&["audit", "verify", &file, "--seal", seal]));
    assert_eq!(code, Some(0));
    let other = "0123456789abcdef".repeat(4);
    let (code, _, stderr) = outcome(&mut a2e(&["audit", "verify", &file, "--seal", &other]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&other), "{stderr}");
}

#[test]
fn r54_verify_names_file_line_and_seq_of_what_is_wrong() {
    let (place, file) = served();
    let whole = fs::read_to_string(&file).unwrap();
    let at = whole.lines().position(|line| line.contains("\"seq\":7,")).unwrap() + 1;
    let removed: String =
        whole.lines().filter(|it| !it.contains("\"seq\":7,")).map(|it| format!("{it}\n")).collect();
    let unsealed = whole[..whole.rfind("{\"seal\"").unwrap()].to_owned();
    for (text, expected, code) in [
        (whole.replacen("\"seq\":7,", "\"seq\":6,", 1), format!("{file}:{at}: seq 7: "), 1),
        (removed, format!("{file}:{at}: seq 7: record 7 is missing"), 1),
        (whole.clone() + "{\"ts\":1", format!("{file}:{}: seq 33: ", whole.lines().count() + 1), 1),
        (unsealed, "held by checksum and number only".to_owned(), 0),
    ] {
        fs::write(&file, text).unwrap();
        let (found, stdout, stderr) = outcome(&mut a2e(&["audit", "verify", &file]));
        assert_eq!((found, stderr.as_str()), (Some(code), ""), "{stdout}");
        assert!(stdout.contains(&expected), "{expected}: {stdout}");
    }
    drop(place);
}

#[test]
fn r54_verify_follows_rotated_files_and_names_the_first_seal_it_trusts() {
    let (_place, path) = rotated(1_000);
    let file = path.to_str().unwrap();
    let (code, stdout, _) = outcome(&mut a2e(&["audit", "verify", file]));
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains(&format!("{file}.3, {file}.2, {file}.1, {file}: ")), "{stdout}");
    let trusted = stdout.lines().find(|line| line.starts_with("trusted from: ")).unwrap();
    assert!(trusted.contains(&format!("at {file}.3:")), "{trusted}");
    assert!(!trusted.contains("seq 1,"), "the first ones are gone: {trusted}");
}

#[test]
fn stats_count_types_and_outcomes() {
    let (_place, file) = served();
    let (code, stdout, _) = outcome(&mut a2e(&["audit", "stats", &file, "--json"]));
    assert_eq!(code, Some(0));
    let report = json_of(&stdout);
    let calls = &report["types"]["tool/call/req"];
    assert_eq!(calls["count"], 31);
    assert_eq!(calls["outcomes"], json!({ "ok": 30, "error": 1 }), "{calls}");
    assert_eq!(report["types"]["no/such/req"]["outcomes"], json!({ "refused": 1 }));
    assert!(calls["run_us"]["p50"].as_u64() <= calls["run_us"]["max"].as_u64());
    assert!(calls["input_bytes"].as_u64() > Some(1000));
    let counted = calls["run_histogram"].as_array().unwrap().iter();
    assert_eq!(counted.map(|range| range[2].as_u64().unwrap()).sum::<u64>(), 31);
    let (code, stdout, _) = outcome(&mut a2e(&["audit", "stats", &file]));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("32 records, 0 dropped by the host, 0 unreadable lines\n"));
    assert!(stdout.contains("tool/call/req: 31 ("), "{stdout}");
    assert!(stdout.contains('#') && stdout.is_ascii(), "no terminal, so plain: {stdout}");
}

#[test]
fn stats_survive_what_is_no_audit_file() {
    let place = Place::new();
    let path = place.path("noise");
    let noise: Vec<u8> = (0..20_000_u32).map(|n| (n * n % 251) as u8).collect();
    let many = (0..3_000).map(|n| {
        format!("{{\"type\":\"t{n}\",\"outcome\":\"o{n}\",\"queue_us\":1,\"run_us\":18446744073709551615,\"input_bytes\":18446744073709551615,\"output_bytes\":1}}\n")
    });
    let text = [noise, b"\n".to_vec(), many.collect::<String>().into_bytes()].concat();
    fs::write(&path, text).unwrap();
    let (code, stdout, _) =
        outcome(&mut a2e(&["audit", "stats", path.to_str().unwrap(), "--json"]));
    assert_eq!(code, Some(0));
    let report = json_of(&stdout);
    assert!(report["unreadable"].as_u64() > Some(0));
    assert_eq!(report["types"].as_object().unwrap().len(), 1_001, "bounded");
    assert_eq!(report["types"]["(other types)"]["count"], 2_000);
}

#[test]
fn tail_shows_the_last_records_for_people_or_as_they_are() {
    let (_place, file) = served();
    let (code, stdout, _) = outcome(&mut a2e(&["audit", "tail", &file, "-n", "3"]));
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}");
    assert!(stdout.contains("refused unknown_type") && stdout.contains("no/such/req"), "{stdout}");
    assert!(stdout.contains("agent Ada"), "{stdout}");
    let (_, stdout, _) = outcome(&mut a2e(&["audit", "tail", &file, "-n", "2", "--json"]));
    let seqs: Vec<_> = stdout.lines().map(|line| json_of(line)["seq"].clone()).collect();
    assert_eq!(seqs, [31, 32]);
}

#[test]
fn tail_follows_over_rotations_and_misses_nothing() {
    let place = Place::new();
    let path = place.path("audit.jsonl");
    let config = AuditConfig { max_bytes: 20_000, backup_count: 50, ..AuditConfig::new(&path) };
    let log = AuditLog::open(config).unwrap();
    let write = |count: u64| {
        for _ in 0..count {
            log.append(&AuditRecord { kind: "x/req", ..AuditRecord::at(Time::default()) });
        }
        assert!(log.commit());
    };
    write(5);
    let args = ["audit", "tail", path.to_str().unwrap(), "-f", "--json", "-n", "2"];
    let mut child = a2e(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || json_of(&lines.next().unwrap().unwrap())["seq"].as_u64().unwrap();
    assert_eq!([next(), next()], [4, 5]);
    let mut expected = 6;
    for _ in 0..10 {
        // Several files at a time.
        write(200);
        for _ in 0..200 {
            assert_eq!(next(), expected);
            expected += 1;
        }
    }
    assert!(log.status().rotations >= 20);
    child.kill().unwrap();
    child.wait().unwrap();
}
