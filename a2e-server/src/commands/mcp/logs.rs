//! `a2e mcp logs`: the end of what a server has written to standard error.

use clap::Args;

use super::servers;
use crate::commands::remote::HostArgs;
use crate::stdout::print_foreign;
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Which server
    #[arg(value_name = "SERVER")]
    server: String,
    #[command(flatten)]
    host: HostArgs,
}

pub(crate) fn run(args: &LogsArgs) -> Result<(), Failure> {
    telemetry::start(Some("off"))?;
    let servers = servers(&args.host);
    telemetry::finish();
    let servers = servers?;
    let found = servers.iter().find(|it| it.server_id == args.server);
    let unknown = || {
        let known: Vec<&str> = servers.iter().map(|it| it.server_id.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::refused(format_args!("no server has the id `{}`; there are: {known}", args.server))
    };
    let server = found.ok_or_else(unknown)?;
    let mut lines = server.stderr.clone();
    lines.push(String::new());
    print_foreign(&lines.join("\n"))
}
