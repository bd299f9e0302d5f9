//! The servers that are loaded, each a process on the servers' processors; found, built or installed first.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use tokio::time::Instant;

use super::caller::Speech;
use super::cores::Cores;

/// How long one may take until it listens; Python imports a lot.
const START: Duration = Duration::from_secs(20);

/// How a server is started, or why it cannot be.
pub struct Server {
    pub name: &'static str,
    pub speech: Speech,
    start: Result<Start, String>,
}

enum Start {
    /// This program, as `a2e`.
    A2e,
    FastApi(PathBuf),
    Rmcp(PathBuf),
}

/// A server that runs; it ends with this.
pub struct Running {
    child: Child,
    pub http: SocketAddr,
    /// Of lines.
    pub tcp: Option<SocketAddr>,
}

/// What a server has used up to now.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    pub rss_kib: f64,
}

/// All of them. Peers are looked for where they are wanted.
pub fn servers(root: &Path, target: &Path, with_peers: bool, python: Option<&Path>) -> Vec<Server> {
    let wanted = |find: &dyn Fn() -> Result<Start, String>| {
        if with_peers { find() } else { Err("--only-a2e".to_owned()) }
    };
    let fastapi = || match python {
        Some(python) => Ok(Start::FastApi(python.to_owned())),
        None => venv(target).map(Start::FastApi),
    };
    vec![
        Server { name: "a2e", speech: Speech::A2eHttp, start: Ok(Start::A2e) },
        Server { name: "FastAPI, uvicorn", speech: Speech::A2eHttp, start: wanted(&fastapi) },
        Server {
            name: "rmcp, streamable HTTP",
            speech: Speech::Mcp,
            start: wanted(&|| benches::peers(root, target).map(Start::Rmcp)),
        },
    ]
}

/// A Python of our own with `FastAPI` and uvicorn.
fn venv(target: &Path) -> Result<PathBuf, String> {
    let folder = target.join("load/venv");
    let python = folder.join("bin/python");
    if !run(Command::new(&python).args(["-c", "import fastapi, uvicorn, uvloop"])) {
        if !run(Command::new("python3").args(["-m", "venv"]).arg(&folder)) {
            return Err("python3 makes no venv".to_owned());
        }
        let packages = ["-m", "pip", "install", "--quiet", "fastapi", "uvicorn[standard]"];
        if !run(Command::new(&python).args(packages)) {
            return Err("pip installs no FastAPI".to_owned());
        }
    }
    Ok(python)
}

fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Server {
    /// Why it is not there.
    pub fn is_missing(&self) -> Option<&str> {
        self.start.as_ref().err().map(String::as_str)
    }

    /// Starts it and waits until it listens.
    pub fn start(&self, cores: &Cores, scratch: &Path) -> Result<Running, String> {
        let start = self.start.as_ref().map_err(Clone::clone)?;
        let (http, tcp) = (free_port()?, free_port()?);
        let mut command = match start {
            Start::A2e => {
                let file = scratch.join("load.yaml");
                std::fs::write(&file, CONFIG).map_err(|error| error.to_string())?;
                let own = std::env::current_exe().map_err(|error| error.to_string())?;
                let mut command = Command::new(own);
                command.args(["__host", "serve", "-c"]).arg(file);
                command.args(["--listen", &format!("http://{http}")]);
                command.args(["--listen", &format!("tcp://{tcp}")]);
                command
            }
            Start::FastApi(python) => {
                let script = scratch.join("fastapi_server.py");
                std::fs::write(&script, include_str!("fastapi_server.py"))
                    .map_err(|error| error.to_string())?;
                let mut command = Command::new(python);
                command.arg(script).arg(http.port().to_string());
                command
            }
            Start::Rmcp(peers) => {
                let mut command = Command::new(peers);
                command.args(["serve", "rmcp-http", &http.to_string()]);
                command
            }
        };
        let log = scratch.join("server.log");
        let errors = File::create(&log).map_err(|error| error.to_string())?;
        command.current_dir(scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = cores.for_servers(|| command.spawn())?.map_err(|error| error.to_string())?;
        let tcp = matches!(start, Start::A2e).then_some(tcp);
        let mut running = Running { child, http, tcp };
        running.wait().map_err(|why| {
            format!("{why}: {}", std::fs::read_to_string(&log).unwrap_or_default())
        })?;
        Ok(running)
    }
}

/// Room for every session of one principal; the audit as it is by default where there is one.
const CONFIG: &str = "
audit: {enabled: true, mode: write, path: load.audit}
global_limits: {max_sessions: 65536, max_sessions_per_principal: 65536}
plugins:
  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}
";

/// An address that nobody listens at; another program could take it before the server does.
fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    listener.map_err(|error| error.to_string())
}

impl Running {
    fn wait(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while TcpStream::connect(self.http).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended: {status}"));
            }
            if start.elapsed() > START {
                return Err("it does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn usage(&self) -> Usage {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        // The name in brackets may hold blanks; user and system time are the 12th and 13th after it.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields = after_name.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|it| it.parse::<u64>().ok()).sum();
        let second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let nanos = 1_000_000_000 / u64::try_from(second).unwrap_or(100).max(1);
        Usage { cpu: Duration::from_nanos(ticks * nanos), rss_kib: rss.unwrap_or(0.0) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, or gone now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
