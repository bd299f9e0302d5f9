//! `a2e schema`: JSON Schema of message types and of the settings of plugin classes.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use a2e_core::plugin::Registry;
use a2e_core::schema::MessageClass;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
#[command(
    after_help = "The schemas are draft 2020-12 and made from the types that this program decodes.\n\n\
    Examples:\n  a2e schema\n  a2e schema tool/call/req\n  \
    a2e schema a2e.caps.memory.plugin.MemoryPlugin\n  a2e schema --all > a2e.schema.json"
)]
pub(crate) struct SchemaArgs {
    /// A message type, or the class of a plugin for its settings; without one: a list of both
    #[arg(value_name = "TYPE|CLS")]
    pub(crate) name: Option<String>,
    /// Print every schema as one JSON object: `messages` and `settings`
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
}

pub(crate) fn run(args: &SchemaArgs) -> Result<(), Failure> {
    let registry = Registry::linked().map_err(Failure::internal)?;
    if args.all {
        return print_json(&all(&registry));
    }
    let Some(name) = &args.name else { return print(&list(&registry)) };
    let schema = find(&registry, name)?;
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::internal)?;
    print(&format!("{text}\n"))
}

fn find(registry: &Registry, name: &str) -> Result<Value, Failure> {
    if let Some(class) = registry.find(name) {
        let undescribed =
            || Failure::refused(format_args!("`{name}` does not describe its settings"));
        return class.schema().ok_or_else(undescribed);
    }
    let classes = MessageClass::linked();
    let is_of = |it: &&&MessageClass| {
        it.wire_type == name
            || it.wire_type.strip_prefix('*').is_some_and(|end| name.ends_with(end))
    };
    if let Some(class) = classes.iter().find(is_of) {
        let undescribed =
            || Failure::refused(format_args!("`{name}` does not describe its fields"));
        return class.schema().ok_or_else(undescribed);
    }
    let known = classes.iter().map(|it| it.wire_type);
    let near = a2e_core::config::did_you_mean(name, known).or_else(|| {
        let class = registry.nearest(name).into_iter().next()?;
        Some(format!("did you mean {class:?}?"))
    });
    let hint = near.map_or_else(String::new, |near| format!("; {near}"));
    Err(Failure::refused(format_args!(
        "no message type or plugin class `{name}` is linked in{hint}; `a2e schema` lists them"
    )))
}

fn list(registry: &Registry) -> String {
    let mut lines = vec!["Message types:".to_owned()];
    for class in MessageClass::linked() {
        let reply = match class.reply_type {
            Some("") => "  (never answered)".to_owned(),
            Some(reply) => format!("  -> {reply}"),
            None => String::new(),
        };
        lines.push(format!("  {}{reply}", class.wire_type));
    }
    lines.push("Settings of plugin classes:".to_owned());
    for class in registry.classes().iter().filter(|class| class.schema().is_some()) {
        lines.push(format!("  {}", class.facts().cls));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn all(registry: &Registry) -> Value {
    let messages = MessageClass::linked();
    let messages = messages.iter().filter_map(|it| Some((it.wire_type.to_owned(), it.schema()?)));
    let settings = registry.classes();
    let settings = settings.iter().filter_map(|it| Some((it.facts().cls.to_owned(), it.schema()?)));
    json!({
        "messages": messages.collect::<Map<String, Value>>(),
        "settings": settings.collect::<Map<String, Value>>(),
    })
}
