//! Tests of one line: its content, and that every change of it is noticed.

use std::borrow::Cow;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Time;
use crate::audit::scan::{LineProblem, Verified, verify_line};
use crate::codec::Incoming;
use crate::codec::scan::scan;

fn time(mono_us: u64) -> Time {
    Time {
        mono: Duration::from_micros(mono_us),
        wall: Duration::from_micros(1_764_000_000_000_042 + mono_us),
    }
}

fn sample() -> AuditRecord<'static> {
    AuditRecord {
        accepted: time(1_000),
        started: time(1_250),
        ended: time(4_999),
        session_id: "5e55",
        req_id: "r-1",
        correlation_id: Some("c-1"),
        trace_id: None,
        kind: "tool/call/req",
        plugin: Some("tools"),
        agent_id: Some("agent"),
        principal: None,
        outcome: RecordOutcome::Error,
        error_code: Some("tool_denied"),
        input_bytes: 120,
        output_bytes: 80,
        detail: None,
    }
}

fn line(record: &AuditRecord<'_>, seq: u64) -> Vec<u8> {
    let (mut out, mut packed) = (Vec::new(), Vec::new());
    pack(&mut packed, record, record.session_id);
    assert!(packed.len() <= MAX_PACKED);
    let mut rest = packed.as_slice();
    let unpacked = Unpacked::take(&mut rest).unwrap();
    assert!(rest.is_empty());
    push_record(&mut out, &unpacked, seq);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

#[test]
fn r54_a_line_has_every_field_under_its_exact_name() {
    let line = String::from_utf8(line(&sample(), 7)).unwrap();
    let (body, crc) = line.split_at(line.len() - 18);
    assert_eq!(
        body,
        r#"{"ts":1764000000.005041,"session_id":"5e55","req_id":"r-1","correlation_id":"c-1","#
            .to_owned()
            + r#""success":false,"duration_ms":3,"error_code":"tool_denied","input_bytes":120,"#
            + r#""output_bytes":80,"seq":7,"mono_us":4999,"plugin":"tools","#
            + r#""type":"tool/call/req","agent_id":"agent","outcome":"error","queue_us":250,"#
            + r#""run_us":3749"#
    );
    assert_eq!(crc, format!(",\"crc\":\"{:08x}\"}}", crc32c::crc32c(body.as_bytes())));
}

#[test]
fn r55_every_outcome_is_recorded_and_only_ok_is_a_success() {
    for outcome in RecordOutcome::ALL {
        let record = AuditRecord { outcome, ..AuditRecord::at(time(1)) };
        let value: Value = serde_json::from_slice(&line(&record, 1)).unwrap();
        assert_eq!(value["outcome"], outcome.as_str());
        assert_eq!(value["success"], outcome == RecordOutcome::Ok);
        assert_eq!(value["plugin"], Value::Null);
        assert_eq!(value["error_code"], Value::Null);
    }
}

#[test]
fn without_a_correlation_id_the_request_id_stands_there() {
    let record = AuditRecord { correlation_id: None, ..sample() };
    let value: Value = serde_json::from_slice(&line(&record, 1)).unwrap();
    assert_eq!(value["correlation_id"], "r-1");
}

#[test]
fn r54_every_flipped_bit_of_a_line_is_noticed() {
    let mut gap = Vec::new();
    push_gap(&mut gap, &Gap { first: 3, last: 9, ended: time(5) }, "host", "No space left");
    gap.pop();
    for line in [line(&sample(), 4_711), gap] {
        assert!(verify_line(&line).is_ok());
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_line(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn r54_every_truncation_of_a_line_is_noticed() {
    let line = line(&sample(), 4_711);
    for length in 0..line.len() {
        assert!(verify_line(&line[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn r54_an_absurd_seq_is_refused_so_that_the_count_can_go_on() {
    assert_eq!(verify_line(&line(&sample(), u64::MAX)), Err(LineProblem::NoSeq));
}

#[test]
fn a_gap_line_names_its_stretch() {
    let mut out = Vec::new();
    push_gap(&mut out, &Gap { first: 3, last: 9, ended: time(5) }, "host", "disk \"full\"");
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["gap"]["lost"], 7);
    assert_eq!(value["gap"]["reason"], "disk \"full\"");
    out.pop();
    assert_eq!(verify_line(&out), Ok(Verified { first: 3, last: 9, is_gap: true, seal: None }));
}

proptest! {
    #[test]
    fn r54_any_text_is_one_ascii_line_that_reads_back(text in any::<String>(), seq in 1_u64..=1 << 53) {
        let record = AuditRecord {
            kind: &text, req_id: &text, session_id: &text, plugin: Some(&text),
            agent_id: Some(&text), principal: Some(&text), error_code: Some(&text), correlation_id: Some(&text),
            ..sample()
        };
        let line = line(&record, seq);
        prop_assert!(line.iter().all(|byte| (0x20..0x7f).contains(byte)));
        prop_assert!(line.len() < MAX_LINE);
        prop_assert_eq!(verify_line(&line), Ok(Verified { first: seq, last: seq, is_gap: false, seal: None }));
        let value: Value = serde_json::from_slice(&line).unwrap();
        for field in
            ["type", "req_id", "session_id", "plugin", "agent_id", "principal", "error_code"]
        {
            let read = value[field].as_str().unwrap();
            match read.strip_suffix('\u{2026}') {
                Some(head) if text.len() > 256 => prop_assert!(text.starts_with(head)),
                _ => prop_assert_eq!(read, &text),
            }
        }
    }
}

#[test]
fn lines_made_one_after_the_other_are_those_of_each_record_by_itself() {
    let long = "y".repeat(1_000);
    let mut detail = Detail::default();
    detail.note("path", "a\"b");
    let records = [
        AuditRecord::at(time(1)),
        sample(),
        sample(),
        AuditRecord { session_id: "", ..sample() },
        AuditRecord { outcome: RecordOutcome::Ok, error_code: None, ..sample() },
        AuditRecord { outcome: RecordOutcome::Panic, error_code: None, ..sample() },
        AuditRecord { plugin: None, agent_id: Some("tools"), ..sample() },
        AuditRecord { plugin: Some("tools"), agent_id: None, kind: &long, ..sample() },
        AuditRecord { correlation_id: None, req_id: &long, ..sample() },
        AuditRecord { detail: Some(&detail), ..sample() },
        AuditRecord { principal: Some("ci"), ..sample() },
    ];
    let (mut packed, mut alone) = (Vec::new(), Vec::new());
    let pairs = records.iter().flat_map(|first| records.iter().flat_map(move |it| [first, it]));
    for (seq, record) in pairs.enumerate() {
        pack(&mut packed, record, record.session_id);
        alone.extend(line(record, seq as u64));
        alone.push(b'\n');
    }
    let (mut together, mut seq) = (Vec::new(), 0);
    let mut rest = packed.as_slice();
    while let Some(record) = Unpacked::take(&mut rest) {
        push_record(&mut together, &record, seq);
        seq += 1;
    }
    assert_eq!(String::from_utf8(together).unwrap(), String::from_utf8(alone).unwrap());
}

/// What a line is told to say, as it is read back: subject and payload.
fn told(line: &str, fields: &[&'static str], with_payload: bool) -> (Value, Value) {
    let scanned = scan(line.as_bytes()).unwrap();
    let fields: Vec<_> = fields.iter().map(|field| Cow::Borrowed(*field)).collect();
    let detail = Detail::of(&fields, Incoming::of(&scanned), with_payload);
    let made = self::line(&AuditRecord { detail: detail.as_ref(), ..sample() }, 3);
    assert_eq!(verify_line(&made), Ok(Verified { first: 3, last: 3, is_gap: false, seal: None }));
    assert!(made.len() < MAX_LINE);
    let read: Value = serde_json::from_slice(&made).unwrap();
    assert_eq!(read["seq"], 3, "the record's own fields stay what they are");
    assert_eq!(read["type"], "tool/call/req");
    (read["subject"].clone(), read["payload"].clone())
}

#[test]
fn a_record_says_what_its_request_was_about() {
    let line = r#"{"type":"x","id":"7","name":"read_\u0066ile","n":5,"yes":true,"no":null,"o":{"path":"a\n\u00e9","t":1},"cmd":["sh","-c","a b",7],"seq":9,"auth_token":"abc"}"#;
    for (fields, subject) in [
        (&["name", "o.path"][..], json!({ "name": "read_file", "o.path": "a\né" })),
        (&["cmd"], json!({ "cmd": "sh -c 'a b' 7" })),
        (&["n", "yes", "no", "o", "absent", "o.absent", "n.x"], json!({ "n": "5", "yes": "true" })),
        // A name that a reader of the file might take for another field.
        (&["seq"], json!({ "seq": "9" })),
        (&["auth_token"], json!({ "auth_token": "***" })),
        (&["absent"], Value::Null),
        (&[], Value::Null),
    ] {
        assert_eq!(told(line, fields, false), (subject, Value::Null), "{fields:?}");
    }
    let (subject, payload) = told(line, &["n"], true);
    assert_eq!(subject, json!({ "n": "5" }));
    let payload: Value = serde_json::from_str(payload.as_str().unwrap()).unwrap();
    assert_eq!(payload["auth_token"], "***");
    assert_eq!(payload["o"]["path"], "a\né");
    assert!(payload.get("type").is_none() && payload.get("id").is_none(), "{payload}");
}

#[test]
fn a_subject_is_cut_and_hides_secrets() {
    let long = "é".repeat(5000);
    let line = json!({
        "cmd": ["curl", "-H", "Authorization: Bearer abc", "--token", "abc", "https://u:abc@h/", long],
        "path": long,
    });
    let (subject, payload) = told(&line.to_string(), &["cmd", "path"], true);
    assert!(!format!("{subject}{payload}").contains("abc"), "{subject}{payload}");
    let cmd = subject["cmd"].as_str().unwrap();
    assert!(cmd.starts_with("curl -H 'Authorization: ***' --token *** https://***@h/ é"), "{cmd}");
    assert!(cmd.ends_with("é\u{2026}") && cmd.len() <= 256 + 3, "{}", cmd.len());
    assert_eq!(subject["path"].as_str().unwrap().chars().count(), 129);
    assert!(payload.as_str().unwrap().ends_with('\u{2026}'), "{payload}");
    // A line that takes long to look through.
    let huge = json!({ "path": "p", "text": "x".repeat(70_000), "cmd": vec!["w"; 100_000] });
    let (subject, payload) = told(&huge.to_string(), &["path", "cmd"], true);
    assert_eq!((&subject["path"], subject["cmd"].as_str().unwrap().len()), (&json!("p"), 259));
    assert_eq!(payload, json!(format!("a line of {} bytes", huge.to_string().len())));
}

#[test]
fn what_a_handler_notes_stands_beside_it_and_is_bounded() {
    let mut detail = Detail::default();
    detail.note("namespace", "no \"tes\"\u{1F600}");
    detail.note("url", "https://u:abc@h");
    detail.note("api_key", "abc");
    for _ in 0..1000 {
        detail.note("more", &"\0".repeat(1000));
    }
    let line = line(&AuditRecord { detail: Some(&detail), ..sample() }, 1);
    let read: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(read["subject"]["namespace"], "no \"tes\"\u{1F600}");
    assert_eq!(read["subject"]["url"], "https://***@h");
    assert_eq!(read["subject"]["api_key"], "***");
    assert!(line.is_ascii() && line.len() < 8 * 1024, "{}", line.len());
    assert_eq!(serde_json::from_str::<Value>(&detail.subject()).unwrap(), read["subject"]);
}

#[test]
fn the_longest_possible_line_fits() {
    let text = "\0".repeat(100_000);
    let short = "\0".repeat(60_000 / 6);
    let message = json!({ "a": short }).to_string();
    let scanned = scan(message.as_bytes()).unwrap();
    let fields: Vec<_> = ["a", "a", "a", "a"].map(Cow::Borrowed).into();
    let detail = Detail::of(&fields, Incoming::of(&scanned), true);
    let record = AuditRecord {
        accepted: time(0),
        started: Time { mono: Duration::from_micros(u64::MAX), wall: Duration::MAX },
        ended: Time { mono: Duration::MAX, wall: Duration::MAX },
        kind: &text,
        req_id: &text,
        session_id: &text,
        plugin: Some(&text),
        agent_id: Some(&text),
        principal: Some(&text),
        error_code: Some(&text),
        correlation_id: Some(&text),
        trace_id: Some(&text),
        outcome: RecordOutcome::ClientGone,
        input_bytes: usize::MAX,
        output_bytes: usize::MAX,
        detail: detail.as_ref(),
    };
    let line = line(&record, 1 << 53);
    assert!(line.len() < MAX_LINE, "{}", line.len());
    assert!(verify_line(&line).is_ok());
    assert!(line.ends_with(b"\"}"), "wraps nowhere");
}

#[test]
fn a_trace_stands_before_the_subject() {
    let line = line(&AuditRecord { trace_id: Some("4bf9"), ..sample() }, 1);
    assert!(verify_line(&line).is_ok());
    let text = String::from_utf8(line).unwrap();
    assert!(text.contains(r#","run_us":3749,"trace_id":"4bf9","crc":""#), "{text}");
}
