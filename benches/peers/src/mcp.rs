//! An MCP server on rmcp, the official SDK, with a tool that echoes.

use axum::serve::ListenerExt;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServiceExt};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, transport};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};

use crate::Ended;

/// `echo` answers with its text as text, `echo_rows` with its rows as structured content; neither
/// carries them twice.
#[derive(Clone)]
struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        let mut config = ServerConfig::default();
        config.capabilities = ServerCapabilities::builder().enable_tools().build();
        config
    }

    /// A gateway offers what is listed.
    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"],
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        Ok(ListToolsResult::with_all_items(vec![Tool::new("echo", "Gives its text back.", schema)]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut arguments = request.arguments.unwrap_or_default();
        let result = match arguments.remove("text") {
            Some(Value::String(text)) => CallToolResult::success(vec![ContentBlock::text(text)]),
            _ => {
                let mut result = CallToolResult::success(Vec::new());
                result.structured_content = Some(Value::Object(arguments));
                result
            }
        };
        Ok(result.into())
    }
}

pub async fn serve_stdio() -> Ended {
    Echo.serve(transport::stdio()).await?.waiting().await?;
    Ok(())
}

pub async fn serve_unix(path: &str) -> Ended {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Ok(running) = Echo.serve(stream).await {
                // How a session ends is of no interest here.
                drop(running.waiting().await);
            }
        });
    }
}

pub async fn serve_http(address: &str) -> Ended {
    let sessions = std::sync::Arc::new(LocalSessionManager::default());
    let service =
        StreamableHttpService::new(|| Ok(Echo), sessions, StreamableHttpServerConfig::default());
    let router = axum::Router::new().nest_service("/mcp", service);
    // Without it each answer waits 40 ms for an acknowledgement.
    let listener = TcpListener::bind(address).await?.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}
