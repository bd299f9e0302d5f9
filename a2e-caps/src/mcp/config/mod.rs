//! The settings of a plugin for MCP servers.

mod names;
mod server;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::protocol::Root;
pub(super) use names::{fits, is_below};
pub(super) use server::hex;
pub use server::{Approval, Era, ServerConfig, Transport};
pub use words::Words;

/// Servers of one plugin, at most.
const MAX_SERVERS: usize = 256;

/// The settings of a plugin for MCP servers.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
pub struct McpConfig {
    /// The servers by id; or a list of them, each with its `server_id`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ServerConfig>")]
    pub servers: Servers,
    /// The folders that servers are told of, as URI and name.
    #[serde(default)]
    pub roots: Vec<Root>,
    /// The programs that messages may register as servers: `cmd[0]` must be one of them, letter by
    /// letter. None by default: only this file says what is run.
    #[serde(default)]
    pub allowed_commands: Vec<String>,
    /// The addresses that messages may register as servers: each allows what is at or below its path, on
    /// the same scheme, host and port. None by default.
    #[serde(default)]
    pub allowed_urls: Vec<String>,
    /// The variables that messages may set for servers that they register, letter by letter: many say what
    /// a program loads. None by default.
    #[serde(default)]
    pub allowed_env: Vec<String>,
    /// The folders that messages may have servers started in, letter by letter. None by default.
    #[serde(default)]
    pub allowed_cwd: Vec<PathBuf>,
    /// Most servers that messages may register at a time.
    #[serde(default = "sixteen")]
    pub max_registered: u16,
    /// The folder of what is known of servers while they do not run, and of approved definitions;
    /// `$XDG_STATE_HOME/a2e/mcp` or `~/.local/state/a2e/mcp` unless said. Empty: nothing is kept.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
    /// Seconds that the start of the host waits at most for the lists of servers of which nothing is
    /// known yet.
    #[serde(default = "two")]
    pub start_wait: f64,
    /// Seconds without use after which a server is stopped that does not say its own; 0: never.
    #[serde(default = "ten_minutes")]
    pub idle_stop: f64,
}

fn sixteen() -> u16 {
    16
}

fn two() -> f64 {
    2.0
}

fn ten_minutes() -> f64 {
    600.0
}

impl McpConfig {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub(super) fn check(&self) -> Result<()> {
        if self.servers.0.len() > MAX_SERVERS {
            return Err(Error::runtime(format!("servers: more than {MAX_SERVERS}")));
        }
        seconds("start_wait", self.start_wait)?;
        seconds("idle_stop", self.idle_stop)?;
        if let Some(url) = self.allowed_urls.iter().find(|it| names::address(it).is_none()) {
            let text = format!("allowed_urls: `{url}` is no http:// or https:// address");
            return Err(Error::runtime(text));
        }
        for (id, server) in &self.servers.0 {
            server.check(id).map_err(|why| Error::runtime(format!("servers.{id}: {why}")))?;
        }
        Ok(())
    }

    /// The folder for what is kept; `None` when nothing is to be.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        state_dir(self.state_dir.clone())
    }

    pub(super) fn start_wait(&self) -> Duration {
        Duration::try_from_secs_f64(self.start_wait).unwrap_or_default()
    }
}

/// The folder that a setting means.
fn state_dir(setting: Option<PathBuf>) -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    match setting {
        Some(folder) => Some(folder).filter(|it| !it.as_os_str().is_empty()),
        None => of("XDG_STATE_HOME")
            .or_else(|| of("HOME").map(|home| home.join(".local/state")))
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("a2e/mcp")),
    }
}

fn seconds(key: &str, value: f64) -> Result<()> {
    match Duration::try_from_secs_f64(value) {
        Ok(it) if it <= Duration::from_hours(24 * 365) => Ok(()),
        _ => Err(Error::runtime(format!("{key}: {value} is no number of seconds"))),
    }
}

/// Servers by id.
#[derive(Clone, Debug, Default)]
pub struct Servers(pub BTreeMap<String, ServerConfig>);

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServersVisitor)
    }
}

struct ServersVisitor;

impl<'de> Visitor<'de> for ServersVisitor {
    type Value = Servers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("servers by id, or a list of servers")
    }

    fn visit_unit<E>(self) -> Result<Servers, E> {
        Ok(Servers::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Servers, A::Error> {
        let mut servers = BTreeMap::new();
        while let Some((id, server)) = map.next_entry::<String, ServerConfig>()? {
            servers.insert(id, server);
        }
        Ok(Servers(servers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Servers, A::Error> {
        use serde::de::Error as _;
        let mut servers = BTreeMap::new();
        while let Some(server) = list.next_element::<ServerConfig>()? {
            let id = if server.server_id.is_empty() { &server.name } else { &server.server_id };
            let id = id.clone();
            if id.is_empty() {
                return Err(A::Error::custom("a server in a list needs a `server_id`"));
            }
            if servers.insert(id.clone(), server).is_some() {
                return Err(A::Error::custom(format!("`{id}` stands twice")));
            }
        }
        Ok(Servers(servers))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(settings: Value) -> Result<McpConfig, String> {
        let config: McpConfig =
            serde_json::from_value(settings).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.message().to_owned())?;
        Ok(config)
    }

    #[test]
    fn servers_are_named_by_key_or_in_a_list() {
        let map = read(json!({ "servers": {
            "a": { "command": "x", "args": ["1"] },
            "b": { "command": ["y", "2"] },
            "c": { "url": "http://127.0.0.1:1/mcp" },
            "d": { "url": "http://127.0.0.1:1/sse", "transport": "sse" },
        }}))
        .unwrap();
        let list = read(json!({ "servers": [
            { "server_id": "a", "cmd": ["x", "1"], "transport": "stdio", "timeout": 300,
              "auto_reconnect": true, "tool_allow_list": [], "resource_allow_list": [] },
            { "server_id": "b", "cmd": ["y", "2"] },
            { "server_id": "c", "url": "http://127.0.0.1:1/mcp" },
            { "server_id": "d", "url": "http://127.0.0.1:1/sse", "transport": "sse" },
        ]}))
        .unwrap();
        for (id, server) in &map.servers.0 {
            let other = &list.servers.0[id];
            assert_eq!(server.argv(), other.argv());
            assert_eq!((server.transport(), &server.url), (other.transport(), &other.url));
        }
        assert!(read(json!({})).unwrap().servers.0.is_empty());
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        for (server, expected) in [
            (json!({}), "servers.a: needs `command` or `url`"),
            (json!({ "command": "x", "url": "http://h/" }), "not both"),
            (json!({ "command": "x", "transport": "http" }), "needs `url`"),
            (json!({ "url": "http://h/", "transport": "stdio" }), "needs `command`"),
            (json!({ "url": "ftp://h/" }), "http:// or https://"),
            (json!({ "url": "http://h/", "headers": { "a b": "x" } }), "headers"),
            (json!({ "command": "" }), "`command` is empty"),
            (json!({ "command": "x", "timeout": -1 }), "timeout"),
            (json!({ "command": "x", "token_file": "t" }), "only for servers with a `url`"),
            (json!({ "url": "http://h/", "token_file": "t", "token_command": "x" }), "not both"),
        ] {
            let error = read(json!({ "servers": { "a": server } })).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for id in ["", "a__b", "a_", "_", "a b", "ä", &"x".repeat(65)] {
            let error = read(json!({ "servers": { id: { "command": "x" } } })).unwrap_err();
            assert!(error.contains("an id has"), "{error}");
        }
        for url in ["", "https://", "example.org", "ftp://h/", "https://u:p@h/", "https://h/%2f"] {
            let error = read(json!({ "allowed_urls": [url] })).unwrap_err();
            assert!(error.contains("allowed_urls"), "{error}");
        }
        let twice = json!([{ "server_id": "a", "cmd": ["x"] }, { "server_id": "a", "cmd": ["y"] }]);
        assert!(read(json!({ "servers": twice })).unwrap_err().contains("stands twice"));
    }
}
