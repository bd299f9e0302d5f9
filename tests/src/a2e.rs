//! The program `a2e` as the process tests start it: the real one, plus plugins that fail on purpose.

#[path = "../it/plugins/tally.rs"]
mod tally;

use std::process::ExitCode;

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
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

/// Copies between our standard streams and a Unix socket, so that a test can be another user there.
fn carry(socket: &std::ffi::OsStr) -> std::io::Result<()> {
    use std::os::unix::net::UnixStream;
    let stream = UnixStream::connect(socket)?;
    let mut out = stream.try_clone()?;
    std::thread::spawn(move || {
        // Either end may go first.
        let _ended = std::io::copy(&mut std::io::stdin(), &mut out);
        let _gone = out.shutdown(std::net::Shutdown::Write);
    });
    let mut source = std::io::BufReader::new(stream);
    std::io::copy(&mut source, &mut std::io::LineWriter::new(std::io::stdout())).map(drop)
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if let [_, command, socket] = args.as_slice()
        && command == "__carry"
    {
        return if carry(socket).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    a2e_server::cli(std::env::args_os())
}
