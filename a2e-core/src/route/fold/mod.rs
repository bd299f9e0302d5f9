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
                // The best pass is the first that says more than "not mine", or the same with more facts.
                let says_more = |it: &Error| *it.code() != ErrorCode::InvalidMessage;
                let is_better = self.pass.as_ref().is_none_or(|(it, _)| {
                    let has_more = error.detail().len() > it.detail().len();
                    (says_more(&error) && !says_more(it)) || (error.code() == it.code() && has_more)
                });
                if is_better {
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
mod tests;
