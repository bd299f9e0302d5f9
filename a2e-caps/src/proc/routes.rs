//! The routes of events to the processes of a client, and the events that wait there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use a2e_client::Received;
use tokio::sync::Notify;

use super::protocol::{ReadEvent, StreamType};

/// The cost of a waiting event beside its text, roughly.
const EVENT_COST: usize = 192;

/// Processes whose output came before their spawn reply was seen.
const MAX_UNCLAIMED: usize = 64;

/// Whether it is the last of its process.
pub(super) fn is_end(event: &ReadEvent) -> bool {
    event.data.code.is_some() || event.stream_type == StreamType::Killed
}

/// Which process takes which event.
#[derive(Debug)]
pub(super) struct Routes {
    bound: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    queues: HashMap<String, Arc<Queue>>,
    /// Queues of processes whose spawn reply was not seen yet; at most [`MAX_UNCLAIMED`].
    unclaimed: HashMap<String, Arc<Queue>>,
    /// Spawns under way. Without one, an event of an unknown process is not ours.
    spawning: usize,
}

impl Routes {
    /// With the bytes that may wait in each queue.
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, table: Mutex::default() }
    }

    /// Guards the table; held for a look-up.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event, on the reader of the connection.
    pub(super) fn take(&self, message: &Received) {
        let event: ReadEvent = match message.decode() {
            Ok(event) => event,
            Err(error) => return tracing::warn!(%error, "an event of a process is not well formed"),
        };
        let mut table = self.lock();
        let queue = match table.queues.get(&event.proc_id) {
            Some(queue) => Arc::clone(queue),
            None if table.spawning == 0 => return,
            None => {
                let is_full = table.unclaimed.len() >= MAX_UNCLAIMED;
                if is_full && !table.unclaimed.contains_key(&event.proc_id) {
                    return tracing::warn!("output of too many unknown processes; it is dropped");
                }
                Arc::clone(table.unclaimed.entry(event.proc_id.clone()).or_default())
            }
        };
        drop(table);
        queue.put(event, self.bound);
    }

    /// The queue of a process that was just started; its first events may be in it.
    pub(super) fn claim(&self, proc_id: &str) -> Arc<Queue> {
        let mut table = self.lock();
        let queue = table.unclaimed.remove(proc_id).unwrap_or_default();
        table.queues.insert(proc_id.to_owned(), Arc::clone(&queue));
        queue
    }

    /// Drops the queue of a process whose handle is gone.
    pub(super) fn forget(&self, proc_id: &str) {
        self.lock().queues.remove(proc_id);
    }
}

/// A spawn under way, also one that is dropped.
pub(super) struct Spawning<'a>(&'a Routes);

impl<'a> Spawning<'a> {
    pub(super) fn begin(routes: &'a Routes) -> Self {
        routes.lock().spawning += 1;
        Self(routes)
    }
}

impl Drop for Spawning<'_> {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.spawning -= 1;
        if table.spawning == 0 {
            table.unclaimed.clear();
        }
    }
}

/// The events of one process that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<ReadEvent>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    /// Guards the events; held for a push or pop.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn put(&self, event: ReadEvent, bound: usize) {
        let mut waiting = self.lock();
        let cost = cost(&event);
        if !is_end(&event) && waiting.bytes + cost > bound && !waiting.events.is_empty() {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += cost;
        waiting.events.push_back(event);
        drop(waiting);
        self.came.notify_one();
    }

    pub(super) fn take(&self) -> Option<ReadEvent> {
        let mut waiting = self.lock();
        let event = waiting.events.pop_front()?;
        waiting.bytes -= cost(&event);
        Some(event)
    }

    pub(super) async fn next(&self) -> ReadEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            // One taker; an event that came in between has left its permit.
            self.came.notified().await;
        }
    }
}

fn cost(event: &ReadEvent) -> usize {
    EVENT_COST + event.data.text.as_ref().map_or(0, String::len)
}
