//! `a2e call`: one request to a host; events go to stderr, the reply to stdout.

use std::io::{Read, Write};
use std::time::Duration;

use a2e_client::{CallOptions, Client, ClientError, HostCommand, Options, Received};
use a2e_core::Executor;
use a2e_core::protocol::CapabilityName;
use serde_json::{Map, Value};

use crate::args::CallArgs;
use crate::stdout::print;
use crate::{Failure, defaults, serve, telemetry};

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
        // Whoever closed stderr does not want events.
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
