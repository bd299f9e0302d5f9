//! The common part of commands that inspect a host: a running one, or one that a file describes.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::PathBuf;
use std::time::Duration;

use a2e_client::{Client, Options};
use a2e_core::protocol::Request;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// How long a running host may take to answer an operator.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// A running host: tcp://HOST:PORT or unix:///PATH; needs a socket of your own user, or the operator token
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub(crate) to: Option<String>,
    /// A configuration; its plugins are loaded in this process and ended again
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The host's operator token
    #[arg(long, env = "A2E_TOKEN", hide_env_values = true, hide = true, default_value = "")]
    pub(crate) token: String,
}

/// Asks a running host one thing.
pub(crate) async fn ask<Q>(to: &str, token: &str, request: &Q) -> Result<Q::Reply, Failure>
where
    Q: Request + Serialize + Sync,
    Q::Reply: DeserializeOwned,
{
    let options = Options::new("a2e-operator").auth_token(token.to_owned()).call_timeout(LIMIT);
    let client = Client::connect_to(to, options).await.map_err(Failure::refused)?;
    let reply = client.rpc(request).await.map_err(Failure::refused);
    client.close().await;
    reply
}
