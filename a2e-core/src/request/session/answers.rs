//! Answers that are kept for a while, so that a request that is sent again after its end (over HTTP,
//! where a response may be lost) is not run again (R40).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::request::Request;
use crate::sync::Mutex;

/// How long an answer is kept.
const AGE: Duration = Duration::from_mins(5);

/// Ids that are remembered.
const MOST: usize = 1024;

/// A longer answer is not kept; its repeat is refused.
const LONGEST: usize = 64 * 1024;

/// Bytes of all kept answers of one session.
const ROOM: usize = 1 << 20;

/// What is known of a request that has ended.
#[derive(Clone, Debug)]
pub(crate) enum KeptAnswer {
    /// The same line came before; this was its answer.
    Answer(Arc<[u8]>),
    /// The id was used by another line, or the answer was too long to be kept.
    Used,
}

#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<Box<str>, Remembered>,
    /// Oldest first, with the time at which each ended.
    order: VecDeque<(Duration, Box<str>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Remembered {
    mark: u32,
    length: usize,
    line: Option<Arc<[u8]>>,
}

impl Answers {
    pub(super) fn keep(&self, request: &Request, line: &[u8], now: Time) {
        let Some(mark) = request.line_mark() else { return };
        let line = (line.len() <= LONGEST).then(|| Arc::from(line));
        let mut inner = self.0.lock();
        inner.drop_id(&request.id);
        inner.bytes += line.as_ref().map_or(0, |line: &Arc<[u8]>| line.len());
        let kept = Remembered { mark, length: request.input_bytes, line };
        inner.by_id.insert(request.id.clone(), kept);
        inner.order.push_back((now.mono, request.id.clone()));
        inner.trim(now);
    }

    /// What is known of this id, given the line that came under it now.
    pub(super) fn find(&self, id: &str, mark: u32, length: usize, now: Time) -> Option<KeptAnswer> {
        let mut inner = self.0.lock();
        inner.trim(now);
        let kept = inner.by_id.get(id)?;
        Some(match &kept.line {
            Some(line) if kept.mark == mark && kept.length == length => {
                KeptAnswer::Answer(Arc::clone(line))
            }
            _ => KeptAnswer::Used,
        })
    }
}

impl Inner {
    fn drop_id(&mut self, id: &str) {
        if let Some(kept) = self.by_id.remove(id) {
            self.bytes -= kept.line.map_or(0, |line| line.len());
            self.order.retain(|(_, known)| &**known != id);
        }
    }

    fn trim(&mut self, now: Time) {
        while let Some((at, _)) = self.order.front() {
            let is_old = now.mono.saturating_sub(*at) > AGE;
            if !is_old && self.by_id.len() <= MOST && self.bytes <= ROOM {
                return;
            }
            let Some((_, id)) = self.order.pop_front() else { return };
            if let Some(kept) = self.by_id.remove(&id) {
                self.bytes -= kept.line.map_or(0, |line| line.len());
            }
        }
    }
}
