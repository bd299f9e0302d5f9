//! The common part of commands that ask a host: which one, with which token, for how long.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::future::Future;
use std::time::Duration;

use a2e_client::{Client, Options};
use a2e_core::config::{HostConfig, ListenAddr};
use a2e_core::protocol::Request;
use a2e_core::{Clock, SystemClock};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::seconds;
use crate::defaults::ConfigArgs;
use crate::{Failure, address, serve};

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// A running host: unix:///PATH, tcp://HOST:PORT, http://HOST:PORT or ws://HOST:PORT; needs a socket of
    /// your own user, or the operator token;
    /// without it, the host that a bare `a2e serve` runs, if there is one
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["config", "file"])]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The host's operator token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    token: String,
    /// How long to wait for a running host, connecting included
    #[arg(long, value_name = "SECS", default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
}

/// A running host, and how to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) limit: Duration,
}

impl HostArgs {
    /// The running host that is meant by commands that can also do without; a configuration means none.
    pub(crate) fn running(&self) -> Option<Remote> {
        let is_own = self.to.is_none() && self.config.path().is_some();
        let address = if is_own { None } else { address::find_host(self.to.as_deref()) };
        address.map(|address| self.at(address, self.token.clone()))
    }

    /// The running host that is meant by commands that need one: a configuration means the host that
    /// listens where it says.
    pub(crate) fn needed(&self) -> Result<Remote, Failure> {
        if self.to.is_none() && self.config.path().is_some() {
            let config = self.config.load()?;
            let listens = config.addresses().into_iter().find(is_reachable);
            let nowhere = || {
                Failure::refused("the configuration says no address to listen at; use --to ADDR")
            };
            let address = listens.ok_or_else(nowhere)?.to_string();
            return Ok(self.at(address, self.token_of(&config)));
        }
        let nobody = || {
            Failure::refused(
                "no host runs at the socket of a bare `a2e serve`; say which one is meant with --to \
                 ADDR, or with the configuration that says where it listens",
            )
        };
        let address = address::find_host(self.to.as_deref()).ok_or_else(nobody)?;
        Ok(self.at(address, self.token.clone()))
    }

    fn at(&self, address: String, token: String) -> Remote {
        Remote { address, token, limit: Duration::from_secs_f64(self.timeout) }
    }

    /// The token that was given, or the one of the configuration.
    fn token_of(&self, config: &HostConfig) -> String {
        let known = config.operator_token.as_ref().or(config.auth_token.as_ref());
        match known {
            Some(secret) if self.token.is_empty() => secret.expose().to_owned(),
            _ => self.token.clone(),
        }
    }
}

fn is_reachable(address: &ListenAddr) -> bool {
    matches!(address, ListenAddr::Tcp { .. } | ListenAddr::Unix(_))
}

impl Remote {
    pub(crate) fn options(&self) -> Options {
        Options::new("a2e-operator")
            .auth_token(self.token.clone())
            .handshake_timeout(self.limit)
            .call_timeout(self.limit)
    }

    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect_to(&self.address, self.options()).await?)
    }

    /// Asks one thing.
    pub(crate) async fn ask<Q>(&self, request: &Q) -> Result<Q::Reply, Failure>
    where
        Q: Request + Serialize + Sync,
        Q::Reply: DeserializeOwned,
    {
        let clock = SystemClock::new();
        let start = clock.now();
        let client = self.connect().await?;
        let rest = self.limit.saturating_sub(clock.now().since(start));
        let reply = client.rpc_with(request, a2e_client::CallOptions::within(rest)).await;
        client.close().await;
        Ok(reply?)
    }

    /// As [`Remote::ask`], for commands that do nothing else.
    pub(crate) fn ask_now<Q>(&self, request: &Q) -> Result<Q::Reply, Failure>
    where
        Q: Request + Serialize + Sync,
        Q::Reply: DeserializeOwned,
    {
        run(self.ask(request))
    }
}

/// Runs a command's work in a runtime of its own.
pub(crate) fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = serve::runtime()?;
    let result = runtime.block_on(work);
    // A host inside this process may have a thread that hangs.
    runtime.shutdown_background();
    result
}
