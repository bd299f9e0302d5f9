//! `a2e explain`: the plugins that handle a message type, in order, with their interceptors.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::protocol::host::{ExplainedHandler, Explanation, HostExplainRequest};
use clap::Args;

use super::remote::{HostArgs, ask};
use crate::stdout::{print, print_json};
use crate::{Failure, defaults, serve, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to and --config it explains a host without configuration. Exit code 1 when \
    nobody handles the type.\n\nExamples:\n  a2e explain tool/call/req\n  \
    a2e explain memory/store/req -c a2e.yaml\n  \
    a2e explain proc/spawn/req --to unix:///run/user/1000/a2e/a2e.sock"
)]
pub(crate) struct ExplainArgs {
    /// The message type, for example tool/call/req
    #[arg(value_name = "TYPE")]
    pub(crate) wire_type: String,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    telemetry::start(Some("off"))?;
    let runtime = serve::runtime()?;
    let explanation = runtime.block_on(explain(args));
    telemetry::finish();
    let explanation = explanation?;
    if args.json {
        print_json(&explanation)?;
    } else {
        print(&text(&explanation))?;
    }
    if explanation.is_handled || explanation.is_core { Ok(()) } else { Err(Failure::silent()) }
}

async fn explain(args: &ExplainArgs) -> Result<Explanation, Failure> {
    if let Some(to) = &args.host.to {
        let request = HostExplainRequest { message_type: args.wire_type.clone() };
        return ask(to, &args.host.token, &request).await;
    }
    let config = defaults::load(args.host.config.as_deref())?;
    let executor = Executor::builder(config).start().await.map_err(Failure::refused)?;
    let explanation = executor.explain(&args.wire_type);
    executor.shutdown(Duration::ZERO).await;
    Ok(explanation)
}

fn text(it: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    if it.is_core {
        line(format!(
            "{}: answered by the kernel itself, whatever the workers do",
            it.message_type
        ));
    } else if it.is_handled {
        let reply = if it.reply_type.is_empty() { "never answered" } else { &it.reply_type };
        line(format!("{} -> {reply}", it.message_type));
        line(format!("  fold      {}", it.fold));
        line(format!("  deadline  {}", it.deadline));
        for (place, before) in it.interceptors.iter().enumerate() {
            let head = if place == 0 { "before" } else { "" };
            let (name, plugin) = (&before.name, &before.plugin);
            line(format!("  {head:<9} {name} of {plugin} (priority {})", before.priority));
        }
        for (place, handler) in it.handlers.iter().enumerate() {
            line(format!("  {:<9} {}", format!("asks {}", place + 1), handler_line(handler)));
        }
    } else {
        line(format!("{}: nobody handles it", it.message_type));
        if !it.nearest.is_empty() {
            line(format!("  is one of these meant: {}?", it.nearest.join(", ")));
        }
    }
    for left in &it.left_out {
        line(format!("  not asked {}: {}", left.plugin, left.reason));
    }
    for left in &it.not_loaded {
        line(format!("  not loaded {}: {}", left.plugin, left.reason));
    }
    text
}

fn handler_line(it: &ExplainedHandler) -> String {
    let mut parts = vec![format!("priority {}", it.priority), it.run.clone()];
    if let Some(permits) = it.permits {
        parts.push(format!("{permits} at a time"));
    }
    if let Some(limit) = it.deadline_s {
        parts.push(format!("at most {limit} s"));
    }
    if it.exclusive {
        parts.push("exclusive".to_owned());
    }
    if it.scope != "host" {
        parts.push(format!("one per {}", it.scope));
    }
    if !it.health.is_well() {
        parts.push(it.health.as_str().to_owned());
    }
    format!("{} ({}): {}", it.plugin, it.cls, parts.join(", "))
}
