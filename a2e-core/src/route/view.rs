//! Views: which plugins a session sees. The host's view is that of every session whose tenant has no
//! plugins of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Endpoint, RouteTable};
use crate::sync::RwLock;

/// An ordered set of plugins and the table of what they handle. Never changed, only replaced.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) table: RouteTable,
    /// In configuration order.
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Written when plugins change; read when a session sees another generation.
    in_force: RwLock<InForce>,
    /// Rises with each change; 1 after the start.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct InForce {
    host: Arc<View>,
    tenants: BTreeMap<String, Arc<View>>,
}

impl Views {
    /// The view of a tenant's sessions, or of sessions without one.
    pub(crate) fn of(&self, tenant: Option<&str>) -> Arc<View> {
        let in_force = self.in_force.read();
        let own = tenant.and_then(|tenant| in_force.tenants.get(tenant));
        Arc::clone(own.unwrap_or(&in_force.host))
    }

    /// Rises when views change. Readers keep a view until then.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts views in force.
    pub(crate) fn replace(&self, host: View, tenants: BTreeMap<String, View>) {
        let tenants = tenants.into_iter().map(|(name, view)| (name, Arc::new(view))).collect();
        let next = InForce { host: Arc::new(host), tenants };
        *self.in_force.write() = next;
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
