//! Language servers with a method `echo`: lsp-server (threads), tower-lsp-server (tokio).

use lsp_server::{Connection, Message, Response};
use serde_json::Value;
use tower_lsp_server::jsonrpc::Result as RpcResult;
use tower_lsp_server::ls_types::{InitializeParams, InitializeResult};
use tower_lsp_server::{LanguageServer, LspService, Server};

use crate::Ended;

/// Requests that tower-lsp-server works on at a time; 4 unless set, but 64 are in flight here.
const AT_A_TIME: usize = 64;

pub fn serve_sync() -> Ended {
    let (connection, threads) = Connection::stdio();
    connection.initialize(serde_json::json!({}))?;
    for message in &connection.receiver {
        if let Message::Request(request) = message {
            let answer = Response::new_ok(request.id, request.params);
            connection.sender.send(Message::Response(answer))?;
        }
    }
    drop(connection);
    threads.join()?;
    Ok(())
}

struct Echo;

impl LanguageServer for Echo {
    async fn initialize(&self, _: InitializeParams) -> RpcResult<InitializeResult> {
        Ok(InitializeResult::default())
    }

    async fn shutdown(&self) -> RpcResult<()> {
        Ok(())
    }
}

impl Echo {
    async fn echo(&self, params: Value) -> RpcResult<Value> {
        Ok(params)
    }
}

pub async fn serve_tower() -> Ended {
    let (service, socket) = LspService::build(|_| Echo).custom_method("echo", Echo::echo).finish();
    let server = Server::new(tokio::io::stdin(), tokio::io::stdout(), socket);
    server.concurrency_level(AT_A_TIME).serve(service).await;
    Ok(())
}
