//! `a2e import`: configurations of other programs as one of ours.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

mod block;
mod read;
mod secret;
mod write;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::Failure;
use crate::stdout::print;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// Servers of MCP out of the file of Claude, Cursor, VS Code or goose, as our YAML on stdout
    Mcp(McpArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Read are `mcpServers` (Claude, Cursor and most others), `servers` (VS Code) and \
    `extensions` (goose), in JSON, JSON with comments, or YAML. Values that look like secrets are not \
    written: the YAML names a variable in their place, and stderr says which.\n\nExamples:\n  \
    a2e import mcp ~/.cursor/mcp.json > a2e.yaml\n  \
    a2e import mcp .vscode/mcp.json --only github,time > a2e.yaml\n  a2e import mcp ~/.config/goose/config.yaml"
)]
struct McpArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only these servers
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
}

pub(crate) fn run(args: &ImportArgs) -> Result<(), Failure> {
    let ImportCommand::Mcp(args) = &args.command;
    let unread = |error: &dyn std::fmt::Display| {
        Failure::refused(format_args!("{}: {error}", args.file.display()))
    };
    let text = std::fs::read_to_string(&args.file).map_err(|error| unread(&error))?;
    let (yaml, notes) = imported(&text, &args.only, &args.file).map_err(|why| unread(&why))?;
    for note in notes {
        note_on_stderr(&note);
    }
    print(&yaml)
}

fn note_on_stderr(note: &str) {
    use std::io::Write;
    // A closed stderr means that notes are not wanted.
    let _unwanted = writeln!(std::io::stderr(), "{note}");
}

/// The YAML, and what a person should know of it.
fn imported(text: &str, only: &[String], file: &Path) -> Result<(String, Vec<String>), String> {
    let mut servers = read::servers(&read::value(text)?)?;
    if !only.is_empty() {
        let known: Vec<String> = servers.iter().map(|it| it.name.clone()).collect();
        if let Some(name) = only.iter().find(|it| !known.contains(it)) {
            return Err(format!("no server is named `{name}`; there are: {}", known.join(", ")));
        }
        servers.retain(|it| only.contains(&it.name));
    }
    let mut notes = Vec::new();
    let servers: Vec<_> = servers.into_iter().filter_map(|it| it.cleaned(&mut notes)).collect();
    if servers.is_empty() {
        notes.push("nothing to import".to_owned());
    }
    Ok((write::yaml(&servers, file), notes))
}

#[cfg(test)]
mod tests {
    use a2e_caps::mcp::McpConfig;
    use a2e_core::config::HostConfig;
    use serde_json::{Value, json};

    use super::*;

    /// The servers of the YAML, as a host reads them.
    fn servers_of(yaml: &str) -> Value {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let config = HostConfig::from_yaml(file.path()).unwrap();
        let plugin = config.config.get_plugin("mcp").unwrap();
        let settings = Value::Object(plugin.settings().clone());
        let _fits: McpConfig = serde_json::from_value(settings.clone()).unwrap();
        settings["servers"].clone()
    }

    fn of(text: &str) -> (Value, String) {
        let (yaml, notes) = imported(text, &[], Path::new("x.json")).unwrap();
        (servers_of(&yaml), notes.join("\n"))
    }

    #[test]
    fn every_client_s_block_is_read() {
        let expected = json!({ "time": { "command": "uvx", "args": ["mcp-server-time"] } });
        for text in [
            r#"{ "mcpServers": { "time": { "command": "uvx", "args": ["mcp-server-time"] } } }"#,
            "// VS Code\n{ \"servers\": { \"time\": { \"type\": \"stdio\", /* x */ \"command\": \
             \"uvx\", \"args\": [\"mcp-server-time\",], } }, \"inputs\": [] }",
            r#"{ "mcp": { "servers": { "time": { "command": "uvx", "args": ["mcp-server-time"] } } } }"#,
            "extensions:\n  time:\n    type: stdio\n    enabled: true\n    cmd: uvx\n    args: \
             [mcp-server-time]\n",
        ] {
            assert_eq!(of(text).0, expected, "{text}");
        }
    }

    #[test]
    fn secrets_are_named_and_not_written() {
        let text = r#"{ "mcpServers": {
            "git hub": { "command": "npx", "args": ["-y", "x", "--token=ghp_0123456789abcdefghij"],
                         "env": { "GITHUB_TOKEN": "ghp_secret", "LEVEL": "debug" } },
            "far": { "url": "https://h/mcp", "headers": { "Authorization": "Bearer abc" } },
            "asks": { "command": "x", "env": { "KEY": "${input:key}", "HOME2": "${env:HOME}" } }
        } }"#;
        let (yaml, notes) = imported(text, &[], Path::new("x.json")).unwrap();
        for secret in ["ghp_", "Bearer abc"] {
            assert!(
                !yaml.contains(secret) && !notes.iter().any(|it| it.contains(secret)),
                "{yaml}"
            );
        }
        for kept in ["git_hub:", "\"debug\"", "${GITHUB_TOKEN}", "${FAR_AUTHORIZATION}", "${HOME}"]
        {
            assert!(yaml.contains(kept), "{kept}: {yaml}");
        }
        let notes = notes.join("\n");
        for named in ["GITHUB_TOKEN", "FAR_AUTHORIZATION", "GIT_HUB_ARG_3", "KEY"] {
            assert!(notes.contains(named), "{named}: {notes}");
        }
    }

    #[test]
    fn what_cannot_be_imported_is_said() {
        let (servers, notes) = of(r#"{ "mcpServers": {
            "off": { "command": "x", "disabled": true },
            "ws": { "url": "ws://h/" },
            "none": {},
            "old": { "url": "http://h/sse", "type": "sse" } } }"#);
        assert_eq!(servers["old"], json!({ "url": "http://h/sse", "transport": "sse" }));
        assert_eq!(servers["off"]["disabled"], true);
        assert!(notes.contains("ws") && notes.contains("none"), "{notes}");
        let wrong =
            |text: &str, only: &[String]| imported(text, only, Path::new("x.json")).unwrap_err();
        assert!(wrong("{}", &[]).contains("mcpServers"));
        assert!(wrong("{", &[]).contains("JSON"));
        let one = r#"{ "mcpServers": { "a": { "command": "x" } } }"#;
        assert!(wrong(one, &["b".to_owned()]).contains("there are: a"));
    }
}
