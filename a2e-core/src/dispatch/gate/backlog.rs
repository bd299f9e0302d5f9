//! What waits for a permit of one kind: by session, and sessions in turns. A session that has sent a
//! thousand requests delays one that has sent a single one by one run, not by a thousand; and one
//! that has no room for more is passed over with one look, however much of it waits.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dispatch::run::Job;

/// Jobs of which either all may go or none, as far as session, host and the plugin's mode decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    /// Tells sessions apart while jobs of theirs wait: where they stand in memory.
    session: usize,
    is_continuation: bool,
    is_nested: bool,
}

impl Group {
    fn of(job: &Job) -> Self {
        Self {
            session: Arc::as_ptr(&job.call.0.session).addr(),
            is_continuation: job.is_continuation(),
            is_nested: job.is_nested(),
        }
    }
}

/// Memory for more jobs than these is not kept.
const MAX_SPARE: usize = 256;

/// Jobs that wait. How many there may be, its owner decides.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// In the order of their turns; none is empty. Few: one or two for each session that waits.
    groups: VecDeque<(Group, VecDeque<Job>)>,
    /// The memory of a group that has gone, for the next one.
    spare: VecDeque<Job>,
    len: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn any(&self, is_one: impl Fn(&Job) -> bool) -> bool {
        self.groups.iter().flat_map(|(_, queue)| queue).any(is_one)
    }

    pub(super) fn push(&mut self, job: Job) {
        self.len += 1;
        let group = Group::of(&job);
        if let Some((_, queue)) = self.groups.iter_mut().find(|(known, _)| *known == group) {
            return queue.push_back(job);
        }
        let mut queue = std::mem::take(&mut self.spare);
        queue.push_back(job);
        self.groups.push_back((group, queue));
    }

    /// Takes out the oldest job of the group whose turn it is, among those whose oldest job may go.
    pub(super) fn pop(&mut self, may_go: impl Fn(&Job) -> bool) -> Option<Job> {
        let may_go = |(_, queue): &(Group, VecDeque<Job>)| queue.front().is_some_and(&may_go);
        // Whoever is passed over stays in front: its turn comes when it has room.
        let turn = self.groups.iter().position(may_go)?;
        let (group, mut queue) = self.groups.remove(turn)?;
        let job = queue.pop_front()?;
        self.len -= 1;
        if !queue.is_empty() {
            self.groups.push_back((group, queue));
        } else if queue.capacity() <= MAX_SPARE {
            self.spare = queue;
        }
        Some(job)
    }

    /// Takes out all of this kind.
    pub(super) fn take_out(&mut self, is_one: impl Fn(&Job) -> bool, out: &mut Vec<Job>) {
        let before = out.len();
        for (_, queue) in &mut self.groups {
            let (taken, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(queue).into_iter().partition(&is_one);
            *queue = kept;
            out.extend(taken);
        }
        self.groups.retain(|(_, queue)| !queue.is_empty());
        self.len -= out.len() - before;
    }
}
