//! A JSON-RPC server over WebSocket on jsonrpsee.

use jsonrpsee::server::{RpcModule, Server, ServerConfig};
use serde_json::Value;

use crate::Ended;

pub async fn serve(address: &str) -> Ended {
    // 100 connections unless set.
    let config = ServerConfig::builder().max_connections(12_000).build();
    let server = Server::builder().set_config(config).build(address).await?;
    let mut module = RpcModule::new(());
    module.register_method("echo", |params, (), _| params.parse::<Value>())?;
    server.start(module).stopped().await;
    Ok(())
}
