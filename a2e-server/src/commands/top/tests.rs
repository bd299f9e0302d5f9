//! The model and the screen, from data: what is shown, sorted, marked, asked.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use a2e_core::protocol::host::HostStatus;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::cell::Cell;
use super::draw;
use super::host::{Command, News};
use super::keys::{self, Deed};
use super::model::Model;
use super::rows::View;

fn status(value: Value) -> HostStatus {
    serde_json::from_value(value).unwrap()
}

/// A host with something in each table.
fn busy(uptime: f64, calls: u64) -> HostStatus {
    status(json!({
        "host_id": "h1", "program": "0.1.0", "uptime_seconds": uptime, "generation": 2,
        "sessions": 2, "in_flight": 3, "waiting": 1, "children": 1, "audit": "write",
        "plugins": [
            { "name": "alpha", "health": "serving", "calls": calls, "queued": 1, "breaker": "closed" },
            { "name": "beta", "health": "resting", "calls": 7, "reason": "it failed", "breaker": "open" },
        ],
        "types": [{
            "message_type": "tool/call/req", "outcomes": { "ok": calls, "error": 2 },
            "input_bytes": calls * 2048, "output_bytes": 0,
            "queue": { "p50_us": 50, "p99_us": 2500 }, "run": { "p50_us": 1000, "p99_us": 5_000_000 },
        }],
        "busiest": [
            { "session_id": "s1", "agent_id": "ada", "peer": "unix", "unsent_bytes": 3000, "in_flight": [
                { "req_id": "q1", "message_type": "tool/call/req", "plugin": "alpha", "age_seconds": 2.5 },
                { "req_id": "q2", "message_type": "tool/call/req", "plugin": "beta", "age_seconds": 75.0 },
            ] },
            { "session_id": "s2", "agent_id": "bob", "in_flight": [
                { "req_id": "q1", "message_type": "memory/store/req", "plugin": "beta", "age_seconds": 0.1 },
            ] },
        ],
        "processes": [{ "pid": 4711, "program": "sh", "since": 1.5, "state": "running", "stderr": ["a", "b"] }],
        "counters": { "late_answers": 4 },
    }))
}

fn column(model: &Model, place: usize) -> Vec<String> {
    model.rows().iter().map(|row| row.cells[place].show()).collect()
}

fn press(model: &mut Model, code: KeyCode) -> Deed {
    keys::take(model, &Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn typed(model: &mut Model, text: &str) -> Deed {
    text.chars().map(|key| press(model, KeyCode::Char(key))).last().unwrap()
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn values_are_shown_short() {
    for (cell, shown) in [
        (Cell::Count(12), "12"),
        (Cell::Rate(None), "-"),
        (Cell::Rate(Some(2.04)), "2.0"),
        (Cell::Micros(999), "999us"),
        (Cell::Micros(2_500), "2.5ms"),
        (Cell::Micros(u64::MAX), "18446744073709.6s"),
        (Cell::Seconds(-1.0), "0.0s"),
        (Cell::Seconds(f64::NAN), "0.0s"),
        (Cell::Seconds(59.94), "59.9s"),
        (Cell::Seconds(245.0), "4m05s"),
        (Cell::Seconds(11_220.0), "3h07m"),
        (Cell::Seconds(90_000.0), "1d01h"),
        (Cell::Bytes(1023), "1023B"),
        (Cell::Bytes(1536), "1.5K"),
        (Cell::Bytes(3 << 20), "3.0M"),
        (Cell::text("a\u{1b}[2Jb\nc"), "a?[2Jb?c"),
    ] {
        assert_eq!(cell.show(), shown);
    }
    assert_eq!(Cell::text(&"x".repeat(500)).show().chars().count(), 121);
}

#[test]
fn rates_come_from_two_looks_at_the_same_host() {
    let rates = |second: HostStatus| {
        let mut model = Model::new(busy(10.0, 100));
        press(&mut model, KeyCode::Char('3'));
        assert_eq!(column(&model, 2), ["-", "-"], "one look gives none");
        model.take(News::Status(Box::new(second)));
        column(&model, 2)
    };
    assert_eq!(rates(busy(12.0, 130)), ["15.0", "0.0"]);
    assert_eq!(rates(busy(12.0, 90)), ["0.0", "0.0"], "a plugin that was built anew counts from 0");
    assert_eq!(rates(busy(10.0, 130)), ["-", "-"], "no time went by");
    let mut other = busy(12.0, 130);
    other.host_id = "h2".to_owned();
    assert_eq!(rates(other), ["-", "-"], "a host that was started again");
    let mut model = Model::new(status(json!({ "host_id": "h1", "uptime_seconds": 10.0 })));
    model.take(News::Status(Box::new(busy(12.0, 30))));
    press(&mut model, KeyCode::Char('4'));
    let row = &model.rows()[0].cells;
    let shown: Vec<String> = row.iter().map(Cell::show).collect();
    let expected =
        ["16.0", "32", "2", "50us", "2.5ms", "1.0ms", "5.0s", "30.0K", "0B", "tool/call/req"];
    assert_eq!(shown, expected);
}

#[test]
fn keys_choose_the_table_and_its_order() {
    let mut model = Model::new(busy(10.0, 1));
    assert_eq!(
        (model.view(), column(&model, 0)),
        (View::Calls, vec!["1m15s".into(), "2.5s".into(), "0.1s".into()])
    );
    typed(&mut model, "r");
    assert_eq!(column(&model, 3), ["q1", "q1", "q2"], "the youngest first");
    typed(&mut model, "rs");
    assert_eq!(column(&model, 1), ["tool/call/req", "tool/call/req", "memory/store/req"]);
    typed(&mut model, "SS");
    assert_eq!(column(&model, 5), ["s2", "s1", "s1"], "before the first column comes the last");
    for (key, view) in [
        (KeyCode::Tab, View::Sessions),
        (KeyCode::BackTab, View::Calls),
        (KeyCode::Left, View::Counters),
        (KeyCode::Right, View::Calls),
        (KeyCode::Char('5'), View::Children),
        (KeyCode::Char('9'), View::Children),
        (KeyCode::F(5), View::Children),
    ] {
        assert_eq!((press(&mut model, key), model.view()), (Deed::Draw, view), "{key:?}");
    }
    typed(&mut model, "1");
    assert_eq!(column(&model, 5), ["s2", "s1", "s1"], "each table keeps its order");
}

#[test]
fn the_mark_stays_on_its_call() {
    let mut model = Model::new(busy(10.0, 1));
    for (key, marked) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::End, 2),
        (KeyCode::Down, 2),
        (KeyCode::PageUp, 0),
        (KeyCode::PageDown, 2),
        (KeyCode::Home, 0),
    ] {
        press(&mut model, key);
        assert_eq!(model.marked(), marked, "{key:?}");
    }
    typed(&mut model, "r");
    assert_eq!((model.marked(), column(&model, 3)[2].as_str()), (2, "q2"), "sorted the other way");
    let mut fewer = busy(11.0, 1);
    fewer.busiest[0].in_flight.remove(1);
    model.take(News::Status(Box::new(fewer)));
    assert_eq!(model.marked(), 1, "its call is gone: the nearest row");
    model.take(News::Status(Box::new(status(json!({})))));
    assert_eq!((model.marked(), model.rows().len()), (0, 0));
}

#[test]
fn a_cancel_and_a_rebuild_are_asked_for_and_confirmed() {
    let cancel = Command::Cancel { session_id: "s1".into(), req_id: "q2".into() };
    let rebuild = Command::Rebuild("beta".into());
    for (keys, deed) in [
        ("cy", Deed::Send(cancel.clone())),
        ("cY", Deed::Send(cancel)),
        ("cn", Deed::Draw),
        ("cq", Deed::Draw),
        ("cny", Deed::Draw),
        ("by", Deed::Draw),
        ("3cy", Deed::Draw),
        ("3jby", Deed::Send(rebuild)),
        ("3jbc", Deed::Draw),
        ("q", Deed::Quit),
    ] {
        let mut model = Model::new(busy(10.0, 1));
        assert_eq!(typed(&mut model, keys), deed, "{keys}");
        assert!(model.asked().is_none(), "{keys}");
    }
    let mut model = Model::new(busy(10.0, 1));
    typed(&mut model, "c");
    // The call is asked about that was marked, whatever stands there by now.
    model.take(News::Status(Box::new(status(json!({})))));
    assert!(screen(&model, 80, 24).contains("(y/n) cancel q2 of session s1?"));
    assert_eq!(press(&mut model, KeyCode::Esc), Deed::Draw, "Esc ends the question only");
    assert_eq!(press(&mut model, KeyCode::Esc), Deed::Quit);
    let end = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(keys::take(&mut model, &end), Deed::Quit);
    assert_eq!(typed(&mut model, "c"), Deed::Draw);
    assert!(screen(&model, 80, 24).contains("mark a call first"));
}

#[test]
fn the_screen_shows_the_tables() {
    let mut model = Model::new(busy(75.0, 100));
    for (key, texts) in [
        (
            '1',
            &["h1  up 1m15s  sessions 2  in flight 3  waiting 1", "AGE▼", "1m15s tool/call/req"][..],
        ),
        ('2', &["2  1m15s   2.9K ada", "OLDEST"]),
        ('3', &["alpha   serving", "it failed", "PLUGIN▲"]),
        ('4', &["2.5ms", "tool/call/req", "RUN99"]),
        ('5', &["4711 sh", "running", " b "]),
        ('6', &["4 late_answers", "q quit"]),
    ] {
        typed(&mut model, &key.to_string());
        let screen = screen(&model, 110, 24);
        for text in texts {
            assert!(screen.contains(text), "`{text}` is not on {key}:\n{screen}");
        }
    }
}

#[test]
fn a_host_that_is_away_is_shown_with_the_reason_until_it_answers() {
    let mut model = Model::new(busy(75.0, 100));
    for height in [5, 24] {
        model.take(News::Away("the host closed\nthe connection".into()));
        let away = screen(&model, 80, height);
        assert!(away.contains("no answer: the host closed?the connection"), "{away}");
        assert!(away.contains("q2"), "the last look stays: {away}");
        model.take(News::Status(Box::new(busy(76.0, 100))));
        assert!(!screen(&model, 80, height).contains("no answer"));
    }
    model.take(News::Done("cancelled q2".into()));
    assert!(screen(&model, 80, 24).contains("cancelled q2"));
    typed(&mut model, "j");
    assert!(!screen(&model, 80, 24).contains("cancelled q2"));
}

#[test]
fn any_status_fits_any_terminal() {
    let name = "ñ名\u{1b}]0;x\u{7}".repeat(100);
    let mut odd = busy(1e300, u64::MAX / 4096);
    odd.host_id.clone_from(&name);
    odd.trouble = Some(name.clone());
    odd.plugins[0].name.clone_from(&name);
    odd.busiest[0].session_id.clone_from(&name);
    odd.busiest[0].in_flight[0].req_id.clone_from(&name);
    odd.busiest[1].in_flight[0].age_seconds = f64::INFINITY;
    let mut many = busy(1.0, 1);
    many.busiest[0].in_flight = vec![many.busiest[0].in_flight[0].clone(); 1000];
    for it in [status(json!({})), busy(5.0, 5), odd, many] {
        let mut model = Model::new(it.clone());
        model.take(News::Status(Box::new(it)));
        model.take(News::Done(name.clone()));
        for view in '1'..='6' {
            for keys in ["", "c", "b"] {
                typed(&mut model, &format!("n{view}{keys}"));
                press(&mut model, KeyCode::End);
                for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
                    screen(&model, width, height);
                }
            }
        }
        let text = draw::text(&model);
        assert!(text.chars().all(|it| it == '\n' || !it.is_control()), "{text}");
    }
    let model = Model::new(status(json!({})));
    assert!(screen(&model, 20, 5).contains("no calls"));
}

#[test]
fn one_look_as_text_has_the_tables_that_have_rows() {
    let text = draw::text(&Model::new(busy(75.0, 100)));
    for line in ["calls", "sessions", "plugins", "types", "children", "counters"] {
        assert!(text.contains(&format!("\n\n{line}\n")), "{line}: {text}");
    }
    assert!(text.contains("1m15s  tool/call/req"), "{text}");
    let text = draw::text(&Model::new(status(json!({ "host_id": "idle" }))));
    assert!(text.starts_with("idle  up 0.0s  sessions 0") && text.lines().count() == 2, "{text}");
}
