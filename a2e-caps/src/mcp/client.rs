//! Typed calls of `mcp/*`.

use a2e_client::{Client, ClientError};
use a2e_core::protocol::ErrorCode;
use serde_json::{Map, Value};

use super::protocol::{
    McpContent, McpPrompt, McpResource, McpServerConfig, McpServerInfo, PromptGetRequest,
    PromptGetResponse, PromptListRequest, ResourceListRequest, ResourceReadRequest,
    ResourceSubscribeRequest, Root, RootListRequest, ServerListRequest, ServerRegisterRequest,
    ServerUnregisterRequest,
};

/// Why a call about servers failed.
#[derive(Clone, Debug)]
pub enum McpError {
    /// The host or the server said no.
    Refused {
        /// For programs.
        code: Option<ErrorCode>,
        /// For people.
        why: String,
    },
    /// The call itself failed.
    Client(ClientError),
}

impl std::fmt::Display for McpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { why, .. } => f.write_str(why),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for McpError {}

impl From<ClientError> for McpError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// An answer, unless it says why there is none.
fn unless<T>(why: String, code: Option<ErrorCode>, answer: T) -> Result<T, McpError> {
    if why.is_empty() { Ok(answer) } else { Err(McpError::Refused { code, why }) }
}

/// The MCP servers of a host. Cheap to clone.
///
/// ```no_run
/// # async fn doc(client: a2e_client::Client) -> Result<(), a2e_caps::mcp::client::McpError> {
/// use a2e_caps::mcp::client::McpClient;
///
/// let mcp = McpClient::new(&client);
/// for server in mcp.servers().await? {
///     println!("{} {:?} {} tools", server.server_id, server.status, server.tools_count);
/// }
/// let readme = mcp.read("file:///README.md", "").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct McpClient {
    client: Client,
}

impl McpClient {
    /// The servers behind this connection.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// The servers, and where each stands.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn servers(&self) -> Result<Vec<McpServerInfo>, McpError> {
        Ok(self.client.rpc(&ServerListRequest::default()).await?.servers)
    }

    /// Adds a server.
    ///
    /// # Errors
    /// When the host does not allow it, or it does not answer.
    pub async fn register(&self, config: McpServerConfig) -> Result<McpServerInfo, McpError> {
        let reply = self.client.rpc(&ServerRegisterRequest { config }).await?;
        let why = if reply.ok { String::new() } else { reply.error };
        unless(why, reply.code, reply.server.unwrap_or_default())
    }

    /// Ends a server that a message had added.
    ///
    /// # Errors
    /// When there is none.
    pub async fn unregister(&self, server_id: &str) -> Result<(), McpError> {
        let server_id = server_id.to_owned();
        let reply = self.client.rpc(&ServerUnregisterRequest { server_id }).await?;
        let why = if reply.ok { String::new() } else { reply.error };
        unless(why, reply.code, ())
    }

    /// The resources of a server, or of all with an empty id.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn resources(&self, server_id: &str) -> Result<Vec<McpResource>, McpError> {
        let mut all = Vec::new();
        let mut request =
            ResourceListRequest { server_id: server_id.to_owned(), cursor: String::new() };
        loop {
            let reply = self.client.rpc(&request).await?;
            all.extend(reply.resources);
            if reply.next_cursor.is_empty() {
                return Ok(all);
            }
            request.cursor = reply.next_cursor;
        }
    }

    /// The content of a resource, of the server that lists it with an empty id.
    ///
    /// # Errors
    /// When it is not there, or its server is not.
    pub async fn read(&self, uri: &str, server_id: &str) -> Result<Vec<McpContent>, McpError> {
        let (uri, server_id) = (uri.to_owned(), server_id.to_owned());
        let reply = self.client.rpc(&ResourceReadRequest { uri, server_id }).await?;
        unless(reply.error, reply.code, reply.contents)
    }

    /// Has changes of a resource told as `mcp/server/push`.
    ///
    /// # Errors
    /// When its server tells none.
    pub async fn subscribe(&self, uri: &str, server_id: &str) -> Result<(), McpError> {
        let (uri, server_id) = (uri.to_owned(), server_id.to_owned());
        let reply = self.client.rpc(&ResourceSubscribeRequest { uri, server_id }).await?;
        let why = if reply.ok { String::new() } else { reply.error };
        unless(why, reply.code, ())
    }

    /// The prompts of a server, or of all with an empty id.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn prompts(&self, server_id: &str) -> Result<Vec<McpPrompt>, McpError> {
        let mut all = Vec::new();
        let mut request =
            PromptListRequest { server_id: server_id.to_owned(), cursor: String::new() };
        loop {
            let reply = self.client.rpc(&request).await?;
            all.extend(reply.prompts);
            if reply.next_cursor.is_empty() {
                return Ok(all);
            }
            request.cursor = reply.next_cursor;
        }
    }

    /// A prompt, filled in.
    ///
    /// # Errors
    /// When it is not there, or its arguments are wrong.
    pub async fn prompt(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        server_id: &str,
    ) -> Result<PromptGetResponse, McpError> {
        let (name, server_id) = (name.to_owned(), server_id.to_owned());
        let reply = self.client.rpc(&PromptGetRequest { name, arguments, server_id }).await?;
        unless(reply.error.clone(), reply.code.clone(), reply)
    }

    /// The folders that servers are told of.
    ///
    /// # Errors
    /// As [`Client::rpc`].
    pub async fn roots(&self) -> Result<Vec<Root>, McpError> {
        Ok(self.client.rpc(&RootListRequest::default()).await?.roots)
    }
}
