//! Containment: plugin code is called, and a panic becomes what a broken handler says.

use std::sync::Arc;

use crate::layers::catch;
use crate::plugin::Ended;
use crate::protocol::ErrorCode;
use crate::request::{PluginLabel, Said, Services};
use crate::{Error, Result};

/// Calls plugin code and tells the breaker how it ended.
pub(super) fn contain<T>(
    services: &Services,
    label: &Arc<PluginLabel>,
    work: impl FnOnce() -> Result<T>,
) -> Result<Result<T>, Said> {
    match catch(work) {
        Ok(result) => {
            note_end(services, label, result.as_ref().err());
            Ok(result)
        }
        Err(panic) => Err(panicked(services, label, &panic)),
    }
}

/// Tells the breaker how a call ended. An error that was returned is an answer like others, unless it
/// says that what stands behind the plugin is dead.
pub(super) fn note_end(services: &Services, label: &PluginLabel, error: Option<&Error>) {
    match error {
        Some(error) if *error.code() == ErrorCode::SandboxCrash => {
            label.admission.note_failure(services.clock.now());
        }
        _ => label.admission.note_well(&*services.clock),
    }
}

/// What a handler says that panicked.
pub(super) fn panicked(services: &Services, label: &Arc<PluginLabel>, panic: &str) -> Said {
    label.stats.panics.add();
    // The text may hold anything: it goes to the log, not to the client.
    tracing::error!(plugin = %label.name, panic, "handler panicked");
    let now = services.clock.now();
    label.admission.note_failure(now);
    if let Some(above) = services.above() {
        let remedy = label.stats.note_panic(now);
        above.heal(label, remedy, "it panicked three times within a minute");
    }
    let error = Error::internal(format!("plugin `{}` panicked", label.name));
    Said::Broken { error, is_panic: true }
}

/// What a handler says that has returned; `fields` are what it encoded.
pub(super) fn said(result: Result<Ended>, fields: Vec<u8>) -> Said {
    match result {
        Ok(Ended::Reply(wire_type)) => Said::Reply(wire_type, fields),
        Ok(Ended::Pass(error)) => Said::Pass(error),
        Ok(Ended::Nothing) => Said::Nothing,
        Ok(Ended::Later(_)) => {
            Said::Error(Error::internal("only an inline handler may end in `Later`"))
        }
        Err(error) => Said::Error(error),
    }
}
