//! The identity of a peer, as the front that accepted the connection knows it.

/// What a peer may do beyond its own session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// It may steer the host: `host/*`.
    pub operator: bool,
    /// It may control environments of others.
    pub env_control: bool,
    /// It may approve calls that wait for a person.
    pub approve: bool,
}

/// The opener of a session. Given by the front that accepted the connection; nothing is an operator by
/// being in the process.
///
/// ```
/// use a2e_core::transport::{Identity, Rights};
/// let someone = Identity::default();
/// assert!(!someone.rights.operator && someone.tenant.is_none());
/// let admin = Identity::of("token:ops").with_rights(Rights { operator: true, ..Rights::default() });
/// assert!(admin.is_authenticated());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its name as authenticated: `uid:1000`, `token:ci`. Empty where nobody was authenticated:
    /// then a configured token is asked for in the handshake.
    pub principal: String,
    /// Whose plugins, limits and data it has; `None`: those of the host.
    pub tenant: Option<String>,
    /// For people.
    pub name: String,
    /// What it may do beyond its own session.
    pub rights: Rights,
}

impl Identity {
    /// A peer that was authenticated as this principal.
    pub fn of(principal: impl Into<String>) -> Self {
        Self { principal: principal.into(), ..Self::default() }
    }

    /// The operator of this host, as its own program is.
    pub fn operator() -> Self {
        Self::of("operator").with_rights(Rights { operator: true, ..Rights::default() })
    }

    /// The same with these rights.
    #[must_use]
    pub fn with_rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// The same as a member of a tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Whether the front has authenticated it.
    pub fn is_authenticated(&self) -> bool {
        !self.principal.is_empty()
    }
}
