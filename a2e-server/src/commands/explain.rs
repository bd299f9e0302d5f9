//! `a2e explain`: the plugins that handle a message type, in order, with their interceptors.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig, nearest};
use a2e_core::plugin::{PluginClass, Registry};
use a2e_core::protocol::host::{ExplainedHandler, Explanation, HostExplainRequest};
use clap::Args;
use serde::Serialize;

use super::remote::{self, HostArgs};
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to, a configuration and a host that runs it explains a host without \
    configuration. Exit code 1 when nobody handles the type; the linked class that would is then \
    named, with the lines that load it.\n\nExamples:\n  a2e explain tool/call/req\n  \
    a2e explain memory/store/req -c a2e.yaml\n  \
    a2e explain proc/spawn/req --to unix:///run/user/1000/a2e.sock"
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
    let told = remote::run(tell(args));
    telemetry::finish();
    let told = told?;
    if args.json {
        print_json(&told)?;
    } else {
        print(&text(&told))?;
    }
    let is_handled = told.explanation.is_handled || told.explanation.is_core;
    if is_handled { Ok(()) } else { Err(Failure::silent()) }
}

/// What the host says, and what this program links.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    explanation: Explanation,
    /// Classes that would handle the type, where no plugin does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<Offer>,
}

/// A class that would handle a type.
#[derive(Serialize)]
struct Offer {
    cls: String,
    /// The lines that load it.
    yaml: String,
}

async fn tell(args: &ExplainArgs) -> Result<Told, Failure> {
    let mut explanation = explain(args).await?;
    if explanation.is_handled || explanation.is_core {
        return Ok(Told { explanation, classes: Vec::new() });
    }
    let classes = handled_by_classes().await?;
    let mut wanted = args.wire_type.as_str();
    let of_type = |wanted: &str| classes.iter().any(|it| it.types.iter().any(|it| it == wanted));
    if explanation.nearest.is_empty() && !of_type(wanted) {
        let known = classes.iter().flat_map(|it| &it.types).map(String::as_str);
        explanation.nearest.extend(nearest(wanted, known).map(str::to_owned));
    }
    if let Some(near) = explanation.nearest.first().filter(|_| !of_type(wanted)) {
        wanted = near;
    }
    let meant = classes.iter().filter(|it| it.types.iter().any(|it| it == wanted));
    let offers = meant.map(|it| {
        let capability = &it.capability;
        Offer {
            cls: it.cls.clone(),
            yaml: format!(
                "plugins:\n  - {{name: {capability}, type: {capability}, cls: {}}}\n",
                it.cls
            ),
        }
    });
    Ok(Told { classes: offers.collect(), explanation })
}

async fn explain(args: &ExplainArgs) -> Result<Explanation, Failure> {
    if let Some(host) = args.host.running() {
        return host.ask(&HostExplainRequest { message_type: args.wire_type.clone() }).await;
    }
    let config = args.host.config.checked()?;
    let executor = Executor::builder(config)
        .guard("/proc/self/exe")
        .lenient()
        .start()
        .await
        .map_err(Failure::refused)?;
    let explanation = executor.explain(&args.wire_type);
    executor.shutdown(Duration::ZERO).await;
    Ok(explanation)
}

/// A linked class, and the types that an instance without settings handles.
struct Linked {
    cls: String,
    capability: String,
    types: Vec<String>,
}

/// Tries every linked class out; one that cannot be built without settings tells nothing.
async fn handled_by_classes() -> Result<Vec<Linked>, Failure> {
    let registry = Registry::linked().map_err(Failure::internal)?;
    let classes = registry.classes();
    let mut config = HostConfig::new();
    for class in &classes {
        let facts = class.facts();
        config = config.plugin(PluginConfig::new(facts.cls, facts.capability, facts.cls));
    }
    let builder = Executor::builder(config).guard("/proc/self/exe").lenient();
    let mut trial = builder.try_out().await.map_err(Failure::internal)?;
    let of_class = |class: Arc<dyn PluginClass>| {
        let types = trial.types.remove(class.facts().cls)?;
        Some(Linked {
            cls: class.facts().cls.to_owned(),
            capability: class.facts().capability.to_owned(),
            types,
        })
    };
    Ok(classes.into_iter().filter_map(of_class).collect())
}

fn text(told: &Told) -> String {
    let it = &told.explanation;
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
        for offer in &told.classes {
            line(format!("  the class {} would; in the configuration:", offer.cls));
            for yaml in offer.yaml.lines() {
                line(format!("    {yaml}"));
            }
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
