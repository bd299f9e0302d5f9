//! A contender that runs, and the client that has begun a session with it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::contenders::{Contender, PORT, Way};
use super::cores::Cores;
use super::talk::Talk;

/// How long one may take until it listens; Python imports a lot.
const START: Duration = Duration::from_mins(1);

/// It ends with this, and what it has started with it.
pub struct Running<'a> {
    contender: &'a Contender,
    child: Child,
    log: PathBuf,
    pub talk: Talk,
}

impl<'a> Running<'a> {
    /// Starts it on the servers' processors, and begins a session.
    pub async fn start(
        contender: &'a Contender,
        cores: &Cores,
        scratch: &Path,
    ) -> Result<Self, String> {
        let words = contender.command.as_ref().map_err(Clone::clone)?;
        let address = free_port()?;
        let port = address.port().to_string();
        let mut words = words.iter().map(|word| word.replace(PORT, &port));
        let told = |error: std::io::Error| error.to_string();
        let log = scratch.join(format!("{port}.log"));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(scratch).stderr(File::create(&log).map_err(told)?);
        if contender.way == Way::Stdio {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(File::create(scratch.join("out")).map_err(told)?);
        }
        let child = cores.for_servers(|| command.spawn())?.map_err(told)?;
        let mut child = Ended(Some(child));
        let talk = match (contender.way, &mut child.0) {
            (Way::Stdio, Some(child)) => Talk::over_pipes(child, contender.tool).await,
            (Way::Http, Some(child)) => match listens(child, address) {
                Ok(()) => Talk::over_http(address, contender.tool).await,
                Err(why) => Err(std::io::Error::other(why)),
            },
            (_, None) => Err(std::io::ErrorKind::NotFound.into()),
        };
        let talk = talk.map_err(|error| why(&log, &error.to_string()))?;
        let child = child.0.take().ok_or("it has ended")?;
        Ok(Self { contender, child, log, talk })
    }

    /// A problem with the last words of the program.
    pub fn why(&self, problem: &str) -> String {
        why(&self.log, problem)
    }

    /// Memory of the gateway and of what it has started, without the server behind it.
    pub fn rss_mib(&self) -> f64 {
        let behind = self.contender.behind.join("\0") + "\0";
        let is_behind = |pid: u32| {
            pid != self.child.id()
                && std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line == behind.as_bytes())
        };
        let all = tree(self.child.id()).into_iter().filter(|pid| !is_behind(*pid));
        all.map(rss_kib).sum::<f64>() / 1024.0
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is ended when its start fails.
struct Ended(Option<Child>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Asks it to end, so that it ends what it has started, and kills what is left.
fn end(child: &mut Child) {
    let all = tree(child.id());
    let kill = |pid: u32, signal| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        // Gone already is as good.
        let _gone = nix::sys::signal::kill(pid, signal);
    };
    kill(child.id(), nix::sys::signal::Signal::SIGTERM);
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(child.kill());
    drop(child.wait());
    for pid in all.into_iter().skip(1) {
        kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

fn why(log: &Path, problem: &str) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    match log.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("{problem}: {last}"),
        None => problem.to_owned(),
    }
}

/// An address that nobody listens at; another program could take it before the contender does.
fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    listener.map_err(|error| error.to_string())
}

fn listens(child: &mut Child, address: SocketAddr) -> Result<(), String> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended: {status}"));
        }
        if start.elapsed() > START {
            return Err("it does not listen".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process and all that it has started.
fn tree(root: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let (mut tree, mut next) = (vec![root], 0);
    while let Some(of) = tree.get(next).copied() {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

fn rss_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
