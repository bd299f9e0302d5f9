//! The program `a2e` as the process tests start it: the real one, plus plugins that fail on purpose.

use std::process::ExitCode;

use a2e_core::dispatch::Call;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct HangRequest {}

#[derive(Serialize)]
struct HangResponse {}

message!(HangResponse, "hang/resp");
message!(HangRequest, "hang/req" => HangResponse, First);

/// Holds up the reader of its session for ever, which no plugin may do.
struct Hang;

impl Hang {
    #[allow(clippy::unused_self, reason = "the shape of a handler")]
    fn hang(&self, _: HangRequest, _: &Call) -> Answer<HangResponse> {
        loop {
            std::thread::park();
        }
    }
}

impl Plugin for Hang {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Hang::hang);
    }
}

#[derive(Deserialize)]
struct NoConfig {}

register_plugin!(
    Hang,
    cls = "test.Hang",
    capability = "test",
    config = NoConfig,
    build = |_: NoConfig, _: &Host| Ok(Hang)
);

/// Is never built.
struct Unbuilt;

impl Plugin for Unbuilt {
    fn handlers(_: &mut Handlers<Self>) {}
}

register_plugin!(
    Unbuilt,
    cls = "test.Unbuilt",
    capability = "test",
    config = NoConfig,
    build = |_: NoConfig, _: &Host| -> Result<Unbuilt> { Err(Error::runtime("never built")) }
);

fn main() -> ExitCode {
    a2e_server::cli(std::env::args_os())
}
