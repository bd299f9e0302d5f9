//! Every subagent of a host, by session: who may see which, and how many there may be.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_core::protocol::{ErrorCode, SessionId};
use a2e_core::request::Call;
use a2e_core::{Error, Result};

use super::agent::Agent;
use super::protocol::SubagentStatus;
use super::scope;

/// Most terminated subagents that are kept of one session; the oldest is forgotten.
const MOST_ENDED: usize = 64;

/// The subagents of a host, in the order in which they were spawned.
#[derive(Default)]
pub(super) struct Family {
    /// Guards the list; held for a look-up.
    agents: Mutex<Vec<Arc<Agent>>>,
}

/// Where a call stands in the family.
pub(super) struct Place {
    /// The session of the first agent.
    pub(super) root: SessionId,
    /// How many subagents led to it.
    pub(super) depth: u32,
    /// The subagent that it is.
    pub(super) own_id: Option<String>,
}

impl Family {
    /// Where the session of a call stands.
    pub(super) fn place_of(&self, call: &Call) -> Place {
        let own = scope::subagent_of(&call.identity().principal);
        let own = own.and_then(|id| self.lock().iter().find(|it| it.facts.id == id).cloned());
        match own {
            None => Place { root: call.session_id().clone(), depth: 0, own_id: None },
            Some(agent) => Place {
                root: agent.root.clone(),
                depth: agent.facts.depth + 1,
                own_id: Some(agent.facts.id.clone()),
            },
        }
    }

    /// Adds a subagent.
    ///
    /// # Errors
    /// `proc_limit` when there are too many.
    pub(super) fn add(&self, agent: &Arc<Agent>, most: usize) -> Result<()> {
        let mut agents = self.lock();
        let is_alive =
            |it: &&Arc<Agent>| it.root == agent.root && it.status() != SubagentStatus::Terminated;
        if agents.iter().filter(is_alive).count() >= most {
            let text =
                format!("there are {most} subagents already (max_subagents); terminate some");
            return Err(Error::new(ErrorCode::ProcLimit, text));
        }
        let is_over =
            |it: &Arc<Agent>| it.owner == agent.owner && it.status() == SubagentStatus::Terminated;
        if agents.iter().filter(|it| is_over(it)).count() >= MOST_ENDED
            && let Some(oldest) = agents.iter().position(is_over)
        {
            agents.remove(oldest);
        }
        agents.push(Arc::clone(agent));
        Ok(())
    }

    /// Takes one out again.
    pub(super) fn remove(&self, id: &str) {
        self.lock().retain(|it| it.facts.id != id);
    }

    /// A subagent of this session.
    ///
    /// # Errors
    /// `runtime_error` without one.
    pub(super) fn find(&self, id: &str, session: &SessionId) -> Result<Arc<Agent>> {
        let agents = self.lock();
        let found = agents.iter().find(|it| it.facts.id == id && it.owner == *session);
        found.cloned().ok_or_else(|| unknown(id))
    }

    /// A subagent of this root.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(super) fn find_in(&self, id: &str, root: &SessionId) -> Result<Arc<Agent>> {
        let agents = self.lock();
        let found = agents.iter().find(|it| it.facts.id == id && it.root == *root);
        found.cloned().ok_or_else(|| unknown(id))
    }

    /// Those of one session.
    pub(super) fn of(&self, session: &SessionId) -> Vec<Arc<Agent>> {
        self.lock().iter().filter(|it| it.owner == *session).cloned().collect()
    }

    /// Takes out those of one session.
    pub(super) fn take(&self, session: &SessionId) -> Vec<Arc<Agent>> {
        let mut agents = self.lock();
        let (gone, rest) =
            std::mem::take(&mut *agents).into_iter().partition(|it| it.owner == *session);
        *agents = rest;
        gone
    }

    /// Takes out all.
    pub(super) fn take_all(&self) -> Vec<Arc<Agent>> {
        std::mem::take(&mut *self.lock())
    }

    /// Puts back those that were saved and are not there.
    pub(super) fn put_back(&self, saved: Vec<Arc<Agent>>) {
        let mut agents = self.lock();
        let there: HashSet<String> = agents.iter().map(|it| it.facts.id.clone()).collect();
        agents.extend(saved.into_iter().filter(|it| !there.contains(&it.facts.id)));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Agent>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(id: &str) -> Error {
    Error::runtime(format!("no subagent of this session has the id `{id}`"))
        .with_detail("subagent_id", id)
}
