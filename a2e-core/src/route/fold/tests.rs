//! Tests of the folds.

use super::*;

fn reply(text: &str) -> Said {
    Said::Reply(Cow::Borrowed("x/resp"), text.as_bytes().to_vec())
}

fn error(code: &str) -> Error {
    Error::new(ErrorCode::parse(code), "")
}

/// Feeds a script to a chain; returns how many were asked and how it ended.
fn run(fold: Fold, script: Vec<Said>) -> (usize, String) {
    let mut chain = Chain::default();
    for said in script {
        if chain.absorb(fold, said, None) {
            break;
        }
    }
    let asked = chain.step;
    let end = match chain.conclude(fold, false) {
        Verdict::Reply { fields, .. } => String::from_utf8(fields).unwrap(),
        Verdict::Error { error, .. } => error.code().to_string(),
        Verdict::Nothing => "nothing".into(),
    };
    (asked, end)
}

#[test]
fn of_passes_with_one_code_the_one_with_more_facts_is_told() {
    let tool = |facts: &[&str]| {
        let bare = Error::new(ErrorCode::UnknownTool, facts.join(" "));
        Said::Pass(facts.iter().fold(bare, |it, fact| it.with_detail(fact, 1)))
    };
    for (script, told) in [
        (vec![tool(&["a"]), tool(&["b", "near"]), tool(&["c", "near"])], "b near"),
        (vec![tool(&["a"]), tool(&["b"])], "a"),
        (vec![Said::Pass(error("b").with_detail("x", 1)), tool(&["a", "near"])], ""),
        (vec![Said::Pass(Error::invalid("no").with_detail("x", 1)), tool(&[])], ""),
    ] {
        let mut chain = Chain::default();
        for said in script {
            assert!(!chain.absorb(Fold::First, said, None));
        }
        let Verdict::Error { error, .. } = chain.conclude(Fold::First, false) else { panic!() };
        assert_eq!(error.message(), told);
    }
}

#[test]
fn each_fold_ends_as_it_is_declared() {
    use Fold::{All, First, Merge};
    use Said::{Error as Failed, Nothing, Pass};
    let (tool, invalid) = (|| error("unknown_tool"), || error("invalid_message"));
    for (fold, script, expected) in [
        (All, vec![reply("1"), reply("2")], (2, "1")),
        (All, vec![Failed(error("a")), reply("2")], (2, "2")),
        (All, vec![Pass(tool()), Failed(error("a")), Failed(error("b"))], (3, "a")),
        (All, vec![Pass(invalid()), Pass(tool()), Pass(error("b"))], (3, "unknown_tool")),
        (All, vec![Pass(invalid())], (1, "invalid_message")),
        (All, vec![], (0, "invalid_message")),
        (First, vec![Pass(tool()), reply("2"), reply("3")], (2, "2")),
        (First, vec![Failed(error("a")), reply("2")], (1, "a")),
        (First, vec![Said::broken(error("internal_error")), reply("2")], (2, "2")),
        (First, vec![Said::broken(error("timeout")), Pass(tool())], (2, "timeout")),
        (First, vec![Pass(tool()), Pass(error("b"))], (2, "unknown_tool")),
        (
            Merge,
            vec![reply(r#""a":[1]"#), Failed(error("a")), reply(r#""a":[2]"#)],
            (3, r#""a":[1,2]"#),
        ),
        (Merge, vec![Failed(error("a")), reply(r#""a":[2]"#)], (2, r#""a":[2]"#)),
        (Merge, vec![Pass(invalid()), Failed(error("a"))], (2, "a")),
        (First, vec![Nothing], (1, "internal_error")),
    ] {
        let text = format!("{fold:?} {script:?}");
        let (asked, end) = run(fold, script);
        assert_eq!((asked, end.as_str()), expected, "{text}");
    }
}
