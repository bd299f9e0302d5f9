//! The program at a pseudo-terminal: keys are pressed, what shows is collected.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::program::{PATIENCE, a2e, now, until};

/// The program at a terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a command there.
    pub(crate) fn open(args: &[&str]) -> Self {
        Self::open_with("", args)
    }

    /// As [`open`](Self::open), where these keys were pressed before.
    pub(crate) fn open_with(keys: &str, args: &[&str]) -> Self {
        let pair = nix::pty::openpty(None, None).unwrap();
        File::from(pair.master.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
        let again = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let mut command: Command = a2e(args);
        command.env("TERM", "xterm").stdin(again(&pair.slave)).stdout(again(&pair.slave));
        let child = command.stderr(Stdio::from(pair.slave)).spawn().unwrap();
        drop(command);
        let (keys, mut screen) =
            (File::from(pair.master.try_clone().unwrap()), File::from(pair.master));
        let shown = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            // A terminal without its last process fails to read.
            while let Ok(read) = screen.read(&mut block) {
                collected.lock().unwrap().push_str(&String::from_utf8_lossy(&block[..read]));
            }
        });
        Self { child, keys, shown }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this shows.
    pub(crate) fn until(&self, text: &str) {
        self.until_times(1, text);
    }

    /// Waits until this shows as often.
    pub(crate) fn until_times(&self, times: usize, text: &str) {
        let start = now();
        while self.shown.lock().unwrap().matches(text).count() < times {
            let shown = self.shown.lock().unwrap().clone();
            assert!(start.elapsed() < PATIENCE, "`{text}` is not {times} times in {shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the program; its code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut code = None;
        until(PATIENCE, "the program ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}
