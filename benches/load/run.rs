//! A run: each part against a server that has just been started, and what cannot be measured said.

use std::path::Path;
use std::time::Duration;

use super::caller::{Caller, Speech};
use super::cores::Cores;
use super::parts;
use super::report::Report;
use super::servers::{Running, Server};
use super::{A2E_HTTP, A2E_TCP};

/// What a server does not bear is halved, down to this part of it.
const LEAST_PART: usize = 8;

pub struct Run<'a> {
    pub cores: &'a Cores,
    pub scratch: &'a Path,
    pub report: Report,
}

impl Run<'_> {
    /// Many sessions that call.
    pub async fn sessions(&mut self, server: &Server, count: usize, time: Duration) {
        let part = async |running: &Running, count| {
            parts::sessions(running, server.speech, count, time).await
        };
        if let Some(it) = self.borne(server, server.name, "sessions", count, part).await {
            self.report.sessions.push((server.name.to_owned(), it));
        }
    }

    /// Many connections that say nothing: of lines, where the server takes them.
    pub async fn idle(&mut self, server: &Server, count: usize, time: Duration) {
        let has_lines = server.has_lines();
        let (name, speech) =
            if has_lines { (A2E_TCP, Speech::A2eLines) } else { (server.name, server.speech) };
        let part = async |running: &Running, count| parts::idle(running, speech, count, time).await;
        if let Some(it) = self.borne(server, name, "idle connections", count, part).await {
            self.report.idle.push((name.to_owned(), it));
        }
    }

    /// One ping at a time, to all of these by turns.
    pub async fn pings(&mut self, servers: &[&Server], rounds: u64) {
        let (mut running, mut ways) = (Vec::new(), Vec::new());
        for server in servers {
            match self.ways(server).await {
                Ok((it, to_it)) => {
                    running.push(it);
                    ways.extend(to_it);
                }
                Err(why) => self.missing(format!("{}, pings", server.name), why),
            }
        }
        eprintln!("pings");
        let found = parts::pings(&mut ways, rounds).await;
        for ((name, _), found) in ways.into_iter().zip(found) {
            match found {
                Ok(it) => self.report.pings.push((name, it)),
                Err(why) => self.missing(format!("{name}, pings"), why),
            }
        }
    }

    /// Starts a server, and opens a session over each way to it.
    async fn ways(&self, server: &Server) -> Result<(Running, Vec<(String, Caller)>), String> {
        let running = server.start(self.cores, self.scratch)?;
        let mut ways = Vec::new();
        if let Some(tcp) = running.tcp {
            ways.push((A2E_TCP, parts::open(tcp, Speech::A2eLines).await?));
        }
        let name = if running.tcp.is_some() { A2E_HTTP } else { server.name };
        ways.push((name, parts::open(running.http, server.speech).await?));
        let ways = ways.into_iter().map(|(name, caller)| (name.to_owned(), caller)).collect();
        Ok((running, ways))
    }

    /// Puts a server through a part; with half of it, and half of that, where it does not bear the whole.
    async fn borne<T>(
        &mut self,
        server: &Server,
        name: &str,
        what: &str,
        count: usize,
        part: impl AsyncFn(&Running, usize) -> Result<T, String>,
    ) -> Option<T> {
        let mut tried = count;
        while tried > 0 && tried >= count / LEAST_PART {
            eprintln!("{name}: {tried} {what}");
            let running = match server.start(self.cores, self.scratch) {
                Ok(running) => running,
                Err(why) => {
                    self.missing(format!("{name}, {what}"), why);
                    return None;
                }
            };
            match part(&running, tried).await {
                Ok(it) => return Some(it),
                Err(why) => {
                    let log = running.last_words();
                    let log = log.map(|it| format!("; its log ends with: {it}"));
                    self.missing(format!("{name}, {tried} {what}"), why + &log.unwrap_or_default());
                }
            }
            tried /= 2;
        }
        None
    }

    fn missing(&mut self, what: String, why: String) {
        self.report.missing.push((what, why));
    }
}
