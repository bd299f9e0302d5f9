//! Which functions of `a2e` run when it starts and when it serves? Written to `a2e-server/hot.ld`, by
//! which the linker puts them side by side.
//!
//! The kernel maps a program's file in pieces of 64 KiB around each page that is touched: with the
//! functions that run spread over all of the program, more than half of it counts as used memory.
//!
//! `cargo run --release -p benches --features peers --bin hot_functions`, after a new version of Rust or when the way of
//! a message has changed much. It needs valgrind and nm, and builds a program with its symbols if the
//! path of such a program is not given.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module gives to the others")]
#![allow(clippy::disallowed_methods, reason = "a program that waits for others by the clock")]
#![allow(clippy::print_stderr, reason = "a program that says what is wrong")]

mod script;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A host under valgrind starts about fifty times slower than alone.
const STARTED_WITHIN: Duration = Duration::from_mins(1);

/// Calls that a connection sends, in writes of a few and one by one.
const CALLS: usize = 200;

fn main() -> ExitCode {
    match record() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hot_functions: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn record() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let program = match std::env::args_os().nth(1) {
        Some(program) => std::path::absolute(program).map_err(|error| error.to_string())?,
        None => program_with_symbols(root)?,
    };
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let host = Host { program: &program, scratch: scratch.path() };
    let echo = format!("{}\n", echo("1"));
    host.over_stdio("start", &["serve", "--stdio"], &echo, scratch.path())?;

    let example = root.join("a2e-server/examples/session.ndjson");
    let example = std::fs::read_to_string(example).map_err(|error| error.to_string())?;
    let args = ["serve", "--stdio", "-c", "a2e-server/examples/minimal.yaml"];
    host.over_stdio("work", &args, &example, root)?;
    for run in ["inline", "blocking", "pool", "future"] {
        let config = format!("{run}.yaml");
        let text = format!(
            "audit: {{enabled: true, mode: write, path: {run}.jsonl}}\nplugins:\n  \
             - {{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin, config: {{run: {run}}}}}\n"
        );
        std::fs::write(scratch.path().join(&config), text).map_err(|error| error.to_string())?;
        let args = ["serve", "--stdio", "-c", &config];
        host.over_stdio("work", &args, &echo, scratch.path())?;
        host.over_a_socket("work", &config)?;
    }

    let symbols = script::Symbols::of(&program)?;
    let start = symbols.that_ran(scratch.path(), "start")?;
    let work = symbols.that_ran(scratch.path(), "work")?;
    let file = root.join("a2e-server/hot.ld");
    std::fs::write(&file, symbols.script(&[start, work]))
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// Builds the program as it is shipped, but with its symbols.
fn program_with_symbols(root: &Path) -> Result<PathBuf, String> {
    let target = root.join("target/hot");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "a2e-server", "--bin", "a2e", "--target-dir"])
        .arg(&target)
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("A2E_UNORDERED", "1")
        .current_dir(root)
        .status();
    match status {
        Ok(status) if status.success() => Ok(target.join("release/a2e")),
        Ok(status) => Err(format!("cargo build: {status}")),
        Err(error) => Err(format!("cargo build: {error}")),
    }
}

/// Runs hosts under valgrind, which writes what it saw to the scratch folder, as `GROUP.PID`.
struct Host<'a> {
    program: &'a Path,
    scratch: &'a Path,
}

impl Host<'_> {
    /// A host that reads `input` and ends with it.
    fn over_stdio(
        &self,
        group: &str,
        args: &[&str],
        input: &str,
        folder: &Path,
    ) -> Result<(), String> {
        let mut host = self.start(group, args, folder)?;
        let mut stdin = host.stdin.take().ok_or("no pipe to the host")?;
        stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
        drop(stdin);
        ended(host)
    }

    /// Calls over a Unix socket, then the end that an operator gives a host.
    fn over_a_socket(&self, group: &str, config: &str) -> Result<(), String> {
        let path = self.scratch.join("a2e.sock");
        let listen = format!("unix://{}", path.display());
        let host =
            self.start(group, &["serve", "-c", config, "--listen", &listen], self.scratch)?;
        let answered = connect(&path).and_then(call);
        let pid = i32::try_from(host.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| error.to_string())?;
        answered.map_err(|error| format!("{listen}: {error}")).and(ended(host))
    }

    fn start(&self, group: &str, args: &[&str], folder: &Path) -> Result<Child, String> {
        let seen = self.scratch.join(format!("{group}.%p"));
        Command::new("valgrind")
            .args(["--tool=callgrind", "--demangle=no"])
            .arg(format!("--callgrind-out-file={}", seen.display()))
            .arg(self.program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("valgrind: {error}"))
    }
}

fn ended(mut host: Child) -> Result<(), String> {
    let status = host.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("a host under valgrind: {status}")) }
}

fn echo(id: &str) -> String {
    format!(
        r#"{{"type":"tool/call/req","id":"{id}","tool_name":"echo","arguments":{{"text":"hello"}}}}"#
    )
}

fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let started = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Err(_) if started.elapsed() < STARTED_WITHIN => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn call(mut socket: UnixStream) -> std::io::Result<()> {
    socket.set_read_timeout(Some(STARTED_WITHIN))?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut answer = String::new();
    for number in 0..CALLS {
        socket.write_all(format!("{}\n", echo(&number.to_string())).as_bytes())?;
        // Every other call waits for its answer; the rest come while others are on their way.
        if number % 2 == 1 {
            answers.read_line(&mut answer)?;
            answers.read_line(&mut answer)?;
        }
    }
    Ok(())
}
