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
