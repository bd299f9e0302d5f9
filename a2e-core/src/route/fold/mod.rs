//! How the answers of several plugins become one: the folds, as a pure state machine.

mod merge;

use std::borrow::Cow;
use std::sync::Arc;

use merge::merge;

use crate::Error;
use crate::protocol::{ErrorCode, Fold};
use crate::request::{PluginLabel, Said, Verdict};

type By = Option<Arc<PluginLabel>>;

/// The progress of one request through the handlers of its route.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The handler whose turn it is.
    pub(crate) step: usize,
    replies: Vec<(Cow<'static, str>, Vec<u8>, By)>,
    error: Option<(Error, By, bool)>,
    pass: Option<(Error, By)>,
    /// Replies that were not needed.
    pub(crate) superseded: u64,
    ended_without: bool,
}

impl Chain {
    /// Takes what the handler of this step said; true when nobody further is to be asked.
    pub(crate) fn absorb(&mut self, fold: Fold, said: Said, by: By) -> bool {
        self.step += 1;
        match said {
            Said::Reply(wire_type, fields) => {
                let is_merged = matches!(fold, Fold::Merge | Fold::MergeBy(_));
                if self.replies.is_empty() || is_merged {
                    self.replies.push((wire_type, fields, by));
                } else {
                    self.superseded += 1;
                }
                return fold == Fold::First;
            }
            Said::Error(error) => {
                self.error.get_or_insert((error, by, false));
                return fold == Fold::First;
            }
            Said::Broken { error, is_panic } => {
                self.error.get_or_insert((error, by, is_panic));
            }
            Said::Pass(error) => {
                // The best pass is the first that says more than "not mine".
                let says_more = *error.code() != ErrorCode::InvalidMessage;
                let has_better =
                    self.pass.as_ref().is_some_and(|it| *it.0.code() != ErrorCode::InvalidMessage);
                if self.pass.is_none() || (says_more && !has_better) {
                    self.pass = Some((error, by));
                }
            }
            Said::Nothing => self.ended_without = true,
        }
        false
    }

    /// The one answer, when everyone was asked.
    pub(crate) fn conclude(&mut self, fold: Fold, is_one_way: bool) -> Verdict {
        let mut replies = std::mem::take(&mut self.replies);
        if replies.len() > 1 {
            return merged(replies, fold);
        }
        if let Some((wire_type, fields, by)) = replies.pop() {
            return Verdict::Reply { wire_type, fields, by };
        }
        if let Some((error, by, is_panic)) = self.error.take() {
            return Verdict::Error { error, by, is_panic };
        }
        if self.ended_without && is_one_way {
            return Verdict::Nothing;
        }
        if self.ended_without {
            let error = Error::internal("the plugin ended a request without an answer");
            return Verdict::Error { error, by: None, is_panic: false };
        }
        let (error, by) = self
            .pass
            .take()
            .unwrap_or_else(|| (Error::invalid("no plugin takes this message"), None));
        Verdict::Error { error, by, is_panic: false }
    }
}

fn merged(replies: Vec<(Cow<'static, str>, Vec<u8>, By)>, fold: Fold) -> Verdict {
    let unique = match fold {
        Fold::MergeBy(field) => Some(field),
        _ => None,
    };
    let mut by = None;
    let mut wire_type = Cow::Borrowed("");
    let mut bodies = Vec::with_capacity(replies.len());
    for (kind, fields, slot) in replies {
        if bodies.is_empty() {
            (wire_type, by) = (kind, slot);
        }
        bodies.push(fields);
    }
    match merge(&bodies, unique) {
        Ok(fields) => Verdict::Reply { wire_type, fields, by },
        Err(error) => Verdict::Error { error, by, is_panic: false },
    }
}

#[cfg(test)]
mod tests {
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
}
