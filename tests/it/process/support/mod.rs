//! What the process tests share: the program as a child, an agent of raw lines, a look at `/proc`.

pub(crate) mod packages;
pub(crate) mod proc_fs;
pub(crate) mod program;
pub(crate) mod terminal;
pub(crate) mod wire;
