//! The commands of a document in one shell. The script is the document with everything but its commands
//! left blank, so that the shell names the lines of the document.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::document::{Block, Document, Task};
use crate::process::support::program::{until, until_some};

/// The first line: where it stands, and what fails. Hosts in the background end with it.
/// A person reads on when a program says that it listens.
const PRELUDE: &str = r#"set -e; started=0; trap 'printf "\036failed %s\n" "$LINENO"' ERR; \
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT; at() { printf '\036at %s\n' "$1"; }; \
listens() { started=$((started + 1)); for _ in $(seq 150); do \
[ "$(grep -c listening "$WALK_ERRORS")" -lt $started ] || return 0; sleep 0.1; done; return 1; }"#;

/// A build of everything is among the commands.
const LIMIT: Duration = Duration::from_mins(30);

/// What a command is to print.
struct Expected {
    line: usize,
    text: String,
    /// Whether that is all.
    is_whole: bool,
}

/// A program for the shell, and what comes of it.
pub(super) struct Script {
    lines: Vec<String>,
    expected: Vec<Expected>,
    /// Blocks that were run.
    pub(super) walked: usize,
}

impl Script {
    pub(super) fn of(document: &Document) -> Self {
        let lines = vec![String::new(); document.text.lines().count()];
        let mut script = Self { lines, expected: Vec::new(), walked: 0 };
        let mut last = None;
        for block in &document.blocks {
            match block.task().unwrap() {
                Task::Run => last = script.run(block),
                Task::RunAndCompare => script.compare(block),
                Task::Printed => {
                    let Some(line) = last.take() else {
                        panic!("{}: no command prints this", document.place(block.line));
                    };
                    script.expected.push(Expected { line, text: block.text(), is_whole: true });
                }
                _ => last = None,
            }
        }
        script
    }

    /// The commands of a block; gives back the line of the last.
    fn run(&mut self, block: &Block) -> Option<usize> {
        let mut last = None;
        let mut goes_on = false;
        for (number, line) in (block.line + 1..).zip(&block.lines) {
            let is_command = !goes_on && !line.trim().is_empty() && !line.starts_with('#');
            let prefix = if is_command { format!("at {number}; ") } else { String::new() };
            self.lines[number - 1] = format!("{prefix}{line}");
            goes_on = line.ends_with('\\');
            if is_command {
                last = Some(number);
            }
            if let Some((_, text)) = line.split_once("# prints ") {
                let text = text.to_owned();
                self.expected.push(Expected { line: last?, text, is_whole: false });
            }
        }
        self.walked += 1;
        if block.lines.last()?.trim_end().ends_with('&') {
            // The line of the closing fence.
            let number = block.line + 1 + block.lines.len();
            self.lines[number - 1] = format!("at {number}; listens");
        }
        last
    }

    /// The commands of a console, with what each prints.
    fn compare(&mut self, block: &Block) {
        for (number, line) in (block.line + 1..).zip(&block.lines) {
            if let Some(command) = line.strip_prefix("$ ") {
                self.lines[number - 1] = format!("at {number}; sleep 0.5; {command}");
                self.expected.push(Expected { line: number, text: String::new(), is_whole: true });
            } else {
                let expected = self.expected.last_mut().unwrap();
                expected.text.push_str(line);
                expected.text.push('\n');
            }
        }
        self.walked += 1;
    }

    /// Runs it in this folder; what a command prints is compared at its end. Gives back what was printed, by line.
    pub(super) fn walk(
        &self,
        document: &Document,
        folder: &Path,
        target: &Path,
    ) -> Result<BTreeMap<usize, String>, String> {
        self.wait_for_ports();
        let place = tempfile::tempdir().unwrap();
        let script = place.path().join(document.name);
        let prelude = PRELUDE.replace("\\\n", "");
        // The first line of a document is a heading.
        let mut lines = self.lines.clone();
        assert_eq!(lines[0], "", "{} begins with a command", document.name);
        lines[0] = prelude;
        fs::write(&script, lines.join("\n")).unwrap();
        let (out, errors) = (place.path().join("out"), place.path().join("errors"));
        let mut shell = Command::new("bash");
        shell.arg(&script).current_dir(folder).stdin(Stdio::null()).process_group(0);
        shell.stdout(fs::File::create(&out).unwrap());
        shell.stderr(fs::File::create(&errors).unwrap());
        as_a_newcomer(&mut shell, target);
        shell.env("WALK_ERRORS", &errors).env("XDG_RUNTIME_DIR", place.path());
        let mut child = shell.spawn().unwrap();
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let status = until_some(LIMIT, document.name, || child.try_wait().unwrap());
        // What it left in the background.
        let _none_left = killpg(group, Signal::SIGKILL);
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let (out, errors) = (text(&out), text(&errors));
        let (printed, failed) = by_line(&out);
        if let Some(line) = failed {
            let command = &self.lines[line - 1];
            let said = printed.get(&line).cloned().unwrap_or_default();
            let place = document.place(line);
            return Err(format!("{place}: this failed: {command}\n{said}\n{}", end_of(&errors)));
        }
        if !status.success() {
            return Err(format!(
                "{}: the shell ended: {status}\n{}",
                document.name,
                end_of(&errors)
            ));
        }
        for expected in &self.expected {
            let said = printed.get(&expected.line).map_or("", String::as_str);
            if !expected.fits(said) {
                let (place, text) = (document.place(expected.line), &expected.text);
                let errors = end_of(&errors);
                return Err(format!("{place}: it says\n{text}\nand this came\n{said}\n{errors}"));
            }
        }
        Ok(printed)
    }

    /// Somebody else on this machine may walk as well.
    fn wait_for_ports(&self) {
        for line in &self.lines {
            let Some((_, rest)) = line.split_once("--listen http://") else { continue };
            let address = rest.split_whitespace().next().unwrap();
            until(LIMIT, "the port is free", || TcpListener::bind(address).is_ok());
        }
    }
}

impl Expected {
    /// `…` stands for anything.
    fn fits(&self, said: &str) -> bool {
        let mut rest = said;
        let mut pieces = self.text.split('…').enumerate().peekable();
        while let Some((number, piece)) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let at = if is_last && self.is_whole { rest.rfind(piece) } else { rest.find(piece) };
            let Some(at) = at else { return false };
            if number == 0 && self.is_whole && at > 0 {
                return false;
            }
            rest = &rest[at + piece.len()..];
        }
        !self.is_whole || rest.is_empty()
    }
}

/// A command in the environment of a newcomer, who has what was built on the path, and no network.
pub(super) fn as_a_newcomer(command: &mut Command, target: &Path) {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_INCREMENTAL", "CARGO_BUILD_", "CARGO_PROFILE_"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_ours = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if is_ours || name.starts_with("A2E_") {
            command.env_remove(name);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(target.join("debug")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    command.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
}

/// What was printed behind each mark, and the line that failed.
fn by_line(out: &str) -> (BTreeMap<usize, String>, Option<usize>) {
    let (mut printed, mut failed) = (BTreeMap::<usize, String>::new(), None);
    for part in out.split('\u{1e}').skip(1) {
        let (mark, said) = part.split_once('\n').unwrap_or((part, ""));
        let (word, line) = mark.split_once(' ').unwrap();
        let line = line.parse().unwrap();
        if word == "failed" && failed.is_none() {
            failed = Some(line);
        }
        printed.entry(line).or_default().push_str(said);
    }
    (printed, failed)
}

fn end_of(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (text, is_whole, said, fits) in [
        ("a\n", true, "a\n", true),
        ("a\n", true, "a\nb\n", false),
        ("a … c\n", true, "a b\nb c\n", true),
        ("a … c\n", true, "a c b\n", false),
        ("a … c … e\n", true, "a e c\n", false),
        ("…c\n", true, "a c\n", true),
        ("b … d", false, "a b c d e", true),
        ("b … d", false, "a d c b e", false),
        ("", true, "a", false),
    ] {
        let expected = Expected { line: 1, text: text.to_owned(), is_whole };
        assert_eq!(expected.fits(said), fits, "{text:?} {said:?}");
    }
}
