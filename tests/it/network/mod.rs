//! HTTP and `WebSocket`s, through the program and real sockets.

mod admission;
mod approvals;
mod client;
mod deploy;
mod faults;
mod mcp;
mod openenv;
mod operate;
mod principals;
mod raw;
mod streams;
mod tls;
mod traces;
mod websocket;

use crate::process::support::program::{Host, Place};
use raw::Site;

/// A host over HTTP with this configuration beyond its demo plugin, and its address.
fn host(place: &Place, more: &str) -> (Host, Site) {
    let yaml = format!(
        "{more}\nplugins:\n  - {{name: demo, type: tools, cls: a2e.caps.demo.plugin.DemoToolPlugin}}\n"
    );
    let config = place.config(&yaml);
    let host = Host::serve(&["-c", &config, "--listen", "http://127.0.0.1:0"]);
    let site = Site::at(&host.addresses(1)[0]);
    (host, site)
}
