//! The requests of a session that have left its reader, by id.

use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

use crate::request::Request;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// At most what gates and queues hold. A request is put in under the lock of its state, so it is
/// never put in after it was taken out.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Held for a look-up or a change.
    table: Mutex<HashMap<Box<str>, Arc<Request>>>,
    bytes: AtomicUsize,
    /// Wakes tasks that wait for requests to end.
    pub(super) changed: Notify,
}

impl InFlight {
    pub(in crate::request) fn insert(&self, request: &Arc<Request>) {
        self.bytes.fetch_add(request.input_bytes, Ordering::SeqCst);
        self.table.lock().insert(request.id.clone(), Arc::clone(request));
    }

    pub(in crate::request) fn remove(&self, request: &Request) {
        let mut table = self.table.lock();
        let is_it = table.get(&request.id).is_some_and(|it| std::ptr::eq(Arc::as_ptr(it), request));
        let removed = if is_it { table.remove(&request.id) } else { None };
        if table.is_empty() && table.capacity() > 64 {
            table.shrink_to_fit();
        }
        drop(table);
        if removed.is_some() {
            self.bytes.fetch_sub(request.input_bytes, Ordering::SeqCst);
            self.changed.notify_waiters();
        }
    }

    /// The request under this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Request>> {
        if self.bytes() == 0 {
            return None;
        }
        self.table.lock().get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Request>> {
        if self.bytes() == 0 {
            return Vec::new();
        }
        self.table.lock().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Bytes of their lines; no line is empty.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}
