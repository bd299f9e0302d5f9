//! The identity of a peer, as the front that accepted the connection knows it.

use std::sync::Arc;

use super::Allowed;

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

/// One of [`Rights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To steer the host: `host/*`.
    Operator,
    /// To control environments of others. Every session has it where no principals are configured.
    EnvControl,
    /// To approve calls that wait for a person.
    Approve,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 3] = [Self::Operator, Self::EnvControl, Self::Approve];

    /// The right as the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::EnvControl => "env-control",
            Self::Approve => "approve",
        }
    }
}

impl Rights {
    /// All of them, as the person has that runs the host.
    pub fn all() -> Self {
        Self { operator: true, env_control: true, approve: true }
    }

    /// Adds one.
    pub fn grant(&mut self, right: Right) {
        match right {
            Right::Operator => self.operator = true,
            Right::EnvControl => self.env_control = true,
            Right::Approve => self.approve = true,
        }
    }

    /// Whether this one is among them.
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::Operator => self.operator,
            Right::EnvControl => self.env_control,
            Right::Approve => self.approve,
        }
    }
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
    /// What it may use; `None`: everything.
    pub allowed: Option<Arc<Allowed>>,
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

    /// The same, kept to these types and names.
    #[must_use]
    pub fn with_allowed(mut self, allowed: Allowed) -> Self {
        self.allowed = (allowed != Allowed::default()).then(|| Arc::new(allowed));
        self
    }

    /// Whether it has this right.
    ///
    /// ```
    /// use a2e_core::transport::{Identity, Right, Rights};
    /// let person = Identity::of("ada").with_rights(Rights { approve: true, ..Rights::default() });
    /// assert!(person.may(Right::Approve) && !person.may(Right::Operator));
    /// ```
    pub fn may(&self, right: Right) -> bool {
        self.rights.has(right)
    }

    /// Whether the front has authenticated it.
    pub fn is_authenticated(&self) -> bool {
        !self.principal.is_empty()
    }
}
