//! The same servers, through one host, used by the SDKs' clients over stdio and HTTP at once.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::{config, real};
use crate::faults::skipped;
use crate::process::mcp_clients;
use crate::process::support::program::{A2E, Place, workspace};

#[test]
fn clients_of_two_sdks_use_real_servers_through_one_host_at_once() {
    let (Some(servers), Some(clients)) = (real::installed(), mcp_clients::installed()) else {
        return skipped("servers and clients of MCP cannot be installed from npm and PyPI here");
    };
    let place = Place::new();
    let file = place.config(&config(&real::servers(&servers, &place)));
    let scripts = workspace().join("tests/data/mcp_clients");
    // Node finds its packages beside the script.
    let script = clients.folder().join("gateway.mjs");
    std::fs::copy(scripts.join("gateway.mjs"), &script).unwrap();
    // Both clients must know the port before the host says it.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let mut python = Command::new(clients.pypi("python"));
    python.arg(scripts.join("gateway.py")).arg(port).arg(script).arg(place.text("repository"));
    let output = python.args([A2E, "serve", "--mcp", "-c", &file]).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("ok, all at once"), "{told}{wrong}");
}
