//! `a2e call`: one request to a host; events go to stderr, the reply to stdout.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use a2e_client::{CallOptions, Client, HostCommand, Options};
use a2e_core::protocol::CapabilityName;
use a2e_core::{Clock, SystemClock};
use clap::Args;
use serde_json::{Map, Value};

use super::refusal::refusal;
use super::remote;
use super::target::{Target, TargetArgs, start_own, words};
use crate::defaults::is_config;
use crate::stdout::print;
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to, --spawn and a configuration the host that a bare `a2e serve` runs is \
    asked; if there is none, one is started inside this process, as `a2e serve` would. Exit code 1 when \
    the host answers with an error, or the reply says that it refuses (`ok` or `success` is \
    false).\n\nExamples:\n  a2e call tool/list/req\n  \
    a2e call tool/call/req '{\"tool_name\":\"read_file\",\"arguments\":{\"path\":\"README.md\"}}'\n  \
    a2e call ping --to unix:///run/user/1000/a2e.sock\n  \
    a2e call tool/list/req a2e.yaml\n  \
    a2e call tool/list/req --spawn 'a2e serve --stdio -c a2e.yaml'"
)]
pub(crate) struct CallArgs {
    /// The message type, for example tool/call/req
    #[arg(value_name = "TYPE")]
    wire_type: String,
    /// The fields of the message, a JSON object; `-` reads it from stdin
    #[arg(value_name = "JSON", default_value = "{}")]
    body: String,
    #[command(flatten)]
    target: TargetArgs,
    /// Print the reply as one line, as it came; an error, too
    #[arg(long)]
    json: bool,
}

impl CallArgs {
    /// The fields of the message. A configuration in their place is one, as in other commands.
    fn fields(&mut self) -> Result<Map<String, Value>, Failure> {
        let TargetArgs { config, to, spawn, .. } = &mut self.target;
        if !is_config(Path::new(&self.body)) || config.named().is_some() {
            return body(&self.body);
        }
        if to.is_some() || spawn.is_some() {
            return Err(Failure::usage("a configuration is for a host of our own (see --help)"));
        }
        config.file = Some(PathBuf::from(&self.body));
        Ok(Map::new())
    }
}

pub(crate) fn run(mut args: CallArgs) -> Result<(), Failure> {
    telemetry::start(Some("warn"))?;
    let result = args.fields().and_then(|fields| remote::run(call(&args, &fields)));
    telemetry::finish();
    result
}

/// The fields of the message.
fn body(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        std::io::stdin()
            .read_to_string(&mut read)
            .map_err(|error| Failure::usage(format_args!("stdin: {error}")))?;
        &read
    } else {
        text
    };
    // Of a file that is read: an editor's mark of the encoding.
    serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|error| Failure::usage(format_args!("JSON is not an object: {error}")))
}

async fn call(args: &CallArgs, fields: &Map<String, Value>) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let start = clock.now();
    let limit = args.target.limit();
    let options = Options::new("a2e-call")
        .capabilities(CapabilityName::all())
        .auth_token(args.target.token.clone())
        .handshake_timeout(limit)
        .call_timeout(limit);
    let mut own = None;
    let client = match args.target.target() {
        Target::Running(address) => Client::connect_to(&address, options).await?,
        Target::Spawned(command) => {
            let (program, words) = words(command)?;
            Client::spawn_process(HostCommand::new(program).args(words), options).await?
        }
        Target::Own => {
            let executor = own.insert(start_own(&args.target.config).await?);
            Client::connect(executor.connect(), options).await?
        }
    };
    let rest = CallOptions::within(limit.saturating_sub(clock.now().since(start)));
    let result = ask(args, &client, fields, rest).await;
    client.close().await;
    if let Some(executor) = own {
        executor.shutdown(Duration::ZERO).await;
    }
    result
}

async fn ask(
    args: &CallArgs,
    client: &Client,
    body: &Map<String, Value>,
    limit: CallOptions,
) -> Result<(), Failure> {
    let mut calling = client.call_raw(&args.wire_type, body, limit).await?;
    while let Some(event) = calling.next_event().await {
        let line = format!("{}\n", event.message().text());
        // A closed stderr means that events are not wanted.
        let _unwanted = std::io::stderr().write_all(line.as_bytes());
    }
    let reply = calling.reply().await?;
    let value: Value = reply.decode().map_err(Failure::internal)?;
    if args.json {
        print(&format!("{}\n", reply.text()))?;
    } else {
        let text = serde_json::to_string_pretty(&value).map_err(Failure::internal)?;
        print(&format!("{text}\n"))?;
    }
    match refusal(&value) {
        Some(why) => Err(Failure::reported(why)),
        None => Ok(()),
    }
}
