//! A principal: a peer that is known by a token of its own, and what it may do.

use super::{HostConfig, Secret, TokenDigest};
use crate::transport::Identity;

/// An entry of `server.principals`.
///
/// ```
/// use a2e_core::config::{HostConfig, PrincipalConfig};
/// use a2e_core::transport::Identity;
/// let mut config = HostConfig::new();
/// let token = "0123456789abcdef0123456789abcdef";
/// config.server.principals.push(PrincipalConfig::new(Identity::of("ci"), token));
/// assert!(config.needs_token());
/// assert_eq!(config.principal_of(token).unwrap().principal, "ci");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrincipalConfig {
    /// What its sessions are: its name, tenant, rights, and what it may use.
    pub identity: Identity,
    /// Of its token, which is not kept.
    pub token: TokenDigest,
    /// Whether the token can hardly have 128 bits.
    pub has_short_token: bool,
}

impl PrincipalConfig {
    /// A principal of this identity, known by this token.
    pub fn new(identity: Identity, token: &str) -> Self {
        let has_short_token = Secret::new(token).is_short();
        Self { identity, token: TokenDigest::of(token), has_short_token }
    }
}

impl HostConfig {
    /// Whether a peer has to show a token before it is served.
    pub fn needs_token(&self) -> bool {
        self.auth_token.is_some() || !self.server.principals.is_empty()
    }

    /// The principal with this token. Every one is looked at, so the time does not tell which.
    pub fn principal_of(&self, token: &str) -> Option<&Identity> {
        let offered = TokenDigest::of(token);
        let principals = self.server.principals.iter();
        principals
            .fold(None, |found, it| if it.token == offered { Some(&it.identity) } else { found })
    }
}
