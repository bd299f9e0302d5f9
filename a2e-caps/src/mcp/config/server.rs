//! The settings of one server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Words, fits};
use crate::mcp::protocol::{McpServerConfig, WireTransport};

/// Longest id of a server.
const MAX_ID: usize = 64;

/// One server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ServerConfig {
    /// Its id, where servers stand in a list.
    #[serde(default)]
    pub server_id: String,
    /// Its name for people; the id unless said.
    #[serde(default)]
    pub name: String,
    /// How messages travel; `stdio` with a `command`, `http` with a `url`.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// The program that is the server, or a list of it and its arguments.
    #[serde(default, alias = "cmd")]
    pub command: Words,
    /// Further arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables laid over those that it inherits.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables that it inherits, beside `PATH`, `HOME`, `LANG`, `LC_ALL`, `TMPDIR`, `TZ`
    /// and `USER`.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// The folder to start it in; the host's unless said.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Its address, where it runs elsewhere.
    #[serde(default)]
    pub url: String,
    /// Headers of each request to it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The file whose text is sent as bearer token; read again when the server refuses it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The command whose output is sent as bearer token; asked again when the server refuses it.
    #[serde(default)]
    pub token_command: Words,
    /// The tools to offer, `*` for any run of characters; all unless said.
    #[serde(default, alias = "tool_allow_list")]
    pub include: Vec<String>,
    /// The tools not to offer, even where `include` names them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The resources to list, by name or URI; all unless said.
    #[serde(default, alias = "resource_allow_list")]
    pub include_resources: Vec<String>,
    /// Names to offer tools under, by their own; the server's id stands before them all the same.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Arguments that are always sent so, by tool; agents do not see them.
    #[serde(default)]
    pub fixed: BTreeMap<String, Map<String, Value>>,
    /// Seconds that a call may take.
    #[serde(default = "five_minutes")]
    pub timeout: f64,
    /// Seconds that it may take to start and to list what it has.
    #[serde(default = "one_minute")]
    pub start_timeout: f64,
    /// Seconds without use after which it is stopped; 0: never. The plugin's `idle_stop` unless said.
    #[serde(default)]
    pub idle_stop: Option<f64>,
    /// Whether it is started with the host, though what it has is known.
    #[serde(default)]
    pub eager: bool,
    /// Whether it is started again when it has ended.
    #[serde(default = "yes", alias = "auto_reconnect")]
    pub restart: bool,
    /// Whose definitions are offered without being approved with `a2e mcp approve`.
    #[serde(default)]
    pub approve: Approval,
    /// Which revisions of the protocol to speak.
    #[serde(default)]
    pub era: Era,
    /// Calls that may run at a time.
    #[serde(default = "max_calls")]
    pub max_calls: u16,
    /// Whether it is left alone.
    #[serde(default)]
    pub disabled: bool,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Lines over the pipes of a program.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// The older way over HTTP, with one stream of events.
    Sse,
}

impl Transport {
    /// As it stands in settings and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
        }
    }
}

/// Whose definitions are offered without being approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Those that are seen first; a change waits for approval.
    #[default]
    FirstUse,
    /// None.
    Manual,
}

/// Which revisions of the protocol to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// What the server knows.
    #[default]
    Auto,
    /// With `initialize`, up to 2025-11-25.
    Legacy,
    /// Without, from 2026-07-28.
    Modern,
}

fn five_minutes() -> f64 {
    300.0
}

fn one_minute() -> f64 {
    60.0
}

fn yes() -> bool {
    true
}

fn max_calls() -> u16 {
    64
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl ServerConfig {
    /// What the message that registers a server says.
    ///
    /// # Errors
    /// For a transport that is not spoken here.
    pub(crate) fn of(wire: McpServerConfig) -> Result<Self, String> {
        let transport = match wire.transport {
            WireTransport::Stdio => Transport::Stdio,
            WireTransport::Sse => Transport::Sse,
            WireTransport::Http => Transport::Http,
            WireTransport::Ws => return Err("the transport `ws` is not spoken here".to_owned()),
        };
        #[allow(clippy::cast_precision_loss, reason = "seconds; checked afterwards")]
        let timeout = wire.timeout as f64;
        Ok(Self {
            server_id: wire.server_id,
            name: wire.name,
            transport: Some(transport),
            command: Words(wire.cmd),
            env: wire.env,
            cwd: Some(wire.cwd).filter(|it| !it.is_empty()).map(PathBuf::from),
            url: wire.url,
            headers: wire.headers,
            include: wire.tool_allow_list,
            include_resources: wire.resource_allow_list,
            timeout,
            restart: wire.auto_reconnect,
            ..Self::empty()
        })
    }

    fn empty() -> Self {
        Self {
            server_id: String::new(),
            name: String::new(),
            transport: None,
            command: Words::default(),
            args: Vec::new(),
            env: BTreeMap::new(),
            env_pass: Vec::new(),
            cwd: None,
            url: String::new(),
            headers: BTreeMap::new(),
            token_file: None,
            token_command: Words::default(),
            include: Vec::new(),
            exclude: Vec::new(),
            include_resources: Vec::new(),
            rename: BTreeMap::new(),
            fixed: BTreeMap::new(),
            timeout: five_minutes(),
            start_timeout: one_minute(),
            idle_stop: None,
            eager: false,
            restart: true,
            approve: Approval::default(),
            era: Era::default(),
            max_calls: max_calls(),
            disabled: false,
        }
    }

    /// How messages travel.
    pub(crate) fn transport(&self) -> Transport {
        let by_url = if self.url.is_empty() { Transport::Stdio } else { Transport::Http };
        self.transport.unwrap_or(by_url)
    }

    /// Program and arguments.
    pub(crate) fn argv(&self) -> Vec<&str> {
        self.command.0.iter().chain(&self.args).map(String::as_str).collect()
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn check(&self, id: &str) -> Result<(), String> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        // `__` is between it and the name of a tool.
        let is_split = id.contains("__") || id.ends_with('_');
        if id.is_empty() || id.len() > MAX_ID || !id.chars().all(is_fit) || is_split {
            return Err(format!(
                "an id has 1 to {MAX_ID} letters, digits, `-`, `_`, no `__`, and no `_` at its end"
            ));
        }
        for (key, value) in [("timeout", self.timeout), ("start_timeout", self.start_timeout)] {
            super::seconds(key, value).map_err(|error| error.message().to_owned())?;
        }
        if let Some(idle_stop) = self.idle_stop {
            super::seconds("idle_stop", idle_stop).map_err(|error| error.message().to_owned())?;
        }
        let (has_command, has_url) = (!self.command.0.is_empty(), !self.url.is_empty());
        match (self.transport(), has_command, has_url) {
            (_, true, true) => return Err("`command` or `url`, not both".to_owned()),
            (_, false, false) => return Err("needs `command` or `url`".to_owned()),
            (Transport::Stdio, false, _) => return Err("`stdio` needs `command`".to_owned()),
            (Transport::Http | Transport::Sse, _, false) => {
                return Err(format!("`{}` needs `url`", self.transport().as_str()));
            }
            _ => {}
        }
        if has_command && self.command.0.first().is_some_and(String::is_empty) {
            return Err("`command` is empty".to_owned());
        }
        if has_url {
            return self.check_remote();
        }
        if self.token_file.is_some() || !self.token_command.0.is_empty() {
            return Err("a token is only for servers with a `url`".to_owned());
        }
        Ok(())
    }

    fn check_remote(&self) -> Result<(), String> {
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err("`url` begins with http:// or https://".to_owned());
        }
        let is_fit = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if let Some((name, _)) = self
            .headers
            .iter()
            .find(|(name, value)| !is_fit(name) || value.chars().any(char::is_control))
        {
            return Err(format!("headers: `{name}` cannot be sent"));
        }
        if self.token_file.is_some() && !self.token_command.0.is_empty() {
            return Err("`token_file` or `token_command`, not both".to_owned());
        }
        Ok(())
    }

    /// Whether a tool is offered.
    pub(crate) fn wants_tool(&self, name: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|it| fits(it, name));
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }

    /// Whether a resource is listed.
    pub(crate) fn wants_resource(&self, name: &str, uri: &str) -> bool {
        let list = &self.include_resources;
        list.is_empty() || list.iter().any(|it| fits(it, name) || fits(it, uri))
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or_default()
    }

    pub(crate) fn start_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.start_timeout).unwrap_or_default()
    }

    /// What tells it from another server of the same id: what an operator approved was said of this
    /// program or address.
    pub fn fingerprint(&self, id: &str) -> String {
        let mut hash = Sha256::new();
        let cwd = self.cwd.as_ref().map(|it| it.display().to_string()).unwrap_or_default();
        let words = [id, self.transport().as_str(), &self.url, &cwd];
        for word in words.into_iter().chain(self.argv()) {
            hash.update(word.as_bytes());
            hash.update([0]);
        }
        hex(hash.finalize().get(..8).unwrap_or_default())
    }
}
