//! An agent without tokio: calls tools of a host, follows their events, and leaves.
//!
//! ```sh
//! cargo run -p a2e-client --features blocking --example blocking -- unix:///run/a2e/a2e.sock
//! cargo run -p a2e-client --features blocking --example blocking -- a2e serve --stdio
//! ```

use std::error::Error;
use std::io::Write;

use a2e_client::blocking::Client;
use a2e_client::{CallOptions, HostCommand};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let first = args.next().ok_or("usage: blocking ADDRESS | PROGRAM [ARGUMENT]...")?;
    let client = if first.contains("://") {
        Client::connect(&first)?
    } else {
        Client::spawn(HostCommand::new(first).args(args))?
    };
    let mut out = std::io::stdout().lock();

    let options = CallOptions::default;
    let tools: Value =
        client.rpc_raw("tool/list/req", &json!({}), options().repeatable())?.decode()?;
    let tools = tools.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
    writeln!(out, "{tools} tools")?;

    let request = json!({ "tool_name": "stream", "arguments": { "n": 3 }, "streaming": true });
    let mut calling = client.call_raw("tool/call/req", &request, options())?;
    for event in calling.events() {
        writeln!(out, "event {}", event?.data().get())?;
    }
    let reply: Value = calling.reply()?.decode()?;
    writeln!(out, "reply {}", reply.pointer("/data/success").unwrap_or(&Value::Null))?;

    client.close()?;
    writeln!(out, "closed")?;
    Ok(())
}
