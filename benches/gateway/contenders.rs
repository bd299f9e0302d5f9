//! What is measured: gateways in front of one server, and servers alone.

use std::path::{Path, PathBuf};

use super::packages::Packages;

/// How a client reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Stdio,
    Http,
}

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "streamable HTTP",
        }
    }
}

/// One that is measured.
pub struct Contender {
    pub name: &'static str,
    pub way: Way,
    /// The tool that gives its text back.
    pub tool: &'static str,
    /// Its command, in which `PORT` stands for the port to listen at; or why it cannot be had.
    pub command: Result<Vec<String>, String>,
    /// The command of the server behind it: its memory is not the gateway's.
    pub behind: Vec<String>,
}

/// What everything else is compared with.
pub const BARE: &str = "rmcp, no gateway";

/// Stands for a port in a command.
pub const PORT: &str = "PORT";

/// The gateway's settings; `SERVER` stands for the command of the server, as a list. The audit is as it is by default.
const GATEWAY: &str = "
audit: {enabled: true, mode: write, path: gateway.audit}
plugins:
  - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
  - name: mcp
    type: mcp
    cls: a2e.caps.mcp.plugin.MCPPlugin
    metadata: {state_dir: '', start_wait: 30, servers: {peer: {command: SERVER}}}
";

const OWN: &str = "
audit: {enabled: true, mode: write, path: own.audit}
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// All of them. Packages are installed where a folder for them is given.
pub fn all(
    own: &Path,
    scratch: &Path,
    peers: &Result<PathBuf, String>,
    packages: Option<&Path>,
) -> Result<Vec<Contender>, String> {
    let commands = Commands::new(own, scratch, peers, packages)?;
    let one = |name, way, tool, command| {
        let behind = commands.behind.clone();
        Contender { name, way, tool, command, behind }
    };
    let (stdio, http) = (Way::Stdio, Way::Http);
    let (alone, gateway) = (&commands.alone, &commands.gateway);
    let bare_http = commands.peer("rmcp-http", &format!("127.0.0.1:{PORT}"));
    Ok(vec![
        one(BARE, stdio, "echo", commands.peer("rmcp-stdio", "")),
        one("a2e, a tool of its own", stdio, "echo", Ok(commands.over_stdio(alone))),
        one("a2e, gateway", stdio, "peer__echo", Ok(commands.over_stdio(gateway))),
        one("FastMCP, a tool of its own", stdio, "echo", commands.fastmcp("server", "stdio")),
        one("FastMCP, gateway", stdio, "echo", commands.fastmcp("proxy", "stdio")),
        one(BARE, http, "echo", bare_http),
        one("a2e, a tool of its own", http, "echo", Ok(commands.over_http(alone))),
        one("a2e, gateway", http, "peer__echo", Ok(commands.over_http(gateway))),
        one("FastMCP, a tool of its own", http, "echo", commands.fastmcp("server", PORT)),
        one("FastMCP, gateway", http, "echo", commands.fastmcp("proxy", PORT)),
        one("mcp-proxy, gateway", http, "echo", commands.mcp_proxy()),
        one("supergateway, gateway", http, "echo", commands.supergateway()),
    ])
}

/// The commands of the contenders.
struct Commands {
    own: String,
    /// Of A2E: the settings with a tool of its own, and those of the gateway.
    alone: String,
    gateway: String,
    /// The script for FastMCP.
    fast: String,
    peers: Result<PathBuf, String>,
    /// Where packages are; `None` where none are wanted.
    packages: Option<PathBuf>,
    /// Of the server behind the gateways.
    behind: Vec<String>,
}

impl Commands {
    fn new(
        own: &Path,
        scratch: &Path,
        peers: &Result<PathBuf, String>,
        packages: Option<&Path>,
    ) -> Result<Self, String> {
        let keep = |name: &str, text: &str| {
            let file = scratch.join(name);
            std::fs::write(&file, text).map_err(|error| error.to_string())?;
            Ok::<_, String>(file.display().to_string())
        };
        let mut commands = Self {
            own: own.display().to_string(),
            alone: keep("own.yaml", OWN)?,
            gateway: String::new(),
            fast: keep("fast.py", include_str!("fast.py"))?,
            peers: peers.clone(),
            packages: packages.map(Path::to_owned),
            behind: Vec::new(),
        };
        let own_server = |_| commands.over_stdio(&commands.alone);
        let behind = commands.peer("rmcp-stdio", "").unwrap_or_else(own_server);
        commands.gateway =
            keep("gateway.yaml", &GATEWAY.replace("SERVER", &format!("{behind:?}")))?;
        commands.behind = behind;
        Ok(commands)
    }

    fn over_stdio(&self, settings: &str) -> Vec<String> {
        words(&[&self.own, "__host", "serve", "--mcp", "-c", settings])
    }

    fn over_http(&self, settings: &str) -> Vec<String> {
        let at = format!("http://127.0.0.1:{PORT}");
        words(&[&self.own, "__host", "serve", "-c", settings, "--listen", &at])
    }

    fn peer(&self, role: &str, address: &str) -> Result<Vec<String>, String> {
        let program = self.peers.as_ref().map_err(Clone::clone)?.display().to_string();
        let command = [program.as_str(), "serve", role, address];
        Ok(command.into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect())
    }

    fn fastmcp(&self, role: &str, port: &str) -> Result<Vec<String>, String> {
        let python = self.installed("fastmcp", &[], &["fastmcp"])?.pypi("python");
        let command = words(&[&python.display().to_string(), &self.fast, role, port]);
        let behind = if role == "proxy" { self.behind.as_slice() } else { &[] };
        Ok([command, behind.to_vec()].concat())
    }

    fn mcp_proxy(&self) -> Result<Vec<String>, String> {
        let proxy = self.installed("mcp-proxy", &[], &["mcp-proxy"])?.pypi("mcp-proxy");
        let proxy = proxy.display().to_string();
        let command = words(&[&proxy, "--port", PORT, "--log-level", "WARNING", "--"]);
        Ok([command, self.behind.clone()].concat())
    }

    fn supergateway(&self) -> Result<Vec<String>, String> {
        let packages = self.installed("supergateway", &["supergateway"], &[])?;
        let program = packages.npm("supergateway").display().to_string();
        let behind = self.behind.join(" ");
        let command = words(&[&program, "--stdio", &behind, "--port", PORT]);
        let how = ["--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none"];
        Ok([command, words(&how)].concat())
    }

    fn installed(&self, name: &str, npm: &[&str], pypi: &[&str]) -> Result<Packages, String> {
        let folder = self.packages.as_ref().ok_or("--only-a2e")?.join(name);
        let missing = || format!("{name} cannot be installed here");
        Packages::installed(folder, npm, pypi).ok_or_else(missing)
    }
}
