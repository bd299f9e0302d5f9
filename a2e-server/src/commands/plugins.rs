//! `a2e plugins`: the linked plugin classes, and those that a configuration or a host loads.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use a2e_core::Executor;
use a2e_core::executor::{HostStatus, PluginStatus};
use a2e_core::plugin::Registry;
use a2e_core::protocol::host::HostStatusRequest;
use clap::Args;
use serde::Serialize;

use super::remote::{self, HostArgs};
use crate::defaults::ConfigArgs;
use crate::stdout::{print, print_json};
use crate::{Failure, telemetry};

#[derive(Serialize)]
struct Listing {
    /// What this program links; empty when a running host was named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    linked: Vec<Class>,
    /// How the host stands that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<Vec<PluginStatus>>,
}

#[derive(Serialize)]
struct Class {
    cls: String,
    aliases: Vec<String>,
    capability: String,
    about: String,
    /// Loaded by a host without configuration.
    is_default: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when a plugin that is enabled does not serve.\n\nExamples:\n  a2e plugins\n  \
    a2e plugins a2e.yaml\n  a2e plugins --to unix:///run/user/1000/a2e.sock"
)]
pub(crate) struct PluginsArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &PluginsArgs) -> Result<(), Failure> {
    // What failed stands in the list.
    telemetry::start(Some("off"))?;
    let host = args.host.running().map(|host| host.ask_now(&HostStatusRequest {})).transpose()?;
    // What this program links says nothing of a host that was named.
    let linked = if args.host.to.is_some() { Vec::new() } else { linked()? };
    let is_own = args.host.to.is_none() && args.host.config.path().is_some();
    let loaded = is_own.then(|| load(&args.host.config)).transpose()?;
    let listing = Listing { linked, host, loaded };
    telemetry::finish();
    if args.json {
        print_json(&listing)?;
    } else {
        print(&text(&listing))?;
    }
    let hosted = listing.host.iter().flat_map(|host| &host.plugins);
    let all_well =
        listing.loaded.iter().flatten().chain(hosted).all(|plugin| plugin.health.is_well());
    if all_well { Ok(()) } else { Err(Failure::silent()) }
}

fn linked() -> Result<Vec<Class>, Failure> {
    let registry = Registry::linked().map_err(Failure::internal)?;
    let classes = registry.classes();
    let classes = classes.iter().map(|class| Class {
        cls: class.facts().cls.to_owned(),
        aliases: class.facts().aliases.iter().map(|it| (*it).to_owned()).collect(),
        capability: class.facts().capability.to_owned(),
        about: class.facts().about.to_owned(),
        is_default: class.facts().default_settings.is_some(),
    });
    Ok(classes.collect())
}

/// What becomes of the plugins of a configuration, also where none of them serves.
fn load(config: &ConfigArgs) -> Result<Vec<PluginStatus>, Failure> {
    let config = config.checked()?;
    remote::run(async {
        let executor =
            Executor::builder(config).lenient().start().await.map_err(Failure::refused)?;
        let status = executor.status();
        executor.shutdown(std::time::Duration::ZERO).await;
        Ok(status.plugins)
    })
}

fn text(listing: &Listing) -> String {
    let mut lines = Vec::new();
    if !listing.linked.is_empty() {
        lines.push("Linked in (a `*` is loaded without configuration):".to_owned());
    }
    for class in &listing.linked {
        let mark = if class.is_default { '*' } else { ' ' };
        lines.push(format!("{mark} {:<12} {:<42} {}", class.capability, class.cls, class.about));
    }
    if let Some(loaded) = &listing.loaded {
        lines.push("Loaded:".to_owned());
        lines.extend(loaded.iter().flat_map(plugin_lines));
    }
    if let Some(host) = &listing.host {
        lines.push(format!(
            "Host {}: version {}, generation {}, sessions {}, in flight {}, audit {}",
            host.host_id, host.program, host.generation, host.sessions, host.in_flight, host.audit
        ));
        lines.extend(host.plugins.iter().flat_map(plugin_lines));
        if !host.retiring.is_empty() {
            lines.push(format!("  still ending: {}", host.retiring.join(", ")));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn plugin_lines(plugin: &PluginStatus) -> Vec<String> {
    let what = plugin.reason.clone().unwrap_or_else(|| plugin.types.join(" "));
    let mut lines = vec![format!("  {:<12} {:<12} {what}", plugin.name, plugin.health.as_str())];
    let also = plugin.state_problem.iter().map(|problem| format!("state: {problem}"));
    lines.extend(also.chain(plugin.notes.iter().cloned()).map(|note| format!("{:<27}{note}", "")));
    lines
}
