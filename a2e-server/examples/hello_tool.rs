//! A tool for agents, in one file: a function, the types of its arguments and its result, and one line that
//! registers it. The program is a full `a2e` with the tool beside those that it has.
//!
//! ```text
//! cargo run --example hello_tool -- call tool/call/req '{"tool_name":"greet","arguments":{"name":"Ada"}}'
//! ```

use a2e_caps::tools::contract::{Tool, ToolCall};
use a2e_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Whom to greet.
    name: String,
    /// In which language; English unless said.
    #[serde(default)]
    language: Language,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Language {
    #[default]
    English,
    Latin,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    /// One sentence.
    text: String,
}

fn greet(it: Greet, _call: &ToolCall) -> Result<Greeting> {
    let word = match it.language {
        Language::English => "Hello",
        Language::Latin => "Salve",
    };
    Ok(Greeting { text: format!("{word}, {}!", it.name) })
}

a2e_caps::register_tool!(Tool::inline("greet", "Greets by name.", greet));

fn main() -> std::process::ExitCode {
    a2e_server::cli(std::env::args_os())
}
