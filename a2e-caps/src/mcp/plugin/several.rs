//! More than one such plugin in a host: each answers for its own servers, and hands on what is none of theirs.

use std::sync::Arc;

use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};

use super::MCPPlugin;
use crate::mcp::offers::Servers;
use crate::mcp::protocol::{McpServerInfo, ServerListRequest};
use crate::mcp::upstream::Upstream;

/// Why a request is not this plugin's.
pub(super) enum Not {
    /// Another may have it.
    Mine(Error),
    /// None has it.
    Anyones(Error),
}

fn no_server(id: &str) -> Error {
    Error::new(ErrorCode::McpServerNotFound, format!("no server has the id `{id}`"))
}

impl Servers {
    /// The servers of all such plugins that the session sees, in the order in which these are asked.
    async fn all_servers(&self, call: &Call) -> Vec<McpServerInfo> {
        let asked = call.request(&ServerListRequest::default()).await;
        asked.map(|it| it.servers).unwrap_or_default()
    }

    /// Whether another such plugin is asked after this one.
    async fn hands_on(&self, call: &Call) -> bool {
        if self.is_alone() {
            return false;
        }
        let all = self.all_servers(call).await;
        all.last().is_some_and(|last| self.find(&last.server_id).is_none())
    }

    /// Whether other such plugins have entries of a list from here on.
    pub(super) async fn others_go_on(
        &self,
        server_id: &str,
        from: usize,
        count: impl Fn(&McpServerInfo) -> u64,
        call: &Call,
    ) -> bool {
        let all = self.all_servers(call).await;
        let is_other = |it: &&McpServerInfo| {
            self.find(&it.server_id).is_none()
                && (server_id.is_empty() || it.server_id == server_id)
        };
        let counted: u64 = all.iter().filter(is_other).map(count).sum();
        usize::try_from(counted).unwrap_or(usize::MAX) > from
    }
}

impl MCPPlugin {
    /// Whether a server of this id is there, where one is named.
    pub(super) fn known(&self, id: &str) -> Result<()> {
        if id.is_empty() || self.servers.find(id).is_some() { Ok(()) } else { Err(no_server(id)) }
    }

    async fn of(
        &self,
        id: &str,
        listed: impl FnOnce() -> Option<Arc<Upstream>>,
        else_any: impl FnOnce() -> Option<Arc<Upstream>>,
        nobody: impl FnOnce() -> Error,
        call: &Call,
    ) -> Result<Arc<Upstream>, Not> {
        let found = if id.is_empty() { listed() } else { self.servers.find(id) };
        let error = || if id.is_empty() { nobody() } else { no_server(id) };
        match found {
            Some(upstream) => Ok(upstream),
            None if self.servers.hands_on(call).await => Err(Not::Mine(error())),
            None if id.is_empty() => else_any().ok_or_else(|| Not::Anyones(error())),
            None => Err(Not::Anyones(error())),
        }
    }

    /// The server of a resource: the one that is named, or the one that lists it.
    pub(super) async fn of_resource(
        &self,
        id: &str,
        uri: &str,
        call: &Call,
    ) -> Result<Arc<Upstream>, Not> {
        let nobody = || {
            let text = format!("no server has the resource `{uri}`");
            Error::new(ErrorCode::McpResourceNotFound, text)
        };
        let (listed, any) = (|| self.servers.of_resource(uri), || self.servers.any_resource());
        self.of(id, listed, any, nobody, call).await
    }

    /// The server of a prompt.
    pub(super) async fn of_prompt(
        &self,
        id: &str,
        name: &str,
        call: &Call,
    ) -> Result<Arc<Upstream>, Not> {
        let nobody = || {
            let text = format!("no server has the prompt `{name}`");
            Error::new(ErrorCode::McpPromptNotFound, text)
        };
        self.of(id, || self.servers.of_prompt(name), || None, nobody, call).await
    }
}
