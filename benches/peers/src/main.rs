//! The peers that A2E is measured against: `serve ROLE ADDRESS` is an echo server on one of them,
//! `drive ROLE ADDRESS PAYLOAD WINDOW` the client of those that need their own.

mod drive;
mod grpc;
mod lsp;
mod mcp;
mod tarpc;
mod ws;

use std::error::Error;

/// What the roles end with.
pub type Ended = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Ended {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["serve", "lsp-server", ..] => lsp::serve_sync(),
        ["serve", "tower-lsp-server", ..] => on_runtime(lsp::serve_tower()),
        ["serve", "rmcp-stdio", ..] => on_runtime(mcp::serve_stdio()),
        ["serve", "rmcp-unix", path] => on_runtime(mcp::serve_unix(path)),
        ["serve", "rmcp-http", address] => on_runtime(mcp::serve_http(address)),
        ["serve", "jsonrpsee", address] => on_runtime(ws::serve(address)),
        ["serve", "tarpc", path] => on_runtime(tarpc::serve(path)),
        ["serve", "tonic", path] => on_runtime(grpc::serve(path)),
        ["drive", "tarpc", path, size, window] => {
            on_runtime(tarpc::drive(path, size.parse()?, window.parse()?))
        }
        ["drive", "tonic", path, size, window] => {
            on_runtime(grpc::drive(path, size.parse()?, window.parse()?))
        }
        _ => Err("usage: a2e-peers serve ROLE ADDRESS | drive ROLE ADDRESS PAYLOAD WINDOW".into()),
    }
}

/// The runtime of `#[tokio::main]`: what a user of these crates would take.
fn on_runtime(role: impl Future<Output = Ended>) -> Ended {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(role)
}
