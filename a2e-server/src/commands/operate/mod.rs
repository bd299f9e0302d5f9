//! What an operator asks a running host: how it stands, to read its configuration again, to end; and what
//! an approver tells it.

pub(crate) mod approve;
pub(crate) mod reload;
pub(crate) mod status;
pub(crate) mod stop;
