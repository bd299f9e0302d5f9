//! The principal of a session: the peer that may resume it.

use std::fmt;

use nix::unistd::getuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::protocol::SessionId;
use crate::transport::{Identity, Peer};

/// A digest of a session and of its opener: the principal that the front authenticated, the user at
/// the other end of a Unix socket or of our standard streams, else the token that was given, else
/// anybody. It is kept in place of
/// the token, and that of one session says nothing about another's.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Principal([u8; 32]);

impl Principal {
    /// The principal of a peer that gave this token, for this session.
    pub(crate) fn new(session: &SessionId, identity: &Identity, peer: &Peer, token: &str) -> Self {
        // On stdio the peer is the process that started us, or one that it gave its pipes to.
        let uid = peer.uid.or_else(|| peer.is_stdio.then(|| getuid().as_raw()));
        let (kind, value) = match uid {
            _ if identity.is_authenticated() => ("principal", identity.principal.clone()),
            Some(uid) => ("uid", uid.to_string()),
            None if !token.is_empty() => ("token", token.to_owned()),
            None => ("anyone", String::new()),
        };
        let mut digest = Sha256::new();
        // A session id holds no NUL, so no two sets of parts give one text.
        for part in ["a2e principal", session.as_str(), kind, &value] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        Self(digest.finalize().into())
    }

    /// Whether both are the same, in a time that tells nothing about either.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: Option<u32>, is_stdio: bool) -> Peer {
        Peer { uid, is_stdio, ..Peer::named("a peer") }
    }

    #[test]
    fn r64_only_the_same_user_or_token_is_the_same_principal() {
        let uid = getuid().as_raw();
        let (own, other) = (Some(uid), Some(uid + 1));
        for (one, two, is_same) in [
            ((own, false, ""), (own, false, ""), true),
            ((own, false, ""), (other, false, ""), false),
            // The user counts, whatever token came with it.
            ((own, false, "t"), (own, false, "u"), true),
            ((own, false, ""), (None, true, ""), true),
            ((other, false, ""), (None, true, ""), false),
            ((None, false, "t"), (None, false, "t"), true),
            ((None, false, "t"), (None, false, "u"), false),
            ((None, false, "t"), (None, false, ""), false),
            ((None, false, ""), (None, false, ""), true),
            ((own, false, ""), (None, false, &uid.to_string()), false),
        ] {
            let id = SessionId::from("0123456789abcdef0123456789abcdef");
            let of = |(uid, is_stdio, token): (_, _, &str)| {
                Principal::new(&id, &Identity::default(), &peer(uid, is_stdio), token)
            };
            assert_eq!(of(one).is(&of(two)), is_same, "{one:?} {two:?}");
            let elsewhere =
                Principal::new(&"f".into(), &Identity::default(), &peer(one.0, one.1), one.2);
            assert!(!elsewhere.is(&of(one)), "one digest serves one session");
        }
    }
}
