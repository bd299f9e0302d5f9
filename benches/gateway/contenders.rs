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
    let own = own.display().to_string();
    let keep = |name: &str, text: &str| {
        let file = scratch.join(name);
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        Ok::<_, String>(file.display().to_string())
    };
    let alone = keep("own.yaml", OWN)?;
    let over_stdio = |file: &str| words(&[&own, "__host", "serve", "--mcp", "-c", file]);
    let at = format!("http://127.0.0.1:{PORT}");
    let over_http = |file: &str| words(&[&own, "__host", "serve", "-c", file, "--listen", &at]);
    let peer = |role: &str, more: &[&str]| {
        let program = peers.as_ref().map_err(Clone::clone)?.display().to_string();
        Ok::<_, String>([words(&[&program, "serve", role]), words(more)].concat())
    };
    let behind = peer("rmcp-stdio", &[]).unwrap_or_else(|_| over_stdio(&alone));
    let gateway = keep("gateway.yaml", &GATEWAY.replace("SERVER", &format!("{behind:?}")))?;
    let fast = keep("fast.py", include_str!("fast.py"))?;
    let others = Others::find(packages);
    let python = |role: &str, port: &str| {
        let python = others.program(&others.fastmcp, "fastmcp", |it| it.pypi("python"))?;
        let more = if role == "proxy" { behind.clone() } else { Vec::new() };
        Ok([words(&[&python, &fast, role, port]), more].concat())
    };
    let proxy = others.program(&others.mcp_proxy, "mcp-proxy", |it| it.pypi("mcp-proxy"));
    let proxy = proxy.map(|it| {
        let how = [&it, "--port", PORT, "--log-level", "WARNING", "--"];
        [words(&how), behind.clone()].concat()
    });
    let super_gateway =
        others.program(&others.supergateway, "supergateway", |it| it.npm("supergateway"));
    let super_gateway = super_gateway.map(|it| {
        let to = ["--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none"];
        let how = [&it, "--stdio", &behind.join(" "), "--port", PORT];
        [words(&how), words(&to)].concat()
    });
    let http_at = format!("127.0.0.1:{PORT}");
    let one = |name, way, tool, command| {
        let behind = behind.clone();
        Contender { name, way, tool, command, behind }
    };
    use Way::{Http, Stdio};
    Ok(vec![
        one(BARE, Stdio, "echo", peer("rmcp-stdio", &[])),
        one("a2e, a tool of its own", Stdio, "echo", Ok(over_stdio(&alone))),
        one("a2e, gateway", Stdio, "peer__echo", Ok(over_stdio(&gateway))),
        one("FastMCP, a tool of its own", Stdio, "echo", python("server", "stdio")),
        one("FastMCP, gateway", Stdio, "echo", python("proxy", "stdio")),
        one(BARE, Http, "echo", peer("rmcp-http", &[&http_at])),
        one("a2e, a tool of its own", Http, "echo", Ok(over_http(&alone))),
        one("a2e, gateway", Http, "peer__echo", Ok(over_http(&gateway))),
        one("FastMCP, a tool of its own", Http, "echo", python("server", PORT)),
        one("FastMCP, gateway", Http, "echo", python("proxy", PORT)),
        one("mcp-proxy, gateway", Http, "echo", proxy),
        one("supergateway, gateway", Http, "echo", super_gateway),
    ])
}

/// The packages of others.
struct Others {
    is_wanted: bool,
    fastmcp: Option<Packages>,
    mcp_proxy: Option<Packages>,
    supergateway: Option<Packages>,
}

impl Others {
    fn find(folder: Option<&Path>) -> Self {
        let install = |name: &str, npm: &[&str], pypi: &[&str]| {
            Packages::installed(folder?.join(name), npm, pypi)
        };
        Self {
            is_wanted: folder.is_some(),
            fastmcp: install("fastmcp", &[], &["fastmcp"]),
            mcp_proxy: install("mcp-proxy", &[], &["mcp-proxy"]),
            supergateway: install("supergateway", &["supergateway"], &[]),
        }
    }

    fn program(
        &self,
        packages: &Option<Packages>,
        name: &str,
        program: impl Fn(&Packages) -> PathBuf,
    ) -> Result<String, String> {
        match packages {
            Some(packages) => Ok(program(packages).display().to_string()),
            None if self.is_wanted => Err(format!("{name} cannot be installed here")),
            None => Err("--only-a2e".to_owned()),
        }
    }
}
