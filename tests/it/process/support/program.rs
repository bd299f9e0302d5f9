//! The program as a child of the tests: started, watched, always ended.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::wire::Wire;

/// No wait in these tests is longer, so that whatever is lost fails its test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The program under test.
pub(crate) const A2E: &str = env!("CARGO_BIN_EXE_a2e-under-test");

/// A monotonic time; tests may measure how long something takes.
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Waits until this gives something; panics when it takes too long.
pub(crate) fn until_some<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until this holds.
pub(crate) fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    until_some(limit, what, || holds().then_some(()));
}

/// The program with these arguments, in the root of the workspace, without variables of ours, and no host at the default
/// socket.
pub(crate) fn a2e(args: &[&str]) -> Command {
    a2e_at(Path::new(A2E), args)
}

/// As [`a2e`], for a copy of the program.
pub(crate) fn a2e_at(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(workspace()).stdin(Stdio::null());
    for name in ["A2E_LOG", "A2E_CONFIG", "A2E_TOKEN"] {
        command.env_remove(name);
    }
    // A host that somebody runs on this machine is none of ours.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// An example of `a2e-server`, in the root of the workspace, as [`a2e`] is.
pub(crate) fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    let advice = "cargo build -p a2e-server --examples";
    assert!(path.exists(), "`cargo test --workspace` builds it; alone: {advice}");
    a2e_at(&path, &[])
}

/// Runs a command to its end, in time.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let timed_out = ended
            .recv_timeout(PATIENCE)
            .is_err_and(|error| matches!(error, std::sync::mpsc::RecvTimeoutError::Timeout));
        if timed_out {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        timed_out
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!guard.join().unwrap(), "{command:?} did not end in time");
    output
}

/// The code and both streams of a command.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The real settings of a test, in a folder of its own.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a configuration and gives its path; `{}` in it stands for the folder. One without
    /// plugins gets the demo: a host needs one.
    pub(crate) fn config(&self, yaml: &str) -> String {
        const DEMO: &str =
            "plugins: [{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}]\n";
        let demo = if yaml.contains("plugins:") { "" } else { DEMO };
        self.config_as_is(&format!("{}\n{demo}", yaml.trim_end()))
    }

    /// As [`Place::config`], with nothing added.
    pub(crate) fn config_as_is(&self, yaml: &str) -> String {
        let file = self.path("a2e.yaml");
        std::fs::write(&file, yaml.replace("{}", self.0.path().to_str().unwrap())).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// The address of a Unix socket in the folder.
    pub(crate) fn socket(&self) -> String {
        format!("unix://{}", self.text("a2e.sock"))
    }
}

/// A host that runs. Killed when dropped.
pub(crate) struct Host {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Host {
    /// Starts `a2e serve` with these arguments.
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::start(&mut a2e(&[&["serve"], args].concat()))
    }

    /// Starts a command; its standard error is collected.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, collected) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                let mut log = collected.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    /// A host over stdio pipes, and the agent's end of them.
    pub(crate) fn stdio(args: &[&str]) -> (Self, Wire) {
        let args = [&["serve", "--stdio"], args].concat();
        Self::with_pipes(&mut a2e(&args))
    }

    /// Starts a command with pipes.
    pub(crate) fn with_pipes(command: &mut Command) -> (Self, Wire) {
        let mut host = Self::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (stdin, stdout) = (host.child.stdin.take().unwrap(), host.child.stdout.take().unwrap());
        (host, Wire::pipes(stdin, stdout))
    }

    /// A host at a Unix socket of this place, ready.
    pub(crate) fn at_socket(place: &Place, args: &[&str]) -> Self {
        let socket = place.socket();
        let host = Self::serve(&[args, &["--listen", &socket]].concat());
        host.addresses(1);
        host
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log lines so far that are JSON.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a text in the log.
    pub(crate) fn until_logged(&self, text: &str) {
        let start = now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "`{text}` is not in the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it listens at this many addresses, and gives them.
    pub(crate) fn addresses(&self, count: usize) -> Vec<String> {
        let start = now();
        loop {
            let lines = self.log_lines();
            let found = lines.iter().filter(|line| line["message"] == "listening");
            let found: Vec<_> =
                found.map(|line| line["address"].as_str().unwrap().to_owned()).collect();
            if found.len() >= count {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "it does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// Waits for its end; panics when it takes longer.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < limit, "no end within {limit:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end and gives the exit code.
    pub(crate) fn code(&mut self, limit: Duration) -> Option<i32> {
        self.wait(limit).code()
    }

    /// Ends it with SIGTERM, which must succeed.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.code(PATIENCE), Some(0), "{}", self.log());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended and been reaped long ago.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
