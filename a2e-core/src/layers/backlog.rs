//! What waits for a permit of one kind: by session, and sessions in turns. A session that has sent a
//! thousand requests delays one that has sent a single one by one run, not by a thousand; and one
//! that has no room for more is passed over with one look, however much of it waits.

use std::collections::VecDeque;

use super::gate::Job;

/// Jobs that may go under the same conditions, as far as session, host and the plugin's mode decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    session: u64,
    is_continuation: bool,
    depth: usize,
}

impl Group {
    fn of(job: &dyn Job) -> Self {
        Self { session: job.session(), is_continuation: job.is_continuation(), depth: job.depth() }
    }
}

/// Jobs that wait. The gate bounds how many there may be.
#[derive(Default)]
pub(super) struct Backlog {
    /// In the order of their turns; none is empty. Few: one or two for each session that waits.
    groups: VecDeque<(Group, VecDeque<Box<dyn Job>>)>,
    len: usize,
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn any(&self, is_one: impl Fn(&dyn Job) -> bool) -> bool {
        self.groups.iter().flat_map(|(_, queue)| queue).any(|job| is_one(&**job))
    }

    pub(super) fn push(&mut self, job: Box<dyn Job>) {
        self.len += 1;
        let group = Group::of(&*job);
        if let Some((_, queue)) = self.groups.iter_mut().find(|(known, _)| *known == group) {
            return queue.push_back(job);
        }
        self.groups.push_back((group, VecDeque::from([job])));
    }

    /// Takes out the oldest job of the group whose turn it is, among those whose oldest job may go,
    /// with what `may_go` gave for it.
    pub(super) fn pop<R>(
        &mut self,
        mut may_go: impl FnMut(&dyn Job) -> Option<R>,
    ) -> Option<(Box<dyn Job>, R)> {
        // A group that is passed over stays in front: its turn comes when it has room.
        let (turn, given) = self.groups.iter().enumerate().find_map(|(turn, (_, queue))| {
            let oldest = queue.front()?;
            Some((turn, may_go(&**oldest)?))
        })?;
        let (group, mut queue) = self.groups.remove(turn)?;
        let job = queue.pop_front()?;
        self.len -= 1;
        if !queue.is_empty() {
            self.groups.push_back((group, queue));
        }
        Some((job, given))
    }

    /// Takes out all of this kind.
    pub(super) fn take_out(
        &mut self,
        is_one: impl Fn(&dyn Job) -> bool,
        out: &mut Vec<Box<dyn Job>>,
    ) {
        let before = out.len();
        for (_, queue) in &mut self.groups {
            let (taken, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(queue).into_iter().partition(|job| is_one(&**job));
            *queue = kept;
            out.extend(taken);
        }
        self.groups.retain(|(_, queue)| !queue.is_empty());
        self.len -= out.len() - before;
    }
}
