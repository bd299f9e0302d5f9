//! `a2e call`: one request.
use crate::{Failure, args::CallArgs};
pub(crate) fn run(_args: &CallArgs) -> Result<(), Failure> {
    Err(Failure::internal("soon"))
}
