//! `a2e top`: at a real terminal, and without one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::Winsize;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, ttyname};
use serde_json::json;

use crate::faults::skipped;
use crate::process::support::program::{Host, PATIENCE, Place, a2e, now, outcome, until};
use crate::process::support::wire::Wire;

const DEMO: &str =
    "plugins:\n  - {name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}\n";

const OPERATOR: &str = "fedcba9876543210fedcba9876543210";

/// `top` at a terminal, and what the terminal shows.
struct Terminal {
    child: Child,
    keys: File,
    line: OwnedFd,
    before: Termios,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// `None`, and a word about it, where no terminal can be made.
    fn open(args: &[&str]) -> Option<Self> {
        let size = Winsize { ws_row: 30, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 };
        let Ok(pair) = nix::pty::openpty(&size, None) else {
            skipped("no terminal here");
            return None;
        };
        let before = tcgetattr(&pair.slave).unwrap();
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        let mut command: Command = a2e(&[&["top", "--interval", "0.1"], args].concat());
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let keys = File::from(pair.master.try_clone().unwrap());
        let mut master = File::from(pair.master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            // A terminal without its last process fails to read.
            while let Ok(read) = master.read(&mut block) {
                collected.lock().unwrap().extend_from_slice(&block[..read]);
            }
        });
        Some(Self { child, keys, line: pair.slave, before, written })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Makes the terminal so large, as a window manager does.
    fn resize(&self, columns: u16, rows: u16) {
        let name = ttyname(&self.line).unwrap();
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(name).args(["cols", &columns, "rows", &rows]);
        assert_eq!(outcome(&mut stty).0, Some(0));
        self.signal(Signal::SIGWINCH);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let start = now();
        loop {
            let screen = shown(&self.text());
            if holds(&screen) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: it shows\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn until_shown(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits for its end: with code 0, and the terminal as it was.
    fn ended(mut self) {
        let mut status = None;
        until(PATIENCE, "top ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", self.text());
        assert_eq!(tcgetattr(&self.line).unwrap(), self.before);
        until(PATIENCE, "the other page is left", || self.text().contains("\x1b[?1049l"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended and been reaped.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The screen after this output: texts, cursor moves and clearing; colours are passed over.
fn shown(output: &str) -> String {
    let mut cells: BTreeMap<usize, BTreeMap<usize, char>> = BTreeMap::new();
    let (mut row, mut column) = (1, 1);
    let mut rest = output.chars();
    while let Some(first) = rest.next() {
        if first != '\x1b' {
            cells.entry(row).or_default().insert(column, first);
            column += 1;
            continue;
        }
        if rest.next() != Some('[') {
            continue;
        }
        let mut numbers = String::new();
        let end = rest.by_ref().find(|it| {
            let is_end = it.is_ascii_alphabetic();
            if !is_end {
                numbers.push(*it);
            }
            is_end
        });
        match end {
            Some('H') => {
                let mut numbers = numbers.split(';').map(|it| it.parse().unwrap_or(1));
                (row, column) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
            }
            Some('J') => cells.clear(),
            _ => {}
        }
    }
    let lines = cells.values().map(|line| {
        let width = line.keys().max().copied().unwrap_or(0);
        (1..=width).map(|column| line.get(&column).copied().unwrap_or(' ')).collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_person_sees_a_call_that_hangs_and_cancels_it() {
    let place = Place::new();
    let config = place.config(DEMO);
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("ada");
    let id = wire.start_tool("sleep", json!({ "ms": 600_000 }));
    let Some(mut top) = Terminal::open(&["--to", &place.socket()]) else { return };
    let is_listed = |screen: &str| {
        let call = format!(" {id} ");
        screen.lines().any(|it| it.contains("tool/call/req") && it.contains(&call))
    };
    top.until("the call", is_listed);
    top.press("c");
    top.until_shown(&format!("(y/n) cancel {id} of session"));
    top.press("n");
    top.until_shown("c cancel");
    top.until("the call goes on", is_listed);
    top.press("c");
    top.until_shown("(y/n)");
    top.press("y");
    top.until_shown(&format!("cancelled {id}"));
    assert_eq!(wire.reply_to(&id)["code"], "cancelled");
    top.until_shown("no calls");

    top.press("3b");
    top.until_shown("(y/n) build demo anew?");
    top.press("y");
    top.until_shown("built demo anew");
    top.resize(20, 5);
    // A key that comes in the same moment as the signal is seen with the next one only (crossterm).
    top.until("the small screen", |screen| screen.lines().all(|it| it.trim_end().len() <= 20));
    top.press("5");
    top.until_shown("no children");
    top.resize(110, 30);

    // A host that goes away is shown, and found again.
    host.stop();
    top.until_shown("no answer: ");
    let host = Host::at_socket(&place, &["-c", &config]);
    top.until("it answers", |screen| !screen.contains("no answer: "));
    top.press("q");
    top.ended();
    host.stop();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let place = Place::new();
    let host = Host::at_socket(&place, &[]);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let Some(top) = Terminal::open(&["--to", &place.socket()]) else { return };
        top.until_shown("no calls");
        assert_ne!(tcgetattr(&top.line).unwrap(), top.before, "it reads single keys");
        top.signal(signal);
        top.ended();
    }
    let Some(mut top) = Terminal::open(&["--to", &place.socket()]) else { return };
    top.until_shown("no calls");
    top.press("\x03");
    top.ended();
    host.stop();
}

#[test]
fn without_a_terminal_it_prints_one_look() {
    let place = Place::new();
    let config = place.config(DEMO);
    let host = Host::at_socket(&place, &["-c", &config]);
    for more in [&[][..], &["--once"]] {
        let (code, stdout, stderr) =
            outcome(&mut a2e(&[&["top", "--to", &place.socket()], more].concat()));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        assert!(stdout.contains("\n\nplugins\nPLUGIN"), "{stdout}");
        assert!(stdout.contains("\ndemo    serving"), "{stdout}");
        assert!(!stdout.contains('\x1b'), "{stdout}");
    }
    host.stop();
    let config = place.config(&format!("operator_token: {OPERATOR}\n{DEMO}"));
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let http = host.addresses(1).remove(0);
    for to in [&http, &http.replace("http", "ws")] {
        let (code, stdout, stderr) =
            outcome(a2e(&["top", "--once", "--to", to]).env("A2E_TOKEN", OPERATOR));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{to}: {stdout}");
        assert!(stdout.contains("\ndemo  ") && stdout.contains("  http 127.0.0.1:"), "{stdout}");
    }
    host.stop();
    for (args, code, said) in [
        (&["top", "--to", "unix:///no/such"][..], 1, "/no/such"),
        (&["top", "--to", &place.socket()], 1, "a2e.sock"),
        (&["top", "--interval", "often"], 2, "--interval"),
    ] {
        let (found, stdout, stderr) = outcome(&mut a2e(args));
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{args:?}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
