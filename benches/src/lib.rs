//! The common part of the benches: servers that run as processes of their own, and a driver that keeps a
//! number of requests in flight.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a bench that cannot run fails")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Requests of the echo tool that differ only in their ids. None is used twice: a host takes a repeat of
/// a request in flight for what it is, and answers both with one reply.
#[derive(Debug)]
pub struct Requests {
    line: Vec<u8>,
    next: u64,
    batch: Vec<u8>,
}

/// What stands before the eight digits of the id.
const BEFORE_ID: &str = r#"{"type":"tool/call/req","id":""#;

impl Requests {
    /// Requests of about `size` bytes each, as lines.
    pub fn echo(size: usize) -> Self {
        let head = format!(r#"{BEFORE_ID}00000000","tool_name":"echo","arguments":{{"text":""#);
        let tail = "\"}}\n";
        let filler = "x".repeat(size.saturating_sub(head.len() + tail.len()));
        let line = format!("{head}{filler}{tail}").into_bytes();
        Self { line, next: 0, batch: Vec::new() }
    }

    /// Bytes of one request.
    pub fn length(&self) -> usize {
        self.line.len()
    }

    /// The next `count` requests, back to back.
    pub fn take(&mut self, count: usize) -> &[u8] {
        self.batch.clear();
        for _ in 0..count {
            let mut rest = self.next % 100_000_000;
            self.next += 1;
            let digits = self.line.iter_mut().skip(BEFORE_ID.len()).take(8);
            for digit in digits.rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
            self.batch.extend_from_slice(&self.line);
        }
        &self.batch
    }
}

/// Configuration of a host with the demo tools alone.
pub fn demo_config(run: &str, audit: Option<&Path>) -> String {
    let mode = if audit.is_some() { "write" } else { "off" };
    audited_config(run, mode, audit.unwrap_or(Path::new("unused")))
}

/// As [`demo_config`], with an audit in this mode.
pub fn audited_config(run: &str, mode: &str, path: &Path) -> String {
    let audit = if mode == "off" {
        String::new()
    } else {
        format!("audit: {{enabled: true, mode: {mode}, path: {}}}\n", path.display())
    };
    format!(
        "{audit}plugins:\n  - name: demo\n    type: tools\n    cls: a2e.caps.demo.plugin.DemoToolPlugin\n    metadata: {{run: {run}}}\n"
    )
}

/// Runs this executable in the role that its arguments name; returns if they name none.
///
/// `__host …` is the program `a2e` itself, `__echo_lines` and `__echo_batches` echo their input.
pub fn run_role() {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let role = args.next().unwrap_or_default();
    match role.to_str() {
        Some("__guard") => a2e_core::children::run_if_guard(),
        Some("__host") => {
            let code = a2e_server::cli(std::iter::once(program).chain(args));
            std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
        }
        Some("__echo_lines") => echo(std::io::stdin().lock(), std::io::stdout(), true),
        Some("__echo_batches") => echo(std::io::stdin().lock(), std::io::stdout(), false),
        Some("__echo_unix") => {
            let path = PathBuf::from(args.next().unwrap_or_default());
            let listener = UnixListener::bind(path).expect("a free socket path");
            let (stream, _) = listener.accept().expect("a client");
            let reader = stream.try_clone().expect("a second handle");
            echo(reader, stream, false);
        }
        _ => return,
    }
    std::process::exit(0);
}

/// Sends back what comes: the least that any server does.
fn echo(mut input: impl Read, mut output: impl Write, is_by_line: bool) {
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = input.read(&mut block).unwrap_or(0);
        let bytes = block.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        if is_by_line {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if output.write_all(line).is_err() {
                    return;
                }
            }
        } else if output.write_all(bytes).is_err() {
            return;
        }
    }
}

/// A server process and the way to it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    input: Option<Box<dyn WriteEnd>>,
    output: Box<dyn ReadEnd>,
    block: Vec<u8>,
}

trait WriteEnd: Write + std::fmt::Debug + Send {}
impl<T: Write + std::fmt::Debug + Send> WriteEnd for T {}
trait ReadEnd: Read + std::fmt::Debug + Send {}
impl<T: Read + std::fmt::Debug + Send> ReadEnd for T {}

impl Server {
    /// Starts this executable in a role, talked to over pipes.
    pub fn over_pipe(args: &[&str]) -> Self {
        let mut child = Self::command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        Self {
            child,
            input: Some(Box::new(input)),
            output: Box::new(output),
            block: vec![0; 64 * 1024],
        }
    }

    /// Starts this executable in a role, talked to over the Unix socket that it listens at.
    pub fn over_unix(args: &[&str], path: &Path) -> Self {
        let child = Self::command(args).stdin(Stdio::null()).spawn().expect("the server starts");
        let stream = (0..1000)
            .find_map(|_| {
                std::thread::sleep(Duration::from_millis(5));
                UnixStream::connect(path).ok()
            })
            .expect("the server listens");
        let input = stream.try_clone().expect("a second handle");
        Self {
            child,
            input: Some(Box::new(input)),
            output: Box::new(stream),
            block: vec![0; 64 * 1024],
        }
    }

    fn command(args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        command.args(args).stderr(Stdio::null());
        command
    }

    /// Sends `count` requests, at most `window` unanswered at a time, and waits for every answer.
    ///
    /// One thread does both, as tight as can be, while a whole window fits into a pipe; a larger one is
    /// written by a second thread, or both sides would wait for each other.
    pub fn exchange(&mut self, requests: &mut Requests, count: usize, window: usize) {
        let input = self.input.as_mut().expect("the server takes input");
        let (output, block) = (&mut self.output, &mut self.block);
        if requests.length() * window <= PIPE / 2 {
            let mut sent = 0;
            let mut answered = 0;
            while answered < count {
                let free = (window - (sent - answered)).min(count - sent);
                input.write_all(requests.take(free)).expect("the server reads");
                sent += free;
                answered += answers(output, block);
            }
            return;
        }
        std::thread::scope(|scope| {
            let (free, slots) = std::sync::mpsc::sync_channel(window);
            for _ in 0..window {
                free.send(()).expect("room for a window");
            }
            scope.spawn(move || {
                for () in slots.iter().take(count) {
                    input.write_all(requests.take(1)).expect("the server reads");
                }
            });
            let mut answered = 0;
            while answered < count {
                let now = answers(output, block);
                answered += now;
                for _ in 0..now {
                    // An error: the writer is done.
                    let _writer_is_through = free.try_send(());
                }
            }
        });
    }
}

/// What a pipe holds on Linux unless told otherwise.
const PIPE: usize = 64 * 1024;

/// Waits for some output and counts the lines that end in it.
fn answers(output: &mut Box<dyn ReadEnd>, block: &mut [u8]) -> usize {
    let read = output.read(block).expect("the server answers");
    assert!(read > 0, "the server has ended");
    memchr::memchr_iter(b'\n', block.get(..read).unwrap_or_default()).count()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input.take();
        // Gone already, or gone now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program `a2e-peers`, built in release mode where `side_by_side` has it.
///
/// # Errors
/// When it cannot be built.
pub fn peers(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let folder = target.join("peers");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        // Set by the cargo that runs us; they would rebuild everything.
        if name
            .to_str()
            .is_some_and(|it| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST"))
        {
            cargo.env_remove(name);
        }
    }
    cargo.args(["build", "--release", "--locked", "--target-dir"]).arg(&folder);
    cargo.arg("--manifest-path").arg(root.join("benches/peers/Cargo.toml"));
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(folder.join("release/a2e-peers")),
        _ => Err("cargo builds no peers".to_owned()),
    }
}
