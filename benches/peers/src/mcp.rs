//! An MCP server on rmcp, the official SDK, with a tool that echoes.

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer, ServiceExt};
use rmcp::{ErrorData, transport};
use serde_json::Value;
use tokio::net::UnixListener;

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
