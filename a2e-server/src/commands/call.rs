//! `a2e call`: one request to a host; events go to stderr, the reply to stdout.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError, HostCommand, Options, Received};
use a2e_core::Executor;
use a2e_core::protocol::CapabilityName;
use clap::Args;
use serde_json::{Map, Value};

use crate::args::seconds;
use crate::stdout::print;
use crate::{Failure, defaults, serve, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to and --spawn a host is started inside this process, as `a2e serve` \
    would.\n\nExamples:\n  a2e call tool/list/req\n  \
    a2e call tool/call/req '{\"tool_name\":\"read_file\",\"arguments\":{\"path\":\"README.md\"}}'\n  \
    a2e call ping --to unix:///run/user/1000/a2e/a2e.sock\n  \
    a2e call tool/list/req --spawn 'a2e serve --stdio -c a2e.yaml'"
)]
pub(crate) struct CallArgs {
    /// The message type, for example tool/call/req
    #[arg(value_name = "TYPE")]
    pub(crate) wire_type: String,
    /// The fields of the message, a JSON object; `-` reads it from stdin
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) body: String,
    /// The address of a running host: tcp://HOST:PORT or unix:///PATH
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["spawn", "config"])]
    pub(crate) to: Option<String>,
    /// A host to start and talk to over its stdin and stdout; split at spaces, no shell
    #[arg(long, value_name = "CMD", conflicts_with = "config")]
    pub(crate) spawn: Option<String>,
    /// The configuration of the host that is started inside this process
    #[arg(short, long, value_name = "FILE", env = "A2E_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The host's token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    pub(crate) token: String,
    /// How long to wait for the reply
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print the reply as one line, as it came
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &CallArgs) -> Result<(), Failure> {
    telemetry::start(Some("warn"))?;
    let body = body(&args.body)?;
    let runtime = serve::runtime()?;
    let result = runtime.block_on(call(args, &body));
    telemetry::finish();
    // A host inside this process may have a thread that hangs.
    runtime.shutdown_background();
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
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format_args!("JSON is not an object: {error}")))
}

async fn call(args: &CallArgs, body: &Map<String, Value>) -> Result<(), Failure> {
    let limit = Duration::from_secs_f64(args.timeout);
    let options = Options::new("a2e-call")
        .capabilities(CapabilityName::all())
        .auth_token(args.token.clone())
        .call_timeout(limit);
    let (client, executor) = match (&args.to, &args.spawn) {
        (Some(address), _) => (Client::connect_to(address, options).await, None),
        (None, Some(command)) => (spawn(command, options).await?, None),
        (None, None) => {
            let config = defaults::load(args.config.as_deref())?;
            let executor = Executor::builder(config)
                .guard("/proc/self/exe")
                .start()
                .await
                .map_err(Failure::refused)?;
            (Client::connect(executor.connect(), options).await, Some(executor))
        }
    };
    let client = client.map_err(Failure::refused)?;
    let result = ask(args, &client, body).await;
    client.close().await;
    if let Some(executor) = executor {
        executor.shutdown(Duration::ZERO).await;
    }
    result
}

async fn spawn(command: &str, options: Options) -> Result<Result<Client, ClientError>, Failure> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::usage("--spawn names no program"))?;
    Ok(Client::spawn_process(HostCommand::new(program).args(words), options).await)
}

async fn ask(args: &CallArgs, client: &Client, body: &Map<String, Value>) -> Result<(), Failure> {
    let limit = CallOptions::within(Duration::from_secs_f64(args.timeout));
    let calling = client.call_raw(&args.wire_type, body, limit).await;
    let mut calling = calling.map_err(Failure::refused)?;
    while let Some(event) = calling.next_event().await {
        let line = format!("{}\n", event.message().text());
        // A closed stderr means that events are not wanted.
        let _unwanted = std::io::stderr().write_all(line.as_bytes());
    }
    match calling.reply().await {
        Ok(reply) => show(args, &reply),
        Err(error) => {
            if let Some(body) = error.remote() {
                show_error(args, body)?;
                return Err(Failure::silent());
            }
            Err(Failure::refused(error))
        }
    }
}

fn show(args: &CallArgs, reply: &Received) -> Result<(), Failure> {
    if args.json {
        return print(&format!("{}\n", reply.text()));
    }
    let value: Value = reply.decode().map_err(Failure::internal)?;
    let text = serde_json::to_string_pretty(&value).map_err(Failure::internal)?;
    print(&format!("{text}\n"))
}

/// An error is the answer, too: it goes where the reply would have gone, and the exit code is 1.
fn show_error(args: &CallArgs, body: &a2e_core::protocol::ErrorBody) -> Result<(), Failure> {
    if args.json {
        return crate::stdout::print_json(body);
    }
    let mut text = format!("error {}: {}\n", body.code, body.message);
    if !body.detail.is_empty() {
        let detail = serde_json::to_string_pretty(&body.detail).map_err(Failure::internal)?;
        text.push_str(&detail);
        text.push('\n');
    }
    print(&text)
}
