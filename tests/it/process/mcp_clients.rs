//! Clients that others wrote, from `PyPI` and npm, against the fixture over stdio and HTTP at once. They are
//! installed once, below the target folder; where that cannot be done the test is skipped, and counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::packages::Packages;
use super::support::program::{Host, a2e_at, workspace};
use crate::faults::skipped;

/// The program with what the clients call.
const FIXTURE: &str = env!("CARGO_BIN_EXE_a2e_fixture");

/// From npm.
const NPM: [&str; 2] = ["@modelcontextprotocol/sdk@1", "@modelcontextprotocol/inspector"];

/// From `PyPI`.
const PYPI: [&str; 2] = ["mcp>=2.3", "fastmcp>=4.2"];

/// The clients, installed; `None` where they cannot be had.
pub(crate) fn installed() -> Option<Packages> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp-clients");
    Packages::installed(folder, &NPM, &PYPI)
}

#[test]
fn clients_of_others_list_call_cancel_ask_and_read() {
    let Some(packages) = installed() else {
        return skipped("clients of MCP cannot be installed from PyPI and npm here");
    };
    let scripts = workspace().join("tests/data/mcp_clients");
    let config = workspace().join("tests/data/mcp_fixture.yaml");
    let config = config.to_str().unwrap();
    let listen = ["serve", "-c", config, "--listen", "http://127.0.0.1:0"];
    let host = Host::start(&mut a2e_at(Path::new(FIXTURE), &listen));
    let url = format!("{}/mcp", host.addresses(1)[0]);
    // Node finds its packages beside the script.
    let sdk = packages.folder().join("sdk.mjs");
    std::fs::copy(scripts.join("sdk.mjs"), &sdk).unwrap();
    let (python, inspector) = (packages.pypi("python"), packages.npm("mcp-inspector"));
    let stdio = [FIXTURE, "serve", "--mcp", "-c", config];
    let over_stdio = [&["--cli"], &stdio[..], &["--method", "tools/list"]].concat();
    let over_http = ["--cli", &url, "--transport", "http", "--method", "prompts/list"];
    let official = scripts.join("official.py");
    let fast = scripts.join("fast.py");
    let both = |script: &Path| {
        let first = [script.to_str().unwrap().to_owned(), url.clone()];
        first.into_iter().chain(stdio.map(str::to_owned)).collect::<Vec<_>>()
    };
    let texts = |words: &[&str]| words.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    for (program, words, expected) in [
        (python.clone(), both(&official), "ok 2026-07-28 StdioServerParameters 2026-07-28"),
        (python, both(&fast), "ok StdioTransport"),
        (PathBuf::from("node"), both(&sdk), "ok StdioClientTransport"),
        (inspector.clone(), texts(&over_stdio), "test_simple_text"),
        (inspector, texts(&over_http), "test_simple_prompt"),
    ] {
        let output = Command::new(&program).args(&words).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?} {words:?}: {told}{wrong}");
        assert!(told.contains(expected), "{program:?}: {told}");
    }
    host.stop();
}
