//! What a message type declares.

use std::borrow::Cow;
use std::time::Duration;

use crate::codec::scan::Slot;
use crate::layers::limit;
use crate::protocol::{Deadline, Fold, Message, Request};

/// What a message type declares, for types that are known only at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSpec {
    /// The text of `type`.
    pub wire_type: Cow<'static, str>,
    /// The type of its reply.
    pub reply_type: Cow<'static, str>,
    /// How several answers become one.
    pub fold: Fold,
    /// How long it may take.
    pub deadline: Deadline,
    /// Whether it is never answered.
    pub is_one_way: bool,
    /// The fields that its audit records show; dots lead into objects.
    pub subject: Vec<Cow<'static, str>>,
}

impl TypeSpec {
    /// What a typed request declares.
    pub fn of<Q: Request>() -> Self {
        Self {
            wire_type: Cow::Borrowed(Q::TYPE),
            reply_type: Cow::Borrowed(<Q::Reply as Message>::TYPE),
            fold: Q::FOLD,
            deadline: Q::DEADLINE,
            is_one_way: Q::IS_ONE_WAY,
            subject: Q::SUBJECT.iter().map(|field| Cow::Borrowed(*field)).collect(),
        }
    }

    /// A request type with the defaults: fold `All`, the host's deadline.
    pub fn request(
        wire_type: impl Into<Cow<'static, str>>,
        reply_type: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            wire_type: wire_type.into(),
            reply_type: reply_type.into(),
            fold: Fold::All,
            deadline: Deadline::Default,
            is_one_way: false,
            subject: Vec::new(),
        }
    }

    /// Names the fields that its audit records show; dots lead into objects.
    #[must_use]
    pub fn with_subject<F: Into<Cow<'static, str>>>(
        mut self,
        fields: impl IntoIterator<Item = F>,
    ) -> Self {
        self.subject = fields.into_iter().map(Into::into).collect();
        self
    }

    /// Whether both say the same of a type, as far as its answer depends on it.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let plain = |spec: &Self| Self { subject: Vec::new(), ..spec.clone() };
        plain(self) == plain(other)
    }

    /// Adds the fields that another plugin declares for the same type.
    pub(crate) fn add_subject(&mut self, other: &Self) {
        for field in &other.subject {
            if !self.subject.contains(field) {
                self.subject.push(field.clone());
            }
        }
    }

    /// How long a request of this type may take; `None` when it never ends by itself.
    pub(crate) fn limit(&self, timeout: &Slot<'_>) -> Option<Duration> {
        limit(self.deadline, &self.wire_type, timeout)
    }
}
