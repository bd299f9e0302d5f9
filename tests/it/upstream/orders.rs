//! kill -9 of host, server and client, in any order: no process is left, no call without an answer (R35).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{PATIENCE, config, program};
use crate::process::support::proc_fs::{carrying, lives, token, tree};
use crate::process::support::program::{A2E, Host, Place, until, workspace};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Host,
    Server,
    Client,
}

use Part::{Client, Server};

const ORDERS: [[Part; 3]; 6] = [
    [Part::Host, Server, Client],
    [Part::Host, Client, Server],
    [Server, Part::Host, Client],
    [Server, Client, Part::Host],
    [Client, Part::Host, Server],
    [Client, Server, Part::Host],
];

/// The client: a process of its own, which tells what comes back.
struct Raw {
    child: Child,
    input: ChildStdin,
    told: Receiver<Value>,
}

impl Raw {
    fn start(words: &[&str]) -> Self {
        let script = workspace().join("tests/data/mcp_clients/raw.py");
        let mut command = Command::new("python3");
        command.arg(script).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, input, told }
    }

    fn call(&mut self, id: u32, tool: &str) {
        writeln!(self.input, "{id} {tool}").unwrap();
    }

    fn next(&self) -> Value {
        self.told.recv_timeout(PATIENCE).expect("the client tells something, in time")
    }

    /// The answer under this id, which must be the next.
    fn answer(&self, id: u32) -> Value {
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].clone()
    }

    fn echoes(&mut self, id: u32) {
        self.call(id, "one__echo");
        let answer = self.answer(id);
        assert_eq!(answer["content"][0]["text"], "x", "{answer}");
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What runs.
struct Scene {
    client: Raw,
    /// The host over HTTP; over stdio the client has started it.
    host: Option<(Host, String)>,
    host_pid: i32,
    token: String,
    /// The number of the last call.
    last: u32,
    /// Everything that was ever started.
    seen: Vec<i32>,
}

impl Scene {
    fn set(place: &Place, is_http: bool) -> Self {
        let token = token();
        let server = format!("{{one: {{command: [python3, {:?}, well, {token:?}]}}}}", program());
        let file = place.config(&config(&server));
        let host = is_http.then(|| {
            let host = Host::serve(&["-c", &file, "--listen", "http://127.0.0.1:0"]);
            let url = format!("{}/mcp", host.addresses(1)[0]);
            (host, url)
        });
        let over_stdio = [A2E, "serve", "--mcp", "-c", file.as_str()];
        let client = match &host {
            Some((_, url)) => Raw::start(&[url]),
            None => Raw::start(&over_stdio),
        };
        let told = client.next().as_i64();
        let host_pid = host
            .as_ref()
            .map_or_else(|| i32::try_from(told.unwrap()).unwrap(), |(host, _)| host.pid());
        let mut scene = Self { client, host, host_pid, token, last: 0, seen: Vec::new() };
        scene.hang_a_call();
        scene
    }

    /// Has a call under way that goes on for hours.
    fn hang_a_call(&mut self) {
        self.last += 1;
        self.client.call(self.last, "one__slow");
        assert_eq!(self.client.next(), self.last);
        self.seen.extend(tree(self.host_pid));
    }

    fn has(&mut self, part: Part) -> bool {
        match part {
            Part::Host => lives(self.host_pid),
            Server => !carrying(&self.token).is_empty(),
            Client => self.client.child.try_wait().unwrap().is_none(),
        }
    }

    fn kill(&mut self, part: Part) {
        self.seen.extend(tree(self.host_pid));
        let killed = match part {
            Part::Host => vec![self.host_pid],
            Server => carrying(&self.token),
            Client => vec![i32::try_from(self.client.child.id()).unwrap()],
        };
        for pid in killed {
            // It may end by itself first, when what it lives on is gone.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        match part {
            Part::Host if self.host.is_some() => self.host.as_mut().unwrap().0.kill9(),
            // Its pipes are closed before it has ended.
            Part::Host => until(PATIENCE, "the host is gone", || !lives(self.host_pid)),
            Client => drop(self.client.child.wait().unwrap()),
            Server => {}
        }
    }

    /// What the others see of it.
    fn look_at(&mut self, killed: Part) {
        if killed == Client && self.host.is_none() {
            let host = self.host_pid;
            until(PATIENCE, "the host ends with its client", || !lives(host));
        }
        if !self.has(Part::Host) {
            let token = self.token.clone();
            until(PATIENCE, "no server outlives its host", || carrying(&token).is_empty());
        } else if let Some((_, url)) = self.host.as_ref().filter(|_| killed == Client) {
            // The others are served as before.
            Raw::start(&[url]).after_hello().echoes(1);
        }
        match (killed, self.has(Client)) {
            (Part::Host, true) => assert_eq!(self.client.next(), json!("end")),
            (Server, true) if self.has(Part::Host) => {
                let answer = self.client.answer(self.last);
                let why = answer["content"][0]["text"].as_str().unwrap();
                assert_eq!(answer["isError"], true, "{answer}");
                assert!(why.starts_with("mcp_server_unavailable"), "{why}");
                assert!(why.contains("worth another try"), "{why}");
                // It is started again, and what is asked meanwhile waits for it.
                self.hang_a_call();
            }
            _ => {}
        }
    }
}

impl Raw {
    fn after_hello(self) -> Self {
        assert_eq!(self.next(), Value::Null);
        self
    }
}

fn every_order(is_http: bool) {
    for order in ORDERS {
        let place = Place::new();
        let mut scene = Scene::set(&place, is_http);
        for part in order {
            scene.kill(part);
            scene.look_at(part);
        }
        let left = || scene.seen.iter().copied().filter(|pid| lives(*pid)).collect::<Vec<_>>();
        until(PATIENCE, &format!("{order:?} leaves nothing"), || left().is_empty());
    }
}

#[test]
fn r35_nothing_is_left_in_any_order_over_stdio() {
    every_order(false);
}

#[test]
fn r35_nothing_is_left_in_any_order_over_http() {
    every_order(true);
}
