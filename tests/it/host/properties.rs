//! Properties: routes against a naive model, and one answer per request whatever is sent.

use std::collections::BTreeMap;

use a2e_core::testing::TestHost;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{end, plugin, script, tuned, with};

/// Few, since each starts a host; nightly runs set `PROPTEST_CASES`.
fn runner(cases: u32) -> TestRunner {
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(cases);
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

// --- routes

#[derive(Clone, Debug)]
struct Rank {
    priority: i64,
    is_exclusive: bool,
    run: &'static str,
    act: &'static str,
}

fn rank() -> impl Strategy<Value = Rank> {
    let run = prop::sample::select(vec!["inline", "pool", "blocking", "future"]);
    let act = prop::sample::select(vec![
        "reply",
        "reply",
        "error x",
        "error y",
        "pass invalid_message",
        "pass unknown_tool",
        "pass z",
        "panic",
        "nan",
    ]);
    (-1_i64..2, prop::bool::weighted(0.2), run, act)
        .prop_map(|(priority, is_exclusive, run, act)| Rank { priority, is_exclusive, run, act })
}

/// The plugins that are asked, and the answer: `by` of a reply or the code of an error, and the merged names.
fn model(ranks: &[Rank], fold: &str) -> (Vec<String>, String, Vec<String>) {
    let mut order: Vec<(String, &Rank)> =
        ranks.iter().enumerate().map(|(place, rank)| (format!("p{place}"), rank)).collect();
    order.sort_by_key(|(_, rank)| -rank.priority);
    if order[0].1.is_exclusive {
        order.truncate(1);
    }
    let (mut asked, mut replies, mut errors, mut passes) = (vec![], vec![], vec![], vec![]);
    for (name, rank) in order {
        asked.push(name.clone());
        let (word, code) = rank.act.split_once(' ').unwrap_or((rank.act, ""));
        match word {
            "reply" => replies.push(name),
            "pass" => passes.push(code.to_owned()),
            "error" => errors.push(code.to_owned()),
            _ => errors.push("internal_error".to_owned()),
        }
        if fold == "first" && !matches!(word, "pass" | "panic") {
            break;
        }
    }
    let is_said = |code: &&String| *code != "invalid_message";
    let answer = replies
        .first()
        .or(errors.first())
        .or(passes.iter().find(is_said))
        .cloned()
        .unwrap_or_else(|| "invalid_message".to_owned());
    let merged = match (fold, replies.first()) {
        (_, None) => vec![],
        ("merge", _) => replies.iter().flat_map(|it| [it.clone(), "common".into()]).collect(),
        ("merge_by", Some(first)) => {
            let rest = replies.iter().skip(1).cloned();
            [first.clone(), "common".into()].into_iter().chain(rest).collect()
        }
        (_, Some(first)) => vec![first.clone(), "common".into()],
    };
    (asked, answer, merged)
}

#[test]
fn routes_and_folds_agree_with_a_naive_model() {
    let runtime = runtime();
    let plugins = prop::collection::vec(rank(), 1..=4);
    let test = |ranks: Vec<Rank>| {
        runtime.block_on(async {
            let host = TestHost::start(with(ranks.iter().enumerate().map(|(place, rank)| {
                tuned(script(&format!("p{place}"), rank.run, rank.act), |it| {
                    it.priority = Some(rank.priority);
                    it.exclusive = Some(rank.is_exclusive);
                })
            })))
            .await;
            let mut session = host.session();
            for fold in ["all", "first", "merge", "merge_by"] {
                let switch = Switch::new();
                let kind = format!("script/{fold}/req");
                let answer = session.call(&kind, json!({ "probe": switch.key() })).await;
                let (asked, expected, merged) = model(&ranks, fold);
                let is_error = answer["type"] == "error";
                let got = if is_error { &answer["code"] } else { &answer["by"] };
                assert_eq!(got, &expected, "{fold} {ranks:?}");
                assert_eq!(switch.journal(), asked, "{fold} {ranks:?}");
                let items = answer["items"].as_array().cloned().unwrap_or_default();
                let names: Vec<&str> =
                    items.iter().map(|it| it["name"].as_str().unwrap()).collect();
                assert_eq!(names, merged, "{fold} {ranks:?}");
            }
            session.finish().await;
            end(host).await;
        });
        Ok(())
    };
    runner(40).run(&plugins, test).unwrap();
}

// --- scripts of messages

/// One step of a client. The numbers choose among few ids, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    /// A request that ends by itself.
    Ask {
        id: u8,
        kind: &'static str,
        act: &'static str,
    },
    /// The same bytes as the last request.
    Repeat,
    Cancel {
        id: u8,
    },
    Ping {
        id: u8,
    },
    Bad(&'static str),
    /// Lets handlers go that hang.
    Open,
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec!["all", "first", "soon", "merge"]);
    let act = prop::sample::select(vec![
        "reply",
        "error x",
        "pass y",
        "panic",
        "pool reply",
        "blocking reply",
        "future reply",
        "future hang",
        "pool watch",
        "pool panic",
    ]);
    let bad = prop::sample::select(vec![
        "x",
        "[]",
        "{}",
        r#"{"type":"nope"}"#,
        r#"{"type":"ping","id":7}"#,
        r#"{"type":"error","req_id":"r1"}"#,
        "",
    ]);
    prop_oneof![
        10 => (0_u8..12, kind, act).prop_map(|(id, kind, act)| Step::Ask { id, kind, act }),
        2 => Just(Step::Repeat),
        3 => (0_u8..12).prop_map(|id| Step::Cancel { id }),
        1 => (0_u8..12).prop_map(|id| Step::Ping { id }),
        2 => bad.prop_map(Step::Bad),
        1 => Just(Step::Open),
        1 => Just(Step::Shutdown),
    ]
}

/// What a line may be answered with: how many lines have this `req_id` for an answer at most and least.
#[derive(Debug, Default)]
struct Due {
    /// Requests sent under this id, repeats left out.
    sent: usize,
    repeats: usize,
    pings: usize,
}

#[test]
fn r13_r40_every_request_gets_exactly_one_answer() {
    let runtime = runtime();
    let scripts = (prop::collection::vec(step(), 1..40), any::<bool>());
    let test = |(steps, in_one_piece): (Vec<Step>, bool)| {
        runtime.block_on(play(&steps, in_one_piece));
        Ok(())
    };
    runner(60).run(&scripts, test).unwrap();
}

async fn play(steps: &[Step], in_one_piece: bool) {
    let builder =
        a2e_core::Executor::builder(with([script("s", "inline", "reply"), plugin("echo", "Echo")]));
    let builder = builder.drain(std::time::Duration::from_millis(20));
    let host = TestHost::build(builder).await.unwrap();
    let switch = Switch::new();
    let mut session = host.session();
    let mut due = BTreeMap::<String, Due>::new();
    let (mut text, mut last) = (String::new(), None::<(String, String)>);
    let mut bad_lines = 0;
    for step in steps {
        let mut line = None;
        match step {
            Step::Ask { id, kind, act } => {
                let id = format!("r{id}");
                // Each request has its own bytes.
                let serial = due.values().map(|it| it.sent).sum::<usize>();
                let body = json!({ "type": format!("script/{kind}/req"), "id": id, "n": serial,
                    "acts": { "s": act }, "probe": switch.key() });
                due.entry(id.clone()).or_default().sent += 1;
                last = Some((id, body.to_string()));
                line = Some(body.to_string());
            }
            Step::Repeat => {
                if let Some((id, body)) = &last {
                    due.entry(id.clone()).or_default().repeats += 1;
                    line = Some(body.clone());
                }
            }
            Step::Cancel { id } => {
                line = Some(json!({ "type": "cancel", "req_id": format!("r{id}") }).to_string());
            }
            Step::Ping { id } => {
                due.entry(format!("p{id}")).or_default().pings += 1;
                line = Some(json!({ "type": "ping", "id": format!("p{id}") }).to_string());
            }
            Step::Bad(bad) => {
                bad_lines += usize::from(!bad.is_empty() && !bad.contains("error"));
                line = Some((*bad).to_owned());
            }
            Step::Open if !in_one_piece => switch.open(),
            Step::Open => {}
            Step::Shutdown => line = Some(r#"{"type":"shutdown","timeout":0.0}"#.into()),
        }
        let Some(line) = line else { continue };
        text.push_str(&line);
        text.push('\n');
        if !in_one_piece {
            session.send_bytes(text.as_bytes()).await;
            text.clear();
            if matches!(step, Step::Shutdown) {
                // The host may close at any moment now.
                break;
            }
        }
    }
    session.send_bytes(text.as_bytes()).await;
    switch.open();
    let answers = session.finish().await;
    check(steps, &due, bad_lines, &answers);
    end(host).await;
}

fn check(steps: &[Step], due: &BTreeMap<String, Due>, bad_lines: usize, answers: &[Value]) {
    let is_cut = steps.iter().any(|it| matches!(it, Step::Shutdown));
    let of_id = |req_id: &str| answers.iter().filter(|it| it["req_id"] == req_id).count();
    let duplicates = |id: &str| {
        answers
            .iter()
            .filter(|it| it["code"] == "duplicate_request" && it["detail"]["id"] == id)
            .count()
    };
    for (id, due) in due {
        let answered = of_id(id) + duplicates(id);
        // A repeat is absorbed while the first is in flight, and a request of its own after that.
        let (least, most) = (due.sent + due.pings, due.sent + due.pings + due.repeats);
        // After a `shutdown` without time the rest of one batch is refused each, under its id.
        assert!(answered <= most, "{id}: {answered} answers for {due:?}\n{steps:?}\n{answers:#?}");
        assert!(
            answered >= least || is_cut,
            "{id}: {answered} for {due:?}\n{steps:?}\n{answers:#?}"
        );
    }
    let nameless = answers
        .iter()
        .filter(|it| it["code"] != "duplicate_request" && !known(due, &it["req_id"]))
        .count();
    assert!(nameless <= bad_lines, "{nameless} > {bad_lines}\n{steps:?}\n{answers:#?}");
    assert!(nameless == bad_lines || is_cut, "{nameless} < {bad_lines}\n{steps:?}\n{answers:#?}");
}

fn known(due: &BTreeMap<String, Due>, req_id: &Value) -> bool {
    req_id.as_str().is_some_and(|id| due.contains_key(id))
}
