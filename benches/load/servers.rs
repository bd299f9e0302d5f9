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
use super::python;

/// How long one may take until it listens; Python imports a lot.
const START: Duration = Duration::from_secs(20);

/// How a server is started, or why it cannot be.
pub struct Server {
    pub name: &'static str,
    pub speech: Speech,
    /// Its pings are so slow that the others would rest between theirs.
    pub pings_apart: bool,
    start: Result<Start, String>,
}

enum Start {
    /// This program, as `a2e`.
    A2e,
    FastApi(PathBuf),
    Rmcp(PathBuf),
    Reference {
        sdk: PathBuf,
        python: PathBuf,
    },
}

/// What is said about where to find them.
pub struct Places<'a> {
    pub root: &'a Path,
    pub target: &'a Path,
    /// Peers are looked for, built and installed.
    pub with_peers: bool,
    /// That has FastAPI.
    pub python: Option<&'a Path>,
    /// That can import the reference's server.
    pub sdk_python: Option<&'a Path>,
}

/// A server that runs; it ends with this.
pub struct Running {
    child: Child,
    pub http: SocketAddr,
    /// Of lines.
    pub tcp: Option<SocketAddr>,
    log: PathBuf,
}

/// What a server has used up to now.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    pub rss_kib: f64,
}

/// All of them.
pub fn servers(places: &Places<'_>) -> Vec<Server> {
    let wanted = |find: &dyn Fn() -> Result<Start, String>| {
        if places.with_peers { find() } else { Err("--only-a2e".to_owned()) }
    };
    let fastapi = || match places.python {
        Some(python) => Ok(Start::FastApi(python.to_owned())),
        None => python::venv(places.target).map(Start::FastApi),
    };
    let rmcp = || benches::peers(places.root, places.target).map(Start::Rmcp);
    let reference = || {
        let (sdk, python) = python::reference(places.sdk_python)?;
        Ok(Start::Reference { sdk, python })
    };
    let server = |name, speech, start| Server { name, speech, pings_apart: false, start };
    vec![
        server("a2e", Speech::A2eHttp, Ok(Start::A2e)),
        server("FastAPI, uvicorn", Speech::A2eHttp, wanted(&fastapi)),
        server("rmcp, streamable HTTP", Speech::Mcp, wanted(&rmcp)),
        Server {
            // It wakes no loop from its threads: an answer may wait for uvicorn's tick of 100 ms.
            pings_apart: true,
            ..server("the reference's own server in Python", Speech::A2eHttp, wanted(&reference))
        },
    ]
}

impl Server {
    /// Why it is not there.
    pub fn is_missing(&self) -> Option<&str> {
        self.start.as_ref().err().map(String::as_str)
    }

    /// Whether it takes lines over TCP.
    pub fn has_lines(&self) -> bool {
        matches!(self.start, Ok(Start::A2e))
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
                let mut command = Command::new(python);
                command.args(["-c", include_str!("fastapi_server.py"), &http.port().to_string()]);
                command
            }
            Start::Reference { sdk, python } => {
                let mut command = Command::new(python);
                command.args(["-c", include_str!("reference_server.py")]);
                command.arg(sdk).arg(http.port().to_string());
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
        let mut running = Running { child, http, tcp: self.has_lines().then_some(tcp), log };
        running.wait().map_err(|why| {
            format!("{why}: {}", std::fs::read_to_string(&running.log).unwrap_or_default())
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

    /// The end of what it wrote to its log, if anything.
    pub fn last_words(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        log.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
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
