//! Servers that messages add and end.

use std::sync::Arc;

use a2e_core::plugin::Answer;
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::id::random_hex;
use a2e_core::request::Call;
use a2e_core::{Error, Result};

use super::MCPPlugin;
use crate::mcp::config::{McpConfig, ServerConfig, Transport, is_below};
use crate::mcp::protocol::{
    ServerRegisterRequest, ServerRegisterResponse, ServerUnregisterRequest,
    ServerUnregisterResponse,
};
use crate::mcp::upstream::Upstream;

pub(super) async fn register(
    plugin: Arc<MCPPlugin>,
    request: ServerRegisterRequest,
    call: Call,
) -> Answer<ServerRegisterResponse> {
    Ok(match registered(&plugin, request, &call).await {
        Ok(response) => response.into(),
        Err(error) => ServerRegisterResponse {
            error: error.message().to_owned(),
            code: Some(error.code().clone()),
            ..ServerRegisterResponse::default()
        }
        .into(),
    })
}

async fn registered(
    plugin: &MCPPlugin,
    request: ServerRegisterRequest,
    call: &Call,
) -> Result<ServerRegisterResponse> {
    let mut config =
        ServerConfig::of(request.config).map_err(|why| Error::schema("config", why))?;
    if config.server_id.is_empty() {
        config.server_id = random_hex()?.chars().take(8).collect();
    }
    let id = config.server_id.clone();
    config.check(&id).map_err(|why| Error::schema("config", why))?;
    may(&plugin.config, &config, plugin.host.plugin().as_str())?;
    call.note_subject("program", || config.argv().first().copied().unwrap_or_default().to_owned());
    let servers = &plugin.servers;
    let upstream = Upstream::new(id.clone(), config, true, &servers.shared);
    if !servers.add(&upstream, plugin.config.max_registered.into()) {
        let text = format!(
            "the id `{id}` is taken, or {} servers are registered, which is \
             `metadata.max_registered` of plugin `{}`",
            plugin.config.max_registered,
            plugin.host.plugin()
        );
        return Err(Error::new(ErrorCode::ToolDenied, text));
    }
    // It goes again unless it answers, also when the caller waits no more.
    let mut trial = Trial { plugin, id: &id, is_over: false };
    upstream.keep();
    upstream.heard().await?;
    trial.is_over = true;
    Ok(ServerRegisterResponse {
        ok: true,
        server: Some(upstream.info()),
        ..ServerRegisterResponse::default()
    })
}

/// Whether a message may have this server: what starts is for the operator to say (R36).
fn may(settings: &McpConfig, server: &ServerConfig, plugin: &str) -> Result<()> {
    let denied = |text: String| Err(Error::new(ErrorCode::ToolDenied, text));
    if server.transport() != Transport::Stdio {
        if settings.allowed_urls.iter().any(|allowed| is_below(allowed, &server.url)) {
            return Ok(());
        }
        return denied(format!(
            "`{}` is below no address of `metadata.allowed_urls` of plugin `{plugin}`",
            server.url
        ));
    }
    let program = server.command.0.first().cloned().unwrap_or_default();
    if !settings.allowed_commands.contains(&program) {
        return denied(format!(
            "Command not allowed: `{program}` is not in `metadata.allowed_commands` of plugin `{plugin}`"
        ));
    }
    if let Some(cwd) = server.cwd.as_ref().filter(|cwd| !settings.allowed_cwd.contains(cwd)) {
        return denied(format!(
            "`{}` is not in `metadata.allowed_cwd` of plugin `{plugin}`",
            cwd.display()
        ));
    }
    match server.env.keys().find(|name| !settings.allowed_env.contains(name)) {
        Some(name) => denied(format!(
            "a message may not set the variable `{name}` of a server: it is not in \
             `metadata.allowed_env` of plugin `{plugin}`"
        )),
        None => Ok(()),
    }
}

/// A server that is being registered.
struct Trial<'a> {
    plugin: &'a MCPPlugin,
    id: &'a str,
    is_over: bool,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(upstream) = self.plugin.servers.remove(self.id) {
            upstream.drop_child();
            self.plugin.host.contribution_changed();
        }
    }
}

pub(super) async fn unregister(
    plugin: Arc<MCPPlugin>,
    request: ServerUnregisterRequest,
    _call: Call,
) -> Answer<ServerUnregisterResponse> {
    let ServerUnregisterRequest { server_id } = request;
    let refused = |code, why: String| ServerUnregisterResponse {
        ok: false,
        server_id: server_id.clone(),
        error: why,
        code: Some(code),
    };
    match plugin.servers.find(&server_id) {
        None => {
            let why = format!("no server has the id `{server_id}`");
            Ok(refused(ErrorCode::McpServerNotFound, why).into())
        }
        Some(it) if !it.is_registered => {
            let why = format!("`{server_id}` stands in the settings: it is the operator's");
            Ok(refused(ErrorCode::ToolDenied, why).into())
        }
        Some(upstream) => {
            plugin.servers.remove(&server_id);
            plugin.host.contribution_changed();
            upstream.end().await;
            Ok(ServerUnregisterResponse { ok: true, server_id, ..Default::default() }.into())
        }
    }
}
