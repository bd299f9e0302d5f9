//! `a2e plugins`: what is linked in, and what a configuration makes of it.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::PathBuf;

use a2e_core::Executor;
use a2e_core::executor::{PluginHealth, PluginStatus};
use a2e_core::plugin::Registry;
use clap::Args;
use serde::Serialize;

use crate::stdout::{print, print_json};
use crate::{Failure, defaults, telemetry};

#[derive(Serialize)]
struct Listing {
    linked: Vec<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<Vec<PluginStatus>>,
}

#[derive(Serialize)]
struct Class {
    cls: &'static str,
    aliases: &'static [&'static str],
    capability: &'static str,
    about: &'static str,
    /// Loaded by a host without configuration.
    is_default: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// Also load this configuration and tell what became of each plugin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &PluginsArgs) -> Result<(), Failure> {
    // What failed stands in the list.
    telemetry::start(Some("off"))?;
    let registry = Registry::linked().map_err(Failure::internal)?;
    let linked: Vec<Class> = registry
        .classes()
        .iter()
        .map(|class| Class {
            cls: class.cls,
            aliases: class.aliases,
            capability: class.capability,
            about: class.about,
            is_default: class.default_settings.is_some(),
        })
        .collect();
    let loaded = args.config.as_deref().map(load).transpose()?;
    telemetry::finish();
    let listing = Listing { linked, loaded };
    if args.json {
        print_json(&listing)?;
    } else {
        print(&text(&listing))?;
    }
    let is_well = |plugin: &PluginStatus| plugin.health == PluginHealth::Serving;
    let all_well = listing.loaded.iter().flatten().all(is_well);
    if all_well { Ok(()) } else { Err(Failure::silent()) }
}

fn load(file: &std::path::Path) -> Result<Vec<PluginStatus>, Failure> {
    let config = defaults::load(Some(file))?;
    let runtime = crate::serve::runtime()?;
    runtime.block_on(async {
        let executor = Executor::builder(config).start().await.map_err(Failure::refused)?;
        let status = executor.status();
        executor.shutdown(std::time::Duration::ZERO).await;
        Ok(status.plugins)
    })
}

fn text(listing: &Listing) -> String {
    let mut lines = vec!["Linked in (a `*` is loaded without configuration):".to_owned()];
    for class in &listing.linked {
        let mark = if class.is_default { '*' } else { ' ' };
        lines.push(format!("{mark} {:<12} {:<42} {}", class.capability, class.cls, class.about));
    }
    if let Some(loaded) = &listing.loaded {
        lines.push("Loaded:".to_owned());
        for plugin in loaded {
            let health = format!("{:?}", plugin.health).to_lowercase();
            let what = plugin.reason.clone().unwrap_or_else(|| plugin.types.join(" "));
            lines.push(format!("  {:<12} {health:<12} {what}", plugin.name));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
