//! Starts servers, each a process of its own, on the servers' processors.

use std::cell::Cell;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::Programs;
use super::process::Running;
use super::table::{Entry, Kind, Wire};
use crate::cores::Cores;
use crate::drive::now;

/// Where a server is reached.
#[derive(Clone, Debug)]
pub enum Way {
    Pipe,
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// An echo server on the official Python SDK of MCP, version 2 or 1.
const MCP_PYTHON: &str = r"
try:
    from mcp.server.mcpserver import MCPServer as Server
except ModuleNotFoundError:
    from mcp.server.fastmcp import FastMCP as Server
import logging
logging.disable(logging.CRITICAL)
server = Server('echo')
@server.tool(structured_output=False)
def echo(text: str) -> str:
    return text
server.run()
";

/// What is needed to start a server.
#[derive(Debug)]
pub struct Starter<'a> {
    pub programs: &'a Programs,
    pub cores: &'a Cores,
    pub scratch: &'a Path,
    /// Number of the next server: its socket, configuration and log carry it.
    pub next: Cell<u32>,
}

impl Starter<'_> {
    /// Starts a server; one over a socket may not listen yet.
    pub fn start(&self, entry: &Entry) -> Result<Running, String> {
        self.start_configured(entry, None)
    }

    /// Starts a host with this configuration instead of that of its entry.
    pub fn start_configured(&self, entry: &Entry, config: Option<&str>) -> Result<Running, String> {
        let way = match entry.wire {
            Wire::Pipe => Way::Pipe,
            Wire::Unix => Way::Unix(self.file("sock")),
            Wire::Tcp => Way::Tcp(free_address()?),
        };
        let command = self.command(entry, &way, config)?;
        let mut running = self.spawn(command, way.clone(), entry.wire == Wire::Pipe)?;
        if entry.kind == Kind::Nats {
            let listens = running.wait_until_it_listens();
            listens.map_err(|error| format!("nats-server: {error}"))?;
            let mut responder = Command::new(&self.programs.itself);
            responder.args(["serve", entry.role, &address(&way)]);
            let mut helper = self.spawn(responder, way, true)?;
            // It says so when it is subscribed.
            let (_, mut output) = helper.pipes().map_err(|error| error.to_string())?;
            let said = std::io::Read::read(&mut output, &mut [0; 16]);
            said.map_err(|error| format!("the responder: {error}"))?;
            running.helpers.push(helper);
        }
        Ok(running)
    }

    /// The role that drives an entry with its own client, talked to over pipes; on the driver's
    /// processor.
    pub fn start_client(
        &self,
        entry: &Entry,
        way: &Way,
        args: &[String],
    ) -> Result<Running, String> {
        let mut command = Command::new(self.programs.peers.as_ref().map_err(Clone::clone)?);
        command.args(["drive", entry.role, &address(way)]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let log = self.file("log");
        Ok(Running { child, helpers: Vec::new(), way: Way::Pipe, started: now(), log })
    }

    fn command(&self, entry: &Entry, way: &Way, config: Option<&str>) -> Result<Command, String> {
        let programs = self.programs;
        let mut command = match entry.kind {
            Kind::Raw => Command::new(&programs.itself),
            Kind::Peer | Kind::PeerWithClient => {
                Command::new(programs.peers.as_ref().map_err(Clone::clone)?)
            }
            Kind::A2e { run, audit } => {
                let config = config.map_or_else(|| self.a2e_config(run, audit), ToOwned::to_owned);
                return self.a2e(way, &config);
            }
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                let path = address(way);
                command.args(["--port", "0", "--save", "", "--maxclients", "12000"]);
                command.args(["--unixsocket", &path, "--dir"]).arg(self.scratch);
                return Ok(command);
            }
            Kind::Nats => {
                let mut command = Command::new("nats-server");
                let Way::Tcp(at) = way else { return Err("nats-server needs TCP".to_owned()) };
                command.args(["-a", &at.ip().to_string(), "-p", &at.port().to_string()]);
                return Ok(command);
            }
            Kind::McpPython => {
                let mut command = Command::new(programs.mcp_python.as_ref().map_err(Clone::clone)?);
                command.args(["-c", MCP_PYTHON]);
                return Ok(command);
            }
            Kind::A2ePython => {
                let mut command = Command::new("python3");
                command.args(["-c", include_str!("a2e_python.py")]);
                command
                    .arg(programs.a2e_python.as_ref().map_err(Clone::clone)?)
                    .current_dir(self.scratch);
                return Ok(command);
            }
        };
        command.args(["serve", entry.role, &address(way)]);
        Ok(command)
    }

    /// The real program with a real configuration.
    fn a2e(&self, way: &Way, config: &str) -> Result<Command, String> {
        let mut command = Command::new(&self.programs.a2e);
        command.arg("serve");
        match way {
            Way::Pipe => command.arg("--stdio"),
            Way::Unix(path) => command.args(["--listen", &format!("unix://{}", path.display())]),
            Way::Tcp(at) => command.args(["--listen", &format!("tcp://{at}")]),
        };
        if !config.is_empty() {
            let file = self.file("yaml");
            std::fs::write(&file, config)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            command.arg("-c").arg(file);
        }
        Ok(command)
    }

    fn a2e_config(&self, run: &str, audit: &str) -> String {
        self.audit_config(audit)
            + &format!(
                "plugins:\n  - name: demo\n    type: tools\n    cls: a2e.caps.demo.plugin.DemoToolPlugin\n    metadata: {{run: {run}}}\n"
            )
    }

    /// The part of a configuration that turns the audit on.
    pub fn audit_config(&self, mode: &str) -> String {
        if mode == "off" {
            return String::new();
        }
        let path = self.file("audit");
        format!("audit: {{enabled: true, mode: {mode}, path: {}}}\n", path.display())
    }

    fn spawn(&self, mut command: Command, way: Way, has_pipes: bool) -> Result<Running, String> {
        let log = self.file("log");
        let stderr = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let pipe = || if has_pipes { Stdio::piped() } else { Stdio::null() };
        command.stdin(pipe()).stdout(pipe()).stderr(stderr);
        let started = now();
        let child = self.cores.for_servers(|| command.spawn())?;
        let child = child.map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Running { child, helpers: Vec::new(), way, started, log })
    }

    /// A file of the next number.
    fn file(&self, kind: &str) -> PathBuf {
        let number = self.next.get();
        self.next.set(number + 1);
        self.scratch.join(format!("{number}.{kind}"))
    }
}

fn address(way: &Way) -> String {
    match way {
        Way::Pipe => String::new(),
        Way::Unix(path) => path.display().to_string(),
        Way::Tcp(at) => at.to_string(),
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|it| it.local_addr()).map_err(|error| format!("a free port: {error}"))
}
