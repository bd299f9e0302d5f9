//! The bearer token of a server: from a file or from a command that the operator names.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2e_core::children::{Command, StdinMode};
use a2e_core::plugin::Host;
use a2e_core::{Error, Result};
use tokio::io::AsyncReadExt;

use crate::mcp::config::ServerConfig;

/// Longest token.
const MAX_TOKEN: u64 = 16 << 10;

/// How long a command may take to print one.
const COMMAND: Duration = Duration::from_secs(30);

enum From {
    Nowhere,
    File(PathBuf),
    Command(Vec<String>),
}

/// Where the token of a server comes from, and what it was last.
pub(in crate::mcp) struct TokenSource {
    from: From,
    env_pass: Vec<String>,
    host: Host,
    /// Held while the text is copied.
    known: Mutex<Option<Arc<str>>>,
}

impl TokenSource {
    pub(in crate::mcp) fn new(config: &ServerConfig, host: &Host) -> Self {
        let from = match (&config.token_file, config.token_command.0.as_slice()) {
            (Some(file), _) => From::File(file.clone()),
            (None, []) => From::Nowhere,
            (None, words) => From::Command(words.to_vec()),
        };
        let (env_pass, host) = (config.env_pass.clone(), host.clone());
        Self { from, env_pass, host, known: Mutex::new(None) }
    }

    /// The token; read when it is not known.
    ///
    /// # Errors
    /// When it cannot be read; never what it is.
    pub(super) async fn get(&self) -> Result<Option<Arc<str>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let text = match &self.from {
            From::Nowhere => return Ok(None),
            From::File(file) => {
                let open = tokio::fs::File::open(file).await;
                let failed = |error: std::io::Error| {
                    Error::runtime(format!("token_file: {}: {error}", file.display()))
                };
                let mut text = String::new();
                let file = open.map_err(failed)?;
                file.take(MAX_TOKEN).read_to_string(&mut text).await.map_err(failed)?;
                text
            }
            From::Command(words) => {
                let printed = tokio::time::timeout(COMMAND, self.printed(words)).await;
                let slow = |_| {
                    let text = format!("token_command: no end within {} s", COMMAND.as_secs());
                    Error::runtime(text)
                };
                printed.map_err(slow)??
            }
        };
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Error::runtime("the token is empty, or more than one line"));
        }
        let token: Arc<str> = text.into();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok(Some(token))
    }

    async fn printed(&self, words: &[String]) -> Result<String> {
        let (program, args) = words.split_first().ok_or_else(|| Error::runtime("no command"))?;
        let mut command = Command::new(program).args(args);
        command.stdin = StdinMode::Null;
        command.env_pass.clone_from(&self.env_pass);
        let mut child = self.host.children()?.spawn(command).await?;
        child.drain_stderr();
        let mut text = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_TOKEN).read_to_string(&mut text).await?;
        }
        let exit = child.gone().await;
        if !exit.is_success() {
            let said = child.last_words().await.unwrap_or_default();
            return Err(Error::runtime(format!("token_command ended with {exit}: {said}")));
        }
        Ok(text)
    }

    /// The server refused this token; whether asking again may give another.
    pub(super) fn refused(&self, token: Option<&str>) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() == token {
            *known = None;
        }
        token.is_some() && !matches!(self.from, From::Nowhere)
    }
}
