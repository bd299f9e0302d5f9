//! Questions of the host to the agent that wait for an answer, and the budget of requests that
//! plugins make by themselves.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::codec::RawJson;
use crate::protocol::{ErrorBody, ErrorCode, IdSource};
use crate::sync::Mutex;
use crate::{Error, Result};

/// Questions of one session that may wait.
const MOST: usize = 256;

type AgentAnswer = Result<RawJson>;

/// Questions by id.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// Held for a look-up or a change.
    waiting: Mutex<HashMap<String, oneshot::Sender<AgentAnswer>>>,
}

impl Asks {
    /// A new question: its id, and where its answer comes.
    pub(super) fn begin(&self, ids: &IdSource) -> Result<(String, oneshot::Receiver<AgentAnswer>)> {
        let (sender, answer) = oneshot::channel();
        let id = ids.next_id().as_str().to_owned();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST {
            let text = format!("{MOST} questions to the agent wait already");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        waiting.insert(id.clone(), sender);
        Ok((id, answer))
    }

    pub(super) fn forget(&self, id: &str) {
        self.waiting.lock().remove(id);
    }

    /// Hands over a line of the agent that answers a question; false when it answers none.
    pub(crate) fn answer(&self, req_id: Option<&str>, kind: &str, line: &str) -> bool {
        let Some(sender) = req_id.and_then(|id| self.waiting.lock().remove(id)) else {
            return false;
        };
        let answer = if kind == "error" {
            let body = serde_json::from_str::<ErrorBody>(line);
            Err(body.map_or_else(|_| Error::runtime("the agent refused"), Error::from))
        } else {
            RawJson::parse(line.to_owned()).map_err(|error| Error::runtime(error.to_string()))
        };
        // The asker may have given up just now.
        let _gone = sender.send(answer);
        true
    }
}
