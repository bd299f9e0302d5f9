//! The plugins that are asked, in which order, and how several answers become one.

use a2e_core::config::PluginConfig;
use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::probe::Switch;
use crate::support::{counter, end, of, plugin, script, settled, silent, tuned, with};

fn ranked(name: &str, run: &str, act: &str, priority: i64) -> PluginConfig {
    tuned(script(name, run, act), |it| it.priority = Some(priority))
}

/// The plugins in configuration order with priority and act; those that were asked; the answer's `by` or code.
type Case<'a> = (&'a str, &'a [(&'a str, i64, &'a str)], &'a [&'a str], &'a str);

const CASES: &[Case<'_>] = &[
    ("all", &[("a", 0, "reply"), ("b", 0, "reply")], &["a", "b"], "a"),
    ("all", &[("a", 0, "reply"), ("b", 5, "reply")], &["b", "a"], "b"),
    ("all", &[("a", -5, "reply"), ("b", 0, "error tool_error")], &["b", "a"], "a"),
    ("all", &[("a", 0, "error x"), ("b", 0, "error y")], &["a", "b"], "x"),
    ("all", &[("a", 0, "pass unknown_tool"), ("b", 0, "error y")], &["a", "b"], "y"),
    ("all", &[("a", 0, "pass invalid_message"), ("b", 0, "pass z")], &["a", "b"], "z"),
    ("all", &[("a", 0, "panic"), ("b", 0, "pass z"), ("c", 0, "reply")], &["a", "b", "c"], "c"),
    ("all", &[("a", 0, "panic"), ("b", 0, "pass z")], &["a", "b"], "internal_error"),
    ("all", &[("a", 0, "nothing"), ("b", 0, "reply")], &["a", "b"], "b"),
    ("all", &[("a", 0, "nothing")], &["a"], "internal_error"),
    ("first", &[("a", 1, "reply"), ("b", 2, "reply"), ("c", 3, "pass x")], &["c", "b"], "b"),
    ("first", &[("a", 0, "error x"), ("b", 0, "reply")], &["a"], "x"),
    ("first", &[("a", 0, "panic"), ("b", 0, "reply")], &["a", "b"], "b"),
    ("first", &[("a", 0, "pass unknown_tool"), ("b", 0, "pass y")], &["a", "b"], "unknown_tool"),
    ("first", &[("a", 0, "nan"), ("b", 0, "reply")], &["a"], "internal_error"),
    ("merge", &[("a", 0, "reply"), ("b", 1, "reply")], &["b", "a"], "b"),
    ("merge", &[("a", 0, "error x"), ("b", 0, "reply")], &["a", "b"], "b"),
    ("merge", &[("a", 0, "pass x"), ("b", 0, "error y")], &["a", "b"], "y"),
    ("merge", &[("a", 0, "panic"), ("b", 0, "panic")], &["a", "b"], "internal_error"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fold_asks_in_order_and_gives_one_answer() {
    for run in ["inline", "pool", "blocking", "future"] {
        for (fold, plugins, asked, expected) in CASES {
            let config =
                with(plugins.iter().map(|(name, rank, act)| ranked(name, run, act, *rank)));
            let host = TestHost::start(config).await;
            let switch = Switch::new();
            let mut session = host.session();
            let kind = format!("script/{fold}/req");
            let answer = session.call(&kind, json!({ "probe": switch.key() })).await;
            let got = if answer["type"] == "error" { &answer["code"] } else { &answer["by"] };
            assert_eq!(got, expected, "{run} {fold} {plugins:?}: {answer}");
            assert_eq!(switch.journal(), *asked, "{run} {fold} {plugins:?}");
            silent(&mut session).await;
            settled(&host).await;
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_were_not_needed_are_counted() {
    let config = with(["a", "b", "c"].map(|name| script(name, "pool", "reply")));
    let host = TestHost::start(config).await;
    let mut session = host.session();
    session.call("script/all/req", json!({})).await;
    assert_eq!(counter(&host, "superseded"), 2);
    session.call("script/first/req", json!({})).await;
    session.call("script/merge/req", json!({})).await;
    assert_eq!(counter(&host, "superseded"), 2);
    session.finish().await;
    end(host).await;
}

fn names(items: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items.as_array().unwrap().iter().map(|it| (text(&it["name"]), text(&it["by"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_merged_in_priority_order_and_the_first_of_a_name_stays() {
    let config = with([
        ranked("low", "pool", "reply", -1),
        ranked("mute", "inline", "pass x", 3),
        ranked("high", "future", "reply", 7),
        ranked("mid", "inline", "reply", 1),
    ]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let pair = |name: &str, by: &str| (name.to_owned(), by.to_owned());
    let merged = session.call("script/merge/req", json!({})).await;
    let expected = [
        pair("high", "high"),
        pair("common", "high"),
        pair("mid", "mid"),
        pair("common", "mid"),
        pair("low", "low"),
        pair("common", "low"),
    ];
    assert_eq!(names(&merged["items"]), expected);
    assert_eq!(merged["first"], "high", "other fields are the first's");
    let merged = session.call("script/merge_by/req", json!({})).await;
    let expected =
        [pair("high", "high"), pair("common", "high"), pair("mid", "mid"), pair("low", "low")];
    assert_eq!(names(&merged["items"]), expected);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_exclusive_head_is_asked_alone() {
    let exclusive =
        |name, act, rank| tuned(ranked(name, "inline", act, rank), |it| it.exclusive = Some(true));
    for (plugins, asked, expected) in [
        (vec![exclusive("x", "reply", 5), ranked("b", "pool", "reply", 0)], vec!["x"], "x"),
        // Its pass is answered as what it says.
        (
            vec![exclusive("x", "pass unknown_tool", 5), ranked("b", "pool", "reply", 0)],
            vec!["x"],
            "unknown_tool",
        ),
        (
            vec![exclusive("x", "panic", 5), ranked("b", "pool", "reply", 0)],
            vec!["x"],
            "internal_error",
        ),
        // Not at the head, it is one of many.
        (vec![exclusive("x", "reply", 0), ranked("b", "pool", "reply", 5)], vec!["b", "x"], "b"),
        // Ties go by the configuration's order.
        (vec![exclusive("x", "reply", 0), ranked("b", "pool", "reply", 0)], vec!["x"], "x"),
        (vec![ranked("b", "pool", "reply", 0), exclusive("x", "reply", 0)], vec!["b", "x"], "b"),
    ] {
        let text = format!("{plugins:?}");
        let host = TestHost::start(with(plugins)).await;
        let switch = Switch::new();
        let mut session = host.session();
        let answer = session.call("script/all/req", json!({ "probe": switch.key() })).await;
        let got = if answer["type"] == "error" { &answer["code"] } else { &answer["by"] };
        assert_eq!(got, expected, "{text}");
        assert_eq!(switch.journal(), asked, "{text}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_work_may_pass_fail_or_reply_like_any_other() {
    for way in ["pool", "blocking", "future"] {
        for (act, first, all) in [
            ("reply", "a", "a"),
            ("pass x", "b", "b"),
            ("error y", "y", "b"),
            ("panic", "b", "b"),
            // Later work cannot be put off once more.
            ("pool reply", "internal_error", "b"),
        ] {
            let a = script("a", "inline", &format!("{way} {act}"));
            let host = TestHost::start(with([a, script("b", "inline", "reply")])).await;
            let mut session = host.session();
            for (kind, expected) in [("script/first/req", first), ("script/all/req", all)] {
                let answer = session.call(kind, json!({})).await;
                let got = if answer["type"] == "error" { &answer["code"] } else { &answer["by"] };
                assert_eq!(got, expected, "{way} {act} {kind}: {answer}");
            }
            session.finish().await;
            end(host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_inline_handlers_may_answer_later() {
    for run in ["pool", "blocking", "future"] {
        let host = TestHost::start(with([script("a", run, "pool reply")])).await;
        let mut session = host.session();
        assert_eq!(
            session.call_error("script/all/req", json!({})).await,
            "internal_error",
            "{run}"
        );
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_message_that_is_taken_gets_no_answer() {
    for run in ["inline", "pool", "blocking", "future"] {
        let host = TestHost::start(with([script("a", run, "nothing")])).await;
        let switch = Switch::new();
        let mut session = host.session();
        session.send("script/heard", json!({ "probe": switch.key() })).await;
        switch.noted("a").await;
        settled(&host).await;
        silent(&mut session).await;
        assert_eq!(of(&host.executor().status(), "a").calls, 1);
        // What goes wrong with it is told.
        let wrong = session.call("script/heard", json!({ "acts": 5 })).await;
        assert_eq!(wrong["code"], "schema_violation", "{run}");
        let failed = json!({ "acts": { "a": "error x" } });
        assert_eq!(session.call_error("script/heard", failed).await, "x", "{run}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_decodes_badly_does_not_keep_others_from_answering() {
    // The first reads `acts` strictly; the keeper's type is its own.
    let host = TestHost::start(with([script("a", "inline", "reply"), plugin("k", "Keeper")])).await;
    let mut session = host.session();
    assert_eq!(
        session.call_error("script/all/req", json!({ "pad": -1 })).await,
        "schema_violation"
    );
    assert_eq!(session.call("keeper/add/req", json!({ "add": 2 })).await["total"], 2);
    session.finish().await;
    end(host).await;
}
