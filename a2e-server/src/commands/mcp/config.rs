//! `a2e mcp config`: the block to paste into a client's configuration.

use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::defaults::ConfigArgs;
use crate::stdout::{print, print_json};

#[derive(Debug, Args)]
#[command(
    after_help = "The block has the whole path of this program and of FILE, and the names of the variables \
    that FILE reads, never their values.\n\n\
    Where it goes: claude: .mcp.json of a project (or `claude mcp add-json`); cursor: ~/.cursor/mcp.json; \
    vscode: .vscode/mcp.json; goose: ~/.config/goose/config.yaml."
)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The client that is to read it
    #[arg(long, value_enum, default_value_t = McpClient::Claude)]
    pub(crate) client: McpClient,
}

/// A client whose configuration we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpClient {
    Claude,
    Cursor,
    Vscode,
    Goose,
}

pub(super) fn run(args: &ClientArgs) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let program = text(&program)?;
    let (mut words, mut variables) = (vec!["serve".to_owned(), "--mcp".to_owned()], Vec::new());
    if let Some(file) = args.config.path() {
        let wrong = |error| Failure::refused(format_args!("{}: {error}", file.display()));
        // Read as the host would, so that a block for a file with errors is not printed.
        args.config.load()?;
        let whole = std::fs::canonicalize(&file).map_err(wrong)?;
        words.extend(["-c".to_owned(), text(&whole)?]);
        variables = names(&std::fs::read_to_string(&file).map_err(wrong)?);
    }
    match args.client {
        McpClient::Claude => {
            print_json(&json!({ "mcpServers": { "a2e": entry(&program, &words, &variables, "") } }))
        }
        McpClient::Cursor => {
            let entry = entry(&program, &words, &variables, "env:");
            print_json(&json!({ "mcpServers": { "a2e": entry } }))
        }
        McpClient::Vscode => {
            let mut entry = entry(&program, &words, &variables, "env:");
            entry.insert("type".to_owned(), "stdio".into());
            print_json(&json!({ "servers": { "a2e": entry } }))
        }
        McpClient::Goose => print(&goose(&program, &words, &variables)),
    }
}

/// The block of the clients that read JSON; `prefix` stands before the name of a variable.
fn entry(
    program: &str,
    words: &[String],
    variables: &[String],
    prefix: &str,
) -> Map<String, Value> {
    let block = [("command", json!(program)), ("args", json!(words))];
    let mut block = Map::from_iter(block.map(|(key, value)| (key.to_owned(), value)));
    if !variables.is_empty() {
        let passed = variables.iter();
        let passed = passed.map(|name| (name.clone(), format!("${{{prefix}{name}}}").into()));
        block.insert("env".to_owned(), Value::Object(passed.collect()));
    }
    block
}

fn goose(program: &str, words: &[String], variables: &[String]) -> String {
    // JSON texts are YAML texts.
    let (program, words, variables) = (json!(program), json!(words), json!(variables));
    format!(
        "extensions:\n  a2e:\n    name: a2e\n    type: stdio\n    enabled: true\n    timeout: 300\n    \
         cmd: {program}\n    args: {words}\n    env_keys: {variables}\n"
    )
}

/// The names in `${NAME}` and `${NAME:-default}`, each once.
fn names(yaml: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in yaml.split("${").skip(1) {
        let end = part.find(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        let name = end.and_then(|end| part.get(..end)).unwrap_or_default();
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn text(path: &Path) -> Result<String, Failure> {
    let no_text = || Failure::refused(format_args!("{}: no UTF-8", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(no_text)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn variables_are_named_once_and_without_their_defaults() {
        let yaml = "a: ${A2E_TOKEN}\nb: ${X:-${}}\nc: \"${A2E_TOKEN}\" $$ ${";
        assert_eq!(names(yaml), ["A2E_TOKEN", "X"]);
    }
}
